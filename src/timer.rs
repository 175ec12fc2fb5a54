//! A timer for what is nearly always in time: bytes that keep coming.
//!
//! It is set up when something has to be waited for at all, and moved only when it fires. To put a deadline off costs
//! nothing, not even a look at the clock: only to bring one forward moves it at once.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

/// See the module.
#[derive(Default)]
pub struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready from `until` on, which may be another moment at each call.
    pub fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Timer(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn it_fires_at_the_last_deadline_it_was_given_and_not_before() {
        let (mut timer, began) = (Timer::default(), Instant::now());
        let (mut until, mut polls) = (began + MOMENT, 0);
        poll_fn(|cx| {
            polls += 1;
            // Put off once, when it fires for the first time.
            if polls == 2 {
                until += MOMENT;
            }
            timer.poll(until, cx)
        })
        .await;
        assert!(began.elapsed() >= 2 * MOMENT, "{polls}");
        let until = Instant::now() + MOMENT;
        poll_fn(|cx| timer.poll(until, cx)).await;
        assert!(Instant::now() >= until, "it can be used again");
    }

    #[tokio::test]
    async fn a_deadline_can_be_brought_forward() {
        let mut timer = Timer::default();
        let far = Instant::now() + Duration::from_hours(1);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll(far, cx))).await.is_pending());
        let near = Instant::now() + MOMENT;
        poll_fn(|cx| timer.poll(near, cx)).await;
        assert!(Instant::now() >= near);
        poll_fn(|cx| timer.poll(near - MOMENT, cx)).await;
    }
}
