//! Every statement on batches and their shards, in one dialect that SQLite and Postgres share. A function here is one
//! statement or one transaction and decides nothing.
//!
//! Invariant: what changes a batch or a shard for the process that works on it says whose it has to be, and tells
//! whether it still was.

mod answers;
mod batches;
mod leases;
mod queues;
mod rows;
mod settle;
mod shards;
mod spread;
#[cfg(test)]
mod tests;

pub(super) use self::answers::{Kept, count_answers, keep_answer, kept_answers};
pub(super) use self::batches::{
    Added, Planned, Stale, cancel, cancel_team, delete, explain, find, input, insert, list, load, planned, purged,
    stale,
};
pub use self::batches::{Filter, Order};
pub(super) use self::leases::{beat, claim, due, elsewhere, leave, owned, release_quiet, sweep};
pub use self::queues::Slot;
pub(super) use self::queues::{
    OpenJob, Taken, Waiting, explain_jobs, explain_queue, job_states, open_jobs, put_off, queues, rest, running, slots,
    take_slot, waiting,
};
pub(super) use self::settle::{Finished, Settled, finish, settle};
pub(super) use self::shards::{end, observe, of, requeue, stand, start, submitted};
pub use self::spread::Spread;
pub(super) use self::spread::spread;

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Whose a batch has to be for a change to count: the worker, and the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mine<'a> {
    pub(super) worker: &'a str,
    pub(super) batch: &'a str,
}

/// Text as both databases take it: Postgres refuses NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(Error::internal)
}

fn count(row: &AnyRow, name: &str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(name)?).unwrap_or_default())
}

fn time(row: &AnyRow, name: &str) -> Result<Timestamp, sqlx::Error> {
    Ok(Timestamp::from_millis(row.try_get(name)?))
}

fn maybe_time(row: &AnyRow, name: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(name)?.map(Timestamp::from_millis))
}

fn word<T: FromStr>(row: &AnyRow, name: &str) -> Result<T> {
    let text: String = row.try_get(name)?;
    text.parse().map_err(|_| Error::internal(format!("the store has an unknown {name}")))
}

fn parsed<T: DeserializeOwned + Default>(row: &AnyRow, name: &str) -> Result<T> {
    let text: Option<String> = row.try_get(name)?;
    text.map_or_else(|| Ok(T::default()), |text| serde_json::from_str(&text).map_err(Error::internal))
}
