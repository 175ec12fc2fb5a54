//! `Idempotency-Key`: a POST that costs is made once under it, and told to whoever repeats it, a stream from its start.
//!
//! Only where the header is there does a request come here. The call is made in a task of its own, because it belongs to
//! all who ask for it: it ends when the last of them has left (or goes on, for keys that drain). Its clients, the first
//! included, read what the task records.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, FromRequest as _, FromRequestParts as _, MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::access_log::{Dressed, dress};
use super::caller;
use super::route;
use super::surface::Surface;
use crate::error::{Error, Kind, Result};
use crate::gateway::{Gateway, Trail, Waiting};
use crate::idempotency::{Alone, Asked, Fingerprint, Head, Keep, Lost, MAX_NAME, Reader, Recorder, Seat};
use crate::telemetry::panics::Work;
use crate::tenancy::{Caller, OnDisconnect};

/// The name of a call: <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
pub(super) const NAME: HeaderName = HeaderName::from_static("idempotency-key");
/// Says of an answer that it was told before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// How often a repeat looks again whose call was dropped before it had an answer.
const TRIES: u32 = 3;

/// Whether the request is one of those that are made once.
pub(super) fn is_named(request: &Request) -> bool {
    request.headers().contains_key(NAME)
        && request.method() == Method::POST
        && request.extensions().get::<MatchedPath>().is_some_and(|path| route::costs(path.as_str()))
}

/// The answer to such a request.
pub(super) async fn answer(
    gateway: &Gateway,
    surface: Surface,
    trail: &Trail,
    request: Request,
    next: Next,
) -> Response {
    // Without a key nobody learns what the header should be.
    let attended = async {
        let (mut parts, body) = request.into_parts();
        let caller = Caller::from_request_parts(&mut parts, gateway).await?;
        let name = name(&parts.headers)?;
        let mut limited = Request::new(body);
        limited.extensions_mut().insert(trail.clone());
        DefaultBodyLimit::max(gateway.idempotency().max_body()).apply(&mut limited);
        let caller::Body(body) = caller::Body::from_request(limited, gateway).await?;
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let asked = Asked {
            key: caller.key.id.clone(),
            name,
            fingerprint: Fingerprint::of(parts.method.as_str(), path, &body),
            alone: match caller.key.on_disconnect {
                OnDisconnect::Cancel => Alone::Cancelled,
                OnDisconnect::Drain => Alone::GoesOn,
            },
        };
        let call = Call { request: Request::from_parts(parts, Body::from(body)), next, surface, trail: trail.clone() };
        attend(gateway, &asked, call).await
    };
    attended.await.unwrap_or_else(Error::into_response)
}

/// What the client named the call.
fn name(headers: &HeaderMap) -> Result<Box<str>> {
    let wrong = || {
        let message = format!("The header Idempotency-Key takes 1 to {MAX_NAME} printable ASCII characters, once.");
        Error::invalid("Idempotency-Key", message)
    };
    let mut values = headers.get_all(NAME).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(wrong()) };
    let is_printable = value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    match value.to_str() {
        Ok(name) if is_printable && (1..=MAX_NAME).contains(&name.len()) => Ok(name.into()),
        _ => Err(wrong()),
    }
}

/// What it takes to make the call.
struct Call {
    request: Request,
    next: Next,
    surface: Surface,
    trail: Trail,
}

/// Makes the call or joins it, and answers with what it answers.
async fn attend(gateway: &Gateway, asked: &Asked, call: Call) -> Result<Response> {
    let trail = call.trail.clone();
    let mut call = Some(call);
    for _ in 0..TRIES {
        let (mut reader, failure) = match gateway.idempotency().sit(asked).await? {
            Seat::Repeat(reader) => (reader, None),
            Seat::First(recorder, reader) => {
                let Some(call) = call.take() else { break };
                let (tell, told) = oneshot::channel();
                let max_answer = gateway.idempotency().max_answer();
                let work = Work::of(call.trail.id().clone());
                gateway.idempotency().spawn(Box::pin(work.finish(make(recorder, call, tell, max_answer))));
                (reader, Some(told))
            }
        };
        // What is waited for in the call itself is known to its trail; of a call that somebody else makes nothing is ours.
        let head = match failure {
            Some(_) => reader.head().await,
            None => trail.wait_for(reader.head()).await,
        };
        match head {
            Ok(head) => return Ok(response(reader, &head, failure, &trail)),
            Err(Lost::Refused(refusal)) => return Err(refusal.error()),
            Err(Lost::Broken) => {}
        }
    }
    Err(Error::new(Kind::Internal, "The call was dropped before it had an answer."))
}

/// Makes the call, and tells its answer to those who read it for as long as there are any.
async fn make(mut recorder: Recorder, call: Call, tell: oneshot::Sender<Option<Arc<Error>>>, max_answer: usize) {
    if !recorder.claim().await {
        return;
    }
    let Call { request, next, surface, trail } = call;
    let mut response = tokio::select! {
        biased;
        () = recorder.deserted() => return,
        response = next.run(request) => response,
    };
    let problem = dress(surface, &trail, &mut response);
    // Whoever left does not need it.
    let _ = tell.send(problem.clone());
    let (parts, mut body) = response.into_parts();
    let length = body.size_hint().exact();
    let head = Head { status: parts.status.as_u16(), headers: parts.headers, length, is_stored: false };
    let keep =
        |status: StatusCode| if is_lasting(status, problem.as_deref(), &trail) { Keep::Answer } else { Keep::Nothing };

    // What comes in one piece is told when the store has it.
    if length.is_some_and(|length| length <= max_answer as u64) {
        let whole = tokio::select! {
            biased;
            () = recorder.deserted() => return,
            whole = body.collect() => whole,
        };
        if let Ok(whole) = whole {
            recorder.finish(Some(head), Some(whole.to_bytes()), keep(parts.status)).await;
        }
        return;
    }
    recorder.begin(head);
    loop {
        let frame = tokio::select! {
            biased;
            () = recorder.deserted() => return,
            frame = body.frame() => frame,
        };
        match frame {
            // A broken answer breaks for all.
            Some(Err(_)) => return,
            Some(Ok(frame)) => {
                let Ok(piece) = frame.into_data() else { continue };
                if body.is_end_stream() {
                    return recorder.finish(None, Some(piece), keep(parts.status)).await;
                }
                recorder.push(piece).await;
            }
            None => return recorder.finish(None, None, keep(parts.status)).await,
        }
    }
}

/// Whether the same request would get the same answer again. What passes by waiting is none, whatever its status is in the
/// dialect, and neither is a stream that broke.
fn is_lasting(status: StatusCode, problem: Option<&Error>, trail: &Trail) -> bool {
    if let Some(problem) = problem {
        return match problem.kind() {
            Kind::RateLimited
            | Kind::BudgetExhausted
            | Kind::UpstreamThrottled
            | Kind::UpstreamUnavailable
            | Kind::Timeout
            | Kind::Internal => false,
            _ => status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS,
        };
    }
    match status.as_u16() {
        200..=299 => trail.booked().is_none_or(|booked| booked.outcome.as_str() == "ok"),
        400..=499 => status != StatusCode::TOO_MANY_REQUESTS,
        _ => false,
    }
}

/// The answer for one client; `failure` is there for the first alone.
fn response(
    reader: Reader,
    head: &Head,
    failure: Option<oneshot::Receiver<Option<Arc<Error>>>>,
    trail: &Trail,
) -> Response {
    let is_first = failure.is_some() && !head.is_stored;
    let other = failure.is_none().then(|| Waiting::new(trail.clone()));
    let pieces = Box::pin(pieces(reader));
    let mut response = Response::new(Body::new(Recorded { pieces, left: head.length, other }));
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if is_first {
        headers.clone_from(&head.headers);
    } else {
        *headers = head.repeated();
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    let problem = failure.and_then(|mut told| told.try_recv().ok().flatten());
    response.extensions_mut().insert(Dressed(problem));
    response
}

fn pieces(reader: Reader) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await? {
            Ok(piece) => Some((Ok(piece), Some(reader))),
            Err(_) => Some((Err(Error::new(Kind::Internal, "The answer broke off.")), None)),
        }
    })
}

/// A body of pieces.
struct Recorded {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    /// The bytes that are to come, where they are known.
    left: Option<u64>,
    /// Waits for the call, where somebody else makes it.
    other: Option<Waiting>,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if let Some(other) = &mut self.other {
            other.end();
        }
        let polled = self.pieces.as_mut().poll_next(cx);
        if let (Some(other), Poll::Pending) = (&mut self.other, &polled) {
            other.begin();
        }
        if let Poll::Ready(Some(Ok(piece))) = &polled {
            let length = piece.len() as u64;
            self.left = self.left.map(|left| left.saturating_sub(length));
        }
        polled.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_printable_and_given_once() {
        let read = |values: &[&[u8]]| {
            name(&values.iter().map(|value| (NAME, HeaderValue::from_bytes(value).unwrap())).collect())
        };
        assert_eq!(&*read(&[b"4a f-2"]).unwrap(), "4a f-2");
        assert_eq!(read(&[&[b'x'; 255]]).unwrap().len(), 255);
        for wrong in [&[&b""[..]][..], &[&[b'x'; 256]], &[b"a\tb"], &["é".as_bytes()], &[b"a", b"a"]] {
            assert_eq!(read(wrong).unwrap_err().blamed(), Some("Idempotency-Key"));
        }
    }
}
