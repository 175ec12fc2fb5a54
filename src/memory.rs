//! Memory that requests take together, counted while it is taken. What is beyond the bound is refused at once: nobody
//! waits, so nobody is held up by who does not let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    most: AtomicUsize,
    taken: AtomicUsize,
}

impl Memory {
    /// Of at most so many bytes.
    pub fn of(most: usize) -> Self {
        Self(Arc::new(Counts { most: AtomicUsize::new(most), taken: AtomicUsize::new(0) }))
    }

    /// Is of so many bytes from now on. What is held stays held, if it is more.
    pub fn change(&self, most: usize) {
        self.0.most.store(most, Ordering::Relaxed);
    }

    /// The bytes that are held.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// The bytes that may be held.
    pub fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
    }

    /// A share of it, of nothing yet.
    pub fn share(&self) -> Share {
        Share { memory: self.clone(), bytes: 0 }
    }

    /// Whether there was room for so many bytes, which are taken then.
    fn take(&self, bytes: usize) -> bool {
        let before = self.0.taken.fetch_add(bytes, Ordering::Relaxed);
        let is_room = before.saturating_add(bytes) <= self.most();
        if !is_room {
            self.0.taken.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_room
    }
}

/// What one request holds of it, until this is dropped.
#[derive(Debug)]
pub struct Share {
    memory: Memory,
    bytes: usize,
}

impl Share {
    /// Whether it is of so many bytes, at least, after this; if there is no room for them it is as it was.
    pub fn cover(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !self.memory.take(more) {
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.0.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_together_than_there_is_and_all_of_it_comes_back() {
        let memory = Memory::of(100);
        let (mut first, mut second) = (memory.share(), memory.share());
        assert!(first.cover(60) && second.cover(40));
        assert!(!first.cover(61) && !memory.share().cover(1), "there is no more");
        assert!(first.cover(60) && first.cover(10), "what is held is not asked for again");
        assert_eq!(memory.taken(), 100);
        drop(first);
        assert!(!second.cover(101) && second.cover(100));
        assert_eq!(memory.taken(), 100);
        drop(second);
        assert_eq!(memory.taken(), 0);
    }

    #[test]
    fn a_bound_that_is_lowered_takes_nothing_away() {
        let memory = Memory::of(100);
        let mut share = memory.share();
        assert!(share.cover(80));
        memory.change(50);
        assert!(share.cover(80) && !share.cover(81) && !memory.share().cover(1));
        memory.change(1_000_000);
        assert!(share.cover(1_000_000));
    }
}
