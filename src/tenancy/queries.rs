//! Every statement on the tables of tenancy: teams, keys, their version, the audit log, the ledger.
//!
//! Written in full in one dialect that SQLite and Postgres share. A function here is one statement or one transaction
//! and decides nothing. A row that cannot be read, because a later version or a hand wrote it, is left out and logged:
//! one such row must not keep a revocation of another key from counting.

use std::fmt::Write as _;
use std::sync::LazyLock;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Row as _, Transaction};

use super::admin::Act;
use super::allow_list::AllowList;
use super::directory::Touch;
use super::key::{Key, SecretHash};
use super::ledger::Entry;
use super::team::{RoleArn, Team};
use crate::catalog::Geography;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{KeyId, RequestId, TeamId};
use crate::money::MicroUsd;
use crate::store::Store;

type Decoded<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const VERSION: &str = "-- tenancy.version
SELECT version FROM tenancy_version WHERE id = 1";

/// The version that teams and keys have now.
pub(super) async fn version(store: &Store) -> Result<i64> {
    Ok(sqlx::query(VERSION).fetch_one(store.pool()).await?.try_get("version")?)
}

const TEAMS: &str = "-- tenancy.teams
SELECT id, name, models, regions, geography, role_arn, created_at FROM teams ORDER BY name";

/// Every team, by name.
pub(super) async fn teams(store: &Store) -> Result<Vec<Team>> {
    let rows = sqlx::query(TEAMS).fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("team", row, team(row))).collect())
}

const KEYS: &str = "-- tenancy.keys
SELECT id, team_id, name, secret_sha256, scopes, models, regions, created_at, expires_at, revoked_at, last_use
FROM keys ORDER BY created_at, id";

/// Every key, revoked ones too, oldest first.
pub(super) async fn keys(store: &Store) -> Result<Vec<Key>> {
    let rows = sqlx::query(KEYS).fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("key", row, key(row))).collect())
}

fn readable<T>(what: &str, row: &AnyRow, decoded: Decoded<T>) -> Option<T> {
    let log = |cause: &_| {
        let id: String = row.try_get("id").unwrap_or_default();
        tracing::error!(%cause, id, "a {what} in the store cannot be read and does not count");
    };
    decoded.inspect_err(log).ok()
}

fn team(row: &AnyRow) -> Decoded<Team> {
    let role: Option<String> = row.try_get("role_arn")?;
    let geography: Option<String> = row.try_get("geography")?;
    Ok(Team {
        id: TeamId::from(row.try_get::<String, _>("id")?),
        name: row.try_get("name")?,
        models: allow_list(row, "models")?,
        regions: allow_list(row, "regions")?,
        geography: geography.map(|name| Geography::parse("geography", &name)).transpose()?,
        role: role.map(|arn| RoleArn::parse("role_arn", &arn)).transpose()?,
        created_at: timestamp(row, "created_at")?,
    })
}

fn key(row: &AnyRow) -> Decoded<Key> {
    let scopes: Vec<String> = serde_json::from_str(&row.try_get::<String, _>("scopes")?)?;
    let secret: String = row.try_get("secret_sha256")?;
    Ok(Key {
        id: KeyId::from(row.try_get::<String, _>("id")?),
        team: TeamId::from(row.try_get::<String, _>("team_id")?),
        name: row.try_get("name")?,
        // A scope of a later version allows nothing that this one has.
        scopes: scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
        models: allow_list(row, "models")?,
        regions: allow_list(row, "regions")?,
        created_at: timestamp(row, "created_at")?,
        expires_at: optional_timestamp(row, "expires_at")?,
        revoked_at: optional_timestamp(row, "revoked_at")?,
        last_use: optional_timestamp(row, "last_use")?,
        secret: SecretHash::from_hex(&secret).ok_or("secret_sha256 is not 64 hex digits")?,
    })
}

fn allow_list(row: &AnyRow, column: &str) -> Decoded<AllowList> {
    Ok(AllowList::from_json(row.try_get::<Option<String>, _>(column)?.as_deref())?)
}

fn timestamp(row: &AnyRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get(column).map(Timestamp::from_millis)
}

fn optional_timestamp(row: &AnyRow, column: &str) -> Result<Option<Timestamp>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_millis))
}

const TEAM_BY_ID_OR_NAME: &str = "-- tenancy.team_by_id_or_name
SELECT id FROM teams WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";

/// The team with this id, or else this name.
pub(super) async fn find_team(store: &Store, id_or_name: &str) -> Result<Option<TeamId>> {
    let row = sqlx::query(TEAM_BY_ID_OR_NAME).bind(clean(id_or_name)).fetch_optional(store.pool()).await?;
    Ok(row.map(|row| row.try_get::<String, _>("id")).transpose()?.map(TeamId::from))
}

const KEY_BY_ID: &str = "-- tenancy.key_by_id
SELECT id, team_id, name, secret_sha256, scopes, models, regions, created_at, expires_at, revoked_at, last_use
FROM keys WHERE id = $1";

/// The key with this id.
pub(super) async fn find_key(store: &Store, id: &KeyId) -> Result<Option<Key>> {
    let row = sqlx::query(KEY_BY_ID).bind(clean(id.as_str())).fetch_optional(store.pool()).await?;
    Ok(row.and_then(|row| readable("key", &row, key(&row))))
}

const TEAM_INSERT: &str = "-- tenancy.team_insert
INSERT INTO teams (id, name, models, regions, geography, role_arn, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO NOTHING";

/// Adds a team; false when its name is taken.
pub(super) async fn insert_team(store: &Store, team: &Team, act: &Act<'_>) -> Result<bool> {
    let mut transaction = store.begin().await?;
    let query = sqlx::query(TEAM_INSERT)
        .bind(team.id.as_str())
        .bind(&*team.name)
        .bind(team.models.to_json())
        .bind(team.regions.to_json())
        .bind(team.geography.map(Geography::name))
        .bind(team.role.as_ref().map(RoleArn::as_str))
        .bind(team.created_at.millis());
    let inserted = query.execute(&mut *transaction).await?.rows_affected() == 1;
    if inserted {
        commit_act(transaction, act).await?;
    }
    Ok(inserted)
}

const KEY_INSERT: &str = "-- tenancy.key_insert
INSERT INTO keys (id, team_id, name, secret_sha256, scopes, models, regions, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Adds a key.
pub(super) async fn insert_key(store: &Store, key: &Key, act: &Act<'_>) -> Result<()> {
    let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    let mut transaction = store.begin().await?;
    let query = sqlx::query(KEY_INSERT)
        .bind(key.id.as_str())
        .bind(key.team.as_str())
        .bind(&*key.name)
        .bind(key.secret.to_hex())
        .bind(serde_json::Value::from(scopes).to_string())
        .bind(key.models.to_json())
        .bind(key.regions.to_json())
        .bind(key.created_at.millis())
        .bind(key.expires_at.map(Timestamp::millis));
    query.execute(&mut *transaction).await?;
    commit_act(transaction, act).await
}

const KEY_REVOKE: &str = "-- tenancy.key_revoke
UPDATE keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";

/// Revokes a key; false when there is none, or it was revoked before.
pub(super) async fn revoke_key(store: &Store, id: &KeyId, act: &Act<'_>) -> Result<bool> {
    let mut transaction = store.begin().await?;
    let query = sqlx::query(KEY_REVOKE).bind(clean(id.as_str())).bind(act.at.millis());
    let revoked = query.execute(&mut *transaction).await?.rows_affected() == 1;
    if revoked {
        commit_act(transaction, act).await?;
    }
    Ok(revoked)
}

const VERSION_BUMP: &str = "-- tenancy.version_bump
UPDATE tenancy_version SET version = version + 1 WHERE id = 1";

const AUDIT_INSERT: &str = "-- tenancy.audit_insert
INSERT INTO audit (id, at, actor, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)";

/// Tells serving processes and the audit log, and commits all of it or nothing.
async fn commit_act(mut transaction: Transaction<'static, Any>, act: &Act<'_>) -> Result<()> {
    sqlx::query(VERSION_BUMP).execute(&mut *transaction).await?;
    let query = sqlx::query(AUDIT_INSERT)
        .bind(act.id.as_str())
        .bind(act.at.millis())
        .bind(act.actor.to_string())
        .bind(act.action)
        .bind(act.subject)
        .bind(act.detail.to_string());
    query.execute(&mut *transaction).await?;
    Ok(transaction.commit().await?)
}

const LEDGER_COLUMNS: usize = 23;

const LEDGER_INSERT: &str = "-- ledger.insert
INSERT INTO ledger (id, request_id, at, team_id, key_id, surface, operation, model, region, input_tokens, output_tokens,
cache_read_tokens, cache_write_tokens, cost_micro_usd, latency_ms, ttft_ms, attempts, status, outcome, usage_source,
streamed, end_user, tier) VALUES ";

/// The insert of 8 rows and of one: a group is put together from these, so that few statements are prepared and a row
/// costs a fraction of a statement. Not more rows, because SQLite looks each parameter up by walking the list of all.
static LEDGER_INSERTS: LazyLock<[(usize, String); 2]> =
    LazyLock::new(|| [8, 1].map(|rows| (rows, ledger_insert(rows))));

fn ledger_insert(rows: usize) -> String {
    let mut sql = LEDGER_INSERT.to_owned();
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..LEDGER_COLUMNS {
            let separator = if column == 0 { "" } else { ", " };
            let _ = write!(sql, "{separator}${}", row * LEDGER_COLUMNS + column + 1);
        }
        sql.push(')');
    }
    sql + " ON CONFLICT (id) DO NOTHING"
}

const KEY_TOUCH: &str = "-- tenancy.key_touch
UPDATE keys SET last_use = $2 WHERE id = $1 AND (last_use IS NULL OR last_use < $2)";

/// Writes a group of entries and last uses, all or nothing. An entry whose id is there already changes nothing.
pub(super) async fn write_group(store: &Store, entries: &[Entry], touches: &[Touch]) -> Result<()> {
    let mut transaction = store.begin().await?;
    let mut rest = entries;
    for (rows, sql) in &*LEDGER_INSERTS {
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

/// Text as both databases take it: Postgres refuses NUL, and one refused row would hold up every row behind it.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

const LEDGER_LIST: &str = "-- ledger.list
SELECT id, request_id, at, team_id, key_id, surface, operation, model, region, input_tokens, output_tokens,
cache_read_tokens, cache_write_tokens, cost_micro_usd, latency_ms, ttft_ms, attempts, status, outcome, usage_source,
streamed, end_user, tier
FROM ledger WHERE at >= $1 ORDER BY at, id LIMIT $2";

/// The oldest `limit` entries from `since` on.
pub(super) async fn list_entries(store: &Store, since: Timestamp, limit: u32) -> Result<Vec<Entry>> {
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
