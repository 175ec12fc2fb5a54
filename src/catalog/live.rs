//! The catalog that is valid now: replaced whole when AWS tells something new, read without a lock. And how fresh it is,
//! Region by Region.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::{Catalog, Facts, Freshness, Problem};
use crate::clock::Timestamp;

/// The present catalog. Clones share it.
#[derive(Clone, Debug)]
pub struct Live(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facts: ArcSwap<Facts>,
    freshness: Arc<Mutex<BTreeMap<Arc<str>, Freshness>>>,
}

impl Live {
    /// Starts with `catalog`.
    pub fn new(catalog: Catalog) -> Self {
        Self(Arc::new(Inner { facts: ArcSwap::new(catalog.0), freshness: Arc::default() }))
    }

    /// What follows this one when the settings change: `catalog`, and the same freshness. This one stays what it is.
    #[must_use]
    pub fn followed_by(&self, catalog: Catalog) -> Self {
        Self(Arc::new(Inner { facts: ArcSwap::new(catalog.0), freshness: Arc::clone(&self.0.freshness) }))
    }

    /// The catalog as it is now. It does not change any more; a call takes it once.
    pub fn now(&self) -> Catalog {
        Catalog(self.0.facts.load_full())
    }

    /// From now on this is the catalog.
    pub fn replace(&self, catalog: Catalog) {
        self.0.facts.store(catalog.0);
    }

    /// Notes that `region` was asked at `at`, and how that ended.
    pub fn note(&self, region: &Arc<str>, at: Timestamp, result: Result<(), Problem>) {
        let mut all = self.0.freshness.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = all.entry(Arc::clone(region)).or_insert_with(|| Freshness::unasked(Arc::clone(region)));
        noted.last_attempt = Some(at);
        if result.is_ok() {
            noted.last_success = Some(at);
        }
        noted.problem = result.err();
    }

    /// How fresh what is known of `region` is.
    pub fn freshness(&self, region: &Arc<str>) -> Freshness {
        let all = self.0.freshness.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(region).cloned().unwrap_or_else(|| Freshness::unasked(Arc::clone(region)))
    }
}
