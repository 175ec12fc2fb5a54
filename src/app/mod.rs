//! The composition root: from a [`Config`] to a gateway that serves, and back down without cutting an answer.
//!
//! Everything is put together here and handed what it needs; background work runs on one tracker, and the shutdown
//! waits for it.

mod assembly;
mod certificate;
mod connection;
mod descriptors;
mod listener;
mod local;
mod reload;
mod room;
mod serving;
mod tls;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use descriptors::raise as raise_open_files;
pub use local::{
    Local, again as local_again, buckets as local_buckets, development_tls, key as local_key,
    sealing_key as local_sealing_key,
};
pub use tls::Tls;
pub use watched::Watched;

use crate::api::{self, ops};
use crate::batch::{self, Batches, Files};
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{self, Config, Problems};
use crate::error::Result;
use crate::gateway::{Gateway, Present};
use crate::refresh::Refresher;
use assembly::{Assembly, Tasks};
use connection::Limits;
use listener::{Listener, Terms};
use reload::Reloader;
use serving::{Extras, Serving, Switch};

/// Connections to the ops port at once.
const OPERATORS: usize = 64;

/// How long what is left may take once the drain is over: the last words of cut streams, the last rows of the ledger.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// A gateway that serves.
pub struct App {
    /// Where clients reach it.
    pub address: SocketAddr,
    /// Where operators reach it.
    pub ops_address: SocketAddr,
    reloader: Reloader,
    readiness: ops::Readiness,
    clients: Listener,
    operators: Listener,
    tasks: Tasks,
}

impl App {
    /// Opens the store, loads keys and catalog, and listens. Asks nothing of AWS: an outage there does not keep a
    /// gateway from starting.
    pub async fn start(config: &Config, catalog: Catalog, clock: Clock, tls: Option<Tls>) -> Result<Self> {
        let clients = listener::bind("server.listen", config.server.listen)?;
        let operators = listener::bind("server.ops_listen", config.server.ops_listen)?;
        let tasks = Tasks::default();
        let Assembly { gateway, files, refresher } = Assembly::of(config, catalog, clock, &tasks).await?;

        let readiness = ops::Readiness::default();
        let reading = ops::Reading::default();
        gateway.metrics().config_read(gateway.clock().now());
        reading.applied(gateway.clock().now(), Vec::new());
        let none = Serving { config: config.clone(), gateway: gateway.clone(), routes: axum::Router::new() };
        let switch = Switch::new(none);
        let routes = axum::Router::new().fallback_service(switch.clone());
        let batches = files.as_ref().and_then(|files| batches(&config.batch, switch.gateway(), files, &routes));
        let extras = Extras { files, batches };
        let all = extras.routes(&gateway, config);
        switch.replace(Serving { config: config.clone(), gateway, routes: all });
        if let Some(batches) = &extras.batches {
            batches.work().await?;
        }
        let present = switch.clone();
        let limits: Arc<dyn Fn() -> Limits + Send + Sync> = Arc::new(move || Limits::new(&present.now().config.server));
        let most = descriptors::connections(config.server.max_connections);
        let memory_mb = room::for_bodies(&config.server) >> 20;
        tracing::info!(most, memory_mb, "connections of clients at once, and memory for the bodies of their requests");
        if let Some(tls) = tls.clone() {
            let metrics = switch.now().gateway.metrics().clone();
            metrics.certificate(tls.not_after());
            tasks.tracker.spawn(tasks.stop.clone().run_until_cancelled_owned(tls.watch(metrics)));
        }
        let terms = Terms { service: switch.clone(), limits: Arc::clone(&limits), most, tls };
        let clients = Listener::serve(clients, terms)?;
        let service = ops::router(switch.gateway(), readiness.clone(), reading.clone());
        let operators = Listener::serve(operators, Terms { service, limits, most: OPERATORS, tls: None })?;
        readiness.ready();
        if let Some(period) = config.aws.catalog_refresh() {
            refresher.in_background(period, &tasks.tracker, tasks.stop.clone());
        }
        let reloader = Reloader {
            started: config.clone(),
            switch,
            extras,
            refresher,
            reading,
            tracker: tasks.tracker.clone(),
            stop: tasks.stop.clone(),
            changing: tokio::sync::Mutex::default(),
        };
        Ok(Self {
            address: clients.address,
            ops_address: operators.address,
            reloader,
            readiness,
            clients,
            operators,
            tasks,
        })
    }

    /// What every request needs, by the settings as they are now.
    pub fn gateway(&self) -> Gateway {
        self.reloader.switch.now().gateway.clone()
    }

    /// What it was started with.
    pub fn started(&self) -> &Config {
        &self.reloader.started
    }

    /// Goes on by a configuration that was read again and checked as at the start, as far as that needs no restart. All or
    /// nothing: what has problems changes nothing. Either is in the log, in the metrics and in `/readyz?verbose`; what needs
    /// a restart is a warning. Requests under way are served to their end by what they began with.
    pub async fn reload(&self, read: Result<(Config, Catalog), Problems>) {
        self.reloader.reload(read).await;
    }

    /// The batches, where there are a bucket and a role for them.
    pub fn batches(&self) -> Option<&Batches> {
        self.reloader.extras.batches.as_ref()
    }

    /// What keeps the catalog fresh; with `aws.catalog_refresh_minutes = 0` only when it is told to.
    pub fn refresher(&self) -> &Refresher {
        &self.reloader.refresher
    }

    /// Is not ready from now on. Serves as before for `server.notice_seconds`, so that load balancers notice; then takes no
    /// more connections, and lets open answers, those whose client has left and that go on among them, end for
    /// `server.drain_seconds`. Tells those still open that they are cut, books everything, and stops. `hurry` ends both
    /// waits.
    pub async fn drain(self, hurry: impl Future<Output = ()>) {
        let settings = &self.reloader.switch.now().config.server;
        let notice = Duration::from_secs(settings.notice_seconds);
        let patience = Duration::from_secs(settings.drain_seconds);
        self.readiness.draining();
        self.clients.give_notice();
        let answered = async {
            tokio::time::sleep(notice).await;
            self.clients.close();
            self.clients.closed().await;
            // Nobody is left who could leave.
            self.tasks.unattended.close();
            self.tasks.unattended.wait().await;
        };
        // Batches are handed over at once; records under way are let end, as clients' calls are.
        let handed_over = async {
            if let Some(batches) = self.batches() {
                batches.stop().await;
            }
        };
        let answered = futures_util::future::join(answered, handed_over);
        tokio::select! {
            ((), ()) = answered => {}
            () = tokio::time::sleep(notice + patience) => {}
            () = hurry => {}
        }
        self.clients.close();
        self.tasks.cut.cancel();
        if tokio::time::timeout(LAST_WORDS, self.clients.closed()).await.is_err() {
            self.clients.abort();
            self.clients.closed().await;
        }
        self.tasks.unattended.close();
        if tokio::time::timeout(LAST_WORDS, self.tasks.unattended.wait()).await.is_err() {
            tracing::error!("calls whose clients left did not end in time; they may not be booked");
        }
        // Nothing can be booked any more: the ledger's writer may empty its queue and end.
        self.tasks.stop.cancel();
        self.operators.abort();
        self.tasks.tracker.close();
        if tokio::time::timeout(LAST_WORDS, self.tasks.tracker.wait()).await.is_err() {
            tracing::error!("background work did not end in time; the last rows of the ledger may be missing");
        }
    }
}

/// The batches; none without the role that AWS's jobs run as. Records that are no job come back in by `routes`.
fn batches(settings: &config::Batch, gateway: Present, files: &Files, routes: &axum::Router) -> Option<Batches> {
    if settings.role_arn.is_empty() {
        return None;
    }
    let (door, codecs) = (api::batch::door(routes), api::batch::CODECS);
    let (settings, files) = (settings.clone(), files.clone());
    Some(Batches::new(batch::Parts { gateway, settings, files, codecs, door }))
}
