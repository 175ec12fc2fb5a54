//! What serves, put together: from a [`Config`] to a [`Gateway`] with all that works beside it, before anything listens.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batch::Files;
use crate::batch::webhook::Webhooks;
use crate::catalog::{Catalog, Live, Quotas};
use crate::clock::Clock;
use crate::config::{Aws, Config};
use crate::error::{Error, Result};
use crate::fetch::{Documents, Fetcher};
use crate::gateway::{Failover, Gateway, Guests, Parts};
use crate::idempotency::Idempotency;
use crate::invocations::Invocations;
use crate::issuers::Issuers;
use crate::memory::Memory;
use crate::refresh::Refresher;
use crate::responses::Responses;
use crate::store::Store;
use crate::telemetry::{Capture, Metrics, Traces};
use crate::tenancy::usage::Usage;
use crate::tenancy::{Administrators, Options, Sealer, Tenancy, journal};
use crate::upstream::Upstream;

/// What goes on beside requests, and how it is told to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    /// Background work; the shutdown waits for it.
    pub(super) tracker: TaskTracker,
    /// Ends background work, once nothing can be booked any more.
    pub(super) stop: CancellationToken,
    /// Calls that go on though their client has left.
    pub(super) unattended: TaskTracker,
    /// Cuts the streams that are open when the drain is over.
    pub(super) cut: CancellationToken,
}

/// A gateway, and what works beside it.
pub(super) struct Assembly {
    pub(super) gateway: Gateway,
    /// None without a bucket.
    pub(super) files: Option<Files>,
    pub(super) refresher: Refresher,
}

impl Assembly {
    /// Opens the store, and loads keys and catalog.
    pub(super) async fn of(config: &Config, catalog: Catalog, clock: Clock, tasks: &Tasks) -> Result<Self> {
        let Tasks { tracker, stop, .. } = tasks;
        let metrics = Metrics::new().map_err(Error::internal)?;
        let traces = Traces::start(&config.telemetry, &metrics, tracker, stop.clone())?;
        let capture = Capture::start(&config.telemetry.capture, clock.now(), &metrics, (tracker, stop.clone()))?;

        let store = Store::open(&config.store.url).await?;
        let invocations = Invocations::new(store.clone(), &config.batch);
        let responses = Responses::new(store.clone(), clock.clone(), &config.responses, config.server.max_body_bytes());
        responses.purge_in_background(tracker, stop.clone());
        let idempotency = Idempotency::new(
            store.clone(),
            clock.clone(),
            &config.idempotency,
            config.server.max_body_bytes(),
            tracker.clone(),
        );
        idempotency.purge_in_background(stop.clone());
        let usage = Usage::new(store.clone(), clock.clone(), &config.ledger);
        usage.retain_in_background(tracker, stop.clone());
        let journal = config.store.journal_folder().map(|folder| journal::Setup::new(folder, metrics.clone()));
        let options = Options { metrics: metrics.clone(), journal, shared: config.shared.clone() };
        let tenancy = Tenancy::open(store.clone(), clock.clone(), options, tracker, stop.clone()).await?;
        let issuers = Issuers::new(&config.auth.jwt, Documents::new(&config.fetch)?, clock.clone(), tracker, stop);
        let administrators = Administrators::new(&config.auth.admin_key_sha256);
        let guests = Guests::new(administrators, issuers, Sealer::configured(&config.auth));
        let upstream = Upstream::connect(&config.aws, clock.clone(), tracker).await?;
        let files = (!config.batch.bucket.is_empty())
            .then(|| Files::new(store, upstream.clone(), &config.batch, clock.clone(), tracker.clone()));
        if let Some(files) = &files {
            files.sweep_in_background(stop.clone());
        }
        let quotas = Quotas::configured(config, &catalog)?;
        let fetcher = Arc::new(Fetcher::new(&config.fetch, config.server.max_body_bytes())?);
        let sealer = Sealer::configured(&config.auth);
        Webhooks::new(tenancy.store().clone(), clock.clone(), sealer, Arc::clone(&fetcher), metrics.clone())
            .deliver_in_background(tracker, stop.clone());
        let live = Live::new(catalog);
        let refresher = Refresher::new(live.clone(), upstream.clone(), &config.models, metrics.clone(), clock.clone());
        let gateway = Gateway::new(Parts {
            catalog: live,
            tenancy,
            guests,
            invocations,
            upstream,
            responses,
            usage,
            idempotency,
            fetcher,
            memory: Memory::of(super::room::for_bodies(&config.server)),
            metrics,
            traces,
            capture,
            clock,
            quotas,
            failover: failover(&config.aws),
            order: config.aws.order,
            unattended: tasks.unattended.clone(),
            cut: tasks.cut.clone(),
        });
        Ok(Self { gateway, files, refresher })
    }
}

/// How long and how often calls are tried.
pub(super) fn failover(aws: &Aws) -> Failover {
    let hedge_after = Some(Duration::from_millis(aws.hedge_after_ms)).filter(|after| !after.is_zero());
    Failover { max_attempts: aws.max_attempts, call_timeout: Duration::from_secs(aws.call_timeout_s), hedge_after }
}
