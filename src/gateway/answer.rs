//! An answer and how it came about; and the booking of a whole one, whose settlement ends here whatever the answer told.
//! That of a stream ends in `stream.rs`.

use std::sync::Arc;

use super::settle::{Receipt, Settlement};
use super::statement::Statement;
use super::{Service, meter};
use crate::converse::Usage;
use crate::money::MicroUsd;
use crate::report::Report;

/// An answer, and how it came about.
#[derive(Debug)]
pub struct Answer<T> {
    /// What the client asked for.
    pub body: T,
    /// How it came about.
    pub served: Served,
}

/// How an answer came about.
#[derive(Clone, Debug)]
pub struct Served {
    /// The Region that was called.
    pub region: Arc<str>,
    /// Attempts made.
    pub attempts: u32,
    /// What the access log may know.
    pub receipt: Arc<Receipt>,
    /// What it cost; told only of whole answers.
    pub cost: Cost,
    /// How it was served, as far as AWS said so by then.
    pub service: Service,
    /// What the gateway changed about the call for the sake of the caller's limits.
    pub changes: Report,
}

/// What an answer cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Settled.
    Known(MicroUsd),
    /// The model has no known price.
    Unknown,
    /// The answer has not ended.
    Open,
}

/// How the answer came about that `settlement` is still to be made for.
pub(super) fn served(settlement: &Settlement) -> Served {
    Served {
        region: settlement.region().clone(),
        attempts: settlement.attempts(),
        receipt: settlement.receipt().clone(),
        cost: Cost::Open,
        service: Service::default(),
        changes: settlement.changes().clone(),
    }
}

/// Books a whole answer of which nothing told tokens, and which is not charged by any.
pub(super) fn settle_tokenless(mut settlement: Settlement, told: Statement) -> Served {
    let mut served = Served { service: told.service, ..served(&settlement) };
    settlement.learn(told);
    served.cost = settlement.finish_untold(Usage::default()).map_or(Cost::Unknown, Cost::Known);
    served
}

/// Books a whole answer: the usage if it was told, else by the size of what the model wrote.
pub(super) fn settle_whole(mut settlement: Settlement, mut told: Statement, written: &[u8]) -> Served {
    let mut served = Served { service: told.service, ..served(&settlement) };
    let usage = told.usage.take();
    settlement.learn(told);
    let cost = if let Some(usage) = usage {
        settlement.finish(usage)
    } else {
        let usage = untold(settlement.input_estimate(), written);
        settlement.finish_untold(usage)
    };
    served.cost = cost.map_or(Cost::Unknown, Cost::Known);
    served
}

/// The usage of an answer that does not tell it: estimated by its size.
pub(super) fn untold(input_tokens: u64, body: &[u8]) -> Usage {
    let output_tokens = meter::estimate(body.len());
    Usage { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens, ..Usage::default() }
}
