//! `[ledger]`: how long the record of calls, and of administrative acts, is kept.

use schemars::JsonSchema;
use serde::Deserialize;

use super::Problems;

/// `[ledger]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Days that each call is kept: 1 to 3650; 0: for ever. After them what a UTC day's calls used and cost is kept in sums
    /// by team, key, model, Region, tier, route and outcome: no total shrinks.
    pub retention_days: u32,
    /// Days that lines of the audit log are kept: 1 to 3650; 0: for ever.
    pub audit_retention_days: u32,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { retention_days: 400, audit_retention_days: 0 }
    }
}

impl Ledger {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.add_unless_within("ledger.retention_days", self.retention_days.into(), 0, 3650);
        problems.add_unless_within("ledger.audit_retention_days", self.audit_retention_days.into(), 0, 3650);
    }
}
