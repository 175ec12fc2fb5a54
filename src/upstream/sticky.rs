//! Which place served a conversation last, where that was not the first choice: its prompt cache is there. Pure but for
//! the lock; time is passed in.
//!
//! While everything is well nothing is remembered, and asking costs one atomic read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

/// So many conversations are remembered.
const CAPACITY: usize = 10_000;

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
    places: Mutex<HashMap<u64, Kept>>,
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
        let places = self.lock();
        places.get(&conversation.hash).filter(|kept| now < kept.until).map(|kept| Arc::clone(&kept.region))
    }

    /// `region` served it, and was not the first choice: it is the next time, until its cache has gone.
    pub fn remember(&self, conversation: Conversation, region: &Arc<str>, now: Timestamp) {
        let mut places = self.lock();
        if places.len() >= CAPACITY && !places.contains_key(&conversation.hash) {
            places.retain(|_, kept| now < kept.until);
            // Still full: one conversation less that finds its cache.
            if let Some(any) = places.keys().next().copied().filter(|_| places.len() >= CAPACITY) {
                places.remove(&any);
            }
        }
        places.insert(conversation.hash, Kept { region: Arc::clone(region), until: now.plus(conversation.kept) });
        self.0.count.store(places.len(), Ordering::Release);
    }

    /// The first choice served it.
    pub fn forget(&self, conversation: Conversation) {
        if self.is_empty() {
            return;
        }
        let mut places = self.lock();
        places.remove(&conversation.hash);
        self.0.count.store(places.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Kept>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
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
        assert_eq!(sticky.region(hour, at(4000)), Some(region));
        sticky.forget(hour);
        sticky.forget(conversation(1));
        assert!(sticky.is_empty());
    }

    #[test]
    fn it_is_bounded_and_what_is_over_goes_first() {
        let sticky = Sticky::default();
        let region: Arc<str> = "us-west-2".into();
        for hash in 0..CAPACITY as u64 {
            sticky.remember(conversation(hash), &region, at(0));
        }
        sticky.remember(conversation(u64::MAX), &region, at(1));
        assert_eq!(sticky.lock().len(), CAPACITY);
        sticky.remember(conversation(u64::MAX - 1), &region, at(300));
        assert_eq!(sticky.lock().len(), 2, "those that are over went");
        assert!(sticky.region(conversation(u64::MAX), at(300)).is_some());
    }
}
