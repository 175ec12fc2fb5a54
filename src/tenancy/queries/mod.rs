//! Every statement on the tables of tenancy, a file for each.
//!
//! Written in full in one dialect that SQLite and Postgres share. A function here is one statement or one transaction
//! and decides nothing. A row that cannot be read, because a later version or a hand wrote it, is left out and logged:
//! one such row must not keep a revocation of another key from counting.

mod audit;
mod by_id;
mod keys;
mod ledger;
mod rules;
mod teams;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, Row as _, Transaction};

pub(super) use self::audit::page_of_acts;
pub(super) use self::keys::{
    find_key, find_key_in, insert_key, keys, keys_by_id, keys_since, page_of_keys, update_key, write_secrets,
};
pub(super) use self::ledger::{booked, has_entry, list_entries, write_group};
pub(super) use self::rules::{
    Names, budgets_of, budgets_since, find_budget, find_budget_of, find_limit, find_limit_of, limits_of, limits_since,
    page_of_budgets, page_of_limits, write_budget, write_limit,
};
pub(super) use self::teams::{
    find_team, find_team_in, insert_team, page_of_teams, teams, teams_by_id, teams_since, update_team, webhook_url,
};
use super::admin::Act;
use super::allow_list::AllowList;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;

type Decoded<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const VERSION: &str = "-- tenancy.version
SELECT version FROM tenancy_version WHERE id = 1";

/// The version that teams, keys, limits and budgets have now.
pub(super) async fn version(store: &Store) -> Result<i64> {
    Ok(sqlx::query(VERSION).fetch_one(store.pool()).await?.try_get("version")?)
}

/// A change of teams, keys, limits or budgets: a transaction and the version that its rows get.
///
/// Taking the version holds up every other change until this one is committed, so versions become visible in their order
/// and a process that knows one misses none before it.
pub(super) struct Change {
    pub(super) transaction: Transaction<'static, Any>,
    pub(super) version: i64,
}

const VERSION_TAKE: &str = "-- tenancy.version_take
UPDATE tenancy_version SET version = version + 1 WHERE id = 1 RETURNING version";

impl Change {
    /// Begins a change. Dropped, it changes nothing.
    pub(super) async fn begin(store: &Store) -> Result<Self> {
        let mut transaction = store.begin().await?;
        let row = sqlx::query(VERSION_TAKE).fetch_one(&mut *transaction).await?;
        Ok(Self { version: row.try_get("version")?, transaction })
    }

    /// Commits it together with its line in the audit log.
    pub(super) async fn commit(mut self, act: &Act<'_>) -> Result<()> {
        audit::insert(&mut self.transaction, act).await?;
        Ok(self.transaction.commit().await?)
    }
}

/// Rows that are read at once of those that changed.
pub(super) const PAGE: usize = 500;

/// How far the changes of a table have been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    version: i64,
    /// Of the last row that was read at that version.
    id: String,
}

impl Mark {
    /// All changes up to this version have been.
    pub(super) fn after(version: i64) -> Self {
        // Ids are not empty, so all rows of the next version are behind this.
        Self { version: version.saturating_add(1), id: String::new() }
    }

    fn bind<'q>(&self, query: Query<'q, Any, AnyArguments>) -> Query<'q, Any, AnyArguments> {
        query.bind(self.version).bind(self.id.clone()).bind(count(PAGE as u64))
    }
}

/// A row that changed; `row` is nothing where it cannot be read, which was logged.
#[derive(Debug)]
pub(super) struct Changed<T> {
    pub(super) id: String,
    pub(super) row: Option<T>,
    version: i64,
}

impl<T> Changed<T> {
    /// Where the changes after this one begin.
    pub(super) fn mark(&self) -> Mark {
        Mark { version: self.version, id: self.id.clone() }
    }
}

fn changed<T>(what: &str, row: &AnyRow, decoded: Decoded<T>) -> Result<Changed<T>> {
    Ok(Changed { id: row.try_get("id")?, version: row.try_get("version")?, row: readable(what, row, decoded) })
}

/// What could be read of a row.
fn readable<T>(what: &str, row: &AnyRow, decoded: Decoded<T>) -> Option<T> {
    let log = |cause: &_| {
        let id: String = row.try_get("id").unwrap_or_default();
        tracing::error!(%cause, id, "a {what} in the store cannot be read and does not count");
    };
    decoded.inspect_err(log).ok()
}

fn allow_list(row: &AnyRow, column: &str) -> Decoded<AllowList> {
    Ok(AllowList::from_json(row.try_get::<Option<String>, _>(column)?.as_deref())?)
}

fn timestamp(row: &AnyRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get(column).map(Timestamp::from_millis)
}

fn optional_timestamp(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
}

/// Text as both databases take it: Postgres refuses NUL, and one refused row would hold up every row behind it.
fn clean(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
