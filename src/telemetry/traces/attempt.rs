//! The span of an attempt at AWS, whose trace goes with it, until it is answered, fails, or nobody waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{Span as _, SpanKind};

use super::attributes as a;
use super::spans::{Open, traceparent};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

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
    /// An attempt of the call `parent` begins.
    pub(super) fn begin(parent: &Open, trying: &Trying<'_>) -> Self {
        if !parent.is_recording() {
            return Self(Mutex::new(parent.below("attempt", SpanKind::Client)));
        }
        let mut open = parent.below(["attempt ", trying.region].concat(), SpanKind::Client);
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
        Self(Mutex::new(open))
    }

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
