//! A collector of traces as OpenTelemetry's protocol has it, which keeps what it is sent.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bedrock_gateway::config::Config;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as proto;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Serves until it is stopped.
pub(crate) struct Collector {
    pub(crate) url: String,
    kept: Kept,
    stop: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Clone, Default)]
struct Kept {
    exports: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    /// Answers wait for it.
    held: CancellationToken,
}

/// A span as it was exported.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) kind: proto::span::SpanKind,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty: it has none.
    pub(crate) parent: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) events: Vec<String>,
    pub(crate) is_error: bool,
    /// The times of its beginning and end, in nanoseconds.
    pub(crate) times: (u64, u64),
}

impl Span {
    /// An attribute; null where it has none.
    pub(crate) fn get(&self, name: &str) -> Value {
        self.attributes.get(name).cloned().unwrap_or_default()
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let collector = Self::slow().await;
        collector.kept.held.cancel();
        collector
    }

    /// One that takes spans and does not say so until it is stopped.
    pub(crate) async fn slow() -> Self {
        let kept = Kept::default();
        let router = Router::new().route("/v1/traces", post(keep)).with_state(kept.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let stopped = stop.clone().cancelled_owned();
        tracker.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap() });
        Self { url, kept, stop, tracker }
    }

    /// Has the gateway send its traces here.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.telemetry.otlp_endpoint.clone_from(&self.url);
    }

    /// What was exported so far, as it came.
    pub(crate) fn exports(&self) -> Vec<(HeaderMap, Bytes)> {
        self.kept.exports.lock().unwrap().clone()
    }

    /// The attributes of who exported.
    pub(crate) fn resource(&self) -> BTreeMap<String, Value> {
        let resource = self.requests().swap_remove(0).resource_spans.swap_remove(0).resource;
        attributes(resource.unwrap().attributes)
    }

    /// Every span so far, in the order in which they began.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let resources = self.requests().into_iter().flat_map(|request| request.resource_spans);
        let spans = resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        let mut spans: Vec<Span> = spans.map(span).collect();
        spans.sort_by_key(|span| span.times.0);
        spans
    }

    /// The spans of one trace.
    pub(crate) fn trace(&self, id: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.trace == id).collect()
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.exports().into_iter().map(|(_, body)| ExportTraceServiceRequest::decode(body).unwrap()).collect()
    }

    pub(crate) async fn stop(self) {
        self.kept.held.cancel();
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

async fn keep(State(kept): State<Kept>, headers: HeaderMap, body: Bytes) -> (StatusCode, Bytes) {
    kept.exports.lock().unwrap().push((headers, body));
    kept.held.cancelled().await;
    (StatusCode::OK, Bytes::new())
}

fn span(span: proto::Span) -> Span {
    Span {
        kind: span.kind(),
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: attributes(span.attributes),
        events: span.events.into_iter().map(|event| event.name).collect(),
        is_error: span.status.is_some_and(|status| status.code() == proto::status::StatusCode::Error),
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, Value> {
    attributes.into_iter().map(|KeyValue { key, value, .. }| (key, json_of(value))).collect()
}

fn json_of(value: Option<AnyValue>) -> Value {
    match value.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(flag)) => json!(flag),
        Some(Any::IntValue(number)) => json!(number),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::ArrayValue(array)) => array.values.into_iter().map(|value| json_of(Some(value))).collect(),
        other => panic!("no attribute is like this: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
