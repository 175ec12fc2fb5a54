//! Every statement on the tables of responses, in one dialect that SQLite and Postgres share. A function here is one
//! statement or one transaction and decides nothing. Every statement names the team: no id of another team's is ever found.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Kept, Turn};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::TeamId;
use crate::store::Store;

/// One response of a conversation, on the way from the last to the first.
pub(super) struct Link {
    pub(super) turn: Turn,
    pub(super) previous: Option<String>,
    /// Of this turn and all after it.
    pub(super) bytes: i64,
}

const INSERT: &str = "-- responses.insert
INSERT INTO responses (id, team_id, previous_id, created_at, expires_at, model, input, output, response, bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const INSERT_ITEM: &str = "-- responses.insert_item
INSERT INTO response_items (id, response_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// Adds a response, and the items that it is to be found by.
pub(super) async fn insert(
    store: &Store,
    (kept, items): (&Kept, &[String]),
    now: Timestamp,
    expires: Timestamp,
) -> Result<()> {
    let bytes = i64::try_from(kept.input.len() + kept.output.len()).unwrap_or(i64::MAX);
    let query = sqlx::query(INSERT)
        .bind(&*kept.id)
        .bind(kept.team.as_str())
        .bind(kept.previous.as_deref())
        .bind(now.millis())
        .bind(expires.millis())
        .bind(clean(&kept.model))
        .bind(&*kept.input)
        .bind(&*kept.output)
        .bind(&*kept.response)
        .bind(bytes);
    if items.is_empty() {
        query.execute(store.pool()).await?;
        return Ok(());
    }
    let mut transaction = store.begin().await?;
    query.execute(&mut *transaction).await?;
    for item in items {
        sqlx::query(INSERT_ITEM).bind(clean(item)).bind(&*kept.id).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

const OWNER: &str = "-- responses.owner
SELECT r.id FROM response_items i JOIN responses r ON r.id = i.response_id
WHERE i.id = $1 AND r.team_id = $2 AND r.expires_at > $3 ORDER BY r.created_at DESC LIMIT 1";

/// The latest response that was added with this item.
pub(super) async fn owner(store: &Store, team: &TeamId, item: &str, now: Timestamp) -> Result<Option<String>> {
    let query = sqlx::query(OWNER).bind(clean(item)).bind(team.as_str()).bind(now.millis());
    let row = query.fetch_optional(store.pool()).await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?)
}

const FIND: &str = "-- responses.find
SELECT id, team_id, previous_id, model, input, output, response
FROM responses WHERE id = $1 AND team_id = $2 AND expires_at > $3";

/// The response with this id.
pub(super) async fn find(store: &Store, team: &TeamId, id: &str, now: Timestamp) -> Result<Option<Kept>> {
    let query = sqlx::query(FIND).bind(clean(id)).bind(team.as_str()).bind(now.millis());
    let row = query.fetch_optional(store.pool()).await?;
    Ok(row.as_ref().map(kept).transpose()?)
}

fn kept(row: &AnyRow) -> Result<Kept, sqlx::Error> {
    Ok(Kept {
        id: row.try_get("id")?,
        team: TeamId::from(row.try_get::<String, _>("team_id")?),
        previous: row.try_get("previous_id")?,
        model: row.try_get("model")?,
        input: row.try_get("input")?,
        output: row.try_get("output")?,
        response: row.try_get("response")?,
    })
}

/// The walk carries no content, and goes one row past the limit of bytes so that it is seen to be passed.
const CHAIN: &str = "-- responses.chain
WITH RECURSIVE chain (id, previous_id, depth, total) AS (
    SELECT id, previous_id, CAST(1 AS BIGINT), bytes FROM responses WHERE id = $1 AND team_id = $2 AND expires_at > $3
    UNION ALL
    SELECT r.id, r.previous_id, chain.depth + 1, chain.total + r.bytes
    FROM chain JOIN responses r ON r.id = chain.previous_id
    WHERE r.team_id = $2 AND r.expires_at > $3 AND chain.depth < $4 AND chain.total <= $5
)
SELECT chain.previous_id, chain.total, r.model,
CASE WHEN chain.total <= $5 THEN r.input ELSE '' END AS input,
CASE WHEN chain.total <= $5 THEN r.output ELSE '' END AS output
FROM chain JOIN responses r ON r.id = chain.id ORDER BY chain.depth DESC";

/// The response with this id and those before it, oldest first: at most `turns`, and no content beyond `max_bytes`.
pub(super) async fn chain(
    store: &Store,
    team: &TeamId,
    id: &str,
    now: Timestamp,
    turns: u32,
    max_bytes: i64,
) -> Result<Vec<Link>> {
    let query = sqlx::query(CHAIN)
        .bind(clean(id))
        .bind(team.as_str())
        .bind(now.millis())
        .bind(i64::from(turns))
        .bind(max_bytes);
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().map(link).collect::<Result<_, sqlx::Error>>()?)
}

fn link(row: &AnyRow) -> Result<Link, sqlx::Error> {
    Ok(Link {
        turn: Turn { model: row.try_get("model")?, input: row.try_get("input")?, output: row.try_get("output")? },
        previous: row.try_get("previous_id")?,
        bytes: row.try_get("total")?,
    })
}

const DELETE: &str = "-- responses.delete
DELETE FROM responses WHERE id = $1 AND team_id = $2 AND expires_at > $3";

/// Deletes a response; false when there is none.
pub(super) async fn delete(store: &Store, team: &TeamId, id: &str, now: Timestamp) -> Result<bool> {
    let query = sqlx::query(DELETE).bind(clean(id)).bind(team.as_str()).bind(now.millis());
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const PURGE: &str = "-- responses.purge
DELETE FROM responses WHERE id IN (SELECT id FROM responses WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";

/// Takes out the `limit` oldest rows whose time is over, of any team, and says how many there were.
pub(super) async fn purge(store: &Store, now: Timestamp, limit: u32) -> Result<u64> {
    let query = sqlx::query(PURGE).bind(now.millis()).bind(i64::from(limit));
    Ok(query.execute(store.pool()).await?.rows_affected())
}

/// Text as both databases take it: Postgres refuses NUL. JSON holds none.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
