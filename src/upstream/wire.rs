//! The HTTP/1.1 client under the wire lane: one pool for all Regions, its timeouts, and bodies read piece by piece.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Uri};
use http_body::Body;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;
use tower::Service;

use crate::config;
use crate::timer::Timer;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// NAT gateways, VPC endpoints and load balancers of AWS silently drop what is idle for 350 s.
const KEEPALIVE: Duration = Duration::from_secs(45);
const POOL_IDLE: Duration = Duration::from_mins(5);

/// The client and its patience.
pub(super) struct Wire {
    client: OnceLock<Client<Connector, Full<Bytes>>>,
    connect: Duration,
    first_byte: Duration,
    idle: Duration,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// No connection: nothing was sent.
    Connect(BoxError),
    /// The connection broke after sending had begun.
    Lost(BoxError),
    /// No head of an answer in time.
    Timeout,
}

/// Why there is no next piece of a body.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection ended before the body did.
    Cut(BoxError),
    /// Nothing came for as long as the idle timeout.
    Idle,
    /// More came than allowed.
    TooLong,
}

impl Wire {
    pub(super) fn new(aws: &config::Aws) -> Self {
        Self {
            client: OnceLock::new(),
            connect: Duration::from_millis(aws.connect_timeout_ms),
            first_byte: Duration::from_secs(aws.first_byte_timeout_s),
            idle: Duration::from_secs(aws.idle_timeout_s),
        }
    }

    /// Whether it waits as `aws` says.
    pub(super) fn has_patience_of(&self, aws: &config::Aws) -> bool {
        let Self { connect, first_byte, idle, .. } = Self::new(aws);
        (self.connect, self.first_byte, self.idle) == (connect, first_byte, idle)
    }

    /// The same connections, waited for as `aws` says; other ones if connecting itself is to take another time.
    pub(super) fn with_patience(&self, aws: &config::Aws) -> Self {
        let changed = Self::new(aws);
        if changed.connect == self.connect
            && let Some(client) = self.client.get()
        {
            return Self { client: OnceLock::from(client.clone()), ..changed };
        }
        changed
    }

    /// Builds the client if it is not there yet: reads the system's root certificates, some 10 ms.
    pub(super) fn client(&self) -> &Client<Connector, Full<Bytes>> {
        self.client.get_or_init(|| {
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(POOL_IDLE)
                .pool_timer(TokioTimer::new())
                .build(Connector { inner: https(), patience: self.connect })
        })
    }

    /// Sends `request` and waits for the head of the answer.
    pub(super) async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unanswered> {
        match tokio::time::timeout(self.first_byte, self.client().request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is_connect() => Err(Unanswered::Connect(error.into())),
            Ok(Err(error)) => Err(Unanswered::Lost(error.into())),
            Err(_) => Err(Unanswered::Timeout),
        }
    }

    /// The body, to be read piece by piece.
    pub(super) fn pieces(&self, body: Incoming) -> Pieces<Incoming> {
        Pieces::new(body, self.idle)
    }
}

fn https() -> HttpsConnector<HttpConnector> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE));
    #[expect(clippy::expect_used, reason = "the provider of this build has suites for the default versions")]
    let tls = ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("default TLS versions");
    let tls = tls.clone().with_native_roots().unwrap_or_else(|error| {
        // A machine without certificates can still call plain http: the simulator, a proxy beside it.
        tracing::warn!(%error, "this machine has no root certificates: https to AWS will fail");
        tls.with_root_certificates(RootCertStore::empty())
    });
    HttpsConnectorBuilder::new()
        .with_tls_config(tls.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(http)
}

/// Connects within a time that covers name lookup, TCP and TLS together.
#[derive(Clone)]
pub(super) struct Connector {
    inner: HttpsConnector<HttpConnector>,
    patience: Duration,
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let patience = self.patience;
        Box::pin(async move {
            match tokio::time::timeout(patience, connecting).await {
                Ok(connected) => connected,
                Err(elapsed) => Err(elapsed.into()),
            }
        })
    }
}

/// A body read piece by piece, each within the idle timeout.
///
/// A token a few milliseconds after the last one costs a look at the clock, not a change of the timer.
pub(super) struct Pieces<B> {
    body: B,
    idle: Duration,
    last: Instant,
    timer: Timer,
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Pieces<B> {
    pub(super) fn new(body: B, idle: Duration) -> Self {
        Self { body, idle, last: Instant::now(), timer: Timer::default() }
    }

    /// The next piece of data, which may be empty; `None` at the end of the body.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.last = Instant::now();
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Broken::Cut(error.into())))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.timer.poll(self.last + self.idle, cx));
                    return Poll::Ready(Some(Err(Broken::Idle)));
                }
            }
        }
    }

    /// The whole body, at most `limit` bytes. Not copied when it came as one piece.
    pub(super) async fn collect(mut self, limit: usize) -> Result<Bytes, Broken> {
        let expected = usize::try_from(self.body.size_hint().lower()).unwrap_or(usize::MAX);
        if expected > limit {
            return Err(Broken::TooLong);
        }
        let mut whole = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(piece) = std::future::poll_fn(|cx| self.poll(cx)).await {
            let piece = piece?;
            if whole.len() + joined.len() + piece.len() > limit {
                return Err(Broken::TooLong);
            }
            if joined.is_empty() && whole.is_empty() {
                whole = piece;
                continue;
            }
            if joined.is_empty() {
                joined.reserve(expected.max(whole.len() + piece.len()));
                joined.extend_from_slice(&std::mem::take(&mut whole));
            }
            joined.extend_from_slice(&piece);
        }
        Ok(if joined.is_empty() { whole } else { joined.freeze() })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    type Item = Result<Frame<Bytes>, BoxError>;

    #[expect(clippy::unnecessary_wraps, reason = "a stream of bodies has items that can fail")]
    fn data(text: &'static str) -> Item {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn a_body_is_collected_whole_within_its_limit_or_not_at_all() {
        let body = |items: Vec<Item>| Pieces::new(StreamBody::new(stream::iter(items)), Duration::from_secs(9));
        let idle = Duration::from_secs(9);
        assert_eq!(body(vec![data("ab"), data(""), data("cd")]).collect(4).await.unwrap(), "abcd");
        assert!(matches!(body(vec![data("ab"), data("cd")]).collect(3).await, Err(Broken::TooLong)));
        assert!(matches!(body(vec![data("ab"), Err("reset".into())]).collect(9).await, Err(Broken::Cut(_))));
        let announced = Pieces::new(Full::new(Bytes::from_static(b"abcd")), idle);
        assert!(matches!(announced.collect(3).await, Err(Broken::TooLong)));
        let one = Bytes::from_static(b"abcd");
        assert_eq!(Pieces::new(Full::new(one.clone()), idle).collect(4).await.unwrap().as_ptr(), one.as_ptr());
    }

    #[tokio::test]
    async fn silence_between_pieces_ends_the_body() {
        let items = stream::iter([data("ab")]).chain(stream::pending());
        let mut pieces = Pieces::new(StreamBody::new(items), Duration::from_millis(5));
        let first = std::future::poll_fn(|cx| pieces.poll(cx)).await;
        assert!(matches!(first, Some(Ok(piece)) if piece == "ab"));
        assert!(matches!(std::future::poll_fn(|cx| pieces.poll(cx)).await, Some(Err(Broken::Idle))));
    }
}
