//! The ledger's table.

use std::sync::LazyLock;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Row as _};

use super::{Decoded, clean, count, readable, timestamp};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{KeyId, RequestId, TeamId};
use crate::money::MicroUsd;
use crate::store::Store;
use crate::tenancy::budget::Window;
use crate::tenancy::directory::Touch;
use crate::tenancy::ledger::Entry;
use crate::tenancy::limit::Subject;

const LEDGER_COLUMNS: usize = 23;

const LEDGER_INSERT: &str = "-- ledger.insert
INSERT INTO ledger (id, request_id, at, team_id, key_id, surface, operation, model, region, input_tokens, output_tokens,
cache_read_tokens, cache_write_tokens, cost_micro_usd, latency_ms, ttft_ms, attempts, status, outcome, usage_source,
streamed, end_user, tier) VALUES ";

/// So many rows has an insert at most; Postgres takes 65,535 parameters, SQLite 32,766.
const MOST_ROWS: usize = 64;
/// The inserts of these many rows: a group is put together from them, so that few statements are prepared and a row costs
/// a fraction of a statement.
const ROWS: [usize; 3] = [MOST_ROWS, 8, 1];

/// With numbered parameters, which both databases know.
static NUMBERED: LazyLock<[(usize, String); 3]> = LazyLock::new(|| inserts(|number| format!("${number}")));
/// With nameless ones, for SQLite: it looks each that has a name up by walking the list of all.
static NAMELESS: LazyLock<[(usize, String); 3]> = LazyLock::new(|| inserts(|_| "?".to_owned()));

fn inserts(parameter: impl Fn(usize) -> String) -> [(usize, String); 3] {
    ROWS.map(|rows| {
        let row = |row: usize| {
            let parameters = (1..=LEDGER_COLUMNS).map(|column| parameter(row * LEDGER_COLUMNS + column));
            format!("({})", parameters.collect::<Vec<_>>().join(", "))
        };
        let all = (0..rows).map(row).collect::<Vec<_>>().join(", ");
        (rows, format!("{LEDGER_INSERT}{all} ON CONFLICT (id) DO NOTHING"))
    })
}

const KEY_TOUCH: &str = "-- tenancy.key_touch
UPDATE keys SET last_use = $2 WHERE id = $1 AND (last_use IS NULL OR last_use < $2)";

/// Writes a group of entries and last uses, all or nothing. An entry whose id is there already changes nothing.
pub(in crate::tenancy) async fn write_group(store: &Store, entries: &[Entry], touches: &[Touch]) -> Result<()> {
    let mut transaction = store.begin().await?;
    let inserts = if transaction.backend_name() == "SQLite" { &*NAMELESS } else { &*NUMBERED };
    let mut rest = entries;
    for (rows, sql) in inserts {
        while rest.len() >= *rows {
            let (part, after) = rest.split_at(*rows);
            insert_entries(&mut transaction, sql, part).await?;
            rest = after;
        }
    }
    for touch in touches {
        let query = sqlx::query(KEY_TOUCH).bind(touch.key.as_str()).bind(touch.at.millis());
        query.execute(&mut *transaction).await?;
    }
    Ok(transaction.commit().await?)
}

async fn insert_entries(connection: &mut AnyConnection, sql: &'static str, entries: &[Entry]) -> Result<()> {
    let query = entries.iter().fold(sqlx::query(sql), bind_entry);
    query.execute(connection).await?;
    Ok(())
}

fn bind_entry<'q>(query: Query<'q, Any, AnyArguments>, entry: &Entry) -> Query<'q, Any, AnyArguments> {
    query
        .bind(clean(&entry.id))
        .bind(clean(entry.request_id.as_str()))
        .bind(entry.at.millis())
        .bind(clean(entry.team.as_str()))
        .bind(clean(entry.key.as_str()))
        .bind(clean(&entry.surface))
        .bind(clean(&entry.operation))
        .bind(clean(&entry.model))
        .bind(entry.region.as_deref().map(clean))
        .bind(count(entry.input_tokens))
        .bind(count(entry.output_tokens))
        .bind(count(entry.cache_read_tokens))
        .bind(count(entry.cache_write_tokens))
        .bind(entry.cost.map(|cost| cost.0))
        .bind(count(entry.latency_ms))
        .bind(entry.ttft_ms.map(count))
        .bind(i64::from(entry.attempts))
        .bind(i64::from(entry.status))
        .bind(clean(entry.outcome.as_str()))
        .bind(entry.usage_source.to_string())
        .bind(i64::from(entry.streamed))
        .bind(entry.end_user.as_deref().map(clean))
        .bind(clean(&entry.tier))
}

const LEDGER_HAS: &str = "-- ledger.has
SELECT id FROM ledger WHERE id = $1";

/// Whether there is an entry of this id.
pub(in crate::tenancy) async fn has_entry(store: &Store, id: &str) -> Result<bool> {
    Ok(sqlx::query(LEDGER_HAS).bind(clean(id)).fetch_optional(store.pool()).await?.is_some())
}

const LEDGER_LIST: &str = "-- ledger.list
SELECT id, request_id, at, team_id, key_id, surface, operation, model, region, input_tokens, output_tokens,
cache_read_tokens, cache_write_tokens, cost_micro_usd, latency_ms, ttft_ms, attempts, status, outcome, usage_source,
streamed, end_user, tier
FROM ledger WHERE at >= $1 ORDER BY at, id LIMIT $2";

/// The oldest `limit` entries from `since` on.
pub(in crate::tenancy) async fn list_entries(store: &Store, since: Timestamp, limit: u32) -> Result<Vec<Entry>> {
    let query = sqlx::query(LEDGER_LIST).bind(since.millis()).bind(i64::from(limit));
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("ledger entry", row, entry(row))).collect())
}

fn entry(row: &AnyRow) -> Decoded<Entry> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let number = |column: &str| row.try_get::<i64, _>(column);
    Ok(Entry {
        id: text("id")?,
        request_id: RequestId::from(text("request_id")?),
        at: timestamp(row, "at")?,
        team: TeamId::from(text("team_id")?),
        key: KeyId::from(text("key_id")?),
        surface: text("surface")?.into(),
        operation: text("operation")?.into(),
        model: text("model")?,
        region: row.try_get("region")?,
        input_tokens: u64::try_from(number("input_tokens")?)?,
        output_tokens: u64::try_from(number("output_tokens")?)?,
        cache_read_tokens: u64::try_from(number("cache_read_tokens")?)?,
        cache_write_tokens: u64::try_from(number("cache_write_tokens")?)?,
        cost: row.try_get::<Option<i64>, _>("cost_micro_usd")?.map(MicroUsd),
        tier: text("tier")?.into(),
        latency_ms: u64::try_from(number("latency_ms")?)?,
        ttft_ms: row.try_get::<Option<i64>, _>("ttft_ms")?.map(u64::try_from).transpose()?,
        attempts: u32::try_from(number("attempts")?)?,
        status: u16::try_from(number("status")?)?,
        outcome: text("outcome")?.into(),
        usage_source: text("usage_source")?.parse()?,
        streamed: number("streamed")? != 0,
        end_user: row.try_get("end_user")?,
    })
}

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

const TEAM_BOOKED_BEFORE: &str = "-- ledger.team_booked_before
SELECT CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) AS spent FROM (
    SELECT cost_micro_usd FROM ledger WHERE team_id = $1 AND at >= $2 AND at < $3
    UNION ALL SELECT cost_micro_usd FROM usage_daily WHERE team_id = $1 AND day >= $4
) calls";

const KEY_BOOKED_BEFORE: &str = "-- ledger.key_booked_before
SELECT CAST(COALESCE(SUM(cost_micro_usd), 0) AS BIGINT) AS spent FROM (
    SELECT cost_micro_usd FROM ledger WHERE key_id = $1 AND at >= $2 AND at < $3
    UNION ALL SELECT cost_micro_usd FROM usage_daily WHERE key_id = $1 AND day >= $4
) calls";

const TEAM_BOOKED_SINCE: &str = "-- ledger.team_booked_since
SELECT id, cost_micro_usd FROM ledger WHERE team_id = $1 AND at >= $2 AND at < $3 AND cost_micro_usd > 0";

const KEY_BOOKED_SINCE: &str = "-- ledger.key_booked_since
SELECT id, cost_micro_usd FROM ledger WHERE key_id = $1 AND at >= $2 AND at < $3 AND cost_micro_usd > 0";

/// What the calls of a team or key cost in `window`, those of days that are kept in sums only too: the sum of those booked before `cutoff`, and those since, row by row
/// with the id. Nothing for a subject that is neither.
pub(in crate::tenancy) async fn booked(
    store: &Store,
    subject: &Subject,
    window: Window,
    cutoff: Timestamp,
) -> Result<(MicroUsd, Vec<(String, MicroUsd)>)> {
    let (before, since, id) = match subject {
        Subject::Everyone => return Ok(Default::default()),
        Subject::Team(id) => (TEAM_BOOKED_BEFORE, TEAM_BOOKED_SINCE, id.as_str()),
        Subject::Key(id) => (KEY_BOOKED_BEFORE, KEY_BOOKED_SINCE, id.as_str()),
    };
    let (start, end) = (window.start.millis(), window.end.map_or(i64::MAX, Timestamp::millis));
    let query = sqlx::query(before).bind(id).bind(start).bind(cutoff.millis().min(end)).bind(start.div_euclid(DAY));
    let sum = MicroUsd(query.fetch_one(store.pool()).await?.try_get("spent")?);
    let query = sqlx::query(since).bind(id).bind(cutoff.millis().max(start)).bind(end);
    let rows = query.fetch_all(store.pool()).await?;
    let row = |row: &AnyRow| Ok((row.try_get("id")?, MicroUsd(row.try_get("cost_micro_usd")?)));
    Ok((sum, rows.iter().map(row).collect::<Result<_, sqlx::Error>>()?))
}
