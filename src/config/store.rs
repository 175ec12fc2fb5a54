//! `[store]`: the database of teams, keys, ledger and batch jobs.

use std::fmt;

use serde::Deserialize;

use super::{Problems, shape};

/// `[store]`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite://FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`.
    pub url: String,
}

impl Default for Store {
    fn default() -> Self {
        Self { url: "sqlite://bedrock-gateway.db".into() }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &shape::masked(&self.url)).finish()
    }
}

impl Store {
    pub(super) fn validate(&self, problems: &mut Problems) {
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|scheme| self.url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
            problems.add("store.url", "must be sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE");
        }
    }
}
