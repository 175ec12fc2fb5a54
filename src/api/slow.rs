//! A body that has to keep coming, and to get somewhere. Who stops sending in the middle of it, or only trickles, gets a
//! 408 of its dialect, and holds nothing for longer than that.
//!
//! What counts is the time that a piece was waited for: while the gateway itself is busy with what has come, nobody is slow.

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

/// How slowly a body may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// So long it may fall behind `rate`; so long nothing may come at all, at most.
    pub wait: Duration,
    /// Bytes a second; with 0 any byte makes up for any wait.
    pub rate: u64,
}

/// A body did not come in time.
#[derive(Clone, Copy, Debug)]
pub(super) enum TooSlow {
    /// Nothing more came for so long.
    Silent(Duration),
    /// It came with less than so many bytes a second.
    Trickling(u64),
}

impl TooSlow {
    /// What the caller is told.
    pub(super) fn told(self) -> Error {
        let message = match self {
            Self::Silent(wait) => format!("Nothing more of the request body came for {} seconds.", wait.as_secs()),
            Self::Trickling(rate) => format!("The request body came with less than {rate} bytes a second."),
        };
        Error::new(Kind::TooSlow, message)
    }
}

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(wait) => write!(f, "nothing more of the body came for {} s", wait.as_secs()),
            Self::Trickling(rate) => write!(f, "the body came with less than {rate} bytes a second"),
        }
    }
}

impl std::error::Error for TooSlow {}

/// Whether that is why reading a body failed.
pub(super) fn cause(error: &(dyn std::error::Error + 'static)) -> Option<TooSlow> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref().copied())
}

/// How a body keeps up with what is asked of it.
#[derive(Clone, Copy, Debug)]
struct Pace {
    patience: Patience,
    /// How long was waited that no byte has made up for.
    behind: Duration,
    /// Since when is waited now.
    since: Option<Instant>,
}

impl Pace {
    fn of(patience: Patience) -> Self {
        Self { patience, behind: Duration::ZERO, since: None }
    }

    /// Something has to be waited for: until when at most.
    fn wait(&mut self, now: impl FnOnce() -> Instant) -> Instant {
        *self.since.get_or_insert_with(now) + self.patience.wait.saturating_sub(self.behind)
    }

    /// So many bytes came. The clock is asked only if they had to be waited for.
    fn came(&mut self, bytes: usize, now: impl FnOnce() -> Instant) {
        if let Some(since) = self.since.take() {
            self.behind += now().saturating_duration_since(since);
        }
        if bytes > 0 && !self.behind.is_zero() {
            let millis = (bytes as u64).saturating_mul(1000).checked_div(self.patience.rate);
            self.behind =
                millis.map_or(Duration::ZERO, |millis| self.behind.saturating_sub(Duration::from_millis(millis)));
        }
    }

    /// Why the wait is over.
    fn verdict(&self) -> TooSlow {
        if self.behind.is_zero() { TooSlow::Silent(self.patience.wait) } else { TooSlow::Trickling(self.patience.rate) }
    }
}

/// A body that is waited for no longer than this.
pub struct Patient<B> {
    body: B,
    pace: Pace,
    timer: Timer,
}

impl<B> Patient<B> {
    /// Waits with `patience` for the pieces of `body`.
    pub fn new(body: B, patience: Patience) -> Self {
        Self { body, pace: Pace::of(patience), timer: Timer::default() }
    }
}

impl<B> fmt::Debug for Patient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patient").field("pace", &self.pace).finish_non_exhaustive()
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin> Body for Patient<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.pace.came(frame.data_ref().map_or(0, Bytes::len), Instant::now);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let until = self.pace.wait(Instant::now);
                ready!(self.timer.poll(until, cx));
                Poll::Ready(Some(Err(self.pace.verdict().into())))
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

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    const WAIT: Duration = Duration::from_secs(30);

    /// After how many seconds a body is given up of which so many bytes come every so many seconds; `None`: not within a
    /// day.
    fn given_up(rate: u64, bytes: usize, every: u64) -> Option<u64> {
        let began = Instant::now();
        let mut pace = Pace::of(Patience { wait: WAIT, rate });
        for piece in 1..86_400 / every {
            let (since, next) = (began + Duration::from_secs((piece - 1) * every), Duration::from_secs(piece * every));
            let until = pace.wait(|| since);
            if began + next >= until {
                return Some((until - began).as_secs());
            }
            pace.came(bytes, || began + next);
        }
        None
    }

    #[test]
    fn a_body_may_fall_behind_its_rate_for_so_long_and_no_longer() {
        assert_eq!(given_up(500, 500, 1), None, "exactly as fast");
        assert_eq!(given_up(500, 14_500, 29), None, "in bursts");
        assert_eq!(given_up(500, 1, 1), Some(30));
        assert_eq!(given_up(500, 250, 1), Some(59));
        assert_eq!(given_up(500, 499, 1).map(|after| after > 10_000), Some(true), "hardly too slow takes long");
        assert_eq!(given_up(500, 1_000_000, 30), Some(30), "nothing is saved up for a silence");
        assert_eq!(given_up(0, 1, 29), None, "no rate is asked for");
        assert_eq!(given_up(0, 0, 10), Some(30), "an empty piece is nothing");
    }

    #[test]
    fn the_time_in_which_nothing_was_asked_for_counts_for_nothing() {
        let began = Instant::now();
        let mut pace = Pace::of(Patience { wait: WAIT, rate: 500 });
        pace.came(10, || panic!("the clock is asked for nothing"));
        assert_eq!(pace.wait(|| began + 9 * WAIT), began + 10 * WAIT);
        assert_eq!(pace.wait(|| panic!("it is waited for already")), began + 10 * WAIT);
    }

    #[tokio::test]
    async fn silence_and_a_trickle_are_told_apart() {
        let patience = Patience { wait: Duration::from_millis(20), rate: 1_000_000 };
        let silent = stream::pending::<Result<Frame<Bytes>, BoxError>>();
        let told = async |pieces: stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>| {
            let error = Patient::new(StreamBody::new(pieces), patience).collect().await.unwrap_err();
            cause(&*error).unwrap().told().message().to_owned()
        };
        assert_eq!(told(silent.boxed()).await, "Nothing more of the request body came for 0 seconds.");
        let trickle = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Some((Ok(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        assert_eq!(told(trickle.boxed()).await, "The request body came with less than 1000000 bytes a second.");
    }
}
