//! The spans of a request: the request itself, each call on a model, each attempt at AWS. They end when they are told how
//! it ended, at the latest when they are dropped.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, Tracer as _,
};
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::attributes as a;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A span, and what makes others under it.
#[derive(Debug)]
struct Open {
    span: Span,
    tracer: SdkTracer,
}

impl Open {
    fn begin(tracer: &SdkTracer, name: impl Into<Cow<'static, str>>, kind: SpanKind, parent: &Context) -> Self {
        let span = tracer.build_with_context(SpanBuilder::from_name(name).with_kind(kind), parent);
        Self { span, tracer: tracer.clone() }
    }

    fn below(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Self {
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        Self::begin(&self.tracer, name, kind, &parent)
    }

    /// Whether anybody will see it: what is dear to find out need not be looked at otherwise.
    fn is_recording(&self) -> bool {
        self.span.is_recording()
    }

    fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if self.is_recording() {
            self.span.set_attribute(KeyValue::new(key, value));
        }
    }

    fn text(&mut self, key: &'static str, value: &str) {
        if self.is_recording() {
            self.span.set_attribute(KeyValue::new(key, value.to_owned()));
        }
    }

    fn count(&mut self, key: &'static str, value: u64) {
        self.set(key, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn failed(&mut self, error: &str) {
        self.text(a::ERROR, error);
        self.span.set_status(Status::error(error.to_owned()));
    }
}

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
        Scope { tracer: self.0.tracer.clone(), parent: self.0.span.span_context().clone() }
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

/// Where the calls of a request hang.
#[derive(Clone, Debug)]
pub struct Scope {
    tracer: SdkTracer,
    parent: SpanContext,
}

/// What a call asks for. Texts have no account ids.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// By the conventions for generative AI.
    pub operation: &'static str,
    /// Bedrock's id of the model.
    pub model: &'a str,
    /// As the metric labels.
    pub of: (&'static str, &'static str),
    /// The team's name and the key's id.
    pub caller: (&'a str, &'a str),
}

impl Scope {
    /// A call begins.
    pub fn call(&self, asking: &Asking<'_>) -> CallSpan {
        let parent = Context::new().with_remote_span_context(self.parent.clone());
        if !self.parent.is_sampled() {
            return CallSpan(Open::begin(&self.tracer, asking.operation, SpanKind::Client, &parent));
        }
        let name = [asking.operation, asking.model].join(" ");
        let mut open = Open::begin(&self.tracer, name, SpanKind::Client, &parent);
        open.set(a::GEN_OPERATION, asking.operation);
        open.set(a::PROVIDER, "aws.bedrock");
        open.text(a::REQUEST_MODEL, asking.model);
        open.set(a::SURFACE, asking.of.0);
        open.set(a::OPERATION, asking.of.1);
        open.text(a::TEAM, asking.caller.0);
        open.text(a::KEY, asking.caller.1);
        CallSpan(open)
    }
}

/// The span of a call on a model, of kind CLIENT:
/// <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>.
#[derive(Debug)]
pub struct CallSpan(Open);

/// How a call is to be answered, as far as its body says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Whether the answer is streamed.
    pub stream: bool,
    /// The most tokens of the answer.
    pub max_tokens: Option<u64>,
    /// How freely the model chooses.
    pub temperature: Option<f64>,
    /// Among how much of what is likely.
    pub top_p: Option<f64>,
}

/// What is known of a call when it is booked.
#[derive(Clone, Copy, Debug)]
pub struct CallEnd<'a> {
    /// The Region that served, or was asked last.
    pub region: &'a str,
    /// The model that answered.
    pub model: &'a str,
    /// Attempts made.
    pub attempts: u32,
    /// Tokens of the prompt, of the answer, read from and written to the cache.
    pub tokens: [u64; 4],
    /// How the tokens are known.
    pub usage_source: &'a str,
    /// Millionths of a US dollar.
    pub cost: Option<i64>,
    /// The service tier.
    pub tier: &'a str,
    /// `ok`, `cancelled`, or the error's kind.
    pub outcome: &'a str,
    /// What it failed with.
    pub error: Option<&'a str>,
}

impl CallSpan {
    /// Whether anybody will see it.
    pub fn is_recording(&self) -> bool {
        self.0.is_recording()
    }

    /// That is how it is to be answered.
    pub fn wishes(&mut self, wishes: Wishes) {
        self.0.set(a::REQUEST_STREAM, wishes.stream);
        if let Some(tokens) = wishes.max_tokens {
            self.0.count(a::MAX_TOKENS, tokens);
        }
        for (key, number) in [(a::TEMPERATURE, wishes.temperature), (a::TOP_P, wishes.top_p)] {
            if let Some(number) = number {
                self.0.set(key, number);
            }
        }
    }

    /// The first event of a stream came.
    pub fn first_event(&mut self) {
        if self.is_recording() {
            self.0.span.add_event(a::FIRST_EVENT, Vec::new());
        }
    }

    /// The model stopped for these reasons.
    pub fn finished(&mut self, reasons: Vec<String>) {
        if !reasons.is_empty() {
            let reasons = reasons.into_iter().map(Into::into).collect();
            self.0.set(a::FINISH_REASONS, Value::Array(Array::String(reasons)));
        }
    }

    /// An attempt begins.
    pub fn attempt(&self, trying: &Trying<'_>) -> Arc<AttemptSpan> {
        if !self.is_recording() {
            return Arc::new(AttemptSpan(Mutex::new(self.0.below("attempt", SpanKind::Client))));
        }
        let mut open = self.0.below(["attempt ", trying.region].concat(), SpanKind::Client);
        open.set(a::ATTEMPT_NUMBER, i64::from(trying.number));
        open.text(a::REGION, trying.region);
        open.text(a::CANDIDATE, trying.candidate);
        let (address, port) = match trying.host.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) => (host, Some(port)),
            _ => (trying.host, None),
        };
        open.text(a::SERVER_ADDRESS, address);
        if let Some(port) = port {
            open.set(a::SERVER_PORT, i64::from(port));
        }
        if trying.is_hedge {
            open.set(a::HEDGE, true);
        }
        if let Some(after) = trying.after {
            open.set(a::AFTER, after);
        }
        Arc::new(AttemptSpan(Mutex::new(open)))
    }

    /// The call is booked.
    pub fn end(mut self, end: &CallEnd<'_>) {
        let open = &mut self.0;
        if !open.is_recording() {
            return;
        }
        for (key, text) in [
            (a::REGION, end.region),
            (a::RESPONSE_MODEL, end.model),
            (a::USAGE_SOURCE, end.usage_source),
            (a::TIER, end.tier),
            (a::OUTCOME, end.outcome),
        ] {
            if !text.is_empty() {
                open.text(key, text);
            }
        }
        open.set(a::ATTEMPTS, i64::from(end.attempts));
        for (key, tokens) in
            [a::INPUT_TOKENS, a::OUTPUT_TOKENS, a::CACHE_READ, a::CACHE_WRITE].into_iter().zip(end.tokens)
        {
            open.count(key, tokens);
        }
        if let Some(cost) = end.cost {
            open.set(a::COST, cost);
        }
        if let Some(error) = end.error {
            open.failed(error);
        }
        open.span.end();
    }
}

/// What an attempt tries. Texts have no account ids.
#[derive(Clone, Copy, Debug)]
pub struct Trying<'a> {
    /// 1 for the first.
    pub number: u32,
    /// The AWS Region.
    pub region: &'a str,
    /// The model or inference profile.
    pub candidate: &'a str,
    /// `HOST` or `HOST:PORT`.
    pub host: &'a str,
    /// Whether another attempt is under way beside it.
    pub is_hedge: bool,
    /// Why the one before it failed.
    pub after: Option<&'static str>,
}

/// The span of an attempt, of kind CLIENT. Whoever makes the exchange adds what AWS answers.
#[derive(Debug)]
pub struct AttemptSpan(Mutex<Open>);

impl AttemptSpan {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds `traceparent` and `tracestate`: <https://www.w3.org/TR/trace-context/>. What proxies on the way may change is
    /// not to be signed.
    pub fn propagate(&self, headers: &mut HeaderMap) {
        let open = self.lock();
        let context = open.span.span_context();
        let Some(parent) = traceparent(context) else { return };
        headers.insert(TRACEPARENT, parent);
        let state = context.trace_state().header();
        if !state.is_empty()
            && let Ok(state) = HeaderValue::from_str(&state)
        {
            headers.insert(TRACESTATE, state);
        }
    }

    /// The head of an answer came.
    pub fn answered(&self, status: u16, headers: &HeaderMap) {
        let mut open = self.lock();
        if !open.is_recording() {
            return;
        }
        open.span.add_event(a::FIRST_BYTE, Vec::new());
        open.set(a::STATUS, i64::from(status));
        let id = headers.get("x-amzn-requestid").and_then(|id| id.to_str().ok());
        // It stands in front of everything else that AWS's support asks for; what else may stand there is not passed on.
        let is_id = |id: &&str| id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if let Some(id) = id.filter(is_id) {
            open.text(a::AWS_REQUEST_ID, id);
        }
    }

    /// The exchange is repeated, with what AWS refused put right.
    pub fn resent(&self) {
        self.lock().set(a::RESENT, 1_i64);
    }

    /// It ended well.
    pub fn succeeded(&self) {
        let mut open = self.lock();
        open.set(a::OUTCOME, "ok");
        open.span.end();
    }

    /// It failed: the outcome and the reason as metric and log have them, and AWS's exception.
    pub fn failed(&self, outcome: &'static str, reason: &'static str, error: &str) {
        let mut open = self.lock();
        if open.is_recording() {
            open.set(a::OUTCOME, outcome);
            open.set(a::REASON, reason);
            open.failed(error);
            open.span.end();
        }
    }
}

impl Drop for AttemptSpan {
    /// Nobody waited for the answer: its client left, or another attempt was faster.
    fn drop(&mut self) {
        self.lock().set(a::OUTCOME, "abandoned");
    }
}

/// `00-TRACE-SPAN-FLAGS`
fn traceparent(context: &SpanContext) -> Option<HeaderValue> {
    if !context.is_valid() {
        return None;
    }
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let text = format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags);
    HeaderValue::from_str(&text).ok()
}
