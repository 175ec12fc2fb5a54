//! The ops port: `/metrics`, `/livez`, `/readyz`. Never public: it asks for no key.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};

use crate::clock::Timestamp;
use crate::gateway::Present;
use crate::telemetry::metrics::BudgetState;
use crate::tenancy::admin::moment::tell;

/// Whether new requests are welcome; false from the start of the drain on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Listeners, store and catalog are there.
    pub fn ready(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The drain begins.
    pub fn draining(&self) {
        self.0.store(false, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What became of the configuration whenever it was read. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Reading(Arc<Mutex<Read>>);

#[derive(Debug, Default)]
struct Read {
    applied: Timestamp,
    /// When it was last refused, and why, problem by problem; `None`: it counts.
    refused: Option<(Timestamp, Vec<String>)>,
    needing_restart: Vec<&'static str>,
}

impl Reading {
    /// It was read at `at` and counts since, but for these settings, which need a restart.
    pub fn applied(&self, at: Timestamp, needing_restart: Vec<&'static str>) {
        *self.lock() = Read { applied: at, refused: None, needing_restart };
    }

    /// It was read at `at` and changed nothing, because of these problems.
    pub fn refused(&self, at: Timestamp, problems: Vec<String>) {
        self.lock().refused = Some((at, problems));
    }

    /// For people: a line for what counts, and one for each thing that does not.
    fn tell(&self, text: &mut String) {
        let read = self.lock();
        // Writing into a text does not fail.
        let _ = writeln!(text, "settings: read {}", tell(read.applied));
        for setting in &read.needing_restart {
            let _ = writeln!(text, "settings: {setting} has changed and needs a restart");
        }
        if let Some((at, problems)) = &read.refused {
            let _ = writeln!(text, "settings: refused {}, those of before go on", tell(*at));
            for problem in problems {
                let _ = writeln!(text, "settings: {}", problem.replace('\n', " "));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The routes of the ops port.
pub fn router(gateway: Present, readiness: Readiness, reading: Reading) -> Router {
    Router::new()
        .route("/metrics", get(scrape).with_state(gateway.clone()))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state((gateway, readiness, reading)))
}

/// The scrape; what is a state rather than an event is read when it is asked for.
async fn scrape(State(gateway): State<Present>) -> Response {
    let gateway = gateway.now();
    let metrics = gateway.metrics();
    let ledger = gateway.tenancy().ledger();
    metrics.ledger(ledger.lag, ledger.lost);
    if let Some(shared) = gateway.tenancy().shared_state() {
        metrics.shared_store(u8::from(shared.up), shared.errors);
    }
    metrics.bodies(gateway.memory().taken(), gateway.memory().most());
    let remaining = gateway.tenancy().remaining();
    metrics.budgets_remaining(remaining.iter().map(|(team, left)| (&**team, *left)));
    let accounts = gateway.tenancy().accounts();
    metrics.budgets(accounts.iter().map(|account| BudgetState {
        team: &account.payer.name,
        scope: account.budget.subject.parts().0,
        period: account.budget.period.into(),
        limit: account.balance.limit,
        spent: account.balance.spent,
    }));
    let now = gateway.clock().now();
    // What rests is an id that was called, maybe a profile's or an ARN: it goes by its model, as in all other metrics. With
    // whose role it was called is no label: what rests for one team does so in the sum.
    let catalog = gateway.catalog();
    let identities = gateway.upstream().identities();
    let regions = identities.iter().flat_map(|(_, regions)| regions.iter());
    let resting = regions.flat_map(|region| {
        let named = region.health().resting(now).filter_map(|id| Some(catalog.resolve(&id).ok()?.name));
        named.map(|name| (region.name().to_string(), name.to_string())).collect::<Vec<_>>()
    });
    metrics.cooling(resting);
    for state in gateway.catalog_state() {
        if let Some(age) = state.age(now) {
            metrics.catalog_age(&state.region, age);
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render()).into_response()
}

/// Whether new requests are welcome. With `?verbose` a line more for each thing that does not decide it: a gateway whose
/// shared store is away answers by itself what becomes of a call, and taking all replicas out would help nobody.
async fn readyz(
    State((gateway, readiness, reading)): State<(Present, Readiness, Reading)>,
    RawQuery(query): RawQuery,
) -> Response {
    let (status, mut text) = if readiness.is_ready() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or draining\n".to_owned())
    };
    let is_verbose = query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose")));
    if is_verbose {
        text.push_str(match gateway.now().tenancy().shared_state() {
            None => "shared store: none, limits and budgets are counted by this process alone\n",
            Some(shared) if shared.up => "shared store: up\n",
            Some(_) => "shared store: away\n",
        });
        reading.tell(&mut text);
    }
    (status, text).into_response()
}
