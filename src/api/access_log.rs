//! The frame of every request: its id, the shape of its failure, one count and one line in the log. The line is written
//! when the last byte of the answer has left, or the client has.
//!
//! What happened is read off the request's [`Trail`] and the [`Problem`] that a refused one leaves in its response.
//! Prompts, answers and keys are in neither; ARNs and the ids of accounts are masked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Frame, SizeHint};
use percent_encoding::percent_decode_str;
use tracing::Level;

use super::access_entry::{Entry, millis};
use super::answer;
use super::caller::request_id;
use super::captured;
use super::client::Proxies;
use super::idempotency;
use super::problem::Problem;
use super::received;
use super::route;
use super::standing;
use super::surface::Surface;
use crate::error::{Error, Kind};
use crate::gateway::{Gateway, Trail, Waiting};
use crate::telemetry;
use crate::telemetry::capture::{Facts, Recording};
use crate::telemetry::metrics::Open;
use crate::telemetry::panics::Work;
use crate::telemetry::traces::{Arriving, RequestEnd, RequestSpan};
use crate::tenancy::Caller;
use crate::upstream::mask;

/// The status of a request whose client did not wait for one, as nginx made it customary.
const LEFT: u16 = 499;

/// Takes the request in, and sees its answer out.
pub(super) async fn observe(
    State((gateway, proxies)): State<(Gateway, Proxies)>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = proxies.client(request.extensions(), request.headers());
    let trail = Trail::of(request_id(request.headers()), client);
    // From outside nobody's name comes with a request: this is a record of a batch (`batch/door.rs`).
    if request.extensions().get::<Caller>().is_some() {
        trail.pay_by_batch();
    }
    let span = span(&gateway, &trail, &request);
    request.extensions_mut().insert(trail.clone());
    let recording = captured::begin(&gateway, &mut request);
    let surface = Surface::of(request.uri().path(), request.headers());
    // Made before the request is handled: a client that does not wait for the head gets its line, too.
    let mut line = Line {
        _in_flight: gateway.metrics().in_flight(),
        gateway,
        trail,
        surface,
        method: request.method().clone(),
        path: request.extensions().get::<MatchedPath>().cloned(),
        status: LEFT,
        head_after: None,
        problem: None,
        sent: 0,
        complete: false,
        media_type: None,
        span,
        recording,
    };

    let request = received::timed(request, &line.trail);
    let work = Work::of(line.trail.id().clone());
    let mut response = if idempotency::is_named(&request) {
        work.finish(Box::pin(idempotency::answer(&line.gateway, surface, &line.trail, request, next))).await
    } else {
        work.finish(next.run(request)).await
    };

    // What it came with is no longer needed once there is an answer.
    drop(line.trail.take_share());
    line.problem = if let Some(Dressed(problem)) = response.extensions_mut().remove::<Dressed>() {
        problem
    } else {
        dress(surface, &line.trail, &mut response)
    };
    if let Some(told) = line.trail.standing() {
        standing::tell(surface, &told, line.gateway.clock().now(), response.headers_mut());
    }
    if response.status().is_success() {
        line.warn(response.headers_mut());
    }
    if let Some(span) = &line.span {
        span.answer(response.headers_mut());
    }
    if line.recording.is_some() {
        line.media_type = response.headers().get(CONTENT_TYPE).cloned();
    }
    line.status = response.status().as_u16();
    line.head_after = Some(line.trail.times().0);
    line.complete = http_body::Body::is_end_stream(response.body());
    let (client, work) = (Waiting::new(line.trail.clone()), Work::of(line.trail.id().clone()));
    response.map(|body| Body::new(Observed { body, line, client, work }))
}

/// The span of a request that has just come in, if requests are traced.
fn span(gateway: &Gateway, trail: &Trail, request: &Request) -> Option<Box<RequestSpan>> {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let arriving = Arriving { method: request.method(), version: request.version(), route };
    let mut span = Box::new(gateway.traces().request(arriving, request.headers())?);
    if span.is_recording() {
        // What no route takes may be anything.
        if route.is_some() {
            let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
            span.path(&mask(&path));
        }
        if request.extensions().get::<Caller>().is_some() {
            span.is_of_batch();
        }
    }
    trail.trace(span.scope());
    Some(span)
}

/// Marks a response that is as its client shall see it already: it was dressed when somebody else asked for it.
#[derive(Clone, Debug)]
pub(super) struct Dressed(pub(super) Option<Arc<Error>>);

/// Gives a response its id and, if it is a failure, its dialect's shape. Returns the failure.
pub(super) fn dress(surface: Surface, trail: &Trail, response: &mut Response) -> Option<Arc<Error>> {
    let problem = response.extensions_mut().remove::<Problem>();
    if let Some(problem) = &problem {
        // A page that is not public has a browser ask for a key.
        let asks = response.headers_mut().remove(WWW_AUTHENTICATE);
        *response = surface.shape(problem, trail.id());
        // The scheme is part of every 401: <https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2>.
        let bearer = || HeaderValue::from_static("Bearer realm=\"bedrock-gateway\"");
        if let Some(asks) = asks.or_else(|| (response.status() == StatusCode::UNAUTHORIZED).then(bearer)) {
            response.headers_mut().insert(WWW_AUTHENTICATE, asks);
        }
        if let Some(booked) = trail.booked() {
            response.headers_mut().insert("x-gateway-attempts", HeaderValue::from(booked.attempts));
        }
    }
    if let Ok(id) = HeaderValue::from_str(trail.id().as_str()) {
        let headers = response.headers_mut();
        if let Some(name) = surface.id_header()
            && !headers.contains_key(&name)
        {
            headers.insert(name, id.clone());
        }
        headers.insert("x-request-id", id);
    }
    problem.map(|problem| problem.0)
}

/// What is known of a request at its end; dropping it counts the request and writes its line.
struct Line {
    gateway: Gateway,
    trail: Trail,
    surface: Surface,
    method: Method,
    path: Option<MatchedPath>,
    status: u16,
    /// `None` when the client left before the head of the answer.
    head_after: Option<Duration>,
    problem: Option<Arc<Error>>,
    sent: u64,
    /// Whether the last byte was handed to the connection; otherwise the client left, or the connection broke.
    complete: bool,
    /// Of the answer, where it is captured.
    media_type: Option<HeaderValue>,
    /// Where the request is traced.
    span: Option<Box<RequestSpan>>,
    /// Where it is captured.
    recording: Option<Box<Recording>>,
    _in_flight: Open,
}

impl Drop for Line {
    fn drop(&mut self) {
        let (took, own) = self.trail.times();
        let pattern = self.path.as_ref().map_or("", MatchedPath::as_str);
        let (surface, operation) = route::label(pattern);
        let surface = self.surface.rename(surface);
        let own = route::is_timed(pattern, &self.method).then_some(own);
        let team = self.trail.caller().map_or("", |caller| &caller.team.name);
        let model = self.trail.receipt().map_or("", |receipt| receipt.model());
        let metrics = self.gateway.metrics();
        metrics.request((surface, operation), team, model, self.status, took);
        if let Some(own) = own {
            metrics.overhead((surface, operation), own);
        }
        if let Some(reason) = self.problem.as_deref().and_then(route::refusal) {
            metrics.rejected(reason);
        }
        let is_wanted = match self.level() {
            Level::ERROR => tracing::enabled!(target: "access", Level::ERROR),
            _ => tracing::enabled!(target: "access", Level::INFO),
        };
        if is_wanted {
            self.write((surface, operation), (took, own));
        }
        self.end_span((surface, operation));
        self.end_recording((surface, operation));
    }
}

/// The line for people.
macro_rules! tell {
    ($level:ident, $entry:ident) => {
        tracing::event!(
            target: "access",
            Level::$level,
            status = $entry.status, duration_ms = $entry.duration_ms, overhead_ms = $entry.overhead_ms,
            method = $entry.method, route = $entry.route, complete = $entry.complete, team = $entry.team,
            model = $entry.model, region = $entry.region, attempts = $entry.attempts, outcome = $entry.outcome,
            error = $entry.error, error_message = $entry.error_message, error_causes = $entry.error_causes,
            request_id = $entry.request_id, trace_id = $entry.trace_id,
            client = $entry.client.map(tracing::field::display),
            "request"
        )
    };
}

impl Line {
    /// Where a model that is on its way out answered, says so.
    fn warn(&self, headers: &mut HeaderMap) {
        let Some(receipt) = self.trail.receipt() else { return };
        let catalog = self.gateway.catalog();
        let Some(model) = catalog.model(receipt.model()) else { return };
        // Regions may differ in their dates.
        let region = headers.get("x-gateway-region").and_then(|region| region.to_str().ok());
        let lifecycle = region.map_or(&model.lifecycle, |region| model.lifecycle_in(region));
        if lifecycle.is_ending() {
            answer::warn(headers, lifecycle, self.gateway.clock().now().seconds());
            self.gateway.metrics().legacy(&model.id);
        }
    }

    /// A fault of the gateway's own is told even where nobody wants to read of every request.
    fn level(&self) -> Level {
        let is_fault = self.problem.as_deref().is_some_and(|problem| problem.kind() == Kind::Internal);
        if is_fault { Level::ERROR } else { Level::INFO }
    }

    /// Has the span say how the request ended.
    fn end_span(&mut self, (surface, operation): (&'static str, &'static str)) {
        let Some(span) = self.span.take().filter(|span| span.is_recording()) else { return };
        let caller = self.trail.caller();
        let booked = self.trail.booked();
        span.end(&RequestEnd {
            request_id: self.trail.id().as_str(),
            surface,
            operation,
            status: self.status,
            sent: self.sent,
            complete: self.complete,
            team: caller.map_or("", |caller| &caller.team.name),
            key: caller.map_or("", |caller| caller.key.id.as_str()),
            outcome: booked.as_ref().map(|booked| booked.outcome.as_str()),
            error: self.problem.as_deref().map(|error| error.kind().into()),
        });
    }

    /// Hands over what was taken note of, if the request came to a call.
    fn end_recording(&mut self, (surface, operation): (&'static str, &'static str)) {
        let (Some(recording), Some(receipt)) = (self.recording.take(), self.trail.receipt()) else { return };
        let Some(caller) = self.trail.caller() else { return };
        let booked = self.trail.booked();
        recording.end(|| Facts {
            at: self.gateway.clock().now(),
            request_id: self.trail.id().as_str().to_owned(),
            team: caller.team.name.clone(),
            team_id: caller.team.id.as_str().to_owned(),
            key: caller.key.id.as_str().to_owned(),
            surface,
            operation,
            model: receipt.model().to_owned(),
            region: booked.as_ref().map(|booked| booked.region.to_string()),
            status: self.status,
            outcome: booked.map(|booked| booked.outcome.as_str().to_owned()),
            complete: self.complete,
            media_type: self.media_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned(),
        });
    }

    fn write(&self, (surface, operation): (&'static str, &'static str), (took, own): (Duration, Option<Duration>)) {
        let receipt = self.trail.receipt();
        let booked = self.trail.booked();
        let booked = booked.as_ref();
        let problem = self.problem.as_deref();
        // Whoever asks for a model by its ARN is told so by that name.
        let message = problem.map(|error| mask(error.message()));
        let causes = problem.map(Error::causes).filter(|causes| !causes.is_empty());
        let causes = causes.as_deref().map(mask);
        let timestamp = jiff::Timestamp::from_millisecond(self.gateway.clock().now().millis()).unwrap_or_default();
        let entry = Entry {
            timestamp,
            level: self.level().as_str(),
            target: "access",
            message: "request",
            request_id: self.trail.id().as_str(),
            trace_id: self.span.as_ref().map(|span| span.trace_id()),
            client: self.trail.client(),
            method: self.method.as_str(),
            route: self.path.as_ref().map(MatchedPath::as_str),
            surface,
            operation,
            status: self.status,
            duration_ms: millis(took),
            overhead_ms: own.map(millis),
            head_ms: self.head_after.map(millis),
            bytes: self.sent,
            complete: self.complete,
            team: self.trail.caller().map(|caller| &*caller.team.name),
            key: self.trail.caller().map(|caller| caller.key.id.as_str()),
            model: receipt.map(|receipt| receipt.model()),
            region: booked.map(|booked| &*booked.region),
            attempts: booked.map(|booked| booked.attempts),
            input_tokens: booked.map(|booked| booked.usage.input_tokens),
            output_tokens: booked.map(|booked| booked.usage.output_tokens),
            cost_micro_usd: booked.and_then(|booked| booked.cost).map(|cost| cost.0),
            outcome: booked.map(|booked| booked.outcome.as_str()),
            error: problem.map(|error| error.kind().into()),
            error_message: message.as_deref(),
            error_causes: causes.as_deref(),
        };
        if telemetry::write_json(&entry) {
            return;
        }
        // The level of an event is part of its place in the program.
        if self.level() == Level::ERROR { tell!(ERROR, entry) } else { tell!(INFO, entry) }
    }
}

/// What becomes of a panic in whatever made an answer; where it was is told in a line of its own.
pub(super) fn panicked() -> Error {
    Error::internal("a panic")
}

/// A body that is counted on its way.
struct Observed {
    body: Body,
    line: Line,
    /// From the moment on that it was handed something until it asks for more.
    client: Waiting,
    work: Work,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.client.end();
        let polled = this.work.run(|| catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_frame(cx))));
        let polled = polled.unwrap_or_else(|_| {
            // The answer breaks off, and with it nothing else that shares its connection.
            let fault = Arc::new(panicked());
            this.line.problem = Some(Arc::clone(&fault));
            this.body = Body::empty();
            Poll::Ready(Some(Err(axum::Error::new(fault))))
        });
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.client.begin();
                this.line.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                if let (Some(recording), Some(data)) = (&mut this.line.recording, frame.data_ref()) {
                    recording.answer(data);
                }
                // The connection does not poll a body again that says it is at its end.
                this.line.complete = this.body.is_end_stream();
            }
            Poll::Ready(None) => this.line.complete = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
