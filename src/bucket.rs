//! A token bucket that can be reserved from and settled with: what a minute allows, refilled continuously.
//!
//! A small value: time is passed in, nothing is locked, whoever shares it puts it behind a lock of its own. Amounts are
//! whole, the refill is kept to a sixty-thousandth of a unit, so nothing is ever rounded away. The invariant: what is
//! taken by [`Bucket::take_if_fits`] in any span of time is at most one minute's worth and what the span refilled, plus
//! what settlements gave back, plus a minute's worth for each time that the clock was put back by more than a minute.
//!
//! Why an own one: `governor` and `leaky-bucket`, the crates that are in use for this, can neither give back what a call
//! reserved and did not need nor charge what it used beyond that, and both read the time themselves.

use std::time::Duration;

use crate::clock::Timestamp;

/// Parts of a unit that are kept: milliseconds of a minute, so that one millisecond refills `per_minute` parts.
const PARTS: i128 = 60_000;
/// What a bucket takes to be full again that is not in debt.
const MINUTE: Duration = Duration::from_mins(1);

/// A bucket that holds one minute's worth at most. Below zero it is in debt, which the refill pays first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    per_minute: u64,
    /// What is in it at `at`, in parts.
    level: i128,
    at: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub fn full(per_minute: u64, now: Timestamp) -> Self {
        Self { per_minute, level: parts(per_minute), at: now }
    }

    /// What a minute allows.
    pub fn per_minute(&self) -> u64 {
        self.per_minute
    }

    /// Allows another amount from `now` on; what was used stays used.
    pub fn resize(&mut self, per_minute: u64, now: Timestamp) {
        self.refill(now);
        self.level += parts(per_minute) - parts(self.per_minute);
        self.per_minute = per_minute;
    }

    /// Whether `amount` is there at `now`.
    pub fn fits(&self, amount: u64, now: Timestamp) -> bool {
        self.level_at(now) >= parts(amount)
    }

    /// Takes `amount`, whether it is there or not.
    pub fn take(&mut self, amount: u64, now: Timestamp) {
        self.refill(now);
        self.level -= parts(amount);
    }

    /// Takes `amount` if it is there, and says whether it was.
    pub fn take_if_fits(&mut self, amount: u64, now: Timestamp) -> bool {
        let fits = self.fits(amount, now);
        if fits {
            self.take(amount, now);
        }
        fits
    }

    /// `reserved` had been taken, and `real` is what was used: the rest goes back, or what is missing is taken. It never
    /// holds more than a minute's worth.
    pub fn settle(&mut self, reserved: u64, real: u64, now: Timestamp) {
        self.refill(now);
        self.level = (self.level + parts(reserved) - parts(real)).min(parts(self.per_minute));
    }

    /// Forgives what it is in debt beyond one minute's worth.
    pub fn limit_debt(&mut self) {
        self.level = self.level.max(-parts(self.per_minute));
    }

    /// How long until `amount` is there, if nobody takes from it, in whole milliseconds rounded up; `None` when it is
    /// more than a minute's worth and never will be.
    pub fn wait_for(&self, amount: u64, now: Timestamp) -> Option<Duration> {
        if amount > self.per_minute {
            return None;
        }
        let missing = parts(amount) - self.level_at(now);
        if missing <= 0 {
            return Some(Duration::ZERO);
        }
        // `amount` is not zero here or there is a debt, and a bucket of nothing has debts that no time pays.
        let speed = i128::from(self.per_minute);
        let millis = missing.checked_add(speed - 1)?.checked_div(speed)?;
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
    }

    /// What is gone of a minute's worth at `now`, rounded up; more than that when it is in debt.
    pub fn used(&self, now: Timestamp) -> u64 {
        let gone = parts(self.per_minute) - self.level_at(now);
        u64::try_from((gone + PARTS - 1) / PARTS).unwrap_or_default()
    }

    /// A clock that went back refills nothing. One that was put back by more than a minute was wrong before or is now, and
    /// nobody waits until it comes there again: within a minute the bucket would have been full.
    fn level_at(&self, now: Timestamp) -> i128 {
        if self.was_put_back(now) {
            return parts(self.per_minute);
        }
        let millis = i128::try_from(now.since(self.at).as_millis()).unwrap_or(i128::MAX);
        let refilled = i128::from(self.per_minute).saturating_mul(millis);
        self.level.saturating_add(refilled).min(parts(self.per_minute))
    }

    fn refill(&mut self, now: Timestamp) {
        self.level = self.level_at(now);
        self.at = if self.was_put_back(now) { now } else { self.at.max(now) };
    }

    fn was_put_back(&self, now: Timestamp) -> bool {
        self.at.since(now) > MINUTE
    }
}

fn parts(amount: u64) -> i128 {
    i128::from(amount) * PARTS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn millis(wait: Option<Duration>) -> Option<u128> {
        wait.map(|wait| wait.as_millis())
    }

    #[test]
    fn a_minutes_worth_is_there_at_once_and_comes_back_over_a_minute() {
        let mut bucket = Bucket::full(600, at(0));
        assert!(bucket.take_if_fits(600, at(0)) && !bucket.take_if_fits(1, at(99)));
        assert_eq!((millis(bucket.wait_for(1, at(0))), millis(bucket.wait_for(600, at(0)))), (Some(100), Some(60_000)));
        assert!(bucket.take_if_fits(1, at(100)));
        assert_eq!((bucket.used(at(100)), bucket.used(at(30_100)), bucket.used(at(90_000))), (600, 300, 0));
    }

    #[test]
    fn what_was_reserved_in_vain_goes_back_and_what_was_used_beyond_is_taken() {
        let mut bucket = Bucket::full(600, at(0));
        bucket.take(500, at(0));
        bucket.settle(500, 100, at(0));
        assert_eq!(bucket.used(at(0)), 100);
        bucket.settle(0, 900, at(0));
        assert_eq!((bucket.used(at(0)), millis(bucket.wait_for(1, at(0)))), (1000, Some(40_100)));
        assert!(!bucket.fits(0, at(39_999)) && bucket.fits(0, at(40_000)), "a debt is paid first");
        bucket.settle(5000, 0, at(40_000));
        assert_eq!(bucket.used(at(40_000)), 0, "never more than a minute's worth");
        assert!(!bucket.fits(601, at(40_000)));
    }

    #[test]
    fn what_never_fits_is_not_waited_for() {
        assert_eq!(Bucket::full(10, at(0)).wait_for(11, at(0)), None);
        let mut nothing = Bucket::full(0, at(0));
        assert_eq!((nothing.wait_for(1, at(0)), millis(nothing.wait_for(0, at(0)))), (None, Some(0)));
        nothing.take(1, at(0));
        assert_eq!(nothing.wait_for(0, at(0)), None);
    }

    #[test]
    fn a_clock_that_goes_back_neither_gives_nor_takes() {
        let mut bucket = Bucket::full(60_000, at(1000));
        bucket.take(10, at(1000));
        bucket.take(5, at(0));
        assert_eq!(bucket.used(at(1000)), 15);
    }

    #[test]
    fn a_clock_that_is_put_back_by_hours_keeps_nobody_waiting_for_hours() {
        let mut bucket = Bucket::full(60, at(100_000_000));
        assert!(bucket.take_if_fits(60, at(100_000_000)));
        assert_eq!(millis(bucket.wait_for(1, at(100_000_000 - 60_000))), Some(1000), "nearly the same time");
        assert_eq!(bucket.used(at(0)), 0);
        assert!(bucket.take_if_fits(60, at(0)) && !bucket.take_if_fits(1, at(999)), "a minute's worth, once");
        assert!(bucket.take_if_fits(1, at(1000)), "and from there on as ever");
    }

    #[test]
    fn a_new_size_keeps_what_was_used() {
        let mut bucket = Bucket::full(100, at(0));
        bucket.take(80, at(0));
        bucket.resize(200, at(0));
        assert_eq!((bucket.used(at(0)), bucket.fits(120, at(0))), (80, true));
        bucket.resize(50, at(0));
        assert_eq!((bucket.used(at(0)), bucket.fits(0, at(0))), (80, false));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pass(i64),
        TakeIfFits(u64),
        Take(u64),
        Settle(u64, u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3000_i64).prop_map(Step::Pass),
            (0..80_u64).prop_map(Step::TakeIfFits),
            (0..80_u64).prop_map(Step::Take),
            (0..80_u64, 0..80_u64).prop_map(|(reserved, real)| Step::Settle(reserved, real)),
        ]
    }

    proptest! {
        /// The model: a number that grows by a sixty-thousandth each millisecond, one millisecond after the other.
        #[test]
        fn it_does_as_a_bucket_that_is_filled_drop_by_drop(
            per_minute in 1..100_u64,
            steps in prop::collection::vec(step(), 1..40),
        ) {
            let full = i128::from(per_minute) * 60_000;
            let (mut now, mut level) = (0, full);
            let mut bucket = Bucket::full(per_minute, at(0));
            for step in steps {
                match step {
                    Step::Pass(millis) => {
                        for _ in 0..millis {
                            now += 1;
                            level = (level + i128::from(per_minute)).min(full);
                        }
                    }
                    Step::TakeIfFits(amount) => {
                        let fits = level >= i128::from(amount) * 60_000;
                        prop_assert_eq!(bucket.take_if_fits(amount, at(now)), fits);
                        level -= if fits { i128::from(amount) * 60_000 } else { 0 };
                    }
                    Step::Take(amount) => {
                        bucket.take(amount, at(now));
                        level -= i128::from(amount) * 60_000;
                    }
                    Step::Settle(reserved, real) => {
                        bucket.settle(reserved, real, at(now));
                        level = (level + (i128::from(reserved) - i128::from(real)) * 60_000).min(full);
                    }
                }
                let gone = u64::try_from((full - level + 59_999) / 60_000).unwrap();
                prop_assert_eq!(bucket.used(at(now)), gone);
                // What has to be waited for is there then, and not a millisecond sooner.
                if let Some(wait) = bucket.wait_for(per_minute.min(7), at(now)) {
                    let then = now + i64::try_from(wait.as_millis()).unwrap();
                    prop_assert!(bucket.fits(per_minute.min(7), at(then)));
                    prop_assert!(wait.is_zero() || !bucket.fits(per_minute.min(7), at(then - 1)));
                }
            }
        }

        #[test]
        fn no_span_lets_more_through_than_a_minutes_worth_and_its_refill(
            per_minute in 1..1000_u64,
            asked in prop::collection::vec((0..5000_i64, 0..300_u64), 1..60),
        ) {
            let mut bucket = Bucket::full(per_minute, at(0));
            let (mut now, mut taken) = (0, Vec::new());
            for (pause, amount) in asked {
                now += pause;
                if bucket.take_if_fits(amount, at(now)) {
                    taken.push((now, amount));
                }
            }
            for (first, &(start, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for &(end, amount) in &taken[first..] {
                    sum += i128::from(amount) * 60_000;
                    prop_assert!(sum <= i128::from(per_minute) * (60_000 + i128::from(end - start)));
                }
            }
        }
    }
}
