//! Answers of shards that run online, until they are collected.

use sqlx::Row as _;

use super::{Mine, clean, count, number};
use crate::error::Result;
use crate::money::MicroUsd;
use crate::store::Store;

/// An answer that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::batch) struct Kept {
    /// Its place in the shard.
    pub(in crate::batch) record: u64,
    /// HTTP.
    pub(in crate::batch) status: u16,
    /// The result line's own text.
    pub(in crate::batch) line: String,
    /// What it cost, where that is known.
    pub(in crate::batch) cost: Option<MicroUsd>,
}

const KEEP: &str = "-- batch_answers.keep
INSERT INTO batch_answers (batch_id, shard, record, status, line, cost_micro_usd)
SELECT $1, $3, $4, $5, $6, $7 FROM batches WHERE id = $1 AND lease_owner = $2
ON CONFLICT (batch_id, shard, record) DO NOTHING";

/// Keeps an answer; a second one to the same record is not kept. False when it was there, or the batch is another
/// worker's.
pub(in crate::batch) async fn keep_answer(store: &Store, mine: Mine<'_>, shard: u32, kept: &Kept) -> Result<bool> {
    let query = sqlx::query(KEEP)
        .bind(mine.batch)
        .bind(mine.worker)
        .bind(i64::from(shard))
        .bind(number(kept.record))
        .bind(i64::from(kept.status))
        .bind(clean(&kept.line))
        .bind(kept.cost.map(|MicroUsd(micros)| micros));
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const KEPT: &str = "-- batch_answers.kept
SELECT record, status, line, cost_micro_usd FROM batch_answers WHERE batch_id = $1 AND shard = $2 AND record >= $3
ORDER BY record LIMIT $4";

/// Up to `limit` answers, from the record `from` on, in order.
pub(in crate::batch) async fn kept_answers(
    store: &Store,
    batch: &str,
    shard: u32,
    (from, limit): (u64, u32),
) -> Result<Vec<Kept>> {
    let query = sqlx::query(KEPT).bind(batch).bind(i64::from(shard)).bind(number(from)).bind(i64::from(limit));
    let rows = query.fetch_all(store.pool()).await?;
    let kept = |row: &sqlx::any::AnyRow| {
        Ok(Kept {
            record: count(row, "record")?,
            status: u16::try_from(row.try_get::<i64, _>("status")?).unwrap_or_default(),
            line: row.try_get("line")?,
            cost: row.try_get::<Option<i64>, _>("cost_micro_usd")?.map(MicroUsd),
        })
    };
    Ok(rows.iter().map(kept).collect::<Result<_, sqlx::Error>>()?)
}

const COUNT: &str = "-- batch_answers.count
SELECT record, status FROM batch_answers WHERE batch_id = $1 AND shard = $2 ORDER BY record";

/// The records of a shard that are answered, and with which status.
pub(in crate::batch) async fn count_answers(store: &Store, batch: &str, shard: u32) -> Result<Vec<(u64, u16)>> {
    let rows = sqlx::query(COUNT).bind(batch).bind(i64::from(shard)).fetch_all(store.pool()).await?;
    let pair = |row: &sqlx::any::AnyRow| {
        Ok((count(row, "record")?, u16::try_from(row.try_get::<i64, _>("status")?).unwrap_or_default()))
    };
    Ok(rows.iter().map(pair).collect::<Result<_, sqlx::Error>>()?)
}
