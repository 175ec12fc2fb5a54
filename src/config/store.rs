//! `[store]`: the database of teams, keys, ledger and batch jobs.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Problems, shape};

/// `[store]`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite://FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`.
    pub url: String,
    /// The folder in which calls are written down before they are sent, so that a crash loses none; on a disk of this
    /// machine. Gateways with the same store may share it. Empty: none. A SQLite store in memory has none unless another
    /// folder is named.
    pub journal: String,
}

const JOURNAL: &str = "bedrock-gateway-journal";

impl Default for Store {
    fn default() -> Self {
        Self { url: "sqlite://bedrock-gateway.db".into(), journal: JOURNAL.into() }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("url", &shape::masked(&self.url)).field("journal", &self.journal).finish()
    }
}

impl Store {
    /// The folder of the journal; `None`: there is to be none. What is in memory ends with the process, and a journal
    /// would only fill the working directory: it has one if another folder than the default is named.
    pub fn journal_folder(&self) -> Option<&Path> {
        let is_in_memory =
            self.url.starts_with("sqlite:") && (self.url.contains(":memory:") || self.url.contains("mode=memory"));
        let is_none = self.journal.is_empty() || (is_in_memory && self.journal == JOURNAL);
        (!is_none).then(|| Path::new(&self.journal))
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        let known = ["sqlite:", "postgres://", "postgresql://"];
        if !known.iter().any(|scheme| self.url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty())) {
            problems.add("store.url", "must be sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_memory_has_a_journal_only_if_a_folder_is_named() {
        let folder = |url: &str, journal: &str| {
            let store = Store { url: url.into(), journal: journal.into() };
            store.journal_folder().map(|folder| folder.display().to_string())
        };
        assert_eq!(Store::default().journal_folder(), Some(Path::new(JOURNAL)));
        assert_eq!(folder("postgres://db/x", "/var/j"), Some("/var/j".into()));
        assert_eq!(folder("postgres://db/x", ""), None);
        assert_eq!(folder("sqlite::memory:", JOURNAL), None);
        assert_eq!(folder("sqlite:x.db?mode=memory", JOURNAL), None);
        assert_eq!(folder("sqlite::memory:", "/var/j"), Some("/var/j".into()));
    }
}
