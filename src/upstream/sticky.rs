//! Which place served a conversation last, where that was not the first choice: its prompt cache is there. Pure but for
//! the lock; time is passed in.
//!
//! While everything is well nothing is remembered, and asking costs one atomic read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// So many conversations are remembered.
const CAPACITY: usize = 10_000;
/// So often those are looked for whose caches have gone.
const PURGE: Duration = Duration::from_mins(1);

/// A conversation: a hash of who talks to which model, and of how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conversation {
    /// The hash.
    pub hash: u64,
    /// How long the model keeps what it caches of it.
    pub kept: Duration,
}

/// The memory. Clones share it.
#[derive(Clone, Default)]
pub struct Sticky(Arc<Inner>);

#[derive(Default)]
struct Inner {
    count: AtomicUsize,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    by_hash: HashMap<u64, Kept>,
    next_purge: Timestamp,
}

struct Kept {
    region: Arc<str>,
    until: Timestamp,
}

impl Sticky {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    /// The Region that served `conversation` last, if its cache may still be there.
    pub fn region(&self, conversation: Conversation, now: Timestamp) -> Option<Arc<str>> {
        if self.is_empty() {
            return None;
        }
        self.change(now, |by_hash| {
            by_hash.get(&conversation.hash).filter(|kept| now < kept.until).map(|kept| Arc::clone(&kept.region))
        })
    }

    /// `region` served it, and was not the first choice: it is the next time, until its cache has gone.
    pub fn remember(&self, conversation: Conversation, region: &Arc<str>, now: Timestamp) {
        let Conversation { hash, kept } = conversation;
        self.change(now, |by_hash| {
            if by_hash.len() >= CAPACITY && !by_hash.contains_key(&hash) {
                by_hash.retain(|_, kept| now < kept.until);
                // Still full: one conversation less that finds its cache.
                if let Some(any) = by_hash.keys().next().copied().filter(|_| by_hash.len() >= CAPACITY) {
                    by_hash.remove(&any);
                }
            }
            by_hash.insert(hash, Kept { region: Arc::clone(region), until: now.plus(kept) });
        });
    }

    /// The first choice served it.
    pub fn forget(&self, conversation: Conversation, now: Timestamp) {
        if !self.is_empty() {
            self.change(now, |by_hash| by_hash.remove(&conversation.hash));
        }
    }

    fn change<T>(&self, now: Timestamp, change: impl FnOnce(&mut HashMap<u64, Kept>) -> T) -> T {
        let mut places = self.0.places.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut places.by_hash);
        if now >= places.next_purge {
            places.by_hash.retain(|_, kept| now < kept.until);
            places.next_purge = now.plus(PURGE);
        }
        self.0.count.store(places.by_hash.len(), Ordering::Release);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn conversation(hash: u64) -> Conversation {
        Conversation { hash, kept: Duration::from_mins(5) }
    }

    #[test]
    fn a_conversation_is_remembered_as_long_as_its_cache_lives_from_the_last_call_on() {
        let sticky = Sticky::default();
        let region: Arc<str> = "us-west-2".into();
        assert!(sticky.is_empty() && sticky.region(conversation(1), at(0)).is_none());
        sticky.remember(conversation(1), &region, at(0));
        assert_eq!(sticky.region(conversation(1), at(299)), Some(region.clone()));
        assert_eq!(sticky.region(conversation(2), at(299)), None);
        sticky.remember(conversation(1), &region, at(299));
        assert_eq!(sticky.region(conversation(1), at(598)), Some(region.clone()));
        assert_eq!(sticky.region(conversation(1), at(599)), None);
        let hour = Conversation { hash: 3, kept: Duration::from_hours(1) };
        sticky.remember(hour, &region, at(599));
        assert_eq!(sticky.region(hour, at(4000)), Some(region.clone()));
        sticky.forget(hour, at(4000));
        assert!(sticky.is_empty());
        sticky.remember(hour, &region, at(5000));
        assert_eq!(sticky.region(conversation(1), at(9000)), None);
        assert!(sticky.is_empty(), "whose cache has gone is forgotten");
    }

    #[test]
    fn it_is_bounded_and_what_is_over_goes_first() {
        let sticky = Sticky::default();
        let region: Arc<str> = "us-west-2".into();
        for hash in 0..CAPACITY as u64 {
            sticky.remember(conversation(hash), &region, at(0));
        }
        sticky.remember(conversation(u64::MAX), &region, at(1));
        assert_eq!(sticky.0.count.load(Ordering::Relaxed), CAPACITY);
        sticky.remember(conversation(u64::MAX - 1), &region, at(300));
        assert_eq!(sticky.0.count.load(Ordering::Relaxed), 2, "those that are over went");
        assert!(sticky.region(conversation(u64::MAX), at(300)).is_some());
    }
}
