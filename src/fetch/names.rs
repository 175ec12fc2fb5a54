//! Name lookup that yields only addresses the guard permits. What is checked is what is connected to: a name cannot
//! stand for one address while it is checked and for another afterwards.

use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::guard::Guard;

/// The name stands for no address that may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("no address of this name is public")]
pub(super) struct NotPublic;

/// The system's own lookup.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

/// Another lookup, less the addresses that the guard does not permit.
pub(super) struct Guarded {
    pub(super) guard: Arc<Guard>,
    pub(super) lookup: Arc<dyn Resolve>,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.guard);
        let found = self.lookup.resolve(name);
        Box::pin(async move {
            let permitted: Vec<_> = found.await?.filter(|address| guard.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}
