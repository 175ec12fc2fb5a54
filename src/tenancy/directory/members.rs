//! The callers in memory, by the id of their key.
//!
//! In shards, so that readers hardly ever meet: each takes a read lock for as long as it takes to look up an id and to
//! clone a pointer. One task alone writes, and never while it waits for anything.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::caller::{Caller, Membership};
use crate::ids::{KeyId, TeamId};

/// How many parts there are.
pub(super) const SHARDS: usize = 64;

type Shard = RwLock<HashMap<KeyId, Caller>>;

pub(super) struct Members {
    shards: Box<[Shard]>,
    hasher: RandomState,
    /// Of the teams that somebody stood in for, by id.
    teams: RwLock<HashMap<TeamId, Arc<Membership>>>,
}

impl Default for Members {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::new(),
            teams: RwLock::default(),
        }
    }
}

impl Members {
    pub(super) fn find(&self, id: &str) -> Option<Caller> {
        read(self.shard(id)).get(id).cloned()
    }

    /// Adds a caller, or puts it in the place of the one with the same key.
    pub(super) fn put(&self, caller: Caller) {
        write(self.shard(caller.key.id.as_str())).insert(caller.key.id.clone(), caller);
    }

    pub(super) fn remove(&self, id: &str) {
        write(self.shard(id)).remove(id);
    }

    pub(super) fn clear(&self) {
        self.shards.iter().for_each(|shard| *write(shard) = HashMap::new());
        self.teams.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// The callers of one shard that `chosen` is true of.
    pub(super) fn select(&self, shard: usize, chosen: impl Fn(&Caller) -> bool) -> Vec<Caller> {
        read(&self.shards[shard % SHARDS]).values().filter(|caller| chosen(caller)).cloned().collect()
    }

    /// The team with this id, or else this name.
    pub(super) fn team(&self, id_or_name: &str) -> Option<Arc<Membership>> {
        let teams = self.teams.read().unwrap_or_else(PoisonError::into_inner);
        let named = || teams.values().find(|membership| membership.team.name == id_or_name);
        teams.get(id_or_name).or_else(named).cloned()
    }

    /// The ids of all these teams.
    pub(super) fn team_ids(&self) -> Vec<TeamId> {
        self.teams.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Puts a membership in the place of that of the same team, or takes that away.
    pub(super) fn put_team(&self, id: &TeamId, membership: Option<Arc<Membership>>) {
        let mut teams = self.teams.write().unwrap_or_else(PoisonError::into_inner);
        match membership {
            Some(membership) => teams.insert(id.clone(), membership),
            None => teams.remove(id),
        };
    }

    fn shard(&self, id: &str) -> &Shard {
        let hash = self.hasher.hash_one(id);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}

fn read(shard: &Shard) -> RwLockReadGuard<'_, HashMap<KeyId, Caller>> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &Shard) -> RwLockWriteGuard<'_, HashMap<KeyId, Caller>> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}
