//! One line, and one count, per request: written when the last byte of the answer has left or the client has.
//!
//! What happened rides in the response's extensions: the [`Problem`] of a refused request, the
//! [`Receipt`] of a call. Prompts, answers and keys are in neither.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, Method};
use http_body::{Frame, SizeHint};

use super::caller::request_id;
use super::problem::Problem;
use super::route;
use crate::gateway::{Gateway, Receipt};
use crate::ids::RequestId;
use crate::telemetry::metrics::Open;

/// The status of a request whose client did not wait for one, as nginx made it customary.
const LEFT: u16 = 499;

/// Gives the request its id, counts it in flight, and has the line written when the answer ends.
pub(super) async fn observe(State(gateway): State<Gateway>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let in_flight = gateway.metrics().in_flight();
    let id = request_id(request.headers());
    request.extensions_mut().insert(id.clone());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let (surface, operation) = route::label(path.as_ref().map_or("", MatchedPath::as_str));
    // Made before the request is handled: a client that does not wait for the head gets its line, too.
    let mut line = Line {
        gateway,
        id,
        method: request.method().clone(),
        path,
        surface,
        operation,
        status: LEFT,
        started,
        head_after: None,
        problem: None,
        receipt: None,
        sent: 0,
        end: End::Left,
        _in_flight: in_flight,
    };

    let mut response = next.run(request).await;

    line.status = response.status().as_u16();
    line.head_after = Some(started.elapsed());
    line.problem = response.extensions_mut().remove::<Problem>();
    line.receipt = response.extensions_mut().remove::<Arc<Receipt>>();
    if http_body::Body::is_end_stream(response.body()) {
        line.end = End::Sent;
    }
    if let Ok(value) = HeaderValue::from_str(line.id.as_str()) {
        let headers = response.headers_mut();
        if surface == "bedrock" && !headers.contains_key("x-amzn-requestid") {
            headers.insert("x-amzn-requestid", value.clone());
        }
        headers.insert("x-request-id", value);
    }
    response.map(|body| Body::new(Observed { body, line }))
}

/// How the answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client left, or the connection broke.
    Left,
    /// The last byte was handed to the connection.
    Sent,
}

/// Everything the line says; dropping it writes it.
struct Line {
    gateway: Gateway,
    id: RequestId,
    method: Method,
    path: Option<MatchedPath>,
    surface: &'static str,
    operation: &'static str,
    status: u16,
    started: Instant,
    /// `None` when the client left before the head of the answer.
    head_after: Option<Duration>,
    problem: Option<Problem>,
    receipt: Option<Arc<Receipt>>,
    sent: u64,
    end: End,
    _in_flight: Open,
}

impl Drop for Line {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let receipt = self.receipt.as_deref();
        let (team, model) = receipt.map_or(("", ""), |receipt| (receipt.team(), receipt.model()));
        self.gateway.metrics().request((self.surface, self.operation), team, model, self.status, took);
        if let Some(Problem(error)) = &self.problem
            && let Some(reason) = route::refusal(error)
        {
            self.gateway.metrics().rejected(reason);
        }
        self.write(took, receipt);
    }
}

impl Line {
    fn write(&self, took: Duration, receipt: Option<&Receipt>) {
        let booked = receipt.and_then(Receipt::booked);
        let problem = self.problem.as_ref().map(|Problem(error)| error);
        let kind: Option<&'static str> = problem.map(|error| error.kind().into());
        let causes = problem.map(|error| error.causes()).filter(|causes| !causes.is_empty());
        tracing::info!(
            target: "access",
            request_id = self.id.as_str(),
            method = self.method.as_str(),
            // The pattern, not the path: a path can hold a model's ARN.
            route = self.path.as_ref().map(MatchedPath::as_str),
            surface = self.surface,
            operation = self.operation,
            status = self.status,
            duration_ms = millis(took),
            head_ms = self.head_after.map(millis),
            bytes = self.sent,
            complete = self.end == End::Sent,
            team = receipt.map(Receipt::team),
            key = receipt.map(Receipt::key),
            model = receipt.map(Receipt::model),
            region = booked.map(|booked| &*booked.region),
            attempts = booked.map(|booked| booked.attempts),
            input_tokens = booked.map(|booked| booked.usage.input_tokens),
            output_tokens = booked.map(|booked| booked.usage.output_tokens),
            cost_micro_usd = booked.and_then(|booked| booked.cost).map(|cost| cost.0),
            outcome = booked.map(|booked| booked.outcome.as_str()),
            error = kind,
            error_message = problem.map(|error| error.message()),
            error_causes = causes,
            "request"
        );
    }
}

/// Milliseconds with three decimals.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

struct Observed {
    body: Body,
    line: Line,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                this.line.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                // The connection does not poll a body again that says it is at its end.
                if this.body.is_end_stream() {
                    this.line.end = End::Sent;
                }
            }
            Poll::Ready(None) => this.line.end = End::Sent,
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
