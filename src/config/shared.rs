//! `[shared]`: the Redis or Valkey that replicas share their limits and budgets through.

use std::fmt;

use serde::Deserialize;

use super::{Problems, shape};

/// `[shared]`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shared {
    /// `redis://...`; empty: this process alone.
    pub url: String,
    /// What admission does while it is unreachable.
    pub on_failure: OnFailure,
}

/// What admission does while the shared store is unreachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Refuse the call.
    #[default]
    Deny,
    /// Let it pass.
    Allow,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = shape::masked(&self.url);
        f.debug_struct("Shared").field("url", &url).field("on_failure", &self.on_failure).finish()
    }
}

impl Shared {
    pub(super) fn validate(&self, problems: &mut Problems) {
        if !self.url.is_empty() {
            problems.add_unsupported("shared.url");
        }
    }
}
