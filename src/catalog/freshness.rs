//! How old what is known of a Region is, and why it is not newer.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

/// Who told a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Source {
    /// The compiled-in data.
    Compiled,
    /// Nobody: it is concluded from what is known of others, and may be wrong.
    Assumed,
    /// AWS, asked in the Region that the fact is about. All of one Region is told at once: [`Freshness::last_success`].
    Aws,
}

/// When a Region was last asked what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// The Region.
    pub region: Arc<str>,
    /// When it was last asked; `None`: not yet, or never.
    pub last_attempt: Option<Timestamp>,
    /// When it last answered; `None`: only the compiled-in data is known.
    pub last_success: Option<Timestamp>,
    /// Why the last attempt failed.
    pub problem: Option<Problem>,
}

/// Why a Region did not tell what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In one word of a bounded set, such as `denied` or `throttled`: the label of the metric.
    pub result: &'static str,
    /// In a sentence or two, without ARNs and account ids.
    pub message: String,
}

impl Freshness {
    /// A Region that was not asked.
    pub(super) const fn unasked(region: Arc<str>) -> Self {
        Self { region, last_attempt: None, last_success: None, problem: None }
    }

    /// Whether the last attempt failed, so that what was known before it is still shown.
    pub const fn is_stale(&self) -> bool {
        self.problem.is_some()
    }

    /// The age of what AWS told; `None` when it told nothing yet.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.last_success.map(|at| now.since(at))
    }
}
