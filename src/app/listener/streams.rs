//! The streams of HTTP/2: an answer that its client does not take ends as one by HTTP/1.1 does, while its connection and the
//! other answers on it go on.
//!
//! A client holds an answer up by giving its stream no window, and no byte of the connection tells of that: others pass, and
//! pings are answered. What tells is that nobody asks for the next piece of an answer once one is in hand that cannot be
//! sent. The task of the stream is dropped then, which resets the stream with CANCEL; for the call behind it the client has
//! left.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::timer::Timer;

tokio::task_local! {
    /// What becomes of the answer on the stream whose task this is.
    static TAKING: Arc<Taking>;
}

/// Whose turn it is with an answer. The number grows by one with every turn: 0 before there is an answer, odd while the next
/// piece is made, even while it is in the hands of who sends it.
#[derive(Debug, Default)]
pub(super) struct Taking(AtomicU64);

impl Taking {
    /// That of the stream whose task calls; none outside of one.
    pub(super) fn of_stream() -> Option<Arc<Self>> {
        TAKING.try_with(Arc::clone).ok()
    }

    /// The head of the answer is there.
    pub(super) fn begin(&self) {
        self.0.store(2, Ordering::Relaxed);
    }

    /// The next piece is asked for.
    pub(super) fn asked(&self) {
        self.0.fetch_or(1, Ordering::Relaxed);
    }

    /// It is there.
    pub(super) fn handed(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The turn of the client, if it is its turn.
    fn held(&self) -> Option<u64> {
        let turn = self.0.load(Ordering::Relaxed);
        (turn > 0 && turn.is_multiple_of(2)).then_some(turn)
    }
}

/// Runs the streams of connections.
#[derive(Clone)]
pub(super) struct Streams {
    /// For so long a client may take nothing of an answer.
    pub(super) patience: Duration,
    pub(super) tracker: TaskTracker,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.tracker.spawn(run(stream, self.patience));
    }
}

/// Runs a stream until it ends or its client has taken nothing for too long.
async fn run(stream: impl Future<Output = ()>, patience: Duration) {
    let taking = Arc::<Taking>::default();
    let mut stream = pin!(TAKING.scope(Arc::clone(&taking), stream));
    let (mut timer, mut last) = (Timer::default(), None);
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(turn) = taking.held() else {
            last = None;
            return Poll::Pending;
        };
        let since = match last {
            Some((before, since)) if before == turn => since,
            _ => Instant::now(),
        };
        last = Some((turn, since));
        timer.poll(since + patience, cx)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_clients_turn_from_the_head_on_and_from_each_piece_on() {
        let taking = Taking::default();
        assert_eq!(taking.held(), None, "there is no answer");
        taking.begin();
        let head = taking.held();
        assert!(head.is_some());
        taking.asked();
        taking.asked();
        assert_eq!(taking.held(), None, "the next piece is not there");
        taking.handed();
        assert!(taking.held().is_some() && taking.held() != head, "it is another turn");
    }
}
