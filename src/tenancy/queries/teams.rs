//! The table of teams.

use std::sync::LazyLock;

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Row as _};

use super::{
    Change, Changed, Decoded, Mark, allow_list, by_id, changed, clean, optional_timestamp, readable, timestamp,
};
use crate::catalog::Geography;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::TeamId;
use crate::store::Store;
use crate::tenancy::team::{Guardrail, RoleArn, Team};
use crate::tenancy::webhook::{Previous, Webhook};

const TEAMS: &str = "-- tenancy.teams
SELECT id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata, profiles,
unknown_price, webhook_url, webhook_secret, webhook_previous, webhook_previous_until, created_at, revoked_at, version
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
        webhook: webhook(row)?,
        created_at: timestamp(row, "created_at")?,
        revoked_at: optional_timestamp(row, "revoked_at")?,
        version: row.try_get("version")?,
    })
}

fn webhook(row: &AnyRow) -> Decoded<Option<Webhook>> {
    let text = |column: &str| row.try_get::<Option<String>, _>(column);
    let previous = text("webhook_previous")?.zip(optional_timestamp(row, "webhook_previous_until")?);
    let previous = previous.map(|(sealed, until)| Previous { sealed, until });
    let kept = text("webhook_url")?.zip(text("webhook_secret")?);
    Ok(kept.map(|(url, sealed)| Webhook { url, sealed, previous }))
}

const WEBHOOK_URL: &str = "-- tenancy.webhook_url
SELECT webhook_url FROM teams WHERE id = $1";

/// Where messages about the team's batches go now, if anywhere; asked within a transaction of somebody else's.
pub(in crate::tenancy) async fn webhook_url(connection: &mut AnyConnection, team: &TeamId) -> Result<Option<String>> {
    let row = sqlx::query(WEBHOOK_URL).bind(team.as_str()).fetch_optional(connection).await?;
    Ok(row.map(|row| row.try_get("webhook_url")).transpose()?.flatten())
}

const TEAM_PAGE: &str = "-- tenancy.team_page
SELECT id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata, profiles,
unknown_price, webhook_url, webhook_secret, webhook_previous, webhook_previous_until, created_at, revoked_at, version
FROM teams WHERE id > $1 AND ($2 = '' OR name = $2) ORDER BY id LIMIT $3";

/// Teams, revoked ones too, whose ids come after this one, in the order of their ids; with a name, that one alone.
pub(in crate::tenancy) async fn page_of_teams(store: &Store, after: &str, name: &str, rows: i64) -> Result<Vec<Team>> {
    let query = sqlx::query(TEAM_PAGE).bind(clean(after)).bind(clean(name)).bind(rows);
    let rows = query.fetch_all(store.pool()).await?;
    Ok(rows.iter().filter_map(|row| readable("team", row, team(row))).collect())
}

const TEAM_BY_ID_OR_NAME: &str = "-- tenancy.team_by_id_or_name
SELECT id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata, profiles,
unknown_price, webhook_url, webhook_secret, webhook_previous, webhook_previous_until, created_at, revoked_at, version
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

static TEAMS_BY_ID: LazyLock<by_id::Sizes> = LazyLock::new(|| {
    by_id::sizes(
        "-- tenancy.teams_by_id
SELECT id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata, profiles,
unknown_price, webhook_url, webhook_secret, webhook_previous, webhook_previous_until, created_at, revoked_at, version
FROM teams WHERE id IN",
    )
});

/// Those of the teams with these ids that there are, revoked ones too.
pub(in crate::tenancy) async fn teams_by_id(store: &Store, ids: &[TeamId]) -> Result<Vec<Team>> {
    let ids: Vec<&str> = ids.iter().map(TeamId::as_str).collect();
    let rows = by_id::fetch(store, &TEAMS_BY_ID, &ids).await?;
    Ok(rows.iter().filter_map(|row| readable("team", row, team(row))).collect())
}

const TEAMS_SINCE: &str = "-- tenancy.teams_since
SELECT id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata, profiles,
unknown_price, webhook_url, webhook_secret, webhook_previous, webhook_previous_until, created_at, revoked_at, version
FROM teams WHERE version >= $1 AND (version > $1 OR id > $2) ORDER BY version, id LIMIT $3";

/// The next teams that changed after `mark`, in the order of their changes; a page of [`super::PAGE`] at most.
pub(in crate::tenancy) async fn teams_since(store: &Store, mark: &Mark) -> Result<Vec<Changed<Team>>> {
    let rows = mark.bind(sqlx::query(TEAMS_SINCE)).fetch_all(store.pool()).await?;
    rows.iter().map(|row| changed("team", row, team(row))).collect()
}

const TEAM_INSERT: &str = "-- tenancy.team_insert
INSERT INTO teams (id, name, models, regions, geography, role_arn, guardrail_id, guardrail_version, request_metadata,
profiles, unknown_price, webhook_url, webhook_secret, created_at, version)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (name) DO NOTHING";

/// Adds a team; false when its name is taken.
pub(in crate::tenancy) async fn insert_team(change: &mut Change, team: &Team) -> Result<bool> {
    let query = settings(TEAM_INSERT, team)?.bind(team.created_at.millis()).bind(team.version);
    Ok(query.execute(&mut *change.transaction).await?.rows_affected() == 1)
}

const TEAM_UPDATE: &str = "-- tenancy.team_update
UPDATE teams SET name = $2, models = $3, regions = $4, geography = $5, role_arn = $6, guardrail_id = $7,
guardrail_version = $8, request_metadata = $9, profiles = $10, unknown_price = $11, webhook_url = $12, webhook_secret = $13,
webhook_previous = $14, webhook_previous_until = $15, revoked_at = $16, version = $17
WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM teams other WHERE other.name = $2 AND other.id <> $1)";

/// Writes all settings of a team; false when its name is another's. Who changes a team holds up the others, so nobody
/// takes the name in between.
pub(in crate::tenancy) async fn update_team(change: &mut Change, team: &Team) -> Result<bool> {
    let previous = team.webhook.as_ref().and_then(|webhook| webhook.previous.as_ref());
    let query = settings(TEAM_UPDATE, team)?
        .bind(previous.map(|previous| &*previous.sealed))
        .bind(previous.map(|previous| previous.until.millis()))
        .bind(team.revoked_at.map(Timestamp::millis))
        .bind(team.version);
    Ok(query.execute(&mut *change.transaction).await?.rows_affected() == 1)
}

/// A query whose first parameters, up to `$13`, are a team's id and its settings.
fn settings<'q>(sql: &'static str, team: &'q Team) -> Result<Query<'q, Any, AnyArguments>> {
    Ok(sqlx::query(sql)
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
        .bind(team.webhook.as_ref().map(|webhook| &*webhook.url))
        .bind(team.webhook.as_ref().map(|webhook| &*webhook.sealed)))
}

/// A JSON object; nothing for an empty one.
fn json_of(map: &std::collections::BTreeMap<String, String>) -> Result<Option<String>> {
    if map.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(map).map(Some).map_err(crate::error::Error::internal)
}
