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

/// Jobs that take a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::batch) struct Slot {
    pub(in crate::batch) region: String,
    pub(in crate::batch) model: String,
    pub(in crate::batch) team: String,
    pub(in crate::batch) jobs: u64,
}

/// How many jobs there are, by Region, model and team.
pub(in crate::batch) async fn running(store: &Store) -> Result<Vec<Slot>> {
    let rows = sqlx::query(RUNNING).fetch_all(store.pool()).await?;
    let slot = |row: &sqlx::any::AnyRow| {
        Ok(Slot {
            region: row.try_get("region")?,
            model: row.try_get("model_id")?,
            team: row.try_get("team_id")?,
            jobs: count(row, "jobs")?,
        })
    };
    Ok(rows.iter().map(slot).collect::<Result<_, sqlx::Error>>()?)
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
            submitted_at: Timestamp::from_millis(
                row.try_get::<Option<i64>, _>("submitted_at")?.unwrap_or_default(),
            ),
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
