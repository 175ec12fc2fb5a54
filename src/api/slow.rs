//! A body that has to keep coming. Who stops sending in the middle of it gets a 408 of its dialect, and holds nothing for
//! longer than that.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::error::{Error, Kind};
use crate::timer::Timer;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Nothing more of a body came in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooSlow(Duration);

impl TooSlow {
    /// What the caller is told.
    pub(super) fn told(self) -> Error {
        let waited = self.0.as_secs();
        Error::new(Kind::TooSlow, format!("Nothing more of the request body came for {waited} seconds."))
    }
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing more of the body came for {} s", self.0.as_secs())
    }
}

impl std::error::Error for TooSlow {}

/// Whether that is why reading a body failed.
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> Option<TooSlow> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref().copied())
}

/// A body whose pieces are waited for no longer than this.
pub struct Patient<B> {
    body: B,
    patience: Duration,
    last: Instant,
    timer: Timer,
}

impl<B> Patient<B> {
    /// Waits `patience` for each piece of `body`.
    pub fn new(body: B, patience: Duration) -> Self {
        Self { body, patience, last: Instant::now(), timer: Timer::default() }
    }
}

impl<B> fmt::Debug for Patient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patient").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Patient<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.last = Instant::now();
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let deadline = self.last + self.patience;
                ready!(self.timer.poll(deadline, cx));
                Poll::Ready(Some(Err(TooSlow(self.patience).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
