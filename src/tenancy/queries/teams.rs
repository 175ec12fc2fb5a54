//! The table of teams.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Change, Decoded, allow_list, clean, optional_timestamp, readable, timestamp};
use crate::catalog::Geography;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::TeamId;
use crate::store::Store;
use crate::tenancy::team::{Guardrail, RoleArn, Team};

const TEAMS: &str = "-- tenancy.teams
SELECT id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata, profiles,
unknown_price, created_at, revoked_at, version
FROM teams ORDER BY name";

/// Every team, revoked ones too, by name.
pub(in crate::tenancy) async fn teams(store: &Store) -> Result<Vec<Team>> {
    let rows = sqlx::query(TEAMS).fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("team", row, team(row))).collect())
}

fn team(row: &AnyRow) -> Decoded<Team> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let guardrail = text("guardrail_id")?.zip(text("guardrail_version")?);
    Ok(Team {
        id: TeamId::from(row.try_get::<String, _>("id")?),
        name: row.try_get("name")?,
        models: allow_list(row, "models")?,
        regions: allow_list(row, "regions")?,
        geography: text("geography")?.map(|name| Geography::parse("geography", &name)).transpose()?,
        role: text("role_arn")?.map(|arn| RoleArn::parse("role_arn", &arn)).transpose()?,
        guardrail: guardrail.map(|(id, version)| Guardrail { id, version }),
        request_metadata: text("request_metadata")?
            .map(|json| serde_json::from_str(&json))
            .transpose()?
            .unwrap_or_default(),
        profiles: text("profiles")?.map(|json| serde_json::from_str(&json)).transpose()?.unwrap_or_default(),
        unknown_price: row.try_get::<String, _>("unknown_price")?.parse()?,
        created_at: timestamp(row, "created_at")?,
        revoked_at: optional_timestamp(row, "revoked_at")?,
        version: row.try_get("version")?,
    })
}

const TEAM_PAGE: &str = "-- tenancy.team_page
SELECT id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata, profiles,
unknown_price, created_at, revoked_at, version
FROM teams WHERE id > $1 AND ($2 = '' OR name = $2) ORDER BY id LIMIT $3";

/// Teams, revoked ones too, whose ids come after this one, in the order of their ids; with a name, that one alone.
pub(in crate::tenancy) async fn page_of_teams(store: &Store, after: &str, name: &str, rows: i64) -> Result<Vec<Team>> {
    let query = sqlx::query(TEAM_PAGE).bind(clean(after)).bind(clean(name)).bind(rows);
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("team", row, team(row))).collect())
}

const TEAM_BY_ID_OR_NAME: &str = "-- tenancy.team_by_id_or_name
SELECT id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata, profiles,
unknown_price, created_at, revoked_at, version
FROM teams WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";

/// The team with this id, or else this name.
pub(in crate::tenancy) async fn find_team(store: &Store, id_or_name: &str) -> Result<Option<Team>> {
    let row = sqlx::query(TEAM_BY_ID_OR_NAME).bind(clean(id_or_name)).fetch_optional(store.pool()).await?;
    Ok(row.and_then(|row| readable("team", &row, team(&row))))
}

/// The team with this id, or else this name, as it is before the change.
pub(in crate::tenancy) async fn find_team_in(change: &mut Change, id_or_name: &str) -> Result<Option<Team>> {
    let query = sqlx::query(TEAM_BY_ID_OR_NAME).bind(clean(id_or_name));
    let row = query.fetch_optional(&mut *change.transaction).await?;
    Ok(row.and_then(|row| readable("team", &row, team(&row))))
}

const TEAM_INSERT: &str = "-- tenancy.team_insert
INSERT INTO teams (id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata,
profiles, unknown_price, created_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (name) DO NOTHING";

/// Adds a team; false when its name is taken.
pub(in crate::tenancy) async fn insert_team(change: &mut Change, team: &Team) -> Result<bool> {
    let query = sqlx::query(TEAM_INSERT)
        .bind(team.id.as_str())
        .bind(&*team.name)
        .bind(team.models.to_json())
        .bind(team.regions.to_json())
        .bind(team.geography.map(Geography::name))
        .bind(team.role.as_ref().map(RoleArn::as_str))
        .bind(team.guardrail.as_ref().map(|guardrail| &*guardrail.id))
        .bind(team.guardrail.as_ref().map(|guardrail| &*guardrail.version))
        .bind(json_of(&team.request_metadata)?)
        .bind(json_of(&team.profiles)?)
        .bind(team.unknown_price.to_string())
        .bind(team.created_at.millis())
        .bind(team.version);
    Ok(query.execute(&mut *change.transaction).await?.rows_affected() == 1)
}

const TEAM_UPDATE: &str = "-- tenancy.team_update
UPDATE teams SET name = $2, models = $3, regions = $4, geography = $5, role_arn = $6, guardrail_id = $7,
guardrail_version = $8, request_metadata = $9, profiles = $10, unknown_price = $11, revoked_at = $12, version = $13
WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM teams other WHERE other.name = $2 AND other.id <> $1)";

/// Writes all settings of a team; false when its name is another's. Who changes a team holds up the others, so nobody
/// takes the name in between.
pub(in crate::tenancy) async fn update_team(change: &mut Change, team: &Team) -> Result<bool> {
    let query = sqlx::query(TEAM_UPDATE)
        .bind(team.id.as_str())
        .bind(&*team.name)
        .bind(team.models.to_json())
        .bind(team.regions.to_json())
        .bind(team.geography.map(Geography::name))
        .bind(team.role.as_ref().map(RoleArn::as_str))
        .bind(team.guardrail.as_ref().map(|guardrail| &*guardrail.id))
        .bind(team.guardrail.as_ref().map(|guardrail| &*guardrail.version))
        .bind(json_of(&team.request_metadata)?)
        .bind(json_of(&team.profiles)?)
        .bind(team.unknown_price.to_string())
        .bind(team.revoked_at.map(Timestamp::millis))
        .bind(team.version);
    Ok(query.execute(&mut *change.transaction).await?.rows_affected() == 1)
}

/// A JSON object; nothing for an empty one.
fn json_of(map: &std::collections::BTreeMap<String, String>) -> Result<Option<String>> {
    if map.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(map).map(Some).map_err(crate::error::Error::internal)
}
