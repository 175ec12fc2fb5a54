//! Every statement on the table of idempotent answers, in one dialect that SQLite and Postgres share. A function here is one
//! statement, or two of which the second explains the first, and decides nothing. Every statement names the key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::table::Place;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::Store;

/// The mark of a call that is to be made.
pub(super) struct Mark<'a> {
    pub(super) place: &'a Place,
    pub(super) fingerprint: &'a str,
    pub(super) owner: &'a str,
    /// An owner whose mark does not count.
    pub(super) replaces: &'a str,
    pub(super) lapses_at: Timestamp,
    pub(super) expires_at: Timestamp,
}

/// What there is already, with the fingerprint of its request.
pub(super) enum Found {
    /// Nothing: the mark is set.
    Nothing,
    Running(String),
    TooLarge(String),
    Answered(String, Stored),
}

/// An answer.
pub(super) struct Stored {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) expires_at: Timestamp,
}

/// How a call ended.
pub(super) struct Ended<'a> {
    pub(super) place: &'a Place,
    pub(super) fingerprint: &'a str,
    pub(super) owner: &'a str,
    pub(super) expires_at: Timestamp,
    /// `None`: too large.
    pub(super) answer: Option<(u16, HeaderMap, &'a [u8])>,
}

const CLAIM: &str = "-- idempotency.claim
INSERT INTO idempotent_answers (key_id, name, fingerprint, owner, state, lapses_at, expires_at)
VALUES ($1, $2, $3, $4, 'running', $5, $6)
ON CONFLICT (key_id, name) DO UPDATE SET fingerprint = excluded.fingerprint, owner = excluded.owner, state = 'running',
lapses_at = excluded.lapses_at, expires_at = excluded.expires_at, status = NULL, headers = NULL, body = NULL
WHERE idempotent_answers.expires_at <= $7
OR (idempotent_answers.state = 'running' AND (idempotent_answers.lapses_at <= $7 OR idempotent_answers.owner = $8))";

const FIND: &str = "-- idempotency.find
SELECT fingerprint, state, status, headers, body, expires_at FROM idempotent_answers WHERE key_id = $1 AND name = $2";

/// Sets the mark, or tells what is there.
pub(super) async fn claim(store: &Store, mark: &Mark<'_>, now: Timestamp) -> Result<Found> {
    // What is in the way may go before it is looked at.
    for _ in 0..3 {
        let query = sqlx::query(CLAIM)
            .bind(mark.place.0.as_str())
            .bind(&*mark.place.1)
            .bind(mark.fingerprint)
            .bind(mark.owner)
            .bind(mark.lapses_at.millis())
            .bind(mark.expires_at.millis())
            .bind(now.millis())
            .bind(mark.replaces);
        if query.execute(store.pool()).await?.rows_affected() == 1 {
            return Ok(Found::Nothing);
        }
        let query = sqlx::query(FIND).bind(mark.place.0.as_str()).bind(&*mark.place.1);
        if let Some(row) = query.fetch_optional(store.pool()).await? {
            return found(&row);
        }
    }
    Ok(Found::Running(mark.fingerprint.to_owned()))
}

fn found(row: &AnyRow) -> Result<Found> {
    let fingerprint: String = row.try_get("fingerprint")?;
    let state: String = row.try_get("state")?;
    Ok(match &*state {
        "answered" => Found::Answered(fingerprint, stored(row)?),
        "too_large" => Found::TooLarge(fingerprint),
        _ => Found::Running(fingerprint),
    })
}

fn stored(row: &AnyRow) -> Result<Stored> {
    let status: i64 = row.try_get("status")?;
    let headers: String = row.try_get("headers")?;
    let headers: Vec<(String, String)> = serde_json::from_str(&headers).map_err(Error::internal)?;
    let header = |(name, value): (String, String)| Some((name.parse::<HeaderName>().ok()?, value.parse().ok()?));
    let body: String = row.try_get("body")?;
    Ok(Stored {
        status: u16::try_from(status).map_err(Error::internal)?,
        headers: headers
            .into_iter()
            .filter_map(header)
            .collect::<Vec<(HeaderName, HeaderValue)>>()
            .into_iter()
            .collect(),
        body: STANDARD.decode(body).map_err(Error::internal)?.into(),
        expires_at: Timestamp::from_millis(row.try_get("expires_at")?),
    })
}

const RENEW: &str = "-- idempotency.renew
UPDATE idempotent_answers SET lapses_at = $4 WHERE key_id = $1 AND name = $2 AND owner = $3 AND state = 'running'";

/// The owner is alive.
pub(super) async fn renew(store: &Store, place: &Place, owner: &str, lapses_at: Timestamp) -> Result<()> {
    let query = sqlx::query(RENEW).bind(place.0.as_str()).bind(&*place.1).bind(owner).bind(lapses_at.millis());
    query.execute(store.pool()).await?;
    Ok(())
}

const KEEP: &str = "-- idempotency.keep
INSERT INTO idempotent_answers (key_id, name, fingerprint, owner, state, lapses_at, expires_at, status, headers, body)
VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8, $9)
ON CONFLICT (key_id, name) DO UPDATE SET state = excluded.state, lapses_at = excluded.lapses_at,
expires_at = excluded.expires_at, status = excluded.status, headers = excluded.headers, body = excluded.body
WHERE idempotent_answers.owner = excluded.owner";

/// Keeps the answer, or that it was too large; unless another owner has taken over.
pub(super) async fn keep(store: &Store, ended: &Ended<'_>) -> Result<()> {
    let state = if ended.answer.is_some() { "answered" } else { "too_large" };
    let answer = ended.answer.as_ref();
    let headers = answer.map(|(_, headers, _)| {
        let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        serde_json::json!(pairs.collect::<Vec<_>>()).to_string()
    });
    let query = sqlx::query(KEEP)
        .bind(ended.place.0.as_str())
        .bind(&*ended.place.1)
        .bind(ended.fingerprint)
        .bind(ended.owner)
        .bind(state)
        .bind(ended.expires_at.millis())
        .bind(answer.map(|(status, _, _)| i64::from(*status)))
        .bind(headers)
        .bind(answer.map(|(_, _, body)| STANDARD.encode(body)));
    query.execute(store.pool()).await?;
    Ok(())
}

const RELEASE: &str = "-- idempotency.release
DELETE FROM idempotent_answers WHERE key_id = $1 AND name = $2 AND owner = $3";

/// The call is as if it had never been.
pub(super) async fn release(store: &Store, place: &Place, owner: &str) -> Result<()> {
    sqlx::query(RELEASE).bind(place.0.as_str()).bind(&*place.1).bind(owner).execute(store.pool()).await?;
    Ok(())
}

const PURGE: &str = "-- idempotency.purge
DELETE FROM idempotent_answers WHERE expires_at <= $1 AND owner IN
(SELECT owner FROM idempotent_answers WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";

/// Takes out the `limit` oldest rows whose time is over, and says how many there were.
pub(super) async fn purge(store: &Store, now: Timestamp, limit: u32) -> Result<u64> {
    let query = sqlx::query(PURGE).bind(now.millis()).bind(i64::from(limit));
    Ok(query.execute(store.pool()).await?.rows_affected())
}
