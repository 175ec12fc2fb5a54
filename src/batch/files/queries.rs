//! Every statement on the table of files, in one dialect that SQLite and Postgres share. A function here is one statement
//! or one transaction and decides nothing. What a caller names is found with its team only.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::{Filter, Order};
use crate::batch::record::{File, Origin, Segment};
use crate::batch::survey::Survey;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{KeyId, TeamId};
use crate::store::Store;

/// What a row is about to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub(super) enum State {
    /// Its bytes come. `expires_at` is when it counts as abandoned.
    Uploading,
    /// It is there.
    Ready,
    /// Its objects are being deleted.
    Deleted,
}

const INSERT: &str = "-- files.insert
INSERT INTO files (id, team_id, key_id, purpose, filename, origin, state, form, bytes, segments, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING";

/// Adds a file; one that is there is left as it is.
pub(super) async fn insert(connection: &mut AnyConnection, file: &File, state: State) -> Result<()> {
    sqlx::query(INSERT)
        .bind(&*file.id)
        .bind(file.team.as_str())
        .bind(file.key.as_str())
        .bind(&*file.purpose)
        .bind(clean(&file.filename))
        .bind(<&str>::from(file.origin))
        .bind(<&str>::from(state))
        .bind(file.form.map(<&str>::from))
        .bind(count(file.bytes))
        .bind(segments_text(&file.segments)?)
        .bind(file.created_at.millis())
        .bind(file.expires_at.millis())
        .execute(connection)
        .await?;
    Ok(())
}

const ADVANCE: &str = "-- files.advance
UPDATE files SET bytes = $2, upload_id = $3, expires_at = $4 WHERE id = $1 AND state = 'uploading'";

/// Says how far an upload is, and until when nobody may take it for abandoned; false when somebody has.
pub(super) async fn advance(
    store: &Store,
    id: &str,
    bytes: u64,
    upload: Option<&str>,
    until: Timestamp,
) -> Result<bool> {
    let query = sqlx::query(ADVANCE).bind(id).bind(count(bytes)).bind(upload).bind(until.millis());
    Ok(query.execute(store.pool()).await?.rows_affected() == 1)
}

const USED: &str = "-- files.used
SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS used FROM files WHERE team_id = $1 AND state <> 'deleted' AND id <> $2";

/// The bytes of all files of the team but this one, those that are under way included.
pub(super) async fn used(connection: &mut AnyConnection, team: &TeamId, but: &str) -> Result<u64> {
    let row = sqlx::query(USED).bind(team.as_str()).bind(but).fetch_one(connection).await?;
    Ok(u64::try_from(row.try_get::<i64, _>("used")?).unwrap_or_default())
}

const COMPLETE: &str = "-- files.complete
UPDATE files SET state = 'ready', purpose = $2, filename = $3, form = $4, bytes = $5, segments = $6, survey = $7,
    upload_id = NULL, created_at = $8, expires_at = $9
WHERE id = $1 AND state = 'uploading'";

/// Makes an upload a file; false when it was taken for abandoned.
pub(super) async fn complete(connection: &mut AnyConnection, file: &File, survey: &Survey) -> Result<bool> {
    let survey = serde_json::to_string(survey).map_err(Error::internal)?;
    let query = sqlx::query(COMPLETE)
        .bind(&*file.id)
        .bind(&*file.purpose)
        .bind(clean(&file.filename))
        .bind(file.form.map(<&str>::from))
        .bind(count(file.bytes))
        .bind(segments_text(&file.segments)?)
        .bind(clean(&survey))
        .bind(file.created_at.millis())
        .bind(file.expires_at.millis());
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

const FIND: &str = "-- files.find
SELECT id, team_id, key_id, purpose, filename, origin, form, bytes, segments, created_at, expires_at
FROM files WHERE id = $1 AND team_id = $2 AND state = 'ready' AND expires_at > $3";

/// The team's file of this id, unless its time is over.
pub(super) async fn find(store: &Store, team: &TeamId, id: &str, now: Timestamp) -> Result<Option<File>> {
    let query = sqlx::query(FIND).bind(clean(id)).bind(team.as_str()).bind(now.millis());
    query.fetch_optional(store.pool()).await?.as_ref().map(file).transpose()
}

const FIND_ANY: &str = "-- files.find_any
SELECT id, team_id, key_id, purpose, filename, origin, form, bytes, segments, created_at, expires_at
FROM files WHERE id = $1 AND state = 'ready'";

/// The file of this id, whosever it is, for work that has begun on it.
pub(super) async fn find_any(store: &Store, id: &str) -> Result<Option<File>> {
    let row = sqlx::query(FIND_ANY).bind(id).fetch_optional(store.pool()).await?;
    row.as_ref().map(file).transpose()
}

const SURVEY: &str = "-- files.survey
SELECT survey FROM files WHERE id = $1 AND state = 'ready'";

/// What is known of the records of a file; none: there is no such file, or it was never looked through.
pub(super) async fn survey(store: &Store, id: &str) -> Result<Option<Survey>> {
    let row = sqlx::query(SURVEY).bind(clean(id)).fetch_optional(store.pool()).await?;
    let text: Option<String> = row.map(|row| row.try_get("survey")).transpose()?.flatten();
    text.map(|text| serde_json::from_str(&text).map_err(Error::internal)).transpose()
}

const NEWEST_FIRST: &str = "-- files.newest_first
SELECT id, team_id, key_id, purpose, filename, origin, form, bytes, segments, created_at, expires_at
FROM files
WHERE team_id = $1 AND state = 'ready' AND origin <> 'inline' AND expires_at > $2 AND ($3 = '' OR purpose = $3)
  AND (created_at < $4 OR (created_at = $4 AND id < $5))
ORDER BY created_at DESC, id DESC LIMIT $6";

const OLDEST_FIRST: &str = "-- files.oldest_first
SELECT id, team_id, key_id, purpose, filename, origin, form, bytes, segments, created_at, expires_at
FROM files
WHERE team_id = $1 AND state = 'ready' AND origin <> 'inline' AND expires_at > $2 AND ($3 = '' OR purpose = $3)
  AND (created_at > $4 OR (created_at = $4 AND id > $5))
ORDER BY created_at, id LIMIT $6";

/// The team's files that are asked for; those behind `mark`, if one is given.
pub(super) async fn list(
    store: &Store,
    team: &TeamId,
    filter: &Filter,
    mark: Option<(Timestamp, &str)>,
    now: Timestamp,
) -> Result<Vec<File>> {
    let (statement, start) = match filter.order {
        Order::Ascending => (OLDEST_FIRST, i64::MIN),
        Order::Descending => (NEWEST_FIRST, i64::MAX),
    };
    let rows = sqlx::query(statement)
        .bind(team.as_str())
        .bind(now.millis())
        .bind(clean(filter.purpose.as_deref().unwrap_or_default()))
        .bind(mark.map_or(start, |(at, _)| at.millis()))
        .bind(mark.map_or("", |(_, id)| id))
        .bind(i64::from(filter.limit))
        .fetch_all(store.pool())
        .await?;
    rows.iter().map(file).collect()
}

const PIN: &str = "-- files.pin
UPDATE files SET state = 'ready' WHERE id = $1 AND team_id = $2 AND state = 'ready' AND expires_at > $3";

/// Keeps the file as it is until the transaction ends; false when the team has none of this id.
pub(super) async fn pin(connection: &mut AnyConnection, team: &TeamId, id: &str, now: Timestamp) -> Result<bool> {
    let query = sqlx::query(PIN).bind(clean(id)).bind(team.as_str()).bind(now.millis());
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

const READER: &str = "-- files.reader
SELECT id FROM batches
WHERE input_file_id = $1 AND state IN ('validating', 'in_progress', 'finalizing', 'cancelling') LIMIT 1";

/// A batch over this file that has not ended.
pub(super) async fn reader(connection: &mut AnyConnection, id: &str) -> Result<Option<String>> {
    let row = sqlx::query(READER).bind(id).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get("id")).transpose()?)
}

const MARK: &str = "-- files.mark
UPDATE files SET state = 'deleted', deleted_at = $3 WHERE id = $1 AND state = $2";

/// Makes a file of this state one that is being deleted; false when it is not in it any more.
pub(super) async fn mark(connection: &mut AnyConnection, id: &str, from: State, now: Timestamp) -> Result<bool> {
    let query = sqlx::query(MARK).bind(id).bind(<&str>::from(from)).bind(now.millis());
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

const REMOVE: &str = "-- files.remove
DELETE FROM files WHERE id = $1 AND state = 'deleted'";

/// Forgets a file whose objects are gone.
pub(super) async fn remove(store: &Store, id: &str) -> Result<()> {
    sqlx::query(REMOVE).bind(id).execute(store.pool()).await?;
    Ok(())
}

/// What a file has in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remains {
    pub(super) id: String,
    pub(super) segments: Vec<Segment>,
    /// Of an upload in parts.
    pub(super) upload: Option<String>,
}

const DUE: &str = "-- files.due
SELECT f.id, f.segments, f.upload_id FROM files f
WHERE f.state = $1 AND f.expires_at <= $2 AND f.id > $3 AND NOT EXISTS (
    SELECT b.id FROM batches b
    WHERE b.input_file_id = f.id AND b.state IN ('validating', 'in_progress', 'finalizing', 'cancelling'))
ORDER BY f.id LIMIT $4";

/// Files of this state whose time was over by `until`, and that no running batch reads: those behind `after` by id.
pub(super) async fn due(
    store: &Store,
    state: State,
    until: Timestamp,
    after: &str,
    limit: u32,
) -> Result<Vec<Remains>> {
    let query = sqlx::query(DUE).bind(<&str>::from(state)).bind(until.millis()).bind(after).bind(i64::from(limit));
    query.fetch_all(store.pool()).await?.iter().map(remains).collect()
}

const REMAINS: &str = "-- files.remains
SELECT id, segments, upload_id FROM files WHERE id = $1";

/// What a file has in S3, whatever its state.
pub(super) async fn remains_of(store: &Store, id: &str) -> Result<Option<Remains>> {
    let row = sqlx::query(REMAINS).bind(id).fetch_optional(store.pool()).await?;
    row.as_ref().map(remains).transpose()
}

fn remains(row: &AnyRow) -> Result<Remains> {
    Ok(Remains { id: row.try_get("id")?, segments: segments(row)?, upload: row.try_get("upload_id")? })
}

fn file(row: &AnyRow) -> Result<File> {
    let form: Option<String> = row.try_get("form")?;
    let origin: String = row.try_get("origin")?;
    Ok(File {
        id: row.try_get("id")?,
        team: TeamId::from(row.try_get::<String, _>("team_id")?),
        key: KeyId::from(row.try_get::<String, _>("key_id")?),
        purpose: row.try_get("purpose")?,
        filename: row.try_get("filename")?,
        origin: origin.parse::<Origin>().map_err(Error::internal)?,
        form: form.map(|form| form.parse().map_err(Error::internal)).transpose()?,
        bytes: u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or_default(),
        segments: segments(row)?,
        created_at: Timestamp::from_millis(row.try_get("created_at")?),
        expires_at: Timestamp::from_millis(row.try_get("expires_at")?),
    })
}

fn segments(row: &AnyRow) -> Result<Vec<Segment>> {
    let text: String = row.try_get("segments")?;
    serde_json::from_str(&text).map_err(Error::internal)
}

fn segments_text(segments: &[Segment]) -> Result<String> {
    serde_json::to_string(segments).map_err(Error::internal)
}

fn count(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Text as both databases take it: Postgres refuses NUL.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
