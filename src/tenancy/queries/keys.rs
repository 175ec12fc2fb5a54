//! The table of keys.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Change, Decoded, allow_list, clean, optional_timestamp, readable, timestamp};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{KeyId, TeamId};
use crate::store::Store;
use crate::tenancy::key::{Key, Previous, SecretHash};

const KEYS: &str = "-- tenancy.keys
SELECT id, team_id, name, secret_sha256, sealed_secret, previous_sha256, previous_sealed, previous_until, scopes, models,
regions, networks, on_disconnect, created_at, expires_at, revoked_at, last_use, version
FROM keys ORDER BY created_at, id";

/// Every key, revoked ones too, oldest first.
pub(in crate::tenancy) async fn keys(store: &Store) -> Result<Vec<Key>> {
    let rows = sqlx::query(KEYS).fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("key", row, key(row))).collect())
}

fn key(row: &AnyRow) -> Decoded<Key> {
    let scopes: Vec<String> = serde_json::from_str(&row.try_get::<String, _>("scopes")?)?;
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let hash =
        |column: &'static str, hex: &str| SecretHash::from_hex(hex).ok_or(format!("{column} is not 64 hex digits"));
    let previous = text("previous_sha256")?.zip(optional_timestamp(row, "previous_until")?);
    let previous = previous.map(|(hex, until)| {
        let sealed = text("previous_sealed")?;
        Decoded::Ok(Previous { secret: hash("previous_sha256", &hex)?, sealed, until })
    });
    Ok(Key {
        id: KeyId::from(row.try_get::<String, _>("id")?),
        team: TeamId::from(row.try_get::<String, _>("team_id")?),
        name: row.try_get("name")?,
        // A scope of a later version allows nothing that this one has.
        scopes: scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
        models: allow_list(row, "models")?,
        regions: allow_list(row, "regions")?,
        networks: text("networks")?.map(|json| serde_json::from_str(&json)).transpose()?,
        on_disconnect: row.try_get::<String, _>("on_disconnect")?.parse()?,
        created_at: timestamp(row, "created_at")?,
        expires_at: optional_timestamp(row, "expires_at")?,
        revoked_at: optional_timestamp(row, "revoked_at")?,
        last_use: optional_timestamp(row, "last_use")?,
        version: row.try_get("version")?,
        secret: hash("secret_sha256", &row.try_get::<String, _>("secret_sha256")?)?,
        sealed: text("sealed_secret")?,
        previous: previous.transpose()?,
    })
}

const KEY_BY_ID: &str = "-- tenancy.key_by_id
SELECT id, team_id, name, secret_sha256, sealed_secret, previous_sha256, previous_sealed, previous_until, scopes, models,
regions, networks, on_disconnect, created_at, expires_at, revoked_at, last_use, version
FROM keys WHERE id = $1";

/// The key with this id.
pub(in crate::tenancy) async fn find_key(store: &Store, id: &KeyId) -> Result<Option<Key>> {
    let row = sqlx::query(KEY_BY_ID).bind(clean(id.as_str())).fetch_optional(store.pool()).await?;
    Ok(row.and_then(|row| readable("key", &row, key(&row))))
}

/// The key with this id, as it is before the change.
pub(in crate::tenancy) async fn find_key_in(change: &mut Change, id: &KeyId) -> Result<Option<Key>> {
    let row = sqlx::query(KEY_BY_ID).bind(clean(id.as_str())).fetch_optional(&mut *change.transaction).await?;
    Ok(row.and_then(|row| readable("key", &row, key(&row))))
}

const KEY_PAGE: &str = "-- tenancy.key_page
SELECT k.id, k.team_id, k.name, k.secret_sha256, k.sealed_secret, k.previous_sha256, k.previous_sealed,
k.previous_until, k.scopes, k.models, k.regions, k.networks, k.on_disconnect, k.created_at, k.expires_at, k.revoked_at,
k.last_use, k.version, t.name AS team_name
FROM keys k JOIN teams t ON t.id = k.team_id
WHERE (k.created_at > $1 OR (k.created_at = $1 AND k.id > $2)) AND ($3 = '' OR k.team_id = $3)
ORDER BY k.created_at, k.id LIMIT $4";

/// Keys, revoked ones too, with the names of their teams, that come after this moment and id, in that order; with a team,
/// its alone.
pub(in crate::tenancy) async fn page_of_keys(
    store: &Store,
    after: Option<(Timestamp, &str)>,
    team: Option<&TeamId>,
    rows: i64,
) -> Result<Vec<(Key, String)>> {
    let (at, id) = after.map_or((i64::MIN, ""), |(at, id)| (at.millis(), id));
    let team = team.map_or("", TeamId::as_str);
    let query = sqlx::query(KEY_PAGE).bind(at).bind(clean(id)).bind(team).bind(rows);
    let with_team = |row: &AnyRow| Decoded::Ok((key(row)?, row.try_get("team_name")?));
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("key", row, with_team(row))).collect())
}

const KEY_INSERT: &str = "-- tenancy.key_insert
INSERT INTO keys (id, team_id, name, secret_sha256, sealed_secret, scopes, models, regions, networks, on_disconnect,
created_at, expires_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

/// Adds a key.
pub(in crate::tenancy) async fn insert_key(change: &mut Change, key: &Key) -> Result<()> {
    let query = sqlx::query(KEY_INSERT)
        .bind(key.id.as_str())
        .bind(key.team.as_str())
        .bind(&*key.name)
        .bind(key.secret.to_hex())
        .bind(key.sealed.as_deref())
        .bind(scopes_of(key))
        .bind(key.models.to_json())
        .bind(key.regions.to_json())
        .bind(networks_of(key)?)
        .bind(key.on_disconnect.to_string())
        .bind(key.created_at.millis())
        .bind(key.expires_at.map(Timestamp::millis))
        .bind(key.version);
    query.execute(&mut *change.transaction).await?;
    Ok(())
}

const KEY_UPDATE: &str = "-- tenancy.key_update
UPDATE keys SET name = $2, scopes = $3, models = $4, regions = $5, networks = $6, on_disconnect = $7, expires_at = $8,
revoked_at = $9, version = $10
WHERE id = $1";

/// Writes the settings of a key, and whether it is revoked; its secrets and its last use stay.
pub(in crate::tenancy) async fn update_key(change: &mut Change, key: &Key) -> Result<()> {
    let query = sqlx::query(KEY_UPDATE)
        .bind(key.id.as_str())
        .bind(&*key.name)
        .bind(scopes_of(key))
        .bind(key.models.to_json())
        .bind(key.regions.to_json())
        .bind(networks_of(key)?)
        .bind(key.on_disconnect.to_string())
        .bind(key.expires_at.map(Timestamp::millis))
        .bind(key.revoked_at.map(Timestamp::millis))
        .bind(key.version);
    query.execute(&mut *change.transaction).await?;
    Ok(())
}

fn scopes_of(key: &Key) -> String {
    let scopes: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    serde_json::Value::from(scopes).to_string()
}

fn networks_of(key: &Key) -> Result<Option<String>> {
    key.networks.as_ref().map(serde_json::to_string).transpose().map_err(crate::error::Error::internal)
}
