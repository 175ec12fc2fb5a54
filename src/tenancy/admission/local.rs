//! Limits and budgets counted in the memory of this process.

use super::{Need, Refused, Rules, Standing, Used};
use crate::clock::Timestamp;

/// What a call holds here.
#[derive(Debug)]
pub(super) struct Held;

impl Held {
    /// Gives back what was held beyond `used`; a second time does nothing.
    pub(super) fn settle(&mut self, _: Used, _: Timestamp) {}
}

/// What was granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) output_tokens: u64,
    pub(super) standing: Option<Standing>,
    pub(super) held: Held,
}

pub(super) fn admit(_: &Rules, need: &Need<'_>, _: Timestamp) -> Result<Granted, Refused> {
    Ok(Granted { output_tokens: need.demand.output.most(), standing: None, held: Held })
}
