//! Responses that callers may continue or fetch, per Region, in memory; the oldest is forgotten past a thousand. A response
//! stored in one Region does not exist in another, as on AWS.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

const MOST: usize = 1_000;

/// A stored response and the whole conversation up to it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) response: Value,
    pub(crate) items: Vec<Value>,
}

/// The responses of one simulator.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    kept: Mutex<VecDeque<(String, String, Kept)>>,
}

impl Stored {
    pub(crate) fn keep(&self, region: &str, id: &str, kept: Kept) {
        let mut all = self.lock();
        if all.len() == MOST {
            all.pop_front();
        }
        all.push_back((region.to_owned(), id.to_owned(), kept));
    }

    pub(crate) fn find(&self, region: &str, id: &str) -> Option<Kept> {
        let all = self.lock();
        all.iter().rev().find(|(at, name, _)| at == region && name == id).map(|(_, _, kept)| kept.clone())
    }

    /// Whether there was such a response.
    pub(crate) fn forget(&self, region: &str, id: &str) -> bool {
        let mut all = self.lock();
        let before = all.len();
        all.retain(|(at, name, _)| at != region || name != id);
        all.len() < before
    }

    /// An item of any stored response, by its id.
    pub(crate) fn item(&self, region: &str, id: &str) -> Option<Value> {
        let all = self.lock();
        let mut items = all.iter().filter(|(at, ..)| at == region).flat_map(|(_, _, kept)| &kept.items);
        items.find(|item| item["id"] == id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, String, Kept)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
