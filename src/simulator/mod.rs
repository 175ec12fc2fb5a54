//! A local Bedrock: the runtime and the catalog of the control plane over HTTP, true to AWS's wire.
//!
//! It checks signatures and requests as AWS does, answers deterministically (see `content.rs`), streams real frames and fails
//! on request (see [`RegionFaults`]). It imports nothing of this crate, so that it cannot share the gateway's mistakes; what
//! both know are the data files of the catalog.
//!
//! One listener serves every Region, told apart by the scope of the signature (a bearer call says `x-sim-region`), or one
//! Region alone, as AWS's hosts do. Beside AWS's paths, unsigned: `GET`, `POST` and `DELETE /_sim/faults`, `GET` and `DELETE /_sim/calls`,
//! `POST /_sim/async-invokes/complete`.

mod async_invoke;
mod auth;
mod calls;
mod catalog;
mod content;
mod control;
mod converse;
mod count;
mod errors;
mod faults;
mod frames;
mod guardrail;
mod handler;
mod invoke;
mod operations;
#[cfg(test)]
mod probe;
mod prompt_cache;
mod reply;
mod responses;
mod schema;
mod server;
mod sigv4;
mod stream;
mod tokens;
mod validate;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;

pub use calls::{Call, Outcome, Tokens, Total};
pub use faults::RegionFaults;

use async_invoke::AsyncInvokes;
use calls::Calls;
use faults::Faults;
use prompt_cache::PromptCache;
use responses::Stored;

/// What a simulator believes and how it behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one access key it knows.
    pub access_key: String,
    /// The secret of that key.
    pub secret_key: String,
    /// The session token that a signed request must carry; without one any is accepted.
    pub session_token: Option<String>,
    /// The bearer tokens it accepts.
    pub bearer_tokens: Vec<String>,
    /// The Region of a bearer call that names none.
    pub default_region: String,
    /// The account in the ARNs it answers.
    pub account: String,
    /// Application inference profiles: their id, and the model or profile id that each copies.
    pub application_profiles: BTreeMap<String, String>,
    /// The pause between the events of a stream.
    pub event_delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            access_key: "AKIDSIMULATOR".to_owned(),
            secret_key: "simulator-secret-not-a-real-key".to_owned(),
            session_token: None,
            bearer_tokens: vec!["sim-bearer-token".to_owned()],
            default_region: "us-east-1".to_owned(),
            account: "000000000000".to_owned(),
            application_profiles: BTreeMap::new(),
            event_delay: Duration::ZERO,
        }
    }
}

/// A simulated AWS account. Clones are the same account.
#[derive(Clone, Debug)]
pub struct Simulator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    faults: Arc<Faults>,
    calls: Arc<Calls>,
    prompt_cache: PromptCache,
    stored_responses: Stored,
    async_invokes: AsyncInvokes,
    clock_skew_seconds: AtomicI64,
}

impl Simulator {
    /// A simulator with no faults waiting and no calls recorded.
    pub fn new(settings: Settings) -> Self {
        let inner = Inner {
            settings,
            faults: Arc::default(),
            calls: Arc::default(),
            prompt_cache: PromptCache::default(),
            stored_responses: Stored::default(),
            async_invokes: AsyncInvokes::default(),
            clock_skew_seconds: AtomicI64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Every Region on one port.
    pub fn router(&self) -> Router {
        handler::router(self.clone(), None)
    }

    /// One Region alone: a signature scoped to another is refused, a bearer call means this one.
    pub fn router_for(&self, region: &str) -> Router {
        handler::router(self.clone(), Some(region))
    }

    /// Serves every Region on `listener` until `shutdown`, then lets open answers end.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        serve(self.router(), listener, shutdown).await
    }

    /// Serves one Region on `listener` until `shutdown`, then lets open answers end.
    pub async fn serve_region(
        &self,
        listener: TcpListener,
        region: &str,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        serve(self.router_for(region), listener, shutdown).await
    }

    /// The faults of a Region, or of any (`*`).
    pub fn region(&self, name: &str) -> RegionFaults {
        RegionFaults::new(Arc::clone(&self.inner.faults), name)
    }

    /// Forgets the faults that wait.
    pub fn clear_faults(&self) {
        self.inner.faults.clear();
    }

    /// How many calls will still meet a fault.
    pub fn waiting_faults(&self) -> u64 {
        self.inner.faults.waiting()
    }

    /// The last 10,000 calls, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.list()
    }

    /// Exact sums over all calls, by Region and model identifier.
    pub fn totals(&self) -> Vec<Total> {
        self.inner.calls.totals()
    }

    /// Forgets calls and sums.
    pub fn clear_calls(&self) {
        self.inner.calls.clear();
    }

    /// Ends every asynchronous invocation that is in progress.
    pub fn complete_async_invokes(&self) {
        self.inner.async_invokes.complete(self.now());
    }

    /// Moves the simulator's clock: signatures are judged, and `Date` is told, by a clock that is `seconds` ahead.
    pub fn set_clock_skew(&self, seconds: i64) {
        self.inner.clock_skew_seconds.store(seconds, Ordering::Release);
    }

    /// The keys, tokens and account of this simulator.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn now(&self) -> Timestamp {
        let skew = SignedDuration::from_secs(self.inner.clock_skew_seconds.load(Ordering::Acquire));
        let now = Timestamp::now();
        now.saturating_add(skew).unwrap_or(now)
    }

    fn prompt_cache(&self) -> &PromptCache {
        &self.inner.prompt_cache
    }

    fn async_invokes(&self) -> &AsyncInvokes {
        &self.inner.async_invokes
    }

    fn stored_responses(&self) -> &Stored {
        &self.inner.stored_responses
    }
}

async fn serve(
    router: Router,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router.into_make_service_with_connect_info::<server::Switch>();
    axum::serve(server::SwitchedListener(listener), service).with_graceful_shutdown(shutdown).await
}
