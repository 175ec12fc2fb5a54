//! The span of a request, from its arrival to the last byte of its answer.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method, Version};
use opentelemetry::Context;
use opentelemetry::trace::{Span as _, SpanKind};
use opentelemetry_sdk::trace::SdkTracer;

use super::attributes as a;
use super::call::Scope;
use super::spans::{Open, traceparent};

/// The span of a request, of kind SERVER.
#[derive(Debug)]
pub struct RequestSpan(Open);

/// What is known of a request when it comes in.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    /// The method.
    pub method: &'a Method,
    /// The version of HTTP.
    pub version: Version,
    /// The pattern of its route, if there is one that takes it.
    pub route: Option<&'a str>,
}

/// What is known of a request when its answer has ended. Texts are empty where nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnd<'a> {
    /// `x-request-id`
    pub request_id: &'a str,
    /// As the metric label.
    pub surface: &'static str,
    /// As the metric label.
    pub operation: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Bytes of the body.
    pub sent: u64,
    /// Whether the last byte left.
    pub complete: bool,
    /// The team's name.
    pub team: &'a str,
    /// The key's id.
    pub key: &'a str,
    /// How its calls were booked.
    pub outcome: Option<&'a str>,
    /// The kind of error that it was refused or failed with.
    pub error: Option<&'a str>,
}

impl RequestSpan {
    pub(super) fn begin(tracer: &SdkTracer, parent: &Context, arriving: Arriving<'_>) -> Self {
        let method = method_name(arriving.method);
        let name = arriving.route.map_or(Cow::Borrowed(method), |route| [method, route].join(" ").into());
        let mut open = Open::begin(tracer, name, SpanKind::Server, parent);
        open.set(a::METHOD, method);
        if let Some(route) = arriving.route {
            open.text(a::ROUTE, route);
        }
        let protocol = match arriving.version {
            Version::HTTP_2 => Some("2"),
            Version::HTTP_11 => Some("1.1"),
            Version::HTTP_10 => Some("1.0"),
            _ => None,
        };
        if let Some(protocol) = protocol {
            open.set(a::PROTOCOL, protocol);
        }
        Self(open)
    }

    /// Whether anybody will see it.
    pub fn is_recording(&self) -> bool {
        self.0.is_recording()
    }

    /// That is its path, without account ids.
    pub fn path(&mut self, path: &str) {
        self.0.text(a::PATH, path);
    }

    /// It is a record of a batch.
    pub fn is_of_batch(&mut self) {
        self.0.set(a::BATCH, true);
    }

    /// What hangs its calls under it.
    pub fn scope(&self) -> Scope {
        Scope::below(&self.0)
    }

    /// The trace's id, as log lines have it.
    pub fn trace_id(&self) -> String {
        self.0.span.span_context().trace_id().to_string()
    }

    /// The trace and this span, for the answer: <https://w3c.github.io/trace-context/#traceresponse-header>.
    pub fn answer(&self, headers: &mut HeaderMap) {
        if let Some(value) = traceparent(self.0.span.span_context()) {
            headers.insert(HeaderName::from_static("traceresponse"), value);
        }
    }

    /// The answer has ended.
    pub fn end(mut self, end: &RequestEnd<'_>) {
        let open = &mut self.0;
        if !open.is_recording() {
            return;
        }
        for (key, text) in [
            (a::REQUEST_ID, end.request_id),
            (a::SURFACE, end.surface),
            (a::OPERATION, end.operation),
            (a::TEAM, end.team),
            (a::KEY, end.key),
            (a::OUTCOME, end.outcome.unwrap_or_default()),
        ] {
            if !text.is_empty() {
                open.text(key, text);
            }
        }
        open.set(a::STATUS, i64::from(end.status));
        open.count(a::SENT, end.sent);
        open.set(a::COMPLETE, end.complete);
        // A stream that broke was answered with 200.
        let broke = end.outcome.filter(|outcome| end.status < 400 && !matches!(*outcome, "ok" | "cancelled"));
        match (end.error, broke) {
            (Some(error), _) if end.status >= 500 => open.failed(error),
            (Some(error), _) => open.text(a::ERROR, error),
            (None, Some(outcome)) => open.failed(outcome),
            (None, None) => {}
        }
        open.span.end();
    }
}

/// What HTTP calls the method: others are as many as people make up.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        "TRACE" => "TRACE",
        "CONNECT" => "CONNECT",
        _ => "_OTHER",
    }
}
