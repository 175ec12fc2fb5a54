//! How long a request waited for somebody else: AWS, whoever has a file that it points to, its own client. What is left of
//! its time is the gateway's own, and that is what `gateway_overhead_seconds` tells.
//!
//! A wait is the time between a poll that came to nothing and the next one, so that our own work in between two waits (a
//! signature, a translation) is not in it. Waits of one request may overlap, on several threads: then they count once.
//! Nothing here locks or allocates; a wait costs two looks at the clock and two changes of one word.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use super::Trail;

/// Of the word that says what is being waited for, the bits that count waits; the others are since when, in nanoseconds
/// after the beginning: enough for half a year.
const COUNT_BITS: u32 = 10;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// The waits of one request.
#[derive(Debug)]
pub(super) struct Waits {
    began: Instant,
    /// How many are under way, and since when there is one.
    open: AtomicU64,
    /// Nanoseconds of those that are over.
    over: AtomicU64,
}

impl Waits {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), open: AtomicU64::new(0), over: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    /// Since the beginning.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    fn begin(&self, now: u64) {
        let add = |open: u64| {
            // More than a thousand at once of one request: the rest are within those.
            let is_full = open & COUNT == COUNT;
            (!is_full).then(|| if open & COUNT == 0 { now << COUNT_BITS | 1 } else { open + 1 })
        };
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).ok();
    }

    fn end(&self, now: u64) {
        let take = |open: u64| match open & COUNT {
            0 => None,
            1 => Some(0),
            _ => Some(open - 1),
        };
        if let Ok(open) = self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            && open & COUNT == 1
        {
            self.over.fetch_add(now.saturating_sub(open >> COUNT_BITS), Ordering::AcqRel);
        }
    }

    /// How much of `age` was waited, a wait that is not over included.
    fn until(&self, age: Duration) -> Duration {
        let (over, open) = (self.over.load(Ordering::Acquire), self.open.load(Ordering::Acquire));
        let open = if open & COUNT == 0 { 0 } else { nanos(age).saturating_sub(open >> COUNT_BITS) };
        Duration::from_nanos(over + open)
    }

    /// What of `age` was not waited.
    pub(super) fn own(&self, age: Duration) -> Duration {
        age.saturating_sub(self.until(age))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// One who waits for somebody else, now and then. Dropping it ends a wait that is under way.
#[derive(Debug)]
pub struct Waiting {
    trail: Trail,
    is_under_way: bool,
}

impl Waiting {
    /// Not yet.
    pub fn new(trail: Trail) -> Self {
        Self { trail, is_under_way: false }
    }

    /// From now on, unless it waits already.
    pub fn begin(&mut self) {
        if !self.is_under_way {
            self.is_under_way = true;
            let waits = self.trail.waits();
            waits.begin(waits.now());
        }
    }

    /// No longer.
    pub fn end(&mut self) {
        if self.is_under_way {
            self.is_under_way = false;
            let waits = self.trail.waits();
            waits.end(waits.now());
        }
    }

    /// It was polled, and that came to this.
    pub fn polled<T>(&mut self, poll: Poll<T>) -> Poll<T> {
        if poll.is_pending() {
            self.begin();
        }
        poll
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

pin_project! {
    /// A future whose waits are for somebody else.
    ///
    /// No `async fn`: that would hold the future twice, as its argument and pinned, and futures of whole calls are large.
    struct WaitFor<F> {
        #[pin]
        future: F,
        waiting: Waiting,
    }
}

impl<F: Future> Future for WaitFor<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.waiting.end();
        let poll = this.future.poll(cx);
        this.waiting.polled(poll)
    }
}

impl Trail {
    /// What `future` comes to, whose waits are for somebody else.
    pub fn wait_for<F: Future>(&self, future: F) -> impl Future<Output = F::Output> {
        WaitFor { future, waiting: Waiting::new(self.clone()) }
    }

    /// How old the request is, and how much of that was the gateway's own time.
    pub fn times(&self) -> (Duration, Duration) {
        let waits = self.waits();
        let age = waits.age();
        (age, waits.own(age))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const AGE: Duration = Duration::from_micros(1);

    #[test]
    fn what_is_not_waited_is_our_own() {
        let waits = Waits::new();
        assert_eq!(waits.own(AGE), AGE);
        waits.begin(100);
        waits.end(400);
        waits.begin(500);
        waits.end(600);
        assert_eq!(waits.own(AGE), Duration::from_nanos(600));
    }

    #[test]
    fn waits_that_overlap_count_once() {
        let waits = Waits::new();
        waits.begin(100);
        waits.begin(200);
        waits.end(300);
        waits.begin(350);
        waits.end(400);
        waits.end(700);
        assert_eq!(waits.own(AGE), Duration::from_nanos(400));
    }

    #[test]
    fn a_wait_that_is_not_over_counts_until_now() {
        let waits = Waits::new();
        waits.begin(100);
        waits.end(200);
        waits.begin(900);
        assert_eq!(waits.own(AGE), Duration::from_nanos(800));
        waits.end(800);
        waits.end(900);
        assert!(waits.own(AGE) <= AGE, "a wait that ends twice, or before it began, takes nothing away");
    }

    #[test]
    fn a_thousand_waits_at_once_are_one() {
        let waits = Waits::new();
        for _ in 0..2 * COUNT {
            waits.begin(0);
        }
        for _ in 0..2 * COUNT {
            waits.end(500);
        }
        assert_eq!(waits.own(AGE), Duration::from_nanos(500));
    }

    #[test]
    fn waits_on_many_threads_lose_nothing() {
        let waits = Waits::new();
        waits.begin(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        waits.begin(10);
                        waits.end(20);
                    }
                });
            }
        });
        waits.end(700);
        assert_eq!(waits.own(AGE), Duration::from_nanos(300));
    }

    #[tokio::test]
    async fn only_the_pauses_of_a_future_are_waited() {
        let trail = Trail::new("req_1".into());
        let mut polls = 0;
        let busy = Duration::from_millis(3);
        let begun = Instant::now();
        trail
            .wait_for(poll_fn(|cx| {
                let spinning = Instant::now();
                while spinning.elapsed() < busy {
                    std::hint::spin_loop();
                }
                polls += 1;
                cx.waker().wake_by_ref();
                if polls < 3 { Poll::Pending } else { Poll::Ready(()) }
            }))
            .await;
        let (age, own) = trail.times();
        assert!(own >= 3 * busy && own <= age, "{own:?} of {age:?}");
        assert!(begun.elapsed() >= own);
    }
}
