//! Revocation, for good: of a key, or of all keys of a team.

use serde_json::json;

use super::{Act, Actor, no_key};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::ids::{KeyId, TeamId};
use crate::store::Store;
use crate::tenancy::key::Key;
use crate::tenancy::queries;
use crate::tenancy::team::Team;

/// Revokes a key, for good; one that was revoked before stays as it is. It counts within a second or two in every
/// process that serves from this store. Fails with [`Kind::NotFound`] without such a key.
pub async fn revoke_key(store: &Store, clock: &Clock, actor: Actor, id: &KeyId) -> Result<Key> {
    let act = Act::new(clock.now(), actor, "key.revoke", id.as_str(), json!({}));
    queries::revoke_key(store, id, &act).await?;
    queries::find_key(store, id).await?.ok_or_else(|| no_key(id))
}

/// Revokes a team, for good: all its keys are refused, as soon as one of them would be that is revoked by itself. A team
/// that was revoked before stays as it is. Fails with [`Kind::NotFound`] without such a team.
pub async fn revoke_team(store: &Store, clock: &Clock, actor: Actor, id: &TeamId) -> Result<Team> {
    let act = Act::new(clock.now(), actor, "team.revoke", id.as_str(), json!({}));
    queries::revoke_team(store, id, &act).await?;
    let none = || Error::new(Kind::NotFound, format!("There is no team `{id}`.")).param("id");
    queries::teams_by_id(store, std::slice::from_ref(id)).await?.pop().ok_or_else(none)
}
