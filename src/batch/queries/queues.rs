//! Places for jobs: AWS counts those of one model in one Region that are submitted or in progress, whoever's they are.

use sqlx::Row as _;

use super::{Mine, count};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;

const QUEUES: &str = "-- batch_queue.queues
SELECT DISTINCT s.region, s.model_id FROM batch_shards s JOIN batches b ON b.id = s.batch_id
WHERE s.state = 'queued' AND s.kind = 'job' AND b.state = 'in_progress' AND b.lease_owner = $1";

/// Region and model of everything of the worker's that waits for a job.
pub(in crate::batch) async fn queues(store: &Store, worker: &str) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query(QUEUES).bind(worker).fetch_all(store.pool()).await?;
    let pair = |row: &sqlx::any::AnyRow| Ok((row.try_get("region")?, row.try_get("model_id")?));
    Ok(rows.iter().map(pair).collect::<Result<_, sqlx::Error>>()?)
}

/// A shard that waits for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::batch) struct Waiting {
    pub(in crate::batch) batch: String,
    pub(in crate::batch) number: u32,
    pub(in crate::batch) team: String,
    /// Who works on its batch.
    pub(in crate::batch) worker: Option<String>,
}

const WAITING: &str = "-- batch_queue.waiting
SELECT s.batch_id, s.number, b.team_id, b.lease_owner FROM batch_shards s JOIN batches b ON b.id = s.batch_id
WHERE s.state = 'queued' AND s.region = $1 AND s.model_id = $2 AND s.kind = 'job' AND b.state = 'in_progress'
ORDER BY s.queued_at, s.batch_id, s.number";

/// All that wait for a job of the model in the Region, whoever's they are, the oldest first.
pub(in crate::batch) async fn waiting(store: &Store, region: &str, model: &str) -> Result<Vec<Waiting>> {
    let rows = sqlx::query(WAITING).bind(region).bind(model).fetch_all(store.pool()).await?;
    let waiting = |row: &sqlx::any::AnyRow| {
        Ok(Waiting {
            batch: row.try_get("batch_id")?,
            number: u32::try_from(row.try_get::<i64, _>("number")?).unwrap_or(u32::MAX),
            team: row.try_get("team_id")?,
            worker: row.try_get("lease_owner")?,
        })
    };
    Ok(rows.iter().map(waiting).collect::<Result<_, sqlx::Error>>()?)
}

const RUNNING: &str = "-- batch_queue.running
SELECT s.region, s.model_id, b.team_id, COUNT(*) AS jobs FROM batch_shards s JOIN batches b ON b.id = s.batch_id
WHERE s.state IN ('submitting', 'submitted') AND s.kind = 'job' GROUP BY s.region, s.model_id, b.team_id";

/// Jobs of a team that take a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::batch) struct Taken {
    pub(in crate::batch) region: String,
    pub(in crate::batch) model: String,
    pub(in crate::batch) team: String,
    pub(in crate::batch) jobs: u64,
}

/// How many jobs there are, by Region, model and team.
pub(in crate::batch) async fn running(store: &Store) -> Result<Vec<Taken>> {
    let rows = sqlx::query(RUNNING).fetch_all(store.pool()).await?;
    let taken = |row: &sqlx::any::AnyRow| {
        Ok(Taken {
            region: row.try_get("region")?,
            model: row.try_get("model_id")?,
            team: row.try_get("team_id")?,
            jobs: count(row, "jobs")?,
        })
    };
    Ok(rows.iter().map(taken).collect::<Result<_, sqlx::Error>>()?)
}

/// Locks the queue until the end of the transaction: of two that take the last place one gets it.
const LOCK: &str = "-- batch_queue.lock
INSERT INTO batch_queues (region, model_id, rests_until, refusals) VALUES ($1, $2, 0, 0)
ON CONFLICT (region, model_id) DO UPDATE SET refusals = batch_queues.refusals
RETURNING rests_until";

const TAKE: &str = "-- batch_queue.take
UPDATE batch_shards SET state = 'submitting', reason = NULL
WHERE batch_id = $1 AND number = $3 AND state = 'queued' AND kind = 'job'
AND EXISTS (SELECT 1 FROM batches WHERE id = $1 AND lease_owner = $2 AND state = 'in_progress')
AND (SELECT COUNT(*) FROM batch_shards o WHERE o.state IN ('submitting', 'submitted') AND o.kind = 'job'
     AND o.region = $4 AND o.model_id = $5) < $6";

/// Takes a place for a shard, if there is one and AWS has not said no a moment ago: from here on a job may exist.
pub(in crate::batch) async fn take_slot(
    store: &Store,
    mine: Mine<'_>,
    number: u32,
    (region, model): (&str, &str),
    (most, now): (u64, Timestamp),
) -> Result<bool> {
    let mut transaction = store.begin().await?;
    let row = sqlx::query(LOCK).bind(region).bind(model).fetch_one(&mut *transaction).await?;
    if row.try_get::<i64, _>("rests_until")? > now.millis() {
        return Ok(false);
    }
    let query = sqlx::query(TAKE)
        .bind(mine.batch)
        .bind(mine.worker)
        .bind(i64::from(number))
        .bind(region)
        .bind(model)
        .bind(super::number(most));
    let is_taken = query.execute(&mut *transaction).await?.rows_affected() == 1;
    transaction.commit().await?;
    Ok(is_taken)
}

const REST: &str = "-- batch_queue.rest
INSERT INTO batch_queues (region, model_id, rests_until, refusals) VALUES ($1, $2, $3, $4)
ON CONFLICT (region, model_id) DO UPDATE SET rests_until = excluded.rests_until,
    refusals = CASE WHEN excluded.refusals = 0 THEN 0 ELSE batch_queues.refusals + 1 END
RETURNING refusals";

/// AWS has no place there, or has again: the queue rests until then. Says how often in a row there was none.
pub(in crate::batch) async fn rest(
    store: &Store,
    (region, model): (&str, &str),
    until: Option<Timestamp>,
) -> Result<u64> {
    let refusals = i64::from(until.is_some());
    let until = until.map_or(0, Timestamp::millis);
    let query = sqlx::query(REST).bind(region).bind(model).bind(until).bind(refusals);
    Ok(count(&query.fetch_one(store.pool()).await?, "refusals")?)
}

const PUT_OFF: &str = "-- batch_queue.put_off
UPDATE batch_queues SET rests_until = $3 WHERE region = $1 AND model_id = $2";

/// The queue rests until then.
pub(in crate::batch) async fn put_off(store: &Store, (region, model): (&str, &str), until: Timestamp) -> Result<()> {
    sqlx::query(PUT_OFF).bind(region).bind(model).bind(until.millis()).execute(store.pool()).await?;
    Ok(())
}

/// A job of the worker's that has not ended, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::batch) struct OpenJob {
    pub(in crate::batch) batch: String,
    pub(in crate::batch) number: u32,
    pub(in crate::batch) arn: String,
    pub(in crate::batch) job_state: Option<String>,
    pub(in crate::batch) submitted_at: Timestamp,
}

const OPEN_JOBS: &str = "-- batch_queue.open_jobs
SELECT s.batch_id, s.number, s.job_arn, s.job_state, s.submitted_at
FROM batch_shards s JOIN batches b ON b.id = s.batch_id
WHERE s.state = 'submitted' AND s.region = $2 AND s.kind = 'job' AND s.job_arn IS NOT NULL AND b.lease_owner = $1";

/// The jobs in a Region of the worker's batches that have not ended.
pub(in crate::batch) async fn open_jobs(store: &Store, worker: &str, region: &str) -> Result<Vec<OpenJob>> {
    let rows = sqlx::query(OPEN_JOBS).bind(worker).bind(region).fetch_all(store.pool()).await?;
    let job = |row: &sqlx::any::AnyRow| {
        Ok(OpenJob {
            batch: row.try_get("batch_id")?,
            number: u32::try_from(row.try_get::<i64, _>("number")?).unwrap_or(u32::MAX),
            arn: row.try_get("job_arn")?,
            job_state: row.try_get("job_state")?,
            submitted_at: Timestamp::from_millis(row.try_get::<Option<i64>, _>("submitted_at")?.unwrap_or_default()),
        })
    };
    Ok(rows.iter().map(job).collect::<Result<_, sqlx::Error>>()?)
}

const JOB_STATES: &str = "-- batch_queue.job_states
SELECT CASE WHEN s.state IN ('queued', 'submitting') THEN 'queued' ELSE COALESCE(s.job_state, 'Submitted') END AS word,
    COUNT(*) AS jobs
FROM batch_shards s JOIN batches b ON b.id = s.batch_id
WHERE s.kind = 'job' AND s.state IN ('queued', 'submitting', 'submitted', 'collecting') AND b.lease_owner = $1
GROUP BY 1";

/// How many jobs of the worker's are in each state of AWS's; `queued` are those that it was not asked for.
pub(in crate::batch) async fn job_states(store: &Store, worker: &str) -> Result<Vec<(String, u64)>> {
    let rows = sqlx::query(JOB_STATES).bind(worker).fetch_all(store.pool()).await?;
    let pair = |row: &sqlx::any::AnyRow| Ok((row.try_get("word")?, count(row, "jobs")?));
    Ok(rows.iter().map(pair).collect::<Result<_, sqlx::Error>>()?)
}

const SLOTS: &str = "-- batch_queue.slots
SELECT region, model_id, CAST(SUM(CASE WHEN state = 'queued' THEN 0 ELSE 1 END) AS BIGINT) AS running,
    CAST(SUM(CASE WHEN state = 'queued' THEN 1 ELSE 0 END) AS BIGINT) AS waiting
FROM batch_shards WHERE kind = 'job' AND state IN ('queued', 'submitting', 'submitted')
GROUP BY region, model_id ORDER BY region, model_id";

/// How many jobs of a model there are in a Region, and how many wait to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The Region.
    pub region: String,
    /// Bedrock's id of the model.
    pub model: String,
    /// Jobs that take a place.
    pub running: u64,
    /// Shards that wait for one.
    pub waiting: u64,
}

/// The places of all Regions and models that anything runs on or waits for.
pub(in crate::batch) async fn slots(store: &Store) -> Result<Vec<Slot>> {
    let rows = sqlx::query(SLOTS).fetch_all(store.pool()).await?;
    let slot = |row: &sqlx::any::AnyRow| {
        Ok(Slot {
            region: row.try_get("region")?,
            model: row.try_get("model_id")?,
            running: count(row, "running")?,
            waiting: count(row, "waiting")?,
        })
    };
    Ok(rows.iter().map(slot).collect::<Result<_, sqlx::Error>>()?)
}

const EXPLAIN_JOBS: &str = "-- batch_queue.explain_jobs
UPDATE batch_shards SET reason = $3 WHERE state = 'submitted' AND kind = 'job' AND region = $2
AND COALESCE(reason, '') <> $4 AND batch_id IN (SELECT id FROM batches WHERE lease_owner = $1)";

/// What all of the worker's jobs in a Region wait for; none: for nothing but AWS.
pub(in crate::batch) async fn explain_jobs(
    store: &Store,
    worker: &str,
    region: &str,
    reason: Option<&str>,
) -> Result<()> {
    let query = sqlx::query(EXPLAIN_JOBS).bind(worker).bind(region).bind(reason).bind(reason.unwrap_or_default());
    query.execute(store.pool()).await?;
    Ok(())
}

const EXPLAIN_QUEUE: &str = "-- batch_queue.explain
UPDATE batch_shards SET reason = $4 WHERE state = 'queued' AND kind = 'job' AND region = $2 AND model_id = $3
AND COALESCE(reason, '') <> $4
AND batch_id IN (SELECT id FROM batches WHERE lease_owner = $1 AND state = 'in_progress')";

/// What all of the worker's wait for that wait in this queue.
pub(in crate::batch) async fn explain_queue(
    store: &Store,
    worker: &str,
    (region, model): (&str, &str),
    reason: &str,
) -> Result<()> {
    let query = sqlx::query(EXPLAIN_QUEUE).bind(worker).bind(region).bind(model).bind(reason);
    query.execute(store.pool()).await?;
    Ok(())
}
