//! Streamed answers on their way to the client: frames as they came, or events read from them, with a meter beside
//! them that settles the call when it ends, breaks, or is dropped.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::attempt::Attempt;
use super::drain::go_on;
use super::meter::{Meter, Told};
use super::settle::Settlement;
use super::waits::Waiting;
use crate::converse::Event;
use crate::error::{Error, Kind};
use crate::money::MicroUsd;
use crate::telemetry::metrics::Open;
use crate::upstream::{Failure, Frame, FrameKind, Frames, Reason};

/// Frames of a streamed answer, byte for byte. An exception that AWS sends in the stream is a frame like any other, and its
/// message is as AWS wrote it; an `Err` is what the gateway has to say itself, and the end. Whole until it is dropped.
pub struct FrameStream(Option<Flow>);

/// What a stream is made of.
struct Flow {
    frames: Frames,
    meter: Meter,
    /// `None` once the call is booked and its attempt counted.
    open_call: Option<(Settlement, Attempt)>,
    /// The end of the drain: a stream still open then is told so and cut.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    waiting: Waiting,
    ended: bool,
    _open: Open,
}

impl FrameStream {
    pub(super) fn new(
        frames: Frames,
        meter: Meter,
        (mut settlement, attempt): (Settlement, Attempt),
        cut: WaitForCancellationFutureOwned,
        open: Open,
    ) -> Self {
        settlement.first_event();
        settlement.seen(meter.partial(settlement.input_estimate()));
        let waiting = Waiting::new(settlement.trail().clone());
        let open_call = Some((settlement, attempt));
        Self(Some(Flow { frames, meter, open_call, cut: Box::pin(cut), waiting, ended: false, _open: open }))
    }

    /// AWS broke the answer off.
    fn fail(&mut self, failure: &Failure) {
        if let Some(flow) = &mut self.0 {
            flow.fail(failure);
        }
    }
}

impl Flow {
    fn observe(&mut self, frame: &Frame) {
        if let FrameKind::Event(kind) = &frame.kind {
            if let Some((settlement, _)) = &mut self.open_call {
                settlement.span.streamed(kind.as_str(), &frame.payload);
            }
            if let Some(told) = self.meter.observe(kind.as_str(), &frame.payload)
                && let Some((mut settlement, attempt)) = self.open_call.take()
            {
                attempt.succeeded();
                settlement.learn(self.meter.statement());
                match told {
                    Told::Usage(usage) => settlement.finish(usage),
                    Told::Nothing => self.finish_untold(settlement),
                };
            }
        } else if let Some(failure) = frame.failure() {
            self.fail(&failure);
        }
    }

    /// AWS broke the answer off.
    fn fail(&mut self, failure: &Failure) {
        if let Some((settlement, attempt)) = self.open_call.take() {
            attempt.failed(failure);
            self.book(settlement, &failure.error);
        }
    }

    /// The gateway breaks the answer off: no fault of AWS.
    fn abandon(&mut self, error: &Error) {
        if let Some((settlement, attempt)) = self.open_call.take() {
            attempt.succeeded();
            self.book(settlement, error);
        }
    }

    fn book(&self, mut settlement: Settlement, error: &Error) {
        settlement.learn(self.meter.statement());
        settlement.seen(self.meter.partial(settlement.input_estimate()));
        settlement.fail(error);
    }

    fn finish_untold(&self, settlement: Settlement) -> Option<MicroUsd> {
        let usage = self.meter.partial(settlement.input_estimate());
        settlement.finish_untold(usage)
    }

    fn end(&mut self, failure: Failure) -> Poll<Option<Result<Frame, Error>>> {
        self.fail(&failure);
        self.ended = true;
        Poll::Ready(Some(Err(failure.error)))
    }
}

impl Stream for FrameStream {
    type Item = Result<Frame, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().map_or(Poll::Ready(None), |flow| flow.poll_next(cx))
    }
}

impl Flow {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Error>>> {
        self.waiting.end();
        let poll = self.poll_frame(cx);
        self.waiting.polled(poll)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame, Error>>> {
        let this = self;
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.frames).poll_next(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.observe(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(failure))) => this.end(failure),
            Poll::Ready(None) if this.open_call.is_some() && this.meter.must_say_end() => this.end(cut_short()),
            Poll::Ready(None) => {
                this.ended = true;
                // Not every model tells its usage in a native stream.
                if let Some((mut settlement, attempt)) = this.open_call.take() {
                    attempt.succeeded();
                    settlement.learn(this.meter.statement());
                    this.finish_untold(settlement);
                }
                Poll::Ready(None)
            }
            Poll::Pending => match this.cut.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    let error = shutting_down();
                    this.abandon(&error);
                    this.ended = true;
                    Poll::Ready(Some(Err(error)))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Drop for FrameStream {
    /// The client left. Where the call goes on without it, a task takes the stream over.
    fn drop(&mut self) {
        let Some(mut flow) = self.0.take() else { return };
        let going_on = flow.open_call.as_ref().filter(|(settlement, _)| settlement.goes_on());
        let Some(gateway) = going_on.map(|(settlement, _)| settlement.gateway().clone()) else { return };
        go_on(&gateway.0.parts.unattended, async move { while poll_fn(|cx| flow.poll_next(cx)).await.is_some() {} });
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // The client left, and AWS did well until then. The settlement's own drop books it, with what the meter saw.
        if let Some((mut settlement, attempt)) = self.open_call.take() {
            attempt.succeeded();
            settlement.learn(self.meter.statement());
            settlement.seen(self.meter.partial(settlement.input_estimate()));
        }
    }
}

fn cut_short() -> Failure {
    unusable(Error::new(Kind::UpstreamUnavailable, "Bedrock ended the stream before the answer was complete."))
}

/// An answer that cannot be used to its end.
fn unusable(error: Error) -> Failure {
    Failure { reason: Reason::Cut, error, retry_after: None, sent: true }
}

/// The drain is over.
pub(super) fn shutting_down() -> Error {
    Error::new(Kind::UpstreamUnavailable, "The gateway is shutting down and could not wait for the rest of the answer.")
}

/// Canonical events of a ConverseStream answer. After an `Err` comes nothing.
pub struct EventStream {
    frames: FrameStream,
    broken: bool,
}

impl EventStream {
    pub(super) fn new(frames: FrameStream) -> Self {
        Self { frames, broken: false }
    }
}

impl Stream for EventStream {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.broken {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.frames).poll_next(cx);
        let item = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            // Booked by the stream of frames.
            Poll::Ready(Some(Err(error))) => Err(error),
            Poll::Ready(Some(Ok(frame))) => read(&frame).map_err(|failure| {
                self.frames.fail(&failure);
                failure.error
            }),
        };
        self.broken = item.is_err();
        Poll::Ready(Some(item))
    }
}

/// The event in a frame.
fn read(frame: &Frame) -> Result<Event, Failure> {
    let FrameKind::Event(kind) = &frame.kind else {
        return Err(frame.failure().unwrap_or_else(cut_short));
    };
    Event::parse(kind.as_str(), &frame.payload).map_err(|error| {
        unusable(Error::new(Kind::UpstreamUnavailable, "Bedrock sent an event that could not be read.").source(error))
    })
}
