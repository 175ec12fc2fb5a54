//! Streamed answers on their way to the client: frames as they came, or events read from them, with a meter beside
//! them that settles the call when it ends, breaks, or is dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::meter::Meter;
use super::settle::Settlement;
use crate::converse::Event;
use crate::error::{Error, Kind};
use crate::telemetry::metrics::Open;
use crate::upstream::{Frame, FrameKind, Frames};

/// Frames of a streamed answer, byte for byte. An exception that AWS sends in the stream is a frame like any other, and its
/// message is as AWS wrote it; an `Err` is what the gateway has to say itself, and the end.
pub struct FrameStream {
    frames: Frames,
    meter: Meter,
    /// `None` once the call is booked.
    settlement: Option<Settlement>,
    /// The end of the drain: a stream still open then is told so and cut.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: bool,
    _open: Open,
}

impl FrameStream {
    pub(super) fn new(
        frames: Frames,
        meter: Meter,
        mut settlement: Settlement,
        cut: WaitForCancellationFutureOwned,
        open: Open,
    ) -> Self {
        settlement.first_event();
        settlement.seen(meter.partial(settlement.input_estimate()));
        Self { frames, meter, settlement: Some(settlement), cut: Box::pin(cut), ended: false, _open: open }
    }

    fn observe(&mut self, frame: &Frame) {
        if let FrameKind::Event(kind) = &frame.kind {
            if let Some(usage) = self.meter.observe(kind.as_str(), &frame.payload)
                && let Some(settlement) = self.settlement.take()
            {
                settlement.finish(usage);
            }
        } else if let Some(failure) = frame.failure() {
            self.fail(&failure.error);
        }
    }

    fn fail(&mut self, error: &Error) {
        if let Some(mut settlement) = self.settlement.take() {
            settlement.seen(self.meter.partial(settlement.input_estimate()));
            settlement.fail(error);
        }
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<Frame, Error>>> {
        self.fail(&error);
        self.ended = true;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for FrameStream {
    type Item = Result<Frame, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.frames).poll_next(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.observe(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(failure))) => this.end(failure.error),
            // A Converse stream that says no usage was cut, whatever the connection says.
            Poll::Ready(None) if this.settlement.is_some() && this.meter.is_converse() => this.end(cut_short()),
            Poll::Ready(None) => {
                this.ended = true;
                // Not every model tells its usage in a native stream.
                if let Some(settlement) = this.settlement.take() {
                    let usage = this.meter.partial(settlement.input_estimate());
                    settlement.finish_untold(usage);
                }
                Poll::Ready(None)
            }
            Poll::Pending => match this.cut.as_mut().poll(cx) {
                Poll::Ready(()) => this.end(shutting_down()),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl Drop for FrameStream {
    fn drop(&mut self) {
        // The client left: the settlement's own drop books it, with what the meter saw.
        if let Some(settlement) = &mut self.settlement {
            let usage = self.meter.partial(settlement.input_estimate());
            settlement.seen(usage);
        }
    }
}

fn cut_short() -> Error {
    Error::new(Kind::UpstreamUnavailable, "Bedrock ended the stream before the answer was complete.")
}

fn shutting_down() -> Error {
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
            Poll::Ready(Some(Err(error))) => Err(error),
            Poll::Ready(Some(Ok(frame))) => read(&frame),
        };
        if let Err(error) = &item {
            self.frames.fail(error);
            self.broken = true;
        }
        Poll::Ready(Some(item))
    }
}

/// The event in a frame.
fn read(frame: &Frame) -> Result<Event, Error> {
    let FrameKind::Event(kind) = &frame.kind else {
        return Err(frame.failure().map_or_else(shutting_down, |failure| failure.error));
    };
    Event::parse(kind.as_str(), &frame.payload).map_err(|error| {
        Error::new(Kind::UpstreamUnavailable, "Bedrock sent an event that could not be read.").source(error)
    })
}
