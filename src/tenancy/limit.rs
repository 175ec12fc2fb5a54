//! Limits: how much may be used in a minute, and how much at once. What is used of them is `admission`'s to know.

use crate::clock::Timestamp;
use crate::ids::{KeyId, LimitId, TeamId};

/// Whose use is limited.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All calls taken together.
    Everyone,
    /// The calls of a team's keys taken together.
    Team(TeamId),
    /// The calls of a key.
    Key(KeyId),
}

impl Subject {
    /// What the store calls it: its kind, and the id of whom it is.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Everyone => ("everyone", ""),
            Self::Team(id) => ("team", id.as_str()),
            Self::Key(id) => ("key", id.as_str()),
        }
    }

    /// Reads what [`Subject::parts`] told.
    pub fn from_parts(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "everyone" => Some(Self::Everyone),
            "team" => Some(Self::Team(TeamId::from(id))),
            "key" => Some(Self::Key(KeyId::from(id))),
            _ => None,
        }
    }
}

/// A limit, as the store has it. What it does not name, it does not limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its id.
    pub id: LimitId,
    /// Whose calls it counts.
    pub subject: Subject,
    /// The model whose calls it counts, by any of its names, or the beginning of names and `*`; `None`: every model.
    /// All models that it matches are counted together.
    pub model: Option<String>,
    /// Calls that may begin in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens read and written in a minute; those read from a prompt cache do not count.
    pub tokens_per_minute: Option<u64>,
    /// Calls that may be open at the same time.
    pub concurrent_requests: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Since when it counts no more.
    pub removed_at: Option<Timestamp>,
    /// The version of tenancy that its last change made.
    pub version: i64,
}

impl Limit {
    /// Whether it counts calls on the model that goes by all of `names`; a call that is on no model has none.
    pub fn counts<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> bool {
        let Some(model) = &self.model else { return true };
        names.into_iter().any(|name| super::allow_list::matches(model, name))
    }
}
