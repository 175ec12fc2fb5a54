//! `[idempotency]`: what is kept of answers to calls with an `Idempotency-Key`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;

/// `[idempotency]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Idempotency {
    /// Hours that the answer to a call with the header `Idempotency-Key` is kept for who repeats it: 1 to 168.
    pub retention_hours: u64,
    /// The largest answer that is kept, in KiB: 1 to 16384. Who repeats a call with a larger one is refused (409).
    pub max_answer_kb: u64,
    /// What answers may take of this process's memory, in MiB: 1 to 4096. Older ones are then read from the store.
    pub memory_mb: u64,
}

impl Default for Idempotency {
    fn default() -> Self {
        Self { retention_hours: 24, max_answer_kb: 1024, memory_mb: 64 }
    }
}

impl Idempotency {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.add_unless_within("idempotency.retention_hours", self.retention_hours, 1, 168);
        problems.add_unless_within("idempotency.max_answer_kb", self.max_answer_kb, 1, 16_384);
        problems.add_unless_within("idempotency.memory_mb", self.memory_mb, 1, 4096);
    }
}
