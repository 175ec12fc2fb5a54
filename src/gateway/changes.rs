//! How a gateway follows its configuration: it never changes. Another one is made that shares what is remembered and
//! counted, and whoever outlives the change asks for the [`Present`] one.

use std::fmt;
use std::sync::Arc;

use super::{Failover, Gateway, Guests, Inner, Parts};
use crate::catalog::{Live, Order, Quotas};
use crate::upstream::Upstream;

/// What of a gateway another configuration changes.
pub struct Changes {
    /// See [`Parts::catalog`].
    pub catalog: Live,
    /// See [`Parts::guests`].
    pub guests: Guests,
    /// See [`Parts::upstream`].
    pub upstream: Upstream,
    /// See [`Parts::quotas`].
    pub quotas: Quotas,
    /// See [`Parts::failover`].
    pub failover: Failover,
    /// See [`Parts::order`].
    pub order: Order,
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes(..)")
    }
}

impl Parts {
    /// The same with these changes.
    pub(super) fn changed(&self, changes: Changes) -> Self {
        let Changes { catalog, guests, upstream, quotas, failover, order } = changes;
        Self {
            catalog,
            tenancy: self.tenancy.clone(),
            guests,
            invocations: self.invocations.clone(),
            upstream,
            responses: self.responses.clone(),
            usage: self.usage.clone(),
            idempotency: self.idempotency.clone(),
            fetcher: Arc::clone(&self.fetcher),
            memory: self.memory.clone(),
            metrics: self.metrics.clone(),
            traces: self.traces.clone(),
            capture: self.capture.clone(),
            clock: self.clock.clone(),
            quotas,
            failover,
            order,
            unattended: self.unattended.clone(),
            cut: self.cut.clone(),
        }
    }
}

impl Gateway {
    /// The gateway by another configuration. It shares with this one what is remembered and counted; this one stays what
    /// it is, for the calls that it has begun.
    #[must_use]
    pub fn changed(&self, changes: Changes) -> Self {
        let Inner { parts, sticky, profiles, ratios, .. } = &*self.0;
        let parts = parts.changed(changes);
        let regions = parts.regions();
        let (sticky, profiles, ratios) = (sticky.clone(), Arc::clone(profiles), Arc::clone(ratios));
        Self(Arc::new(Inner { parts, regions, sticky, profiles, ratios }))
    }
}

/// The gateway as it is now, for what outlives a change of the configuration. A cheap clone.
#[derive(Clone)]
pub struct Present(Arc<dyn Fn() -> Gateway + Send + Sync>);

impl Present {
    /// What `find` finds whenever it is asked.
    pub fn new(find: impl Fn() -> Gateway + Send + Sync + 'static) -> Self {
        Self(Arc::new(find))
    }

    /// By the settings as they are now. A piece of work takes it once.
    pub fn now(&self) -> Gateway {
        (self.0)()
    }
}

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Present(..)")
    }
}
