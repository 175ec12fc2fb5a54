//! Administration: what is made, changed and revoked of teams, keys, limits and budgets. Needs a store and a clock only,
//! so the command line does it too.
//!
//! Every act is one transaction with its line in the audit log and a new version, which tells serving processes. What is
//! changed is read in the same transaction, behind the version's lock: no two acts overwrite each other unseen. An act
//! that changes nothing is none.

mod audit;
mod budgets;
mod keys;
pub mod known;
mod limits;
pub mod moment;
mod rotate;
mod teams;
pub mod view;

use std::fmt;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

pub use self::audit::{Acts, list_acts};
pub use self::budgets::{Budgets, SetBudget, list_budgets, remove_budget, set_budget};
pub use self::keys::{
    EditKey, Keys, change_key, create_key, find_key, list_keys, page_of_keys, revoke_key, revoke_key_if,
};
pub use self::limits::{Limits, SetLimit, list_limits, remove_limit, set_limit};
pub use self::rotate::{DEFAULT_OVERLAP, MAX_OVERLAP, rotate_key};
pub use self::teams::{
    EditTeam, Teams, change_team, create_team, find_team, list_teams, page_of_teams, revoke_team_if, rotate_webhook,
};
use super::directory::Caller;
use super::limit::Subject;
use super::queries;
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::ids::{self, KeyId};
use crate::store::Store;

/// Who administers, as the audit log names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody at the command line.
    CommandLine,
    /// The gateway itself, setting up its local mode.
    Gateway,
    /// Whoever has this key, which the configuration names.
    Bootstrap(KeyId),
    /// Whoever has this key, or a token that stands in for one.
    Key(KeyId),
}

impl Actor {
    /// Who administers by HTTP.
    pub fn of(caller: &Caller) -> Self {
        let id = caller.key.id.clone();
        if caller.is_bootstrap() { Self::Bootstrap(id) } else { Self::Key(id) }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command_line"),
            Self::Gateway => f.write_str("gateway"),
            Self::Bootstrap(id) => write!(f, "bootstrap:{id}"),
            Self::Key(id) => write!(f, "key:{id}"),
        }
    }
}

/// One line of the audit log.
pub(super) struct Act<'a> {
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) actor: Actor,
    pub(super) action: &'static str,
    pub(super) subject: &'a str,
    pub(super) detail: Value,
}

impl<'a> Act<'a> {
    fn new(at: Timestamp, actor: Actor, action: &'static str, subject: &'a str, detail: Value) -> Self {
        Self { id: ids::fresh("act_"), at, actor, action, subject, detail }
    }
}

/// In which state somebody who changes a thing believes it to be: that of `If-Match`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// In any; it may also not be there.
    #[default]
    Any,
    /// It is there.
    Exists,
    /// It is there in one of these versions.
    Among(Vec<i64>),
}

impl Precondition {
    /// Fails with [`Kind::Stale`] when the thing has another version than was believed; `None`: it is not there.
    pub(super) fn check(&self, version: Option<i64>) -> Result<()> {
        let holds = match (self, version) {
            (Self::Any, _) | (Self::Exists, Some(_)) => true,
            (Self::Among(believed), Some(version)) => believed.contains(&version),
            (Self::Exists | Self::Among(_), None) => false,
        };
        if holds {
            return Ok(());
        }
        let message =
            "It was changed or removed in the meantime. Read it again, and send its new `version` as If-Match.";
        Err(Error::new(Kind::Stale, message))
    }
}

/// What becomes of one setting: in JSON, left out, null, or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Edit<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It goes.
    Clear,
    /// It becomes this.
    Set(T),
}

impl<T> Edit<T> {
    /// The setting afterwards, of one that may be absent.
    fn or(self, now: Option<T>) -> Option<T> {
        match self {
            Self::Keep => now,
            Self::Clear => None,
            Self::Set(new) => Some(new),
        }
    }

    /// The setting afterwards, of one that cannot be absent: `field` is to blame for clearing it.
    fn required(self, field: &str, now: T) -> Result<T> {
        match self {
            Self::Keep => Ok(now),
            Self::Clear => Err(Error::invalid(field, format!("`{field}` cannot be cleared."))),
            Self::Set(new) => Ok(new),
        }
    }

    /// With the value read by `read`.
    pub fn read<U>(self, read: impl FnOnce(T) -> Result<U>) -> Result<Edit<U>> {
        Ok(match self {
            Self::Keep => Edit::Keep,
            Self::Clear => Edit::Clear,
            Self::Set(new) => Edit::Set(read(new)?),
        })
    }

    /// The value, if it is to become one.
    pub fn new_value(&self) -> Option<&T> {
        match self {
            Self::Set(new) => Some(new),
            Self::Keep | Self::Clear => None,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Edit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The cursor that the page before told; `None`: from the beginning.
    pub after: Option<String>,
    /// Entries at most: 1 to 1000.
    pub limit: u32,
}

impl Page {
    /// The longest page.
    pub const MAX: u32 = 1_000;

    /// As many entries as there can be on one page, from the beginning.
    pub fn first() -> Self {
        Self { after: None, limit: Self::MAX }
    }

    /// One more than are told: whether it is there says whether there is another page.
    fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Where the list goes on, in the order of ids.
    fn after_id(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    /// Where the list goes on, in the order of times and then of ids. Fails with [`Kind::Invalid`], `cursor` to blame.
    fn after_moment(&self) -> Result<Option<(Timestamp, &str)>> {
        let Some(cursor) = &self.after else { return Ok(None) };
        let parts = cursor.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id)));
        let (at, id) = parts.ok_or_else(|| Error::invalid("cursor", "`cursor` is not one that a list told."))?;
        Ok(Some((Timestamp::from_millis(at), id)))
    }

    /// The page of `rows`, and the cursor of the next.
    fn of<T>(&self, mut rows: Vec<T>, cursor: impl Fn(&T) -> String) -> Listed<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(cursor);
        Listed { data: rows, next }
    }
}

/// The cursor of an entry in the order of times and then of ids.
fn cursor_at(at: Timestamp, id: &str) -> String {
    format!("{}.{id}", at.millis())
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// The entries.
    pub data: Vec<T>,
    /// The cursor of the next page, if there is one.
    pub next: Option<String>,
}

impl<T> Listed<T> {
    fn map<U>(self, to: impl FnMut(T) -> U) -> Listed<U> {
        Listed { data: self.data.into_iter().map(to).collect(), next: self.next }
    }
}

/// Whose limit or budget is meant: a team's, by id or name, a key's, by id, or everyone's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// Id or name of a team.
    pub team: Option<String>,
    /// Id of a key.
    pub key: Option<String>,
}

impl Whose {
    /// Who that is. Fails with [`Kind::Invalid`] when both are named, and with [`Kind::NotFound`] for one that is not there.
    async fn find(&self, store: &Store) -> Result<Subject> {
        match (&self.team, &self.key) {
            (Some(_), Some(_)) => Err(Error::invalid("key", "Name a `team` or a `key`, not both.")),
            (Some(team), None) => {
                let found = queries::find_team(store, team).await?;
                let none = || Error::new(Kind::NotFound, format!("There is no team `{}`.", shown(team))).param("team");
                found.map(|found| Subject::Team(found.id)).ok_or_else(none)
            }
            (None, Some(key)) => {
                let found = queries::find_key(store, &KeyId::from(key)).await?;
                let none = || Error::new(Kind::NotFound, format!("There is no key `{}`.", shown(key))).param("key");
                found.map(|found| Subject::Key(found.id)).ok_or_else(none)
            }
            (None, None) => Ok(Subject::Everyone),
        }
    }

    /// Who a list is limited to, if to anybody.
    async fn filter(&self, store: &Store) -> Result<Option<Subject>> {
        Ok(Some(self.find(store).await?).filter(|subject| *subject != Subject::Everyone))
    }
}

/// As much of a caller's text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// What a change changed: the settings that differ, as they were and as they are.
fn difference(before: &Value, after: &Value) -> Value {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return json!({}) };
    let is_told = |name: &str| !["version", "updated_at"].contains(&name);
    let differing = after.iter().filter(|(name, value)| is_told(name) && before.get(*name) != Some(value));
    let told = differing.map(|(name, value)| (name.clone(), json!({ "from": before.get(name), "to": value })));
    Value::Object(told.collect::<Map<_, _>>())
}

/// What is shown of a thing, as JSON.
fn value_of(view: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(view).map_err(Error::internal)
}

#[cfg(test)]
mod tests;
