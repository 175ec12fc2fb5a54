//! What a gateway is made of, and what of it another configuration changes.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Failover, Guests};
use crate::catalog::{Live, Order, Quotas};
use crate::clock::Clock;
use crate::fetch::Fetcher;
use crate::idempotency::Idempotency;
use crate::invocations::Invocations;
use crate::memory::Memory;
use crate::responses::Responses;
use crate::telemetry::{Capture, Metrics, Traces};
use crate::tenancy::Tenancy;
use crate::tenancy::usage::Usage as Reports;
use crate::upstream::Upstream;

/// What a gateway is made of.
pub struct Parts {
    /// Models and where they can be called, as it is known at any time.
    pub catalog: Live,
    /// Teams, keys, and the ledger.
    pub tenancy: Tenancy,
    /// Who calls without a key of the store.
    pub guests: Guests,
    /// Whose the asynchronous invocations are.
    pub invocations: Invocations,
    /// AWS, Region by Region.
    pub upstream: Upstream,
    /// What is kept of answers.
    pub responses: Responses,
    /// What calls used and cost.
    pub usage: Reports,
    /// Calls that are made once, however often they are asked for.
    pub idempotency: Idempotency,
    /// Files that requests point to.
    pub fetcher: Arc<Fetcher>,
    /// What the bodies of requests may take together.
    pub memory: Memory,
    /// What is counted.
    pub metrics: Metrics,
    /// Makes spans, if somebody collects them.
    pub traces: Traces,
    /// Keeps prompts and answers, if somebody asks for that.
    pub capture: Capture,
    /// What time it is.
    pub clock: Clock,
    /// How much of AWS's models the account may use.
    pub quotas: Quotas,
    /// How long and how often a call is tried.
    pub failover: Failover,
    /// Which of several candidates is tried first.
    pub order: Order,
    /// Calls that go on though their client has left; the drain waits for them as for clients.
    pub unattended: TaskTracker,
    /// Cancelled when the drain is over: streams still open are told so and cut.
    pub cut: CancellationToken,
}

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
