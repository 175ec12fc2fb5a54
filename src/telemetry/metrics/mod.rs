//! Every metric: all families declared in one list (`families.rs`), one method for each thing that happens.
//!
//! Labels are bounded sets. Team and model names are as many as people make them, so each metric set knows at most
//! [`NAMES`] of either and calls the rest `other`: no caller can make the scrape grow without end.

mod calls;
mod families;
mod instrument;
mod labels;
mod requests;
mod state;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use prometheus::{Encoder, Registry, TextEncoder};

pub use calls::{Booked, GenAi, Tokens, Unpriced};
pub use instrument::Family;
pub use labels::NAMES;
pub use requests::Open;
pub use state::BudgetState;

use families::Families;
use instrument::Maker;
use labels::Bound;

/// The metrics of one gateway. A cheap clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    announced: Vec<Family>,
    teams: Bound,
    models: Bound,
    families: Families,
}

impl Metrics {
    /// A set of metrics of its own, with nothing counted yet. Those of the process are the same in every set.
    ///
    /// # Errors
    /// Two families of one name, which only a change of the declarations can bring about.
    pub fn new() -> Result<Self, prometheus::Error> {
        let mut maker = Maker::new();
        let families = Families::declare(&mut maker)?;
        maker.process()?;
        families.build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        families.config_is_good.set(1);
        let Maker { registry, announced } = maker;
        Ok(Self(Arc::new(Inner { registry, announced, teams: Bound::default(), models: Bound::default(), families })))
    }

    fn families(&self) -> &Families {
        &self.0.families
    }

    /// A team's name as a label.
    fn team<'a>(&self, name: &'a str) -> &'a str {
        self.0.teams.label(name)
    }

    /// A model's id as a label.
    fn model<'a>(&self, id: &'a str) -> &'a str {
        self.0.models.label(id)
    }

    /// Every family there is, in the order of their declaration; `docs/METRICS.md` lists them.
    pub fn announced(&self) -> &[Family] {
        &self.0.announced
    }

    /// The scrape, in Prometheus's text format.
    pub fn render(&self) -> String {
        self.count_panics();
        let families = self.0.registry.gather();
        let mut text = Vec::with_capacity(16 * 1024);
        // Writing to memory fails only for a family without series, and gathering leaves those out.
        TextEncoder::new().encode(&families, &mut text).ok();
        let mut text = String::from_utf8(text).unwrap_or_default();
        for family in &self.0.announced {
            if !families.iter().any(|gathered| gathered.name() == family.name) {
                writeln!(text, "# HELP {0} {1}\n# TYPE {0} {2}", family.name, family.help, family.kind).ok();
            }
        }
        text
    }
}
