//! Shards: one statement for each step that one takes. `false` says that the batch is another worker's by now, or that
//! the shard is not where the step begins.

use sqlx::{Any, Transaction};

use super::rows::shard;
use super::{Mine, clean, json, number};
use crate::batch::record::Shard;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;

const INSERT: &str = "-- batch_shard.insert
INSERT INTO batch_shards (batch_id, number, kind, model, model_id, call_id, region, bucket, invocation, attempt, records,
    bytes, worst_micro_usd, state, job_state, job_arn, why_online, reason, done, failed, cancelled, expired, output,
    errors, queued_at, submitted_at, ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
    $25, $26, $27)
ON CONFLICT (batch_id, number) DO NOTHING";

/// Adds one, unless it is there.
pub(super) async fn insert(transaction: &mut Transaction<'static, Any>, new: &Shard) -> Result<()> {
    let kind: &'static str = new.kind.into();
    let state: &'static str = new.state.into();
    let invocation: &'static str = new.invocation.into();
    let query = sqlx::query(INSERT)
        .bind(&*new.batch)
        .bind(i64::from(new.number))
        .bind(kind)
        .bind(clean(&new.model))
        .bind(clean(&new.model_id))
        .bind(clean(&new.call_id))
        .bind(&*new.region)
        .bind(&*new.bucket)
        .bind(invocation)
        .bind(i64::from(new.attempt))
        .bind(number(new.records))
        .bind(number(new.bytes))
        .bind(new.worst.0)
        .bind(state)
        .bind(new.job_state.as_deref())
        .bind(new.job_arn.as_deref())
        .bind(new.why_online.as_deref().map(clean))
        .bind(new.reason.as_deref().map(clean))
        .bind(number(new.done))
        .bind(number(new.failed))
        .bind(number(new.cancelled))
        .bind(number(new.expired))
        .bind(json(&new.output)?)
        .bind(json(&new.errors)?)
        .bind(new.queued_at.millis())
        .bind(new.submitted_at.map(Timestamp::millis))
        .bind(new.ended_at.map(Timestamp::millis));
    query.execute(&mut **transaction).await?;
    Ok(())
}

const OF: &str = "-- batch_shard.of
SELECT batch_id, number, kind, model, model_id, call_id, region, bucket, invocation, attempt, records, bytes,
    worst_micro_usd, state, job_state, job_arn, why_online, reason, done, failed, cancelled, expired, output, errors,
    queued_at, submitted_at, ended_at
FROM batch_shards WHERE batch_id = $1 ORDER BY number";

/// All shards of a batch, in order.
pub(in crate::batch) async fn of(store: &Store, batch: &str) -> Result<Vec<Shard>> {
    let rows = sqlx::query(OF).bind(clean(batch)).fetch_all(store.pool()).await?;
    rows.iter().map(shard).collect()
}

const SUBMITTED: &str = "-- batch_shard.submitted
UPDATE batch_shards SET state = 'submitted', job_arn = $4, job_state = $5, submitted_at = $6, reason = NULL
WHERE batch_id = $1 AND number = $3 AND state = 'submitting'
AND EXISTS (SELECT 1 FROM batches WHERE id = $1 AND lease_owner = $2)";

/// AWS has its job.
pub(in crate::batch) async fn submitted(
    store: &Store,
    mine: Mine<'_>,
    number: u32,
    (arn, job_state): (&str, &str),
    at: Timestamp,
) -> Result<bool> {
    let query = sqlx::query(SUBMITTED)
        .bind(mine.batch)
        .bind(mine.worker)
        .bind(i64::from(number))
        .bind(arn)
        .bind(job_state)
        .bind(at.millis());
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const START: &str = "-- batch_shard.start
UPDATE batch_shards SET state = 'submitted', submitted_at = $4, reason = NULL
WHERE batch_id = $1 AND number = $3 AND state = 'queued' AND kind = 'online'
AND EXISTS (SELECT 1 FROM batches WHERE id = $1 AND lease_owner = $2)";

/// Its records begin to run online.
pub(in crate::batch) async fn start(store: &Store, mine: Mine<'_>, number: u32, at: Timestamp) -> Result<bool> {
    let query = sqlx::query(START).bind(mine.batch).bind(mine.worker).bind(i64::from(number)).bind(at.millis());
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const REQUEUE: &str = "-- batch_shard.requeue
UPDATE batch_shards SET state = 'queued', reason = $4
WHERE batch_id = $1 AND number = $3 AND state = 'submitting'
AND EXISTS (SELECT 1 FROM batches WHERE id = $1 AND lease_owner = $2)";

/// AWS made no job and has no room for one: it waits again.
pub(in crate::batch) async fn requeue(store: &Store, mine: Mine<'_>, number: u32, reason: &str) -> Result<bool> {
    let query = sqlx::query(REQUEUE).bind(mine.batch).bind(mine.worker).bind(i64::from(number)).bind(clean(reason));
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const STAND: &str = "-- batch_shard.stand
UPDATE batch_shards SET reason = $4
WHERE batch_id = $1 AND number = $3 AND state <> 'settled' AND COALESCE(reason, '') <> $5
AND EXISTS (SELECT 1 FROM batches WHERE id = $1 AND lease_owner = $2)";

/// What it waits for; none: for nothing. Writes nothing where it says so already.
pub(in crate::batch) async fn stand(store: &Store, mine: Mine<'_>, number: u32, reason: Option<&str>) -> Result<bool> {
    let reason = reason.map(clean);
    let same = reason.clone().unwrap_or_default();
    let query = sqlx::query(STAND).bind(mine.batch).bind(mine.worker).bind(i64::from(number)).bind(reason).bind(same);
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const OBSERVE: &str = "-- batch_shard.observe
UPDATE batch_shards SET job_state = COALESCE($4, job_state), done = $5, failed = $6
WHERE batch_id = $1 AND number = $3 AND state = 'submitted'
AND EXISTS (SELECT 1 FROM batches WHERE id = $1 AND lease_owner = $2)";

/// How far it is: AWS's word, and records that have an answer or an error, errors apart.
pub(in crate::batch) async fn observe(
    store: &Store,
    mine: Mine<'_>,
    number: u32,
    (job_state, done, failed): (Option<&str>, u64, u64),
) -> Result<bool> {
    let query = sqlx::query(OBSERVE)
        .bind(mine.batch)
        .bind(mine.worker)
        .bind(i64::from(number))
        .bind(job_state)
        .bind(super::number(done))
        .bind(super::number(failed));
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const END: &str = "-- batch_shard.end
UPDATE batch_shards SET state = 'collecting', job_state = COALESCE($4, job_state), reason = $5, ended_at = $6
WHERE batch_id = $1 AND number = $3 AND state IN ('queued', 'submitting', 'submitted')
AND EXISTS (SELECT 1 FROM batches WHERE id = $1 AND lease_owner = $2)";

/// It has ended, with a job or without: what there is of answers is to be read.
pub(in crate::batch) async fn end(
    store: &Store,
    mine: Mine<'_>,
    number: u32,
    (job_state, reason): (Option<&str>, Option<&str>),
    at: Timestamp,
) -> Result<bool> {
    let query = sqlx::query(END)
        .bind(mine.batch)
        .bind(mine.worker)
        .bind(i64::from(number))
        .bind(job_state)
        .bind(reason.map(clean))
        .bind(at.millis());
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}
