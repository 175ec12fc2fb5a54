//! Batches: submitted, looked at, cancelled, planned.

use sqlx::Row as _;

use super::rows::{batch, batch_columns};
use super::shards::insert as insert_shard;
use super::{Mine, clean, json, number, parsed};
use crate::batch::files::Files;
use crate::batch::record::{Batch, Shard, State};
use crate::batch::survey::Survey;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::TeamId;
use crate::money::MicroUsd;
use crate::store::Store;

const INSERT: &str = "-- batch.insert
INSERT INTO batches (id, team_id, key_id, surface, endpoint, model, invocation, input_file_id, output_file_id,
    error_file_id, state, total, estimate_micro_usd, cost_micro_usd, unpriced, metadata, details, errors, reason,
    webhook_url, created_at, ended_at, expires_at, lease_owner)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 0, 0, $14, $15, $16, $17, $18, $19, $20, $21, $22)
ON CONFLICT (id) DO NOTHING";

/// What became of a batch that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::batch) enum Added {
    /// It is there.
    Yes,
    /// There is one of that id.
    Known,
    /// Its file is gone.
    NoFile,
}

/// Adds a batch that `worker` works on, or nobody if it is over.
pub(in crate::batch) async fn insert(store: &Store, new: &Batch, worker: Option<&str>) -> Result<Added> {
    let mut transaction = store.begin().await?;
    if !Files::pin(&mut transaction, &new.team, &new.input_file, new.created_at).await? {
        return Ok(Added::NoFile);
    }
    let endpoint: &'static str = new.endpoint.into();
    let state: &'static str = new.state.into();
    let query = sqlx::query(INSERT)
        .bind(clean(&new.id))
        .bind(new.team.as_str())
        .bind(new.key.as_str())
        .bind(&*new.surface)
        .bind(endpoint)
        .bind(new.model.as_deref().map(clean))
        .bind(new.invocation.map(<&'static str>::from))
        .bind(clean(&new.input_file))
        .bind(new.output_file.as_deref())
        .bind(new.error_file.as_deref())
        .bind(state)
        .bind(number(new.counts.total))
        .bind(new.estimate.map(|MicroUsd(micros)| micros))
        .bind(clean(&json(&new.metadata)?))
        .bind(new.details.as_deref().map(clean))
        .bind(clean(&json(&new.errors)?))
        .bind(new.reason.as_deref().map(clean))
        .bind(new.webhook_url.as_deref().map(clean))
        .bind(new.created_at.millis())
        .bind(new.ended_at.map(Timestamp::millis))
        .bind(new.expires_at.millis())
        .bind(worker);
    let is_new = query.execute(&mut *transaction).await?.rows_affected() == 1;
    transaction.commit().await?;
    Ok(if is_new { Added::Yes } else { Added::Known })
}

const FIND: &str = concat!(
    "-- batch.find\nSELECT ",
    batch_columns!(),
    " FROM batches b WHERE b.id = $1 AND b.team_id = $2 AND b.deleted_at IS NULL"
);

/// One of the team's.
pub(in crate::batch) async fn find(store: &Store, team: &TeamId, id: &str) -> Result<Option<Batch>> {
    let row = sqlx::query(FIND).bind(clean(id)).bind(team.as_str()).fetch_optional(store.pool()).await?;
    row.as_ref().map(batch).transpose()
}

const LOAD: &str =
    concat!("-- batch.load\nSELECT ", batch_columns!(), " FROM batches b WHERE b.id = $1 AND b.lease_owner = $2");

/// One of the worker's, deleted or not.
pub(in crate::batch) async fn load(store: &Store, mine: Mine<'_>) -> Result<Option<Batch>> {
    let row = sqlx::query(LOAD).bind(mine.batch).bind(mine.worker).fetch_optional(store.pool()).await?;
    row.as_ref().map(batch).transpose()
}

/// Which batches are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Those of one surface; none: of all.
    pub surface: Option<&'static str>,
    /// Those of one team; none: of all, for the administrator.
    pub team: Option<TeamId>,
    /// Those after this one, in the order of the list.
    pub after: Option<String>,
    /// Those before this one, the nearest.
    pub before: Option<String>,
    /// How many: 1 to 1000.
    pub limit: u32,
    /// Newest first, if nothing is said.
    pub order: Order,
    /// Made then or later.
    pub from: Option<Timestamp>,
    /// Made then or before.
    pub to: Option<Timestamp>,
    /// In one of these states; empty: in any.
    pub states: Vec<State>,
    /// With a shard of this model, by its name or Bedrock's id.
    pub model: Option<String>,
    /// Whose id or details hold this text.
    pub contains: Option<String>,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// `$7` is a list of states between commas, so that one statement does for any of them. Where the id of `$4` is not the
/// team's, nothing is found.
macro_rules! listing {
    ($name:literal, $than:literal, $order:literal) => {
        concat!(
            "-- batch.",
            $name,
            "\nSELECT ",
            batch_columns!(),
            " FROM batches b WHERE b.deleted_at IS NULL AND ($1 = '' OR b.team_id = $1) AND ($2 = '' OR b.surface = $2)
             AND b.created_at >= $5 AND b.created_at <= $6
             AND ($7 = '' OR $7 LIKE '%,' || b.state || ',%')
             AND ($9 = '' OR EXISTS (SELECT 1 FROM batch_shards m WHERE m.batch_id = b.id
                  AND (m.model = $9 OR m.model_id = $9)))
             AND ($8 = '' OR b.id LIKE $8 OR b.details LIKE $8)
             AND ($4 = '' OR EXISTS (SELECT 1 FROM batches a WHERE a.id = $4 AND ($1 = '' OR a.team_id = $1)
                  AND (b.created_at ",
            $than,
            " a.created_at OR (b.created_at = a.created_at AND b.id ",
            $than,
            " a.id))))
             ORDER BY b.created_at ",
            $order,
            ", b.id ",
            $order,
            " LIMIT $3"
        )
    };
}

const NEWEST_FIRST: &str = listing!("newest_first", "<", "DESC");
const OLDEST_FIRST: &str = listing!("oldest_first", ">", "ASC");

/// Those that are asked for, and one more if there are more.
pub(in crate::batch) async fn list(store: &Store, filter: &Filter) -> Result<(Vec<Batch>, bool)> {
    let is_backwards = filter.before.is_some() && filter.after.is_none();
    let statement = match (filter.order, is_backwards) {
        (Order::NewestFirst, false) | (Order::OldestFirst, true) => NEWEST_FIRST,
        (Order::OldestFirst, false) | (Order::NewestFirst, true) => OLDEST_FIRST,
    };
    let cursor = filter.after.as_deref().or(filter.before.as_deref()).unwrap_or_default();
    let states: Vec<&'static str> = filter.states.iter().map(|state| (*state).into()).collect();
    let states = if states.is_empty() { String::new() } else { format!(",{},", states.join(",")) };
    let contains = filter.contains.as_deref().map(|text| format!("%{}%", clean(text))).unwrap_or_default();
    let limit = filter.limit.clamp(1, 1000);
    let query = sqlx::query(statement)
        .bind(filter.team.as_ref().map(TeamId::as_str).unwrap_or_default())
        .bind(filter.surface.unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .bind(clean(cursor))
        .bind(filter.from.map_or(i64::MIN, Timestamp::millis))
        .bind(filter.to.map_or(i64::MAX, Timestamp::millis))
        .bind(states)
        .bind(contains)
        .bind(filter.model.as_deref().map(clean).unwrap_or_default());
    let rows = query.fetch_all(store.pool()).await?;
    let mut batches = rows.iter().map(batch).collect::<Result<Vec<_>>>()?;
    let has_more = batches.len() > limit as usize;
    batches.truncate(limit as usize);
    if is_backwards {
        batches.reverse();
    }
    Ok((batches, has_more))
}

const CANCEL: &str = "-- batch.cancel
UPDATE batches SET state = 'cancelling', cancelling_at = $3, reason = NULL
WHERE id = $1 AND team_id = $2 AND state IN ('validating', 'in_progress')";

/// Somebody of the team wants it to end; false where it was over or ending.
pub(in crate::batch) async fn cancel(store: &Store, team: &TeamId, id: &str, now: Timestamp) -> Result<bool> {
    let query = sqlx::query(CANCEL).bind(clean(id)).bind(team.as_str()).bind(now.millis());
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const CANCEL_TEAM: &str = "-- batch.cancel_team
UPDATE batches SET state = 'cancelling', cancelling_at = $3, reason = $4
WHERE id = $1 AND lease_owner = $2 AND state IN ('validating', 'in_progress')";

/// Nobody is left who could pay for it.
pub(in crate::batch) async fn cancel_team(store: &Store, mine: Mine<'_>, now: Timestamp, why: &str) -> Result<bool> {
    let query = sqlx::query(CANCEL_TEAM).bind(mine.batch).bind(mine.worker).bind(now.millis()).bind(clean(why));
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const DELETE: &str = "-- batch.delete
UPDATE batches SET deleted_at = $3 WHERE id = $1 AND team_id = $2 AND deleted_at IS NULL";

/// Nobody sees it any more.
pub(in crate::batch) async fn delete(store: &Store, team: &TeamId, id: &str, now: Timestamp) -> Result<bool> {
    let query = sqlx::query(DELETE).bind(clean(id)).bind(team.as_str()).bind(now.millis());
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const EXPLAIN: &str = "-- batch.explain
UPDATE batches SET reason = $3 WHERE id = $1 AND lease_owner = $2";

/// What it waits for.
pub(in crate::batch) async fn explain(store: &Store, mine: Mine<'_>, reason: Option<&str>) -> Result<()> {
    let query = sqlx::query(EXPLAIN).bind(mine.batch).bind(mine.worker).bind(reason.map(clean));
    query.execute(store.pool()).await?;
    Ok(())
}

/// What planning came to.
#[derive(Clone, Copy, Debug)]
pub(in crate::batch) struct Planned<'a> {
    pub(in crate::batch) shards: &'a [Shard],
    /// Of all shards.
    pub(in crate::batch) total: u64,
    pub(in crate::batch) at: Timestamp,
}

const PLANNED: &str = "-- batch.planned
UPDATE batches SET in_progress_at = $3, total = $4, reason = CASE WHEN state = 'validating' THEN NULL ELSE reason END,
    state = CASE WHEN state = 'validating' THEN 'in_progress' ELSE state END
WHERE id = $1 AND lease_owner = $2 AND in_progress_at IS NULL AND ended_at IS NULL";

/// Its shards are known. Cancelled meanwhile, it has them all the same: each record ends in a file. False when it is not
/// the worker's, or planned already.
pub(in crate::batch) async fn planned(store: &Store, mine: Mine<'_>, plan: Planned<'_>) -> Result<bool> {
    let mut transaction = store.begin().await?;
    let query = sqlx::query(PLANNED).bind(mine.batch).bind(mine.worker).bind(plan.at.millis()).bind(number(plan.total));
    if query.execute(&mut *transaction).await?.rows_affected() == 0 {
        return Ok(false);
    }
    for shard in plan.shards {
        insert_shard(&mut transaction, shard).await?;
    }
    transaction.commit().await?;
    Ok(true)
}

const STALE: &str = "-- batch.stale
SELECT id, CAST(CASE WHEN ended_at < $1 THEN 1 ELSE 0 END AS BIGINT) AS is_old FROM batches
WHERE state IN ('completed', 'failed', 'expired', 'cancelled') AND purged_at IS NULL
AND (ended_at < $1 OR deleted_at IS NOT NULL) ORDER BY ended_at LIMIT $2";

/// A batch that is over, whose objects are of no use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::batch) struct Stale {
    pub(in crate::batch) id: String,
    /// Whether its results are, too; otherwise it was only deleted.
    pub(in crate::batch) is_old: bool,
}

/// Up to `limit` batches that ended before then, or were deleted.
pub(in crate::batch) async fn stale(store: &Store, before: Timestamp, limit: u32) -> Result<Vec<Stale>> {
    let query = sqlx::query(STALE).bind(before.millis()).bind(i64::from(limit));
    let rows = query.fetch_all(store.pool()).await?;
    let stale =
        |row: &sqlx::any::AnyRow| Ok(Stale { id: row.try_get("id")?, is_old: row.try_get::<i64, _>("is_old")? == 1 });
    Ok(rows.iter().map(stale).collect::<Result<_, sqlx::Error>>()?)
}

const PURGED: &str = "-- batch.purged
UPDATE batches SET purged_at = $2 WHERE id = $1";

/// Its objects are gone.
pub(in crate::batch) async fn purged(store: &Store, id: &str, now: Timestamp) -> Result<()> {
    sqlx::query(PURGED).bind(id).bind(now.millis()).execute(store.pool()).await?;
    Ok(())
}

const INPUT: &str = "-- batch.input
SELECT purpose, survey FROM files
WHERE id = $1 AND team_id = $2 AND state = 'ready' AND expires_at > $3";

/// A file that a batch may be made of.
#[derive(Clone, Debug)]
pub(in crate::batch) struct Input {
    pub(in crate::batch) purpose: String,
    pub(in crate::batch) survey: Survey,
}

/// The file of this id that is the team's, and what is known of its records.
pub(in crate::batch) async fn input(store: &Store, team: &TeamId, id: &str, now: Timestamp) -> Result<Option<Input>> {
    let query = sqlx::query(INPUT).bind(clean(id)).bind(team.as_str()).bind(now.millis());
    let Some(row) = query.fetch_optional(store.pool()).await? else { return Ok(None) };
    Ok(Some(Input { purpose: row.try_get("purpose")?, survey: parsed(&row, "survey")? }))
}
