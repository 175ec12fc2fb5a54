//! One AWS Region: a signed call on the wire lane or to the control plane, and what belongs to the Region (hosts, signing
//! key, health).

mod ask;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials as StaticCredentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_types::SdkConfig;
use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

pub use ask::{Service, Told, Unreachable};

use super::classify::{Failure, Refusal};
use super::credentials::Credentials;
use super::endpoint::{Endpoint, Plane};
use super::frames::Frames;
use super::health::Health;
use super::plain::PlainCall;
use super::sign::{Keys, Signer};
use super::wire::Wire;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::error::{Error, Result};
use crate::splice;

/// An answer of a model is at most 25 MB by AWS's limits; images in base64 stay below this too.
const MAX_REPLY: usize = 64 * 1024 * 1024;
/// Nothing in an error beyond this is worth reading.
const MAX_REFUSAL: usize = 1024 * 1024;
/// A clock this much off is corrected; AWS refuses signatures from five minutes on.
const TOLERATED_SKEW: Duration = Duration::from_secs(10);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("bedrock-gateway/", env!("CARGO_PKG_VERSION")));

/// An operation of the runtime on a model.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /model/{id}/converse`
    Converse,
    /// `POST /model/{id}/converse-stream`
    ConverseStream,
    /// `POST /model/{id}/invoke`
    InvokeModel,
    /// `POST /model/{id}/invoke-with-response-stream`
    InvokeModelWithResponseStream,
    /// `POST /model/{id}/count-tokens`; free of charge
    CountTokens,
    /// `POST /anthropic/v1/messages`; streams server-sent events if its body says `stream`
    Messages,
    /// `POST /openai/v1/chat/completions`; likewise
    ChatCompletions,
    /// `POST /openai/v1/responses`; likewise
    Responses,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The last segment of a path that names the model.
    OfModel(&'static str),
    /// A path of its own: the body names the model.
    Fixed(&'static str),
}

impl Operation {
    const fn place(self) -> Place {
        match self {
            Self::Converse => Place::OfModel("converse"),
            Self::ConverseStream => Place::OfModel("converse-stream"),
            Self::InvokeModel => Place::OfModel("invoke"),
            Self::InvokeModelWithResponseStream => Place::OfModel("invoke-with-response-stream"),
            Self::CountTokens => Place::OfModel("count-tokens"),
            Self::Messages => Place::Fixed("/anthropic/v1/messages"),
            Self::ChatCompletions => Place::Fixed("/openai/v1/chat/completions"),
            Self::Responses => Place::Fixed("/openai/v1/responses"),
        }
    }

    /// Whether a streamed answer comes as server-sent events.
    const fn streams_sse(self) -> bool {
        matches!(self.place(), Place::Fixed(_))
    }
}

/// What is sent, whichever candidate it is sent to.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which operation.
    pub operation: Operation,
    /// Sent and signed: `accept`, `x-amzn-bedrock-*`. `content-type` is JSON where it is missing. Not `host`, not
    /// `authorization`, nothing hop by hop.
    pub headers: HeaderMap,
    /// The JSON, as it goes to AWS; without `model` where the operation names the model in the body: each candidate adds
    /// its own.
    pub body: Bytes,
}

/// What an attempt sends.
#[derive(Clone, Copy)]
enum Outgoing<'a> {
    /// The call on this model.
    OnModel(&'a str, &'a Call),
    /// A call on no model, to this plane.
    Plain(Plane, &'a PlainCall),
}

/// The whole answer of a unary operation.
#[derive(Clone, Debug)]
pub struct Reply {
    /// A success.
    pub status: StatusCode,
    /// As AWS sent them.
    pub headers: HeaderMap,
    /// The bytes AWS sent.
    pub body: Bytes,
}

/// One AWS Region. Clones are the same Region.
#[derive(Clone)]
pub struct Region(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    runtime: Endpoint,
    control: Endpoint,
    /// Base URL of S3, where the configuration names one.
    s3: Option<String>,
    signer: Signer,
    health: Health,
    shared: Arc<Shared>,
}

/// What all Regions have in common.
pub(super) struct Shared {
    pub(super) wire: Arc<Wire>,
    pub(super) access: Access,
    pub(super) sdk: SdkConfig,
    clock: Clock,
    /// What to add to our clock to have AWS's, in milliseconds.
    skew: AtomicI64,
}

/// How the gateway shows who it is.
pub(super) enum Access {
    /// With an Amazon Bedrock API key; the header is `Bearer <key>`.
    Bearer(HeaderValue),
    /// With signatures.
    Signature(Credentials),
}

impl Shared {
    pub(super) async fn load(aws: &config::Aws, clock: Clock, tracker: &TaskTracker) -> Result<Self> {
        let Some(first) = aws.regions.first() else {
            return Err(Error::invalid("aws.regions", "At least one Region is needed."));
        };
        // Named here because the default lookup would end by asking the instance over the network.
        let mut sdk =
            aws_config::defaults(BehaviorVersion::v2026_01_12()).region(aws_types::region::Region::new(first.clone()));
        if let Some((id, secret)) = &aws.credentials {
            sdk = sdk.credentials_provider(StaticCredentials::new(id, secret.expose(), None, None, "configuration"));
        }
        let sdk = Box::pin(sdk.load()).await;
        let access = match &aws.bearer_token {
            Some(key) => {
                let mut header = HeaderValue::from_str(&format!("Bearer {}", key.expose())).map_err(|_| {
                    Error::invalid("AWS_BEARER_TOKEN_BEDROCK", "The key holds characters that no header may have.")
                })?;
                header.set_sensitive(true);
                Access::Bearer(header)
            }
            None => Access::Signature(credentials(aws, &sdk, clock.clone(), tracker).await?),
        };
        Ok(Self { wire: Arc::new(Wire::new(aws)), access, sdk, clock, skew: AtomicI64::new(0) })
    }

    /// Loads in the background what the first call would have to wait for.
    pub(super) fn warm_up(&self, tracker: &TaskTracker) {
        let wire = Arc::clone(&self.wire);
        tracker.spawn_blocking(move || {
            wire.client();
        });
        if let Access::Signature(credentials) = &self.access {
            let (credentials, now) = (credentials.clone(), self.clock.now());
            tracker.spawn(async move {
                if let Err(error) = credentials.keys(now).await {
                    tracing::warn!(%error, cause = error.causes(), "no AWS credentials yet");
                }
            });
        }
    }

    /// The time by AWS's clock, as far as we know it.
    fn now(&self) -> Timestamp {
        let skew = self.skew.load(Ordering::Relaxed);
        Timestamp::from_millis(self.clock.now().millis().saturating_add(skew))
    }

    /// Takes over the server's clock if ours is off; says whether it was.
    fn adopt_clock(&self, server: Timestamp) -> bool {
        let now = self.now();
        if now.since(server).max(server.since(now)) < TOLERATED_SKEW {
            return false;
        }
        let skew = server.millis().saturating_sub(self.clock.now().millis());
        tracing::warn!(skew_ms = skew, "the clock of this machine is off; signing by AWS's clock");
        self.skew.store(skew, Ordering::Relaxed);
        true
    }
}

async fn credentials(aws: &config::Aws, sdk: &SdkConfig, clock: Clock, tracker: &TaskTracker) -> Result<Credentials> {
    let provider = if aws.role_arn.is_empty() {
        sdk.credentials_provider().ok_or_else(|| Error::internal("the AWS chain has no credentials provider"))?
    } else {
        let role = AssumeRoleProvider::builder(&aws.role_arn).session_name("bedrock-gateway").configure(sdk);
        SharedCredentialsProvider::new(Box::pin(role.build()).await)
    };
    Ok(Credentials::new(provider, clock, tracker.clone()))
}

impl Region {
    pub(super) async fn resolve(name: &str, overrides: &config::Endpoints, shared: Arc<Shared>) -> Result<Self> {
        let runtime = Endpoint::resolve(name, Plane::Runtime, overrides.runtime.as_deref(), &shared.sdk).await?;
        let control = Endpoint::resolve(name, Plane::Control, overrides.control.as_deref(), &shared.sdk).await?;
        Ok(Self(Arc::new(Inner {
            name: name.into(),
            runtime,
            control,
            s3: overrides.s3.clone(),
            signer: Signer::new(name),
            health: Health::default(),
            shared,
        })))
    }

    /// For example `us-east-1`.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Which models rest here.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Calls a unary operation and waits for the whole answer. One attempt, apart from one repeat when AWS names our
    /// credentials expired or our clock wrong. An answer that breaks off is a failure.
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
            let (request, keys) = self.prepare(outgoing).await?;
            let response = self.0.shared.wire.exchange(request).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            // A body that breaks off still leaves the status and the name in the header.
            let body = self.0.shared.wire.pieces(body).collect(MAX_REFUSAL).await.unwrap_or_default();
            let refusal = Refusal::read(parts.status.as_u16(), &parts.headers, &body, self.0.shared.now());
            if !corrected && keys.is_some_and(|keys| self.correct(&refusal, &keys)) {
                corrected = true;
                continue;
            }
            return Err(refusal.into_failure());
        }
    }

    /// The request to send, and the keys it was signed with.
    async fn prepare(&self, outgoing: Outgoing<'_>) -> Result<(Request<Full<Bytes>>, Option<Arc<Keys>>), Failure> {
        let Inner { runtime, control, signer, shared, .. } = &*self.0;
        let endpoint = match outgoing {
            Outgoing::OnModel(..) | Outgoing::Plain(Plane::Runtime, _) => runtime,
            Outgoing::Plain(Plane::Control, _) => control,
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
        let keys = match &shared.access {
            Access::Bearer(header) => {
                headers.insert(AUTHORIZATION, header.clone());
                None
            }
            Access::Signature(credentials) => {
                let now = shared.now();
                let keys = credentials.keys(now).await.map_err(Failure::credentials)?;
                signer.sign(&keys, now, (method, &uri), &mut headers, &body).map_err(Failure::internal)?;
                Some(keys)
            }
        };
        headers.insert(USER_AGENT, AGENT);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok((request, keys))
    }

    /// Whether the refusal had a cause that is now put right.
    fn correct(&self, refusal: &Refusal, keys: &Keys) -> bool {
        let Access::Signature(credentials) = &self.0.shared.access else { return false };
        if refusal.is_expired_token() {
            credentials.invalidate(keys);
            return true;
        }
        refusal.clock_of_refused_signature().is_some_and(|server| self.0.shared.adopt_clock(server))
    }
}

#[cfg(test)]
mod tests;
