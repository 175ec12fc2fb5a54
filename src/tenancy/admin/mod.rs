//! Administration: making and revoking. Needs a store and a clock only, so the command line does it too.
//!
//! Every act is one transaction with its line in the audit log and a new version, which tells serving processes.

mod revoke;
mod rotate;

use serde_json::{Value, json};

pub use self::revoke::{revoke_key, revoke_team};
pub use self::rotate::{DEFAULT_OVERLAP, MAX_OVERLAP, rotate_key};

use super::key::{Key, NewKey};
use super::queries;
use super::team::{NewTeam, RoleArn, Team};
use crate::catalog::Geography;
use crate::clock::{Clock, Timestamp};
use crate::config::Secret;
use crate::error::{Error, Kind, Result};
use crate::ids::{self, KeyId, TeamId};
use crate::store::Store;

/// Who administers, as the audit log names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum Actor {
    /// Somebody at the command line.
    CommandLine,
    /// The gateway itself, setting up its local mode.
    Gateway,
}

/// One line of the audit log.
pub(super) struct Act<'a> {
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) actor: Actor,
    pub(super) action: &'static str,
    pub(super) subject: &'a str,
    pub(super) detail: Value,
}

impl<'a> Act<'a> {
    fn new(at: Timestamp, actor: Actor, action: &'static str, subject: &'a str, detail: Value) -> Self {
        Self { id: ids::fresh("act_"), at, actor, action, subject, detail }
    }
}

/// Makes a team. Fails with [`Kind::Invalid`], the field named, or [`Kind::Conflict`] when the name is taken.
pub async fn create_team(store: &Store, clock: &Clock, actor: Actor, new: NewTeam) -> Result<Team> {
    let team = new.check(TeamId::from(ids::fresh("team_")), clock.now())?;
    let detail = json!({
        "name": team.name,
        "models": team.models.entries(),
        "regions": team.regions.entries(),
        "geography": team.geography.map(Geography::name),
        "role_arn": team.role.as_ref().map(RoleArn::as_str),
    });
    let act = Act::new(team.created_at, actor, "team.create", team.id.as_str(), detail);
    if queries::insert_team(store, &team, &act).await? {
        return Ok(team);
    }
    Err(Error::new(Kind::Conflict, format!("There is a team `{}` already.", team.name)).param("name"))
}

/// Every team, by name.
pub async fn list_teams(store: &Store) -> Result<Vec<Team>> {
    queries::teams(store).await
}

/// Makes a key and its whole text, which is shown once and kept nowhere. Fails with [`Kind::Invalid`], the field
/// named, or [`Kind::NotFound`] without such a team.
pub async fn create_key(store: &Store, clock: &Clock, actor: Actor, new: NewKey) -> Result<(Key, Secret)> {
    let Some(team) = queries::find_team(store, &new.team).await? else {
        return Err(Error::new(Kind::NotFound, format!("There is no team `{}`.", new.team)).param("team"));
    };
    let (key, text) = new.check(team, clock.now())?;
    let detail = json!({
        "team": key.team.as_str(),
        "name": key.name,
        "scopes": key.scopes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "expires_at": key.expires_at.map(Timestamp::millis),
        "models": key.models.entries(),
        "regions": key.regions.entries(),
        "networks": key.networks,
        "on_disconnect": key.on_disconnect.to_string(),
    });
    let act = Act::new(key.created_at, actor, "key.create", key.id.as_str(), detail);
    queries::insert_key(store, &key, &act).await?;
    Ok((key, text))
}

/// Every key, revoked ones too, oldest first.
pub async fn list_keys(store: &Store) -> Result<Vec<Key>> {
    queries::keys(store).await
}

fn no_key(id: &KeyId) -> Error {
    Error::new(Kind::NotFound, format!("There is no key `{id}`.")).param("id")
}
