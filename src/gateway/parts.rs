//! What a gateway is made of, and the way to each part for those who are handed a [`Gateway`]. They are put together once;
//! what another configuration changes of them is in `changes.rs`.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::weight::Ratios;
use super::{Failover, Gateway, Guests};
use crate::catalog::{Catalog, Freshness, Live, Order, Quotas};
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
use crate::upstream::sticky::Sticky;

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

impl Parts {
    /// The Regions that are called, in order of preference.
    pub(super) fn regions(&self) -> Vec<Arc<str>> {
        self.upstream.regions().map(|region| region.name().clone()).collect()
    }
}

impl Gateway {
    /// Who calls without a key of the store.
    pub fn guests(&self) -> &Guests {
        &self.0.parts.guests
    }

    /// The catalog that is replaced when AWS tells something new.
    pub fn live(&self) -> &Live {
        &self.0.parts.catalog
    }

    /// Models and where they can be called, as it is known now.
    pub fn catalog(&self) -> Catalog {
        self.0.parts.catalog.now()
    }

    /// How fresh what is known of each Region is, in order of preference.
    pub fn catalog_state(&self) -> Vec<Freshness> {
        self.0.regions.iter().map(|region| self.0.parts.catalog.freshness(region)).collect()
    }

    /// Teams, keys, and the ledger.
    pub fn tenancy(&self) -> &Tenancy {
        &self.0.parts.tenancy
    }

    /// Whose the asynchronous invocations are.
    pub fn invocations(&self) -> &Invocations {
        &self.0.parts.invocations
    }

    /// The Regions that are called, in order of preference.
    pub fn regions(&self) -> &[Arc<str>] {
        &self.0.regions
    }

    /// AWS, Region by Region.
    pub fn upstream(&self) -> &Upstream {
        &self.0.parts.upstream
    }

    /// What is kept of answers.
    pub fn responses(&self) -> &Responses {
        &self.0.parts.responses
    }

    /// What calls used and cost.
    pub fn usage(&self) -> &Reports {
        &self.0.parts.usage
    }

    /// Calls that are made once, however often they are asked for.
    pub fn idempotency(&self) -> &Idempotency {
        &self.0.parts.idempotency
    }

    /// Files that requests point to.
    pub fn fetcher(&self) -> &Fetcher {
        &self.0.parts.fetcher
    }

    /// What the bodies of requests may take together.
    pub fn memory(&self) -> &Memory {
        &self.0.parts.memory
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.parts.metrics
    }

    /// Makes spans, if somebody collects them.
    pub fn traces(&self) -> &Traces {
        &self.0.parts.traces
    }

    /// Keeps prompts and answers, if somebody asks for that.
    pub fn capture(&self) -> &Capture {
        &self.0.parts.capture
    }

    /// How much of AWS's models the account may use.
    pub fn quotas(&self) -> &Quotas {
        &self.0.parts.quotas
    }

    /// How long and how often a call is tried.
    pub(super) fn failover(&self) -> Failover {
        self.0.parts.failover
    }

    /// Who served which conversation last.
    pub(super) fn sticky(&self) -> &Sticky {
        &self.0.sticky
    }

    /// What bodies weighed so far.
    pub(super) fn ratios(&self) -> &Ratios {
        &self.0.ratios
    }

    /// What time it is.
    pub fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }
}
