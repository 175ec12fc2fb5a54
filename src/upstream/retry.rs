//! What follows a failed attempt: the same candidate again after a pause, the next one, or nothing. Pure: randomness
//! comes from a seed and nothing sleeps here.
//!
//! One budget covers the whole call: its attempts, the first included, the time spent waiting between them, and the
//! time there is for all of it. What one call may repeat in a Region is limited further by what others saw there.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use super::classify::{Failure, Reason};

/// Attempts in one Region while no other can take over.
const SAME_REGION: u32 = 3;
/// A model that is loading is asked this often.
const NOT_READY: u32 = 5;
/// The whole time a call may spend waiting between attempts.
const PATIENCE: Duration = Duration::from_secs(20);

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same candidate again, after this pause.
    SameRegionAfter(Duration),
    /// The next candidate at once.
    NextCandidate,
    /// Tell the caller.
    GiveUp,
}

/// Whether calls may be repeated in one Region at all: as many fail there, repeats only add to the load. Shared by all
/// calls, as gRPC's retry throttling: a failure takes one, a success gives half of one back, and below half of
/// [`Allowance::FULL`] nothing is repeated. <https://github.com/grpc/proposal/blob/master/A6-client-retries.md>
#[derive(Debug)]
pub struct Allowance {
    /// Twice what is left.
    left: AtomicI32,
}

impl Allowance {
    /// So many failures in a row, twice, use it up.
    pub const FULL: i32 = 100;

    /// Whether a call may be repeated.
    pub fn allows(&self) -> bool {
        self.left.load(Ordering::Relaxed) > Self::FULL
    }

    /// An attempt was answered.
    pub fn succeeded(&self) {
        // Full is the usual case, and needs no write.
        if self.left.load(Ordering::Relaxed) < Self::FULL * 2 {
            self.change(|left| left + 1);
        }
    }

    /// An attempt failed, and not because of what was asked.
    pub fn failed(&self, reason: Reason) {
        if matches!(
            reason,
            Reason::Throttled | Reason::Unavailable | Reason::Timeout | Reason::Connection | Reason::Cut
        ) {
            self.change(|left| left - 2);
        }
    }

    fn change(&self, change: impl Fn(i32) -> i32) {
        let bounded = |left| Some(change(left).clamp(0, Self::FULL * 2));
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, bounded).ok();
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: AtomicI32::new(Self::FULL * 2) }
    }
}

/// What there is beside the candidate that failed.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// Candidates that were not tried.
    pub others: usize,
    /// Time until the call has to be over.
    pub time: Duration,
    /// Of the Region that failed.
    pub allowance: &'a Allowance,
}

/// The budget of one call, spent attempt by attempt.
#[derive(Debug)]
pub struct Retry {
    max_attempts: u32,
    patience: Duration,
    /// Failed attempts so far.
    failed: u32,
    /// Failed attempts at the present candidate.
    here: u32,
    /// Failures for which AWS may charge.
    costly: u32,
    random: fastrand::Rng,
}

impl Retry {
    /// A call that may make `max_attempts` in all; `seed` feeds the jitter.
    pub fn new(max_attempts: u32, seed: u64) -> Self {
        Self {
            max_attempts: max_attempts.max(1),
            patience: PATIENCE,
            failed: 0,
            here: 0,
            costly: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// What follows `failure`.
    pub fn after(&mut self, failure: &Failure, left: Left<'_>) -> Next {
        self.decide((failure.reason, failure.sent), failure.retry_after, left)
    }

    /// An attempt failed beside another that is still under way: nothing follows, but it counts.
    pub fn count(&mut self, failure: &Failure) {
        self.note(failure.reason, failure.sent);
    }

    fn note(&mut self, reason: Reason, sent: bool) {
        self.failed += 1;
        // AWS may charge for these, so one more attempt is all that is made.
        let costly = matches!(reason, Reason::Timeout | Reason::ModelError | Reason::Cut)
            || (sent && reason == Reason::Connection);
        self.costly += u32::from(costly);
    }

    /// Whether one more attempt may be made.
    pub fn is_left(&self) -> bool {
        self.failed + 1 < self.max_attempts
    }

    fn decide(&mut self, (reason, sent): (Reason, bool), retry_after: Option<Duration>, left: Left<'_>) -> Next {
        let others = left.others;
        self.note(reason, sent);
        self.here += 1;
        let is_over = self.failed >= self.max_attempts || left.time.is_zero();
        if is_over || self.costly > 1 || reason == Reason::Rejected {
            return Next::GiveUp;
        }
        let same_region = match reason {
            // Custom models live in one Region: another cannot help.
            Reason::NotReady => self.pause(Duration::from_secs(2), NOT_READY, retry_after),
            _ if others > 0 || !left.allowance.allows() => None,
            Reason::Throttled | Reason::Unavailable => self.pause(Duration::from_secs(1), SAME_REGION, retry_after),
            Reason::Connection | Reason::Timeout | Reason::ModelError | Reason::Cut => {
                self.pause(Duration::from_millis(200), SAME_REGION, retry_after)
            }
            Reason::Quota | Reason::Denied | Reason::Missing | Reason::Credentials | Reason::Rejected => None,
        };
        match same_region.filter(|pause| *pause < left.time) {
            Some(pause) => {
                self.patience -= pause;
                Next::SameRegionAfter(pause)
            }
            None if others > 0 => {
                self.here = 0;
                Next::NextCandidate
            }
            None => Next::GiveUp,
        }
    }

    /// Full jitter over a doubling pause, on top of what AWS asks for; `None` when attempts or patience run out.
    fn pause(&mut self, base: Duration, attempts: u32, retry_after: Option<Duration>) -> Option<Duration> {
        if self.here >= attempts {
            return None;
        }
        let ceiling = base.saturating_mul(1 << (self.here - 1));
        let jitter = ceiling.mul_f64(self.random.f64());
        Some(retry_after.unwrap_or_default().saturating_add(jitter)).filter(|pause| *pause <= self.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    /// What follows when there is time enough and the Region has done well.
    fn decide(retry: &mut Retry, (reason, sent): (Reason, bool), retry_after: Option<Duration>, others: usize) -> Next {
        retry.decide((reason, sent), retry_after, Left { others, time: LONG, allowance: &Allowance::default() })
    }

    fn step(next: Next) -> &'static str {
        match next {
            Next::SameRegionAfter(_) => "same",
            Next::NextCandidate => "next",
            Next::GiveUp => "stop",
        }
    }

    #[test]
    fn each_reason_goes_its_way() {
        use Reason::*;
        for (reason, alone, among_others) in [
            (Throttled, "same", "next"),
            (Quota, "stop", "next"),
            (NotReady, "same", "same"),
            (Unavailable, "same", "next"),
            (Timeout, "same", "next"),
            (ModelError, "same", "next"),
            (Rejected, "stop", "stop"),
            (Denied, "stop", "next"),
            (Missing, "stop", "next"),
            (Connection, "same", "next"),
            (Credentials, "stop", "next"),
            (Cut, "same", "next"),
        ] {
            assert_eq!(step(decide(&mut Retry::new(4, 1), (reason, false), None, 0)), alone, "{reason:?} alone");
            let retry = &mut Retry::new(4, 1);
            assert_eq!(step(decide(retry, (reason, false), None, 2)), among_others, "{reason:?} among others");
            assert_eq!(step(decide(&mut Retry::new(1, 1), (reason, false), None, 2)), "stop", "{reason:?} as the last");
        }
    }

    fn steps(retry: &mut Retry, failures: &[(Reason, usize)]) -> Vec<&'static str> {
        failures.iter().map(|(reason, others)| step(decide(retry, (*reason, true), None, *others))).collect()
    }

    #[test]
    fn the_first_attempt_counts() {
        let all = [(Reason::Throttled, 9); 4];
        assert_eq!(steps(&mut Retry::new(4, 1), &all), ["next", "next", "next", "stop"]);
    }

    #[test]
    fn a_failure_that_may_cost_is_followed_by_one_more_attempt_at_most() {
        assert_eq!(steps(&mut Retry::new(9, 1), &[(Reason::Timeout, 5), (Reason::ModelError, 4)]), ["next", "stop"]);
        let lost = [(Reason::Throttled, 5), (Reason::Connection, 4), (Reason::Cut, 3)];
        assert_eq!(steps(&mut Retry::new(9, 1), &lost), ["next", "next", "stop"]);
    }

    #[test]
    fn the_last_candidate_is_tried_a_few_times_with_pauses_of_full_jitter() {
        for seed in 0..200 {
            let mut retry = Retry::new(10, seed);
            assert_eq!(decide(&mut retry, (Reason::Throttled, false), None, 1), Next::NextCandidate);
            for ceiling in [1, 2] {
                let next = decide(&mut retry, (Reason::Throttled, false), None, 0);
                assert!(matches!(next, Next::SameRegionAfter(p) if p <= Duration::from_secs(ceiling)), "{next:?}");
            }
            assert_eq!(decide(&mut retry, (Reason::Throttled, false), None, 0), Next::GiveUp);
        }
    }

    #[test]
    fn what_aws_asks_for_is_waited_but_not_beyond_the_patience() {
        let mut retry = Retry::new(4, 7);
        let asked = Duration::from_secs(5);
        let next = decide(&mut retry, (Reason::Throttled, false), Some(asked), 0);
        assert!(matches!(next, Next::SameRegionAfter(pause) if pause >= asked));
        assert_eq!(decide(&mut retry, (Reason::Throttled, false), Some(Duration::from_secs(16)), 0), Next::GiveUp);
        let long = Some(Duration::from_hours(1));
        assert_eq!(decide(&mut Retry::new(4, 7), (Reason::NotReady, false), long, 1), Next::NextCandidate);
    }

    #[test]
    fn a_model_that_loads_is_waited_for_five_times() {
        for others in [0, 3] {
            let mut retry = Retry::new(10, 3);
            let loading = |retry: &mut Retry| step(decide(retry, (Reason::NotReady, false), None, others));
            for _ in 0..4 {
                // The longest pauses together are more than the patience, so this is about the number alone.
                retry.patience = PATIENCE;
                assert_eq!(loading(&mut retry), "same");
            }
            assert_eq!(loading(&mut retry), if others > 0 { "next" } else { "stop" });
        }
    }

    #[test]
    fn a_pause_that_would_outlast_the_call_is_not_begun() {
        let allowance = Allowance::default();
        let asked = Some(Duration::from_secs(5));
        let after = |time: u64, others| {
            let left = Left { others, time: Duration::from_secs(time), allowance: &allowance };
            step(Retry::new(4, 1).decide((Reason::Throttled, false), asked, left))
        };
        assert_eq!([after(7, 0), after(5, 0), after(5, 1), after(0, 1)], ["same", "stop", "next", "stop"]);
    }

    #[test]
    fn where_most_calls_fail_nothing_is_repeated_but_others_are_tried() {
        let allowance = Allowance::default();
        let after = |others| {
            let left = Left { others, time: LONG, allowance: &allowance };
            step(Retry::new(4, 1).decide((Reason::Unavailable, false), None, left))
        };
        for _ in 0..Allowance::FULL / 2 {
            assert_eq!(after(0), "same");
            allowance.failed(Reason::Unavailable);
            allowance.failed(Reason::Rejected);
        }
        assert_eq!((after(0), after(1)), ("stop", "next"));
        allowance.succeeded();
        assert_eq!(after(0), "same");
        for _ in 0..1000 {
            allowance.failed(Reason::Throttled);
        }
        for _ in 0..=Allowance::FULL {
            assert_eq!(after(0), "stop");
            allowance.succeeded();
        }
        assert_eq!(after(0), "same");
    }
}
