//! The ends: of a shard, with what it cost; of a batch, with its files and what is told of it. Each is one transaction.

use super::shards::insert as insert_shard;
use super::{Mine, clean, json, number};
use crate::batch::files::Files;
use crate::batch::record::{Batch, File, Problem, Segment, Shard, State};
use crate::batch::webhook;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::money::MicroUsd;
use crate::store::Store;

/// What has become of a shard.
#[derive(Clone, Copy, Debug)]
pub(in crate::batch) struct Settled<'a> {
    pub(in crate::batch) number: u32,
    pub(in crate::batch) output: &'a [Segment],
    pub(in crate::batch) errors: &'a [Segment],
    pub(in crate::batch) done: u64,
    pub(in crate::batch) failed: u64,
    pub(in crate::batch) cancelled: u64,
    pub(in crate::batch) expired: u64,
    pub(in crate::batch) cost: MicroUsd,
    pub(in crate::batch) unpriced: u64,
    /// Records that are tried once more.
    pub(in crate::batch) retry: Option<&'a Shard>,
    pub(in crate::batch) at: Timestamp,
}

const CHARGE: &str = "-- batch.charge
UPDATE batches SET cost_micro_usd = cost_micro_usd + $3, unpriced = unpriced + $4 WHERE id = $1 AND lease_owner = $2";

const SETTLE: &str = "-- batch_shard.settle
UPDATE batch_shards SET state = 'settled', output = $3, errors = $4, done = $5, failed = $6, cancelled = $7, expired = $8,
    settled_at = $9
WHERE batch_id = $1 AND number = $2 AND state = 'collecting'";

const FORGET: &str = "-- batch_answers.forget
DELETE FROM batch_answers WHERE batch_id = $1 AND shard = $2";

/// Its answers are kept and paid for; what is tried once more waits as a shard of its own. False when it is settled
/// already, or the batch is another worker's.
pub(in crate::batch) async fn settle(store: &Store, mine: Mine<'_>, settled: Settled<'_>) -> Result<bool> {
    let mut transaction = store.begin().await?;
    // The batch's row is locked first: nobody takes the batch over meanwhile.
    let charged =
        sqlx::query(CHARGE).bind(mine.batch).bind(mine.worker).bind(settled.cost.0).bind(number(settled.unpriced));
    let is_mine = charged.execute(&mut *transaction).await?.rows_affected() == 1;
    let query = sqlx::query(SETTLE)
        .bind(mine.batch)
        .bind(i64::from(settled.number))
        .bind(json(&settled.output)?)
        .bind(json(&settled.errors)?)
        .bind(number(settled.done))
        .bind(number(settled.failed))
        .bind(number(settled.cancelled))
        .bind(number(settled.expired))
        .bind(settled.at.millis());
    if !is_mine || query.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(false);
    }
    if let Some(retry) = settled.retry {
        insert_shard(&mut transaction, retry).await?;
    }
    let forget = sqlx::query(FORGET).bind(mine.batch).bind(i64::from(settled.number));
    forget.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// How a batch ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::batch) struct Finished<'a> {
    pub(in crate::batch) state: State,
    /// Its results: none, the output, the errors, or both.
    pub(in crate::batch) files: &'a [File],
    pub(in crate::batch) problems: &'a [Problem],
    pub(in crate::batch) reason: Option<&'a str>,
    pub(in crate::batch) at: Timestamp,
}

const FINISH: &str = "-- batch.finish
UPDATE batches SET state = $3, finalizing_at = COALESCE(finalizing_at, $4), ended_at = $4, errors = $5, reason = $6,
    output_file_id = $7, error_file_id = $8, lease_owner = NULL
WHERE id = $1 AND lease_owner = $2 AND ended_at IS NULL";

/// It is over, its files are there, and who wants to know is told. False when it is over already, or another worker's.
pub(in crate::batch) async fn finish(
    store: &Store,
    mine: Mine<'_>,
    batch: &Batch,
    finished: Finished<'_>,
) -> Result<bool> {
    let mut transaction = store.begin().await?;
    let state: &'static str = finished.state.into();
    let id_of = |wanted: Option<&String>| finished.files.iter().find(|file| Some(&file.id) == wanted).map(|f| &*f.id);
    let query = sqlx::query(FINISH)
        .bind(mine.batch)
        .bind(mine.worker)
        .bind(state)
        .bind(finished.at.millis())
        .bind(clean(&json(&finished.problems)?))
        .bind(finished.reason.map(clean))
        .bind(id_of(batch.output_file.as_ref()))
        .bind(id_of(batch.error_file.as_ref()));
    if query.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(false);
    }
    for file in finished.files {
        Files::add(&mut transaction, file).await?;
    }
    let over = Batch { state: finished.state, ended_at: Some(finished.at), ..batch.clone() };
    webhook::queue(&mut transaction, &over, finished.at).await?;
    transaction.commit().await?;
    Ok(true)
}
