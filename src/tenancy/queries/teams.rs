//! The table of teams.

use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::{Change, Decoded, allow_list, clean, optional_timestamp, readable, timestamp};
use crate::catalog::Geography;
use crate::error::Result;
use crate::ids::TeamId;
use crate::store::Store;
use crate::tenancy::admin::Act;
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

const TEAM_BY_ID_OR_NAME: &str = "-- tenancy.team_by_id_or_name
SELECT id FROM teams WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";

/// The team with this id, or else this name.
pub(in crate::tenancy) async fn find_team(store: &Store, id_or_name: &str) -> Result<Option<TeamId>> {
    let row = sqlx::query(TEAM_BY_ID_OR_NAME).bind(clean(id_or_name)).fetch_optional(store.pool()).await?;
    Ok(row.map(|row| row.try_get::<String, _>("id")).transpose()?.map(TeamId::from))
}

const TEAM_INSERT: &str = "-- tenancy.team_insert
INSERT INTO teams (id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata,
profiles, unknown_price, created_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (name) DO NOTHING";

/// Adds a team; false when its name is taken.
pub(in crate::tenancy) async fn insert_team(store: &Store, team: &Team, act: &Act<'_>) -> Result<bool> {
    let mut change = Change::begin(store).await?;
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
        .bind(change.version);
    let inserted = query.execute(&mut *change.transaction).await?.rows_affected() == 1;
    if inserted {
        change.commit(act).await?;
    }
    Ok(inserted)
}

/// A JSON object; nothing for an empty one.
fn json_of(map: &std::collections::BTreeMap<String, String>) -> Result<Option<String>> {
    if map.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(map).map(Some).map_err(crate::error::Error::internal)
}
