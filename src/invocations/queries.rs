//! The SQL of asynchronous invocations, all of it: statements that SQLite and Postgres both understand.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Filter, Invocation, Order};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::TeamId;
use crate::store::Store;

const INSERT: &str = "-- invocations.insert
INSERT INTO async_invocations (id, team_id, arn, model_arn, token, status, failure, output_uri, submitted_at, modified_at, ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (id) DO NOTHING";

/// Adds one, unless it is there.
pub(super) async fn insert(store: &Store, new: &Invocation) -> Result<()> {
    sqlx::query(INSERT)
        .bind(new.key())
        .bind(new.team.as_str())
        .bind(&*new.arn)
        .bind(&*new.model_arn)
        .bind(new.token.as_deref())
        .bind(&*new.status)
        .bind(new.failure.as_deref())
        .bind(&*new.output_uri)
        .bind(new.submitted_at.millis())
        .bind(new.modified_at.map(Timestamp::millis))
        .bind(new.ended_at.map(Timestamp::millis))
        .execute(store.pool())
        .await?;
    Ok(())
}

const UPDATE: &str = "-- invocations.update
UPDATE async_invocations SET status = $2, failure = $3, output_uri = $4, modified_at = $5, ended_at = $6 WHERE id = $1";

/// Changes what can change.
pub(super) async fn update(store: &Store, changed: &Invocation) -> Result<()> {
    sqlx::query(UPDATE)
        .bind(changed.key())
        .bind(&*changed.status)
        .bind(changed.failure.as_deref())
        .bind(&*changed.output_uri)
        .bind(changed.modified_at.map(Timestamp::millis))
        .bind(changed.ended_at.map(Timestamp::millis))
        .execute(store.pool())
        .await?;
    Ok(())
}

const FIND: &str = "-- invocations.find
SELECT id, team_id, arn, model_arn, token, status, failure, output_uri, submitted_at, modified_at, ended_at
FROM async_invocations WHERE id = $1 AND team_id = $2";

/// One of the team's.
pub(super) async fn find(store: &Store, team: &TeamId, key: &str) -> Result<Option<Invocation>> {
    let row = sqlx::query(FIND).bind(key).bind(team.as_str()).fetch_optional(store.pool()).await?;
    Ok(row.as_ref().map(invocation).transpose()?)
}

const NEWEST_FIRST: &str = "-- invocations.newest_first
SELECT id, team_id, arn, model_arn, token, status, failure, output_uri, submitted_at, modified_at, ended_at
FROM async_invocations
WHERE team_id = $1 AND ($2 = '' OR status = $2) AND submitted_at > $3 AND submitted_at < $4
  AND (submitted_at < $5 OR (submitted_at = $5 AND id < $6))
ORDER BY submitted_at DESC, id DESC LIMIT $7";

const OLDEST_FIRST: &str = "-- invocations.oldest_first
SELECT id, team_id, arn, model_arn, token, status, failure, output_uri, submitted_at, modified_at, ended_at
FROM async_invocations
WHERE team_id = $1 AND ($2 = '' OR status = $2) AND submitted_at > $3 AND submitted_at < $4
  AND (submitted_at > $5 OR (submitted_at = $5 AND id > $6))
ORDER BY submitted_at, id LIMIT $7";

/// Those of the team's that are asked for.
pub(super) async fn list(store: &Store, team: &TeamId, filter: &Filter) -> Result<Vec<Invocation>> {
    let (statement, start) = match filter.order {
        Order::Ascending => (OLDEST_FIRST, i64::MIN),
        Order::Descending => (NEWEST_FIRST, i64::MAX),
    };
    let rows = sqlx::query(statement)
        .bind(team.as_str())
        .bind(filter.status.as_deref().unwrap_or_default())
        .bind(filter.after.map_or(i64::MIN, Timestamp::millis))
        .bind(filter.before.map_or(i64::MAX, Timestamp::millis))
        .bind(filter.from.as_ref().map_or(start, |mark| mark.at.millis()))
        .bind(filter.from.as_ref().map_or("", |mark| &mark.id))
        .bind(i64::from(filter.limit))
        .fetch_all(store.pool())
        .await?;
    Ok(rows.iter().map(invocation).collect::<Result<_, sqlx::Error>>()?)
}

fn invocation(row: &AnyRow) -> Result<Invocation, sqlx::Error> {
    let key: String = row.try_get("id")?;
    let (region, id) = key.split_once('/').unwrap_or_default();
    let moment = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis));
    Ok(Invocation {
        region: region.to_owned(),
        id: id.to_owned(),
        team: TeamId::from(row.try_get::<String, _>("team_id")?),
        arn: row.try_get("arn")?,
        model_arn: row.try_get("model_arn")?,
        token: row.try_get("token")?,
        status: row.try_get("status")?,
        failure: row.try_get("failure")?,
        output_uri: row.try_get("output_uri")?,
        submitted_at: row.try_get("submitted_at").map(Timestamp::from_millis)?,
        modified_at: moment("modified_at")?,
        ended_at: moment("ended_at")?,
    })
}
