//! `[responses]`: what is kept of `/v1/responses`, and for how long.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;

/// `[responses]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Responses {
    /// Whether answers of `/v1/responses` are kept, so that a later request can go on from them by `previous_response_id`. A
    /// request that says `store: false` is not kept in any case.
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
