//! Who works on what. A process is alive as long as its row says; a batch belongs to the worker that it names.

use sqlx::Row as _;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;

const BEAT: &str = "-- batch.beat
INSERT INTO batch_workers (id, lease_until) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";

/// The worker lives, until then at least: its batches are nobody else's.
pub(in crate::batch) async fn beat(store: &Store, worker: &str, until: Timestamp) -> Result<()> {
    sqlx::query(BEAT).bind(worker).bind(until.millis()).execute(store.pool()).await?;
    Ok(())
}

const RELEASE: &str = "-- batch.release
UPDATE batches SET lease_owner = NULL WHERE lease_owner = $1";

const RELEASE_QUIET: &str = "-- batch.release_quiet
UPDATE batches SET lease_owner = NULL WHERE lease_owner = $1 AND NOT EXISTS (
    SELECT 1 FROM batch_shards s WHERE s.batch_id = batches.id AND s.kind = 'online' AND s.state = 'submitted')";

/// The worker begins nothing more: those of its batches that run nothing online are free.
pub(in crate::batch) async fn release_quiet(store: &Store, worker: &str) -> Result<()> {
    sqlx::query(RELEASE_QUIET).bind(worker).execute(store.pool()).await?;
    Ok(())
}

const LEAVE: &str = "-- batch.leave
DELETE FROM batch_workers WHERE id = $1";

/// The worker ends: another one may take its batches at once.
pub(in crate::batch) async fn leave(store: &Store, worker: &str) -> Result<()> {
    let mut transaction = store.begin().await?;
    sqlx::query(RELEASE).bind(worker).execute(&mut *transaction).await?;
    sqlx::query(LEAVE).bind(worker).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// The row is looked at again when it is written: of two that claim the same batch at once one gets it.
const CLAIM: &str = "-- batch.claim
UPDATE batches SET lease_owner = $1 WHERE id IN (
    SELECT id FROM batches WHERE state IN ('validating', 'in_progress', 'finalizing', 'cancelling')
    AND (lease_owner IS NULL OR lease_owner NOT IN (SELECT id FROM batch_workers WHERE lease_until > $2))
    ORDER BY created_at, id LIMIT $3
)
AND (lease_owner IS NULL OR lease_owner NOT IN (SELECT id FROM batch_workers WHERE lease_until > $2))
RETURNING id";

/// Takes up to `limit` open batches, the oldest first, that belong to no living worker.
pub(in crate::batch) async fn claim(store: &Store, worker: &str, now: Timestamp, limit: u32) -> Result<Vec<String>> {
    let query = sqlx::query(CLAIM).bind(worker).bind(now.millis()).bind(i64::from(limit));
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().map(|row| row.try_get("id")).collect::<Result<_, sqlx::Error>>()?)
}

/// An open batch that another worker has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::batch) struct Elsewhere {
    pub(in crate::batch) batch: String,
    pub(in crate::batch) worker: String,
    /// Until when that worker lives at least, as it said last; long ago where it left.
    pub(in crate::batch) lease_until: Timestamp,
}

const ELSEWHERE: &str = "-- batch.elsewhere
SELECT b.id, b.lease_owner, COALESCE(w.lease_until, 0) AS lease_until
FROM batches b LEFT JOIN batch_workers w ON w.id = b.lease_owner
WHERE b.state IN ('validating', 'in_progress', 'finalizing', 'cancelling') AND b.lease_owner <> $1
ORDER BY b.created_at, b.id";

/// The open batches of other workers, the oldest first.
pub(in crate::batch) async fn elsewhere(store: &Store, worker: &str) -> Result<Vec<Elsewhere>> {
    let rows = sqlx::query(ELSEWHERE).bind(worker).fetch_all(store.pool()).await?;
    let elsewhere = |row: &sqlx::any::AnyRow| {
        Ok(Elsewhere {
            batch: row.try_get("id")?,
            worker: row.try_get("lease_owner")?,
            lease_until: Timestamp::from_millis(row.try_get("lease_until")?),
        })
    };
    Ok(rows.iter().map(elsewhere).collect::<Result<_, sqlx::Error>>()?)
}

const OWNED: &str = "-- batch.owned
SELECT id FROM batches WHERE lease_owner = $1 AND state IN ('validating', 'in_progress', 'finalizing', 'cancelling')";

/// The open batches of the worker.
pub(in crate::batch) async fn owned(store: &Store, worker: &str) -> Result<Vec<String>> {
    let rows = sqlx::query(OWNED).bind(worker).fetch_all(store.pool()).await?;
    Ok(rows.iter().map(|row| row.try_get("id")).collect::<Result<_, sqlx::Error>>()?)
}

const DUE: &str = "-- batch.due
SELECT id FROM batches WHERE lease_owner = $1
AND (state = 'cancelling' OR (state IN ('validating', 'in_progress') AND expires_at <= $2))";

/// Those of the worker that are to end: somebody cancelled them, or their window is over.
pub(in crate::batch) async fn due(store: &Store, worker: &str, now: Timestamp) -> Result<Vec<String>> {
    let rows = sqlx::query(DUE).bind(worker).bind(now.millis()).fetch_all(store.pool()).await?;
    Ok(rows.iter().map(|row| row.try_get("id")).collect::<Result<_, sqlx::Error>>()?)
}

const SWEEP: &str = "-- batch.sweep
DELETE FROM batch_workers WHERE lease_until < $1";

/// Forgets workers that died before then.
pub(in crate::batch) async fn sweep(store: &Store, before: Timestamp) -> Result<()> {
    sqlx::query(SWEEP).bind(before.millis()).execute(store.pool()).await?;
    Ok(())
}
