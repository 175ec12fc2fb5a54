//! Server-sent events: from a stream of events or frames to a response body.
//!
//! What arrived together leaves together, in one write. An idle stream is kept alive by a sign of life every 15 s,
//! because load balancers cut silent connections while a model thinks.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{HeaderValue, header};
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::Error;

/// Silence after which a sign of life is sent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A surface's way of writing events; the state machine is the surface's, the plumbing is here.
pub(super) trait Render: Send + Unpin + 'static {
    /// What the stream is made of.
    type Item;

    /// What is sent into a silence: by default a comment, which every client passes over.
    const ALIVE: &'static [u8] = b": keep-alive\n\n";

    /// Appends what the client shall see of `item`. An error is that of an item which cannot be read: it ends the answer,
    /// as one of the stream itself does.
    fn event(&mut self, item: Self::Item, out: &mut BytesMut) -> Result<(), Error>;
    /// Appends the end of a whole answer.
    fn finish(&mut self, out: &mut BytesMut);
    /// As [`Render::finish`], for who has to wait for something first; called again until it is ready.
    fn poll_finish(&mut self, _: &mut Context<'_>, out: &mut BytesMut) -> Poll<()> {
        self.finish(out);
        Poll::Ready(())
    }
    /// Appends the surface's error event; nothing follows it.
    fn error(&mut self, error: &Error, out: &mut BytesMut);
}

/// A response that sends `events` as `render` writes them.
pub(super) fn response<S, R>(events: S, render: R) -> Response
where
    S: Stream<Item = Result<R::Item, Error>> + Send + Unpin + 'static,
    R: Render,
{
    let body = SseBody {
        events: Some(events),
        is_finishing: false,
        render,
        out: BytesMut::with_capacity(1024),
        quiet_since: Instant::now(),
        timer: Box::pin(sleep_until(Instant::now() + KEEP_ALIVE)),
    };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would gather the stream otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct SseBody<S, R> {
    /// `None` once the answer has ended.
    events: Option<S>,
    /// The answer has ended, and its end is not rendered yet.
    is_finishing: bool,
    render: R,
    out: BytesMut,
    quiet_since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<S: Stream<Item = Result<R::Item, Error>> + Unpin, R: Render> SseBody<S, R> {
    /// Renders every event that is there already.
    fn fill(&mut self, cx: &mut Context<'_>) {
        while let Some(events) = &mut self.events {
            match Pin::new(events).poll_next(cx) {
                Poll::Pending => return,
                Poll::Ready(Some(item)) => {
                    if let Err(error) = item.and_then(|item| self.render.event(item, &mut self.out)) {
                        self.render.error(&error, &mut self.out);
                        self.events = None;
                    }
                }
                Poll::Ready(None) => {
                    self.events = None;
                    self.is_finishing = true;
                }
            }
        }
        if self.is_finishing {
            self.is_finishing = self.render.poll_finish(cx, &mut self.out).is_pending();
        }
    }

    fn is_over(&self) -> bool {
        self.events.is_none() && !self.is_finishing
    }

    /// Whether the stream was silent long enough for a sign of life. The timer is moved only when it fires, so that an
    /// event costs no timer operation.
    fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let due = self.quiet_since + KEEP_ALIVE;
            if due <= Instant::now() {
                self.quiet_since = Instant::now();
                self.timer.as_mut().reset(self.quiet_since + KEEP_ALIVE);
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

impl<S: Stream<Item = Result<R::Item, Error>> + Unpin, R: Render> http_body::Body for SseBody<S, R> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        this.fill(cx);
        if !this.out.is_empty() {
            this.quiet_since = Instant::now();
            return Poll::Ready(Some(Ok(Frame::data(this.out.split().freeze()))));
        }
        if this.is_over() {
            return Poll::Ready(None);
        }
        if this.poll_quiet(cx).is_ready() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(R::ALIVE)))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.is_over() && self.out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::error::Kind;

    /// Writes numbers; an odd one cannot be read.
    struct Numbers;

    impl Render for Numbers {
        type Item = u32;
        const ALIVE: &'static [u8] = b"alive\n\n";

        fn event(&mut self, item: u32, out: &mut BytesMut) -> Result<(), Error> {
            if item % 2 == 1 {
                return Err(Error::new(Kind::Internal, "odd"));
            }
            out.extend_from_slice(item.to_string().as_bytes());
            Ok(())
        }

        fn finish(&mut self, out: &mut BytesMut) {
            out.extend_from_slice(b"finished");
        }

        fn error(&mut self, error: &Error, out: &mut BytesMut) {
            out.extend_from_slice(error.message().as_bytes());
        }
    }

    async fn written(items: Vec<Result<u32, Error>>) -> Bytes {
        response(stream::iter(items), Numbers).into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn an_answer_ends_with_its_end_or_with_the_first_error() {
        assert_eq!(&written(vec![Ok(2), Ok(4)]).await[..], b"24finished");
        assert_eq!(&written(vec![Ok(2), Err(Error::new(Kind::Timeout, "late")), Ok(4)]).await[..], b"2late");
        assert_eq!(&written(vec![Ok(2), Ok(3), Ok(4)]).await[..], b"2odd");
    }

    #[tokio::test]
    async fn a_long_silence_is_broken_by_a_sign_of_life() {
        let long_ago = Instant::now().checked_sub(KEEP_ALIVE).unwrap();
        let mut body = SseBody {
            events: Some(stream::pending()),
            is_finishing: false,
            render: Numbers,
            out: BytesMut::new(),
            quiet_since: long_ago,
            timer: Box::pin(sleep_until(long_ago)),
        };
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(&frame.into_data().unwrap()[..], b"alive\n\n");
        // The next is due after as long again.
        assert!(body.timer.deadline() > Instant::now() + KEEP_ALIVE / 2);
    }
}
