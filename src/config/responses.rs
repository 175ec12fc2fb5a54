//! `[responses]`: what is kept of `/v1/responses`, and for how long.

use serde::Deserialize;

use super::Problems;

/// `[responses]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Responses {
    /// Whether responses are kept, unless their request says `store: false`.
    pub store: bool,
    /// Hours that a response is kept: 1 to 8760.
    pub retention_hours: u64,
}

impl Default for Responses {
    fn default() -> Self {
        Self { store: true, retention_hours: 720 }
    }
}

impl Responses {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.add_unless_within("responses.retention_hours", self.retention_hours, 1, 8760);
    }
}
