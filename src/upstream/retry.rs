//! What follows a failed attempt: the same candidate again after a pause, the next one, or nothing. Pure: randomness
//! comes from a seed and nothing sleeps here.
//!
//! One budget covers the whole call: its attempts, the first included, and the time spent waiting between them.

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

    /// What follows `failure`, when `others` more candidates are left.
    pub fn after(&mut self, failure: &Failure, others: usize) -> Next {
        self.decide(failure.reason, failure.retry_after, failure.sent, others)
    }

    fn decide(&mut self, reason: Reason, retry_after: Option<Duration>, sent: bool, others: usize) -> Next {
        self.failed += 1;
        self.here += 1;
        // AWS may charge for these, so one more attempt is all that is made.
        let costly = matches!(reason, Reason::Timeout | Reason::ModelError | Reason::Cut)
            || (sent && reason == Reason::Connection);
        self.costly += u32::from(costly);
        if self.failed >= self.max_attempts || self.costly > 1 || reason == Reason::Rejected {
            return Next::GiveUp;
        }
        let same_region = match reason {
            // Custom models live in one Region: another cannot help.
            Reason::NotReady => self.pause(Duration::from_secs(2), NOT_READY, retry_after),
            _ if others > 0 => None,
            Reason::Throttled | Reason::Unavailable => self.pause(Duration::from_secs(1), SAME_REGION, retry_after),
            Reason::Connection | Reason::Timeout | Reason::ModelError | Reason::Cut => {
                self.pause(Duration::from_millis(200), SAME_REGION, retry_after)
            }
            Reason::Quota | Reason::Denied | Reason::Missing | Reason::Credentials | Reason::Rejected => None,
        };
        match same_region {
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
            assert_eq!(step(Retry::new(4, 1).decide(reason, None, false, 0)), alone, "{reason:?} alone");
            assert_eq!(step(Retry::new(4, 1).decide(reason, None, false, 2)), among_others, "{reason:?} among others");
            assert_eq!(step(Retry::new(1, 1).decide(reason, None, false, 2)), "stop", "{reason:?} as the last");
        }
    }

    fn steps(retry: &mut Retry, failures: &[(Reason, usize)]) -> Vec<&'static str> {
        failures.iter().map(|(reason, others)| step(retry.decide(*reason, None, true, *others))).collect()
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
            assert_eq!(retry.decide(Reason::Throttled, None, false, 1), Next::NextCandidate);
            for ceiling in [1, 2] {
                let next = retry.decide(Reason::Throttled, None, false, 0);
                assert!(matches!(next, Next::SameRegionAfter(p) if p <= Duration::from_secs(ceiling)), "{next:?}");
            }
            assert_eq!(retry.decide(Reason::Throttled, None, false, 0), Next::GiveUp);
        }
    }

    #[test]
    fn what_aws_asks_for_is_waited_but_not_beyond_the_patience() {
        let mut retry = Retry::new(4, 7);
        let asked = Duration::from_secs(5);
        let next = retry.decide(Reason::Throttled, Some(asked), false, 0);
        assert!(matches!(next, Next::SameRegionAfter(pause) if pause >= asked));
        assert_eq!(retry.decide(Reason::Throttled, Some(Duration::from_secs(16)), false, 0), Next::GiveUp);
        let long = Some(Duration::from_hours(1));
        assert_eq!(Retry::new(4, 7).decide(Reason::NotReady, long, false, 1), Next::NextCandidate);
    }
}
