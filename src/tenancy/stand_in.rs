//! Callers without a key of the store: who shows a good token of an issuer stands for a team of the store.

use std::sync::Arc;

use tokio::time::Instant;

use super::Tenancy;
use super::directory::{Caller, Membership};
use super::key::{Key, NewKey, Scope};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::ids::KeyId;

/// What stands in for a key.
#[derive(Clone, Copy, Debug)]
pub struct StandIn<'a> {
    /// The id in ledger and logs; not that of a key of the store.
    pub key: &'a KeyId,
    /// What people call it; 1 to 64 printable characters.
    pub name: &'a str,
    /// What it is for; words that are no scope count for nothing. `None`: inference and batches.
    pub scopes: Option<&'a [String]>,
    /// When it ends; who has it checks that.
    pub expires_at: Timestamp,
}

impl Tenancy {
    /// The team with this id, or else this name, for who stands in for one of its keys.
    ///
    /// Answers from memory; only a team that is not there waits for the look into the store that all who wait share.
    ///
    /// # Errors
    /// [`Kind::Unauthenticated`] without such a team, and for one that is revoked.
    pub async fn membership(&self, id_or_name: &str) -> Result<Arc<Membership>> {
        let refused = |message: &'static str| Error::new(Kind::Unauthenticated, message);
        let directory = &self.0.directory;
        let mut membership = directory.membership(id_or_name);
        if membership.is_none() {
            directory.refresh_since(Instant::now()).await;
            membership = directory.membership(id_or_name);
        }
        let membership = membership.ok_or_else(|| refused("The team that this token names does not exist here."))?;
        if membership.team.revoked_at.is_some() {
            return Err(refused("The team that this token names was revoked."));
        }
        Ok(membership)
    }
}

impl StandIn<'_> {
    /// The caller that this makes of a team. What `before`, the same one with another token, has in flight is also this
    /// one's.
    pub fn caller(self, membership: &Membership, before: Option<&Caller>) -> Result<Caller> {
        let team = &membership.team;
        let default = NewKey::new(team.id.as_str(), self.name);
        let scopes = self.scopes.map_or(default.scopes.clone(), known);
        // The secret that is made here is nobody's; and a key is made with one scope at least, which this need not have.
        let (key, _) = default.check(team.id.clone(), Timestamp::default())?;
        let key = Key { id: self.key.clone(), scopes, expires_at: Some(self.expires_at), ..key };
        let activity = before.map(|before| Arc::clone(&before.activity)).unwrap_or_default();
        Ok(Caller::new(team, key, membership.rules.clone(), activity))
    }
}

fn known(words: &[String]) -> Vec<Scope> {
    let mut scopes: Vec<Scope> = Vec::new();
    for scope in words.iter().filter_map(|word| word.parse().ok()) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}
