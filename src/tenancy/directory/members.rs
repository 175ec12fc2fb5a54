//! The callers in memory, by the id of their key.
//!
//! In shards, so that readers hardly ever meet: each takes a read lock for as long as it takes to look up an id and to
//! clone a pointer. One task alone writes, and never while it waits for anything.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::caller::Caller;
use crate::ids::KeyId;

/// How many parts there are.
pub(super) const SHARDS: usize = 64;

type Shard = RwLock<HashMap<KeyId, Caller>>;

pub(super) struct Members {
    shards: Box<[Shard]>,
    hasher: RandomState,
}

impl Default for Members {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), hasher: RandomState::new() }
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
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| read(shard).len()).sum()
    }

    /// The callers of one shard that `chosen` is true of.
    pub(super) fn select(&self, shard: usize, chosen: impl Fn(&Caller) -> bool) -> Vec<Caller> {
        read(&self.shards[shard % SHARDS]).values().filter(|caller| chosen(caller)).cloned().collect()
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
