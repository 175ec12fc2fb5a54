//! The catalog that is valid now: replaced whole when AWS tells something new, read without a lock.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{Catalog, Facts};

/// The present catalog. Clones share it.
#[derive(Clone, Debug)]
pub struct Live(Arc<ArcSwap<Facts>>);

impl Live {
    /// Starts with `catalog`.
    pub fn new(catalog: Catalog) -> Self {
        Self(Arc::new(ArcSwap::new(catalog.0)))
    }

    /// The catalog as it is now. It does not change any more; a call takes it once.
    pub fn now(&self) -> Catalog {
        Catalog(self.0.load_full())
    }

    /// From now on this is the catalog.
    pub fn replace(&self, catalog: Catalog) {
        self.0.store(catalog.0);
    }
}
