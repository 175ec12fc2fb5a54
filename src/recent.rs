//! A bounded map that forgets what was not asked for lately: a cache whose entries anybody outside may cause.
//!
//! Two generations: what is found moves to the young one; when that is half of what there may be, it becomes the old one,
//! and the old one is dropped. So an operation is a lookup or two under a lock that is never held for longer, nothing is
//! ever swept, and what is in use stays.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// The map. Values are handed out as clones, so they should be cheap to clone.
#[derive(Debug)]
pub struct Recent<K, V> {
    half: usize,
    generations: Mutex<Generations<K, V>>,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// For at most `capacity` entries, two at least; the last `capacity / 2` that were used are always there.
    pub fn new(capacity: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { half: (capacity / 2).max(1), generations: Mutex::new(generations) }
    }

    /// What was put there, if it was not forgotten.
    pub fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = generations.old.remove_entry(key)?;
        generations.put(key, value.clone(), self.half);
        Some(value)
    }

    /// Puts a value there.
    pub fn put(&self, key: K, value: V) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.old.remove(&key);
        generations.put(key, value, self.half);
    }
}

impl<K: Eq + Hash, V> Generations<K, V> {
    fn put(&mut self, key: K, value: V, half: usize) {
        if self.young.len() >= half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_in_use_stays_however_much_comes_by() {
        let recent = Recent::new(8);
        recent.put(0, "kept");
        for passing in 1..1000 {
            recent.put(passing, "passing");
            assert_eq!(recent.get(&0), Some("kept"));
        }
        assert_eq!(recent.get(&1), None);
        recent.put(0, "new");
        assert_eq!(recent.get(&0), Some("new"));
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_never_tells_an_old_value(
            capacity in 2_usize..20,
            acts in proptest::collection::vec((0_u8..30, proptest::option::of(any::<u8>())), 0..400),
        ) {
            let recent = Recent::new(capacity);
            let mut model = HashMap::new();
            let mut used: Vec<u8> = Vec::new();
            for (key, put) in acts {
                let found = recent.get(&key);
                // The last half that were used are there.
                if used.iter().rev().take(capacity / 2).any(|last| *last == key) {
                    prop_assert_eq!(found, model.get(&key).copied());
                }
                prop_assert!(found.is_none() || found == model.get(&key).copied());
                if let Some(value) = put {
                    recent.put(key, value);
                    model.insert(key, value);
                }
                if put.is_some() || found.is_some() {
                    used.retain(|other| *other != key);
                    used.push(key);
                }
                let generations = recent.generations.lock().unwrap();
                prop_assert!(generations.young.len() + generations.old.len() <= capacity);
            }
        }
    }
}
