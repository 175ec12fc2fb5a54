//! The table of webhook events.

use sqlx::{AnyConnection, Row as _};

use super::Notice;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::TeamId;
use crate::store::Store;

/// An event that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) team: TeamId,
    pub(super) url: String,
    pub(super) body: String,
    /// Tries so far, the one that is being made included.
    pub(super) tries: u32,
    /// When it is next tried; of one that is being tried, when the lease ends.
    pub(super) due: Timestamp,
}

const INSERT: &str = "-- webhook.insert
INSERT INTO webhook_events (id, team_id, url, body, tries, created_at, next_at)
VALUES ($1, $2, $3, $4, 0, $5, $6)
ON CONFLICT (id) DO NOTHING";

/// Adds an event, unless it is there.
pub(super) async fn insert(connection: &mut AnyConnection, event: &Event, now: Timestamp) -> Result<()> {
    let query = sqlx::query(INSERT)
        .bind(&*event.id)
        .bind(event.team.as_str())
        .bind(event.url.replace('\0', "\u{fffd}"))
        .bind(&*event.body)
        .bind(now.millis())
        .bind(event.due.millis());
    query.execute(connection).await?;
    Ok(())
}

const LEASE: &str = "-- webhook.lease
UPDATE webhook_events SET next_at = $2, tries = tries + 1 WHERE id IN
(SELECT id FROM webhook_events WHERE ended_at IS NULL AND next_at <= $1 ORDER BY next_at LIMIT $3)
AND ended_at IS NULL AND next_at <= $1
RETURNING id, team_id, url, body, tries, next_at";

/// Takes up to `count` events that are due at `now`: nobody else does before `until`.
pub(super) async fn lease(store: &Store, now: Timestamp, until: Timestamp, count: usize) -> Result<Vec<Event>> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let query = sqlx::query(LEASE).bind(now.millis()).bind(until.millis()).bind(count);
    let rows = query.fetch_all(store.pool()).await?;
    let events = rows.iter().map(|row| {
        Ok(Event {
            id: row.try_get("id")?,
            team: TeamId::from(row.try_get::<String, _>("team_id")?),
            url: row.try_get("url")?,
            body: row.try_get("body")?,
            tries: u32::try_from(row.try_get::<i64, _>("tries")?).unwrap_or(u32::MAX),
            due: Timestamp::from_millis(row.try_get("next_at")?),
        })
    });
    events.collect()
}

const END: &str = "-- webhook.end
UPDATE webhook_events SET ended_at = $3, problem = $4 WHERE id = $1 AND next_at = $2 AND ended_at IS NULL";

/// An event that was leased is over; nothing happens where the lease ended before and somebody else has it.
pub(super) async fn end(store: &Store, event: &Event, now: Timestamp, problem: Option<&str>) -> Result<()> {
    let query = sqlx::query(END).bind(&*event.id).bind(event.due.millis()).bind(now.millis()).bind(problem);
    query.execute(store.pool()).await?;
    Ok(())
}

const POSTPONE: &str = "-- webhook.postpone
UPDATE webhook_events SET next_at = $3, problem = $4 WHERE id = $1 AND next_at = $2 AND ended_at IS NULL";

/// An event that was leased is tried again `at` this moment; likewise.
pub(super) async fn postpone(store: &Store, event: &Event, at: Timestamp, problem: &str) -> Result<()> {
    let query = sqlx::query(POSTPONE).bind(&*event.id).bind(event.due.millis()).bind(at.millis()).bind(problem);
    query.execute(store.pool()).await?;
    Ok(())
}

const NOTICE: &str = "-- webhook.notice
SELECT tries, ended_at, problem FROM webhook_events WHERE id = $1";

/// What became of the event with this id.
pub(super) async fn notice(store: &Store, id: &str) -> Result<Option<Notice>> {
    let Some(row) = sqlx::query(NOTICE).bind(id).fetch_optional(store.pool()).await? else { return Ok(None) };
    Ok(Some(Notice {
        tries: u32::try_from(row.try_get::<i64, _>("tries")?).unwrap_or(u32::MAX),
        ended_at: row.try_get::<Option<i64>, _>("ended_at")?.map(Timestamp::from_millis),
        problem: row.try_get("problem")?,
    }))
}

const PURGE: &str = "-- webhook.purge
DELETE FROM webhook_events WHERE ended_at < $1";

/// Takes out what was over before this moment.
pub(super) async fn purge(store: &Store, before: Timestamp) -> Result<()> {
    sqlx::query(PURGE).bind(before.millis()).execute(store.pool()).await?;
    Ok(())
}
