//! One AWS Region as one identity calls it: a signed call on the wire lane or to the control plane, and what belongs to
//! the Region (hosts, signing key, health).

mod ask;
mod call;
mod shared;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;

pub use ask::{Service, Told, Unreachable};
pub use call::{Call, Operation, Reply};
pub(super) use shared::Shared;

use super::classify::{Failure, Refusal};
use super::endpoint::{Endpoint, Plane};
use super::frames::Frames;
use super::health::Health;
use super::identity::{Regions, TeamRole};
use super::objects::{Means, Objects};
use super::plain::PlainCall;
use super::sign::{Keys, Signer};
use crate::clock::Timestamp;
use crate::config;
use crate::error::Result;
use crate::splice;
use crate::telemetry::traces::AttemptSpan;
use call::Place;
use shared::Access;

/// An answer of a model is at most 25 MB by AWS's limits; images in base64 stay below this too.
const MAX_REPLY: usize = 64 * 1024 * 1024;
/// Nothing in an error beyond this is worth reading.
const MAX_REFUSAL: usize = 1024 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("bedrock-gateway/", env!("CARGO_PKG_VERSION")));

/// What an attempt sends.
#[derive(Clone, Copy)]
enum Outgoing<'a> {
    /// The call on this model.
    OnModel(&'a str, &'a Call),
    /// A call on no model, to this plane.
    Plain(Plane, &'a PlainCall),
}

/// How a request was signed.
struct Signed {
    keys: Arc<Keys>,
    /// By AWS's clock, as it was known then.
    at: Timestamp,
}

/// One AWS Region, as one identity calls it. Clones are the same Region. With a span it is the Region as one attempt asks it:
/// the trace goes with what it is asked, and the span learns what it answers.
#[derive(Clone)]
pub struct Region(Arc<Inner>, Option<Arc<AttemptSpan>>);

struct Inner {
    site: Arc<Site>,
    access: Access,
    signer: Signer,
    /// Outlives a change of the settings.
    health: Arc<Health>,
    shared: Arc<Shared>,
}

/// What is the same whoever calls.
struct Site {
    name: Arc<str>,
    /// What `runtime` and `control` were made of.
    overrides: config::Endpoints,
    runtime: Endpoint,
    control: Endpoint,
    /// Made when it is first needed.
    objects: OnceLock<Objects>,
}

impl Region {
    pub(super) async fn resolve(name: &str, overrides: &config::Endpoints, shared: Arc<Shared>) -> Result<Self> {
        let runtime = Endpoint::resolve(name, Plane::Runtime, overrides.runtime.as_deref(), &shared.sts.sdk).await?;
        let control = Endpoint::resolve(name, Plane::Control, overrides.control.as_deref(), &shared.sts.sdk).await?;
        let (name, overrides) = (name.into(), overrides.clone());
        let site = Arc::new(Site { name, overrides, runtime, control, objects: OnceLock::new() });
        Ok(Self::new(site, shared.access.clone(), shared, Arc::default()))
    }

    fn new(site: Arc<Site>, access: Access, shared: Arc<Shared>, health: Arc<Health>) -> Self {
        let signer = Signer::new(&*site.name);
        Self(Arc::new(Inner { site, access, signer, health, shared }), None)
    }

    /// Whether the Region is called at these endpoints, and by these means.
    pub(super) fn is_reached_by(&self, overrides: &config::Endpoints, shared: &Arc<Shared>) -> bool {
        self.0.site.overrides == *overrides && Arc::ptr_eq(&self.0.shared, shared)
    }

    /// This Region, with what is known of it as `known`.
    pub(super) fn with_health_of(self, known: Option<&Self>) -> Self {
        let Some(known) = known else { return self };
        let Inner { site, access, shared, .. } = &*self.0;
        Self::new(Arc::clone(site), access.clone(), Arc::clone(shared), Arc::clone(&known.0.health))
    }

    /// These Regions as `role` calls them.
    pub(super) fn assuming(own: &Regions, role: TeamRole<'_>, shared: &Arc<Shared>) -> Regions {
        let access = Access::Signature(shared.assumed(role));
        Self::with_access(own, &access, shared, |_| None)
    }

    /// These Regions as the identity of `assumed` calls them: with its session, and what is known of its health.
    pub(super) fn assuming_still(assumed: &Regions, own: &Regions, shared: &Arc<Shared>) -> Regions {
        // There is no identity without a Region.
        let Some(first) = assumed.iter().next() else { return own.clone() };
        let access = first.0.access.clone();
        Self::with_access(own, &access, shared, |name| assumed.region(name).map(|known| Arc::clone(&known.0.health)))
    }

    fn with_access(
        own: &Regions,
        access: &Access,
        shared: &Arc<Shared>,
        health: impl Fn(&str) -> Option<Arc<Health>>,
    ) -> Regions {
        let of_team = |region: &Self| {
            let health = health(region.name()).unwrap_or_default();
            Self::new(Arc::clone(&region.0.site), access.clone(), Arc::clone(shared), health)
        };
        Regions(own.iter().map(of_team).collect())
    }

    /// For example `us-east-1`.
    pub fn name(&self) -> &Arc<str> {
        &self.0.site.name
    }

    /// The Region as the attempt of this span asks it.
    #[must_use]
    pub fn traced(self, span: Option<Arc<AttemptSpan>>) -> Self {
        Self(self.0, span)
    }

    /// Where its runtime is: `HOST`, or `HOST:PORT`.
    pub fn host(&self) -> &str {
        self.0.site.runtime.authority()
    }

    /// Which models rest here.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// The Region's S3 with the gateway's own credentials, whoever this is: objects are the gateway's.
    pub(super) fn objects(&self) -> Objects {
        let Inner { site, shared, .. } = &*self.0;
        let make = || {
            let means = Means {
                sdk: &shared.sts.sdk,
                url: site.overrides.s3.as_deref(),
                credentials: shared.credentials.clone(),
                clock: shared.clock.clone(),
                patience: shared.patience,
                tracker: shared.tracker.clone(),
            };
            Objects::new(&site.name, means)
        };
        site.objects.get_or_init(make).clone()
    }

    /// Calls a unary operation and waits for the whole answer. One attempt, apart from one repeat when AWS names our
    /// credentials expired or unknown, or our clock wrong. An answer that breaks off is a failure.
    pub async fn send(&self, model_id: &str, call: &Call) -> Result<Reply, Failure> {
        self.whole(Outgoing::OnModel(model_id, call)).await
    }

    /// Makes a call that is on no model; otherwise as [`Region::send`].
    pub async fn send_plain(&self, call: &PlainCall) -> Result<Reply, Failure> {
        self.whole(Outgoing::Plain(Plane::Runtime, call)).await
    }

    /// Makes a call to the control plane: models, inference profiles, jobs. Signed as the runtime's calls are, or with the
    /// same API key; otherwise as [`Region::send`].
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock.html>
    pub async fn control(&self, call: &PlainCall) -> Result<Reply, Failure> {
        self.whole(Outgoing::Plain(Plane::Control, call)).await
    }

    async fn whole(&self, outgoing: Outgoing<'_>) -> Result<Reply, Failure> {
        let (parts, body) = self.exchange(outgoing).await?.into_parts();
        let body = self.0.shared.wire.pieces(body).collect(MAX_REPLY).await?;
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    /// Opens a stream and waits for its first frame, because AWS answers 200 before it knows: an exception there is a
    /// failure and another candidate may still answer. The frame is the first that the stream yields. Otherwise as
    /// [`Region::send`].
    pub async fn open(&self, model_id: &str, call: &Call) -> Result<(HeaderMap, Frames), Failure> {
        let (parts, body) = self.exchange(Outgoing::OnModel(model_id, call)).await?.into_parts();
        let pieces = self.0.shared.wire.pieces(body);
        let mut frames = if call.operation.streams_sse() { Frames::sse(pieces) } else { Frames::binary(pieces) };
        let first = frames.next().await.unwrap_or_else(|| Err(Failure::cut("the stream has no frame")))?;
        if let Some(failure) = first.failure() {
            return Err(failure);
        }
        frames.put_back(first);
        Ok((parts.headers, frames))
    }

    /// The answer once it is a success.
    async fn exchange(&self, outgoing: Outgoing<'_>) -> Result<Response<Incoming>, Failure> {
        let mut corrected = false;
        loop {
            let (request, signed) = self.prepare(outgoing).await?;
            let response = self.0.shared.wire.exchange(request).await?;
            if let Some(span) = &self.1 {
                span.answered(response.status().as_u16(), response.headers());
            }
            if response.status().is_success() {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            // A body that breaks off still leaves the status and the name in the header.
            let body = Box::pin(self.0.shared.wire.pieces(body).collect(MAX_REFUSAL)).await.unwrap_or_default();
            let refusal = Refusal::read(parts.status.as_u16(), &parts.headers, &body, self.0.shared.clock.now());
            if !corrected && signed.is_some_and(|signed| self.correct(&refusal, &signed)) {
                corrected = true;
                if let Some(span) = &self.1 {
                    span.resent();
                }
                continue;
            }
            return Err(refusal.into_failure());
        }
    }

    /// The request to send, and how it was signed.
    async fn prepare(&self, outgoing: Outgoing<'_>) -> Result<(Request<Full<Bytes>>, Option<Signed>), Failure> {
        let Inner { site, access, signer, shared, .. } = &*self.0;
        let endpoint = match outgoing {
            Outgoing::OnModel(..) | Outgoing::Plain(Plane::Runtime, _) => &site.runtime,
            Outgoing::Plain(Plane::Control, _) => &site.control,
        };
        let (method, uri, own, body) = match outgoing {
            Outgoing::OnModel(model_id, call) => {
                let (uri, body) = match call.operation.place() {
                    Place::OfModel(suffix) => (endpoint.model_uri(model_id, suffix), call.body.clone()),
                    Place::Fixed(path) => (endpoint.uri(path), splice::with_model(&call.body, model_id)),
                };
                (&Method::POST, uri, &call.headers, body)
            }
            Outgoing::Plain(_, call) => (&call.method, endpoint.uri(&call.target), &call.headers, call.body.clone()),
        };
        let uri = uri.map_err(Failure::internal)?;
        let mut headers = HeaderMap::with_capacity(own.len() + 6);
        headers.insert(HOST, endpoint.host());
        if !body.is_empty() && !own.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, JSON);
        }
        headers.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
        let signed = match access {
            Access::Bearer(header) => {
                headers.insert(AUTHORIZATION, header.clone());
                None
            }
            Access::Signature(credentials) => {
                let now = shared.clock.now();
                let keys = credentials.keys(now).await.map_err(Failure::credentials)?;
                signer.sign(&keys, now, (method, &uri), &mut headers, &body).map_err(Failure::internal)?;
                Some(Signed { keys, at: now })
            }
        };
        headers.insert(USER_AGENT, AGENT);
        if let Some(span) = &self.1 {
            span.propagate(&mut headers);
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok((request, signed))
    }

    /// Whether the refusal had a cause that is now put right.
    fn correct(&self, refusal: &Refusal, signed: &Signed) -> bool {
        let Access::Signature(credentials) = &self.0.access else { return false };
        if let Some(code) = refusal.refused_credentials() {
            return credentials.refused(&signed.keys, code);
        }
        refusal.clock_of_refused_signature().is_some_and(|server| self.0.shared.clock.adopt(server, signed.at))
    }
}

#[cfg(test)]
mod tests;
