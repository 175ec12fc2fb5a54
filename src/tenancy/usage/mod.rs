//! Usage: what calls used and cost, added up by whatever a reader asks for; and how long single calls are kept.
//!
//! A call is in the ledger, or, once it is older than `ledger.retention_days`, in the sums of its UTC day
//! (`retention.rs`), never in both: one statement reads the two, so no total shrinks and none counts a call twice. All SQL
//! is in `queries.rs`.

mod queries;
mod question;
mod retention;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;

pub use self::question::{Dimension, Filter, Group, Question, moment};

use super::Subject;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::ids::TeamId;
use crate::money::MicroUsd;
use crate::store::Store;

/// Reports that are worked out at the same time. A long one occupies a connection, and the ledger's writer needs one, too.
const REPORTS: usize = 2;

/// What the calls of one group used and cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What they have in common.
    pub group: Group,
    /// The name of the team, when there is one by that id and the calls are grouped by it.
    pub team_name: Option<String>,
    /// The name of the key, likewise.
    pub key_name: Option<String>,
    /// How many calls, those that failed included.
    pub requests: u64,
    /// Tokens read at the full price.
    pub input_tokens: u64,
    /// Tokens written by the models.
    pub output_tokens: u64,
    /// Tokens read from caches.
    pub cache_read_tokens: u64,
    /// Tokens written to caches.
    pub cache_write_tokens: u64,
    /// The sum of the costs that are known; none when not one is.
    pub cost: Option<MicroUsd>,
    /// Calls whose price is not known: what the cost leaves out.
    pub unpriced: u64,
}

/// The rows of one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In the order of their groups.
    pub rows: Vec<Row>,
    /// What [`Question::after`] takes for the next page; none on the last.
    pub next: Option<Group>,
}

/// Usage, as a serving process tells it. A cheap clone.
#[derive(Clone)]
pub struct Usage(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    settings: config::Ledger,
    places: Semaphore,
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Usage(..)")
    }
}

impl Usage {
    /// The usage in `store`. Nothing is rolled up until [`Usage::retain_in_background`].
    pub fn new(store: Store, clock: Clock, settings: &config::Ledger) -> Self {
        let places = Semaphore::new(REPORTS);
        Self(Arc::new(Inner { store, clock, settings: settings.clone(), places }))
    }

    /// As [`report`]; waits while two others are worked out.
    pub async fn report(&self, question: &Question) -> Result<Page> {
        let _place = self.0.places.acquire().await.map_err(Error::internal)?;
        report(&self.0.store, question).await
    }

    /// As [`find_team`].
    pub async fn team(&self, id_or_name: &str) -> Result<TeamId> {
        find_team(&self.0.store, id_or_name).await
    }
}

/// One page of what was asked for. Without [`Question::by`] it is one row, also when there was no call.
///
/// # Errors
/// [`Kind::Invalid`], with `from`, `to` or `group_by` to blame, when that is asked of days that are kept in sums only and
/// do not tell it: a part of such a day, or its end users.
pub async fn report(store: &Store, question: &Question) -> Result<Page> {
    let wanted = usize::try_from(question.limit).unwrap_or(usize::MAX);
    let mut rows = queries::report(store, question).await?;
    // Looked at afterwards: what was not rolled up by then was read from the ledger, whole.
    question.check(queries::rolled_up(store, question).await?)?;
    if question.by.is_empty() && rows.is_empty() && question.after.is_none() {
        rows.push(Row::of_nothing());
    }
    let is_more = rows.len() > wanted;
    rows.truncate(wanted);
    let next = rows.last().filter(|_| is_more).map(|row| row.group.clone());
    Ok(Page { rows, next })
}

impl Row {
    fn of_nothing() -> Self {
        Self {
            group: Group::default(),
            team_name: None,
            key_name: None,
            requests: 0,
            input_tokens: 0,
            output_tokens: 0,
            cache_read_tokens: 0,
            cache_write_tokens: 0,
            cost: Some(MicroUsd::default()),
            unpriced: 0,
        }
    }
}

/// The team with this id, or else this name; [`Kind::NotFound`] when there is none.
pub async fn find_team(store: &Store, id_or_name: &str) -> Result<TeamId> {
    let none = || {
        let shown: String = id_or_name.chars().filter(|c| !c.is_control()).take(64).collect();
        Error::new(Kind::NotFound, format!("There is no team `{shown}`.")).param("team")
    };
    queries::find_team(store, id_or_name).await?.ok_or_else(none)
}

/// What a team, a key or everyone has spent on calls that were settled at `since` or later, or ever: the ledger, and the sums of the
/// days that it no longer has. Of a call without a price nothing is known. When `since` is within a day that is kept in
/// sums only, all of that day counts: rather too much than too little.
pub async fn spent(store: &Store, subject: &Subject, since: Option<Timestamp>) -> Result<MicroUsd> {
    queries::spent(store, subject, since.unwrap_or_default()).await
}
