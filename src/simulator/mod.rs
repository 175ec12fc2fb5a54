//! A local AWS as far as the gateway sees one: Bedrock's runtime and the catalog of its control plane, STS, IAM, S3's objects, and
//! what a check of a bucket asks KMS, over HTTP, true to AWS's wire.
//!
//! It checks signatures and requests as AWS does, answers deterministically (see `content.rs`), streams real frames and fails
//! on request (see [`RegionFaults`]). It imports nothing of this crate, so that it cannot share the gateway's mistakes; what
//! both know are the data files of the catalog.
//!
//! One listener serves every Region, told apart by the scope of the signature (a bearer call says `x-sim-region`), or one
//! Region alone, as AWS's hosts do. Beside AWS's paths, unsigned: `GET`, `POST` and `DELETE /_sim/faults`, `GET` and `DELETE /_sim/calls`,
//! `GET /_sim/invocations`, `GET`, `POST` and `DELETE /_sim/gates`, `GET`, `POST` and `DELETE /_sim/quotas`, `GET` and
//! `POST /_sim/jobs`, `GET /_sim/sessions`, `POST /_sim/roles`, `policy`, `buckets`,
//! `kms-keys`, `async-invokes/complete`.

mod account;
mod async_invoke;
mod auth;
mod calls;
mod catalog;
mod content;
mod control;
#[cfg(test)]
mod control_tests;
mod converse;
mod count;
mod edit;
mod errors;
mod faults;
mod form;
mod frames;
mod gates;
#[cfg(test)]
mod gates_tests;
mod guardrail;
mod handler;
mod iam;
mod invoke;
mod jobs;
mod kms;
#[cfg(test)]
mod model_tests;
mod operations;
mod orders;
mod permission;
#[cfg(test)]
mod permission_tests;
mod policy;
#[cfg(test)]
mod probe;
mod prompt_cache;
mod quota;
mod reply;
mod resolve;
mod responses;
mod s3;
#[cfg(test)]
mod s3_tests;
mod schema;
mod server;
mod sessions;
mod settings;
mod sigv4;
mod stream;
mod sts;
#[cfg(test)]
mod sts_tests;
mod tiers;
mod tokens;
mod validate;

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use jiff::{SignedDuration, Timestamp};
use tokio::net::TcpListener;

pub use calls::{Call, Invocation, Outcome, Tokens, Total};
pub use edit::CatalogEditor;
pub use faults::{ControlFaults, RegionFaults};
pub use gates::{Gate, Held, When};
pub use jobs::{JobPace, JobQuota, JobQuotaSet, JobRecord, JobState, JobTotals, Partial, Records, RegionJobs};
pub use quota::{Quota, QuotaUse};
pub use s3::S3Faults;
pub use sessions::AssumedSession;
pub use settings::{Bucket, Encryption, Role, Settings, UnsupportedTier};

use account::Account;
use async_invoke::AsyncInvokes;
use calls::Calls;
use catalog::Catalog;
use edit::Offer;
use faults::Faults;
use gates::Gates;
use jobs::Jobs;
use prompt_cache::PromptCache;
use quota::Quotas;
use responses::Stored;
use s3::objects::Objects;
use sessions::Sessions;

/// Whether AWS has a Region of this code.
pub fn is_region(code: &str) -> bool {
    catalog::partition(code).is_some()
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
    gates: Gates,
    calls: Arc<Calls>,
    prompt_cache: PromptCache,
    stored_responses: Stored,
    async_invokes: AsyncInvokes,
    offer: Offer,
    quotas: Quotas,
    account: Account,
    sessions: Sessions,
    objects: Arc<Objects>,
    jobs: Jobs,
    clock: Mutex<Clock>,
}

#[derive(Debug, Default)]
struct Clock {
    skew: SignedDuration,
    frozen: Option<Timestamp>,
}

impl Simulator {
    /// A simulator with no faults waiting and no calls recorded.
    pub fn new(settings: Settings) -> Self {
        let inner = Inner {
            account: Account::new(&settings),
            jobs: Jobs::new(settings.job_pace),
            settings,
            faults: Arc::default(),
            gates: Gates::default(),
            calls: Arc::default(),
            prompt_cache: PromptCache::default(),
            stored_responses: Stored::default(),
            async_invokes: AsyncInvokes::default(),
            offer: Offer::default(),
            quotas: Quotas::default(),
            sessions: Sessions::default(),
            objects: Arc::default(),
            clock: Mutex::default(),
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
        RegionFaults::new(self.clone(), name)
    }

    /// Forgets the faults that wait.
    pub fn clear_faults(&self) {
        self.inner.faults.clear();
        self.inner.jobs.clear_faults();
    }

    /// How many calls and jobs will still meet a fault.
    pub fn waiting_faults(&self) -> u64 {
        self.inner.faults.waiting().saturating_add(self.inner.jobs.waiting_faults())
    }

    /// The last 10,000 calls, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.inner.calls.list()
    }

    /// Exact sums over all calls, by Region and model identifier.
    pub fn totals(&self) -> Vec<Total> {
        self.inner.calls.totals()
    }

    /// The last 100,000 calls on models, in the order in which they arrived.
    pub fn invocations(&self) -> Vec<Invocation> {
        self.inner.calls.invocations()
    }

    /// Forgets calls, invocations and sums.
    pub fn clear_calls(&self) {
        self.inner.calls.clear();
    }

    /// Ends every asynchronous invocation that is in progress.
    pub fn complete_async_invokes(&self) {
        self.inner.async_invokes.complete(self.now());
    }

    /// Moves the simulator's clock: signatures are judged, and `Date` is told, by a clock that is `seconds` ahead.
    pub fn set_clock_skew(&self, seconds: i64) {
        self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner).skew = SignedDuration::from_secs(seconds);
    }

    /// Stops the simulator's clock at `at`, skew aside: time passes by [`Self::advance_clock`] alone from here on.
    pub fn set_clock(&self, at: Timestamp) {
        self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner).frozen = Some(at);
        self.inner.jobs.wake();
    }

    /// Lets so much time pass at once, by moving a clock that stands and by skewing one that runs.
    pub fn advance_clock(&self, by: Duration) {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        let mut clock = self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner);
        match clock.frozen {
            Some(at) => clock.frozen = Some(at.saturating_add(by).unwrap_or(at)),
            None => clock.skew = clock.skew.saturating_add(by),
        }
        drop(clock);
        self.inner.jobs.wake();
    }

    /// Which models, Regions and profiles AWS offers, to be changed.
    pub fn catalog(&self) -> CatalogEditor<'_> {
        CatalogEditor::new(&self.inner.offer)
    }

    /// From now on `region` allows so much each minute of `id`: a bare model id (in-Region), a system profile id, or
    /// `custom-model-deployment/...`. Nothing of it is used yet.
    pub fn set_quota(&self, region: &str, id: &str, quota: Quota) {
        self.inner.quotas.set(region, id, quota, self.now());
    }

    /// The quotas that were set, and what is taken of each.
    pub fn quotas(&self) -> Vec<QuotaUse> {
        self.inner.quotas.list(self.now())
    }

    /// Nothing is limited any more.
    pub fn clear_quotas(&self) {
        self.inner.quotas.clear();
    }

    /// The roles that were assumed, in the order of their first time.
    pub fn sessions(&self) -> Vec<AssumedSession> {
        self.inner.sessions.list()
    }

    /// Forgets which roles were assumed; their credentials stay good.
    pub fn clear_sessions(&self) {
        self.inner.sessions.forget_list();
    }

    /// All temporary credentials given out so far are expired from now on: `ExpiredTokenException`.
    pub fn expire_sessions(&self) {
        self.inner.sessions.expire_all();
    }

    /// All temporary credentials given out so far are unknown from now on: `UnrecognizedClientException`.
    pub fn revoke_sessions(&self) {
        self.inner.sessions.revoke_all();
    }

    /// Nobody may assume this role any more; who did keeps their credentials.
    pub fn deny_role(&self, role_arn: &str) {
        self.inner.sessions.deny(role_arn);
    }

    /// Takes [`Self::deny_role`] back.
    pub fn allow_role(&self, role_arn: &str) {
        self.inner.sessions.allow(role_arn);
    }

    /// `AssumeRoleWithWebIdentity` takes this token alone from now on.
    pub fn set_web_identity_token(&self, token: &str) {
        self.inner.sessions.expect_token(token);
    }

    /// The keys, tokens and account of this simulator.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn now(&self) -> Timestamp {
        let clock = self.inner.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.frozen.unwrap_or_else(Timestamp::now);
        now.saturating_add(clock.skew).unwrap_or(now)
    }

    fn offered(&self) -> Arc<Catalog> {
        self.inner.offer.snapshot()
    }

    fn sessions_kept(&self) -> &Sessions {
        &self.inner.sessions
    }

    fn quotas_kept(&self) -> &Quotas {
        &self.inner.quotas
    }

    /// What is in the buckets.
    pub(crate) fn objects(&self) -> &Arc<Objects> {
        &self.inner.objects
    }

    fn prompt_cache(&self) -> &PromptCache {
        &self.inner.prompt_cache
    }

    fn async_invokes(&self) -> &AsyncInvokes {
        &self.inner.async_invokes
    }

    fn jobs_kept(&self) -> &Jobs {
        &self.inner.jobs
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
