//! Making, changing and revoking keys.

use super::view::KeyView;
use super::{Act, Actor, Edit, Listed, Page, Precondition, cursor_at, difference, shown, value_of};
use crate::clock::{Clock, Timestamp};
use crate::config::Secret;
use crate::error::{Error, Kind, Result};
use crate::ids::KeyId;
use crate::store::Store;
use crate::tenancy::allow_list::AllowList;
use crate::tenancy::key::{self, Key, NewKey, OnDisconnect, Scope};
use crate::tenancy::queries::{self, Change};
use crate::tenancy::team::check_name;

/// Makes a key and its whole text, which is shown once and kept nowhere. Fails with [`Kind::Invalid`], the field
/// named, or [`Kind::NotFound`] without such a team.
pub async fn create_key(store: &Store, clock: &Clock, actor: Actor, new: NewKey) -> Result<(Key, Secret)> {
    let mut change = Change::begin(store).await?;
    let Some(team) = queries::find_team_in(&mut change, &new.team).await? else {
        let message = format!("There is no team `{}`.", shown(&new.team));
        return Err(Error::new(Kind::NotFound, message).param("team"));
    };
    let (mut key, text) = new.check(team.id.clone(), clock.now())?;
    key.version = change.version;
    queries::insert_key(&mut change, &key).await?;
    let detail = value_of(&KeyView::of(&key, Some(&team.name)))?;
    change.commit(&Act::new(key.created_at, actor, "key.create", key.id.as_str(), detail)).await?;
    Ok((key, text))
}

/// Every key, revoked ones too, oldest first.
pub async fn list_keys(store: &Store) -> Result<Vec<Key>> {
    queries::keys(store).await
}

/// Which keys a list is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Those of the team with this id or name.
    pub team: Option<String>,
}

/// Keys, revoked ones too, each with the name of its team, the oldest first. Fails with [`Kind::NotFound`] without such
/// a team, and with [`Kind::Invalid`] for a cursor that is none.
pub async fn page_of_keys(store: &Store, which: &Keys, page: &Page) -> Result<Listed<(Key, String)>> {
    let team = match &which.team {
        None => None,
        Some(team) => Some(super::find_team(store, team).await?.id),
    };
    let rows = queries::page_of_keys(store, page.after_moment()?, team.as_ref(), page.rows()).await?;
    Ok(page.of(rows, |(key, _)| cursor_at(key.created_at, key.id.as_str())))
}

/// The key with this id, and the name of its team. Fails with [`Kind::NotFound`].
pub async fn find_key(store: &Store, id: &KeyId) -> Result<(Key, String)> {
    let found = queries::find_key(store, id).await?;
    let key = found.ok_or_else(|| unknown(id))?;
    let team = super::find_team(store, key.team.as_str()).await?;
    Ok((key, team.name))
}

/// What is to become of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditKey {
    /// Its name; cannot be cleared.
    pub name: Edit<String>,
    /// What it may be used for; cannot be cleared.
    pub scopes: Edit<Vec<Scope>>,
    /// From when on it is refused, in the future; cleared: never.
    pub expires_at: Edit<Timestamp>,
    /// Its models; cleared: what its team may.
    pub models: Edit<Vec<String>>,
    /// Its Regions; cleared: what its team may.
    pub regions: Edit<Vec<String>>,
    /// Its networks; cleared: calls from anywhere.
    pub networks: Edit<Vec<String>>,
    /// What becomes of a call whose client leaves; cleared: it is cancelled.
    pub on_disconnect: Edit<OnDisconnect>,
}

impl EditKey {
    fn apply(self, key: &Key, now: Timestamp) -> Result<Key> {
        let name = self.name.required("name", key.name.clone())?;
        check_name(&name)?;
        if let Some(end) = self.expires_at.new_value() {
            key::check_expiry(Some(*end), now)?;
        }
        let list = |now: &AllowList| now.entries().map(<[String]>::to_vec);
        let networks = match self.networks {
            Edit::Keep => key.networks.clone(),
            Edit::Clear => None,
            Edit::Set(new) => key::networks(Some(new))?,
        };
        Ok(Key {
            name,
            scopes: key::check_scopes(self.scopes.required("scopes", key.scopes.clone())?)?,
            expires_at: self.expires_at.or(key.expires_at),
            models: AllowList::models("models", self.models.or(list(&key.models)))?,
            regions: AllowList::regions("regions", self.regions.or(list(&key.regions)))?,
            networks,
            on_disconnect: self.on_disconnect.or(Some(key.on_disconnect)).unwrap_or_default(),
            ..key.clone()
        })
    }
}

/// Changes a key; one act changes all settings or none. It counts within a second or two in every process that serves
/// from this store. Fails with [`Kind::Invalid`], the field named, [`Kind::NotFound`], [`Kind::Conflict`] for one that is
/// revoked, and [`Kind::Stale`].
pub async fn change_key(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id, believed): (&KeyId, &Precondition),
    edit: EditKey,
) -> Result<Key> {
    let mut change = Change::begin(store).await?;
    let key = queries::find_key_in(&mut change, id).await?.ok_or_else(|| unknown(id))?;
    believed.check(Some(key.version))?;
    let now = clock.now();
    let mut edited = edit.apply(&key, now)?;
    if edited == key {
        return Ok(key);
    }
    if key.revoked_at.is_some() {
        let message = format!("The key `{id}` is revoked, for good. Make another one.");
        return Err(Error::new(Kind::Conflict, message).param("id"));
    }
    edited.version = change.version;
    queries::update_key(&mut change, &edited).await?;
    let detail = difference(&value_of(&KeyView::of(&key, None))?, &value_of(&KeyView::of(&edited, None))?);
    change.commit(&Act::new(now, actor, "key.update", id.as_str(), detail)).await?;
    Ok(edited)
}

/// Revokes a key, for good; one that was revoked before stays as it is. It counts within a second or two in every
/// process that serves from this store. Fails with [`Kind::NotFound`] without such a key, and with [`Kind::Stale`].
pub async fn revoke_key_if(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id, believed): (&KeyId, &Precondition),
) -> Result<Key> {
    let mut change = Change::begin(store).await?;
    let mut key = queries::find_key_in(&mut change, id).await?.ok_or_else(|| unknown(id))?;
    believed.check(Some(key.version))?;
    if key.revoked_at.is_some() {
        return Ok(key);
    }
    let now = clock.now();
    (key.revoked_at, key.version) = (Some(now), change.version);
    queries::update_key(&mut change, &key).await?;
    change.commit(&Act::new(now, actor, "key.revoke", id.as_str(), serde_json::json!({}))).await?;
    Ok(key)
}

/// As [`revoke_key_if`], in whatever version it is.
pub async fn revoke_key(store: &Store, clock: &Clock, actor: Actor, id: &KeyId) -> Result<Key> {
    revoke_key_if(store, clock, actor, (id, &Precondition::Any)).await
}

fn unknown(id: &KeyId) -> Error {
    Error::new(Kind::NotFound, format!("There is no key `{}`.", shown(id.as_str()))).param("id")
}
