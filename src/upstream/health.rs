//! Which models rest in one Region: a cooldown after throttling, an outage or a refusal, longer each time, and one probe
//! when it ends. Pure but for the map; time is passed in. While nothing rests, asking costs one atomic read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::classify::{Failure, Reason};
use crate::clock::Timestamp;

/// After this long a probe that nobody reported on is thought lost.
const PROBE: Duration = Duration::from_mins(1);
/// No wish of AWS rests a model longer.
const LONGEST: Duration = Duration::from_hours(1);
/// Ids come from callers, who may make some up: the map does not grow beyond this.
const CAPACITY: usize = 1024;

/// May this model be called here now?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Yes, or its cooldown is over and nobody has tried yet.
    Ready,
    /// Better not before this moment.
    Resting {
        /// When the cooldown, or the wait for the probe, ends.
        until: Timestamp,
    },
}

/// One model that failed and has not succeeded since, for the administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    /// The id that was called.
    pub model_id: String,
    /// Why the last attempt failed.
    pub reason: Reason,
    /// When it may be tried again.
    pub until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cooldown {
    failures: u32,
    reason: Reason,
    until: Timestamp,
    probing: bool,
}

impl Cooldown {
    /// The cooldown after a failure at `now`. Failures of calls that ran side by side count once.
    fn after(last: Option<Self>, reason: Reason, retry_after: Option<Duration>, now: Timestamp) -> Option<Self> {
        let (first, longest) = pace(reason)?;
        let fresh = last.is_none_or(|last| last.probing || now >= last.until);
        let failures = last.map_or(0, |last| last.failures) + u32::from(fresh);
        let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
        let rest = retry_after.unwrap_or_default().clamp(doubled, LONGEST);
        // A longer rest that was given before holds; the wait for a probe that is now over does not.
        let given = last.filter(|last| !last.probing).map_or(Timestamp::default(), |last| last.until);
        let until = given.max(now.plus(rest));
        Some(Self { failures, reason, until, probing: false })
    }
}

/// The first and the longest cooldown; `None` for what is not the fault of this model in this Region.
fn pace(reason: Reason) -> Option<(Duration, Duration)> {
    let seconds = |first, longest| Some((Duration::from_secs(first), Duration::from_secs(longest)));
    match reason {
        Reason::Throttled | Reason::NotReady | Reason::Unavailable | Reason::Timeout | Reason::Connection => {
            seconds(2, 60)
        }
        Reason::Quota => seconds(60, 900),
        Reason::Denied | Reason::Missing => seconds(30, 600),
        Reason::ModelError | Reason::Rejected | Reason::Credentials | Reason::Cut => None,
    }
}

/// The health of one Region's models.
#[derive(Default)]
pub struct Health {
    /// How many entries the map has.
    count: AtomicUsize,
    cooldowns: Mutex<HashMap<String, Cooldown>>,
}

impl Health {
    /// Whether `model_id` may be called here at `now`.
    pub fn condition(&self, model_id: &str, now: Timestamp) -> Condition {
        if self.is_calm() {
            return Condition::Ready;
        }
        match self.lock().get(model_id) {
            Some(cooldown) if now < cooldown.until => Condition::Resting { until: cooldown.until },
            _ => Condition::Ready,
        }
    }

    /// To be called before an attempt: if a cooldown has just ended this attempt is the probe, and until it is reported
    /// the others see the model resting.
    pub fn begin(&self, model_id: &str, now: Timestamp) {
        if self.is_calm() {
            return;
        }
        if let Some(cooldown) = self.lock().get_mut(model_id)
            && now >= cooldown.until
        {
            cooldown.probing = true;
            cooldown.until = now.plus(PROBE);
        }
    }

    /// An attempt succeeded: the model is well, unless it has failed since that attempt began.
    pub fn succeeded(&self, model_id: &str, now: Timestamp) {
        if self.is_calm() {
            return;
        }
        let mut cooldowns = self.lock();
        if cooldowns.get(model_id).is_some_and(|cooldown| cooldown.probing || now >= cooldown.until) {
            cooldowns.remove(model_id);
            self.count.store(cooldowns.len(), Ordering::Release);
        }
    }

    /// An attempt failed.
    pub fn failed(&self, model_id: &str, failure: &Failure, now: Timestamp) {
        self.note(model_id, failure.reason, failure.retry_after, now);
    }

    fn note(&self, model_id: &str, reason: Reason, retry_after: Option<Duration>, now: Timestamp) {
        if pace(reason).is_none() && self.is_calm() {
            return;
        }
        let mut cooldowns = self.lock();
        let last = cooldowns.get(model_id).copied();
        match Cooldown::after(last, reason, retry_after, now) {
            Some(next) => {
                if last.is_none() && cooldowns.len() >= CAPACITY {
                    cooldowns.retain(|_, cooldown| now < cooldown.until);
                }
                if last.is_some() || cooldowns.len() < CAPACITY {
                    cooldowns.insert(model_id.to_owned(), next);
                }
            }
            // AWS did answer: whatever the model rested for is over.
            None if last.is_some_and(|last| last.probing) => {
                cooldowns.remove(model_id);
            }
            None => {}
        }
        self.count.store(cooldowns.len(), Ordering::Release);
    }

    /// What rests at `now`, in no order.
    pub fn resting(&self, now: Timestamp) -> Vec<Resting> {
        let cooldowns = self.lock();
        let resting = cooldowns.iter().filter(|(_, cooldown)| now < cooldown.until);
        resting
            .map(|(model_id, cooldown)| Resting {
                model_id: model_id.clone(),
                reason: cooldown.reason,
                until: cooldown.until,
            })
            .collect()
    }

    fn is_calm(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Cooldown>> {
        self.cooldowns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "amazon.nova-lite-v1:0";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn until(seconds: i64) -> Condition {
        Condition::Resting { until: at(seconds) }
    }

    #[test]
    fn a_throttled_model_rests_longer_each_time_up_to_a_minute() {
        let health = Health::default();
        let mut now = 100;
        for rest in [2, 4, 8, 16, 32, 60, 60] {
            health.note(MODEL, Reason::Throttled, None, at(now));
            assert_eq!(health.condition(MODEL, at(now)), until(now + rest));
            assert_eq!(health.condition("another", at(now)), Condition::Ready);
            now += rest;
            assert_eq!(health.condition(MODEL, at(now)), Condition::Ready);
        }
    }

    #[test]
    fn failures_of_one_burst_count_once_and_the_longest_wish_holds() {
        let health = Health::default();
        for wish in [None, Some(20), Some(5), None] {
            health.note(MODEL, Reason::Throttled, wish.map(Duration::from_secs), at(100));
        }
        assert_eq!(health.condition(MODEL, at(101)), until(120));
        health.note(MODEL, Reason::Throttled, None, at(120));
        assert_eq!(health.condition(MODEL, at(120)), until(124));
        health.note(MODEL, Reason::Throttled, Some(Duration::from_secs(1_000_000)), at(124));
        assert_eq!(health.condition(MODEL, at(124)), until(124 + 3600));
    }

    #[test]
    fn one_probe_goes_when_the_cooldown_ends_and_its_success_ends_all() {
        let health = Health::default();
        health.note(MODEL, Reason::Unavailable, None, at(100));
        health.begin(MODEL, at(102));
        assert_eq!(health.condition(MODEL, at(103)), until(162));
        health.succeeded(MODEL, at(104));
        assert_eq!(health.condition(MODEL, at(104)), Condition::Ready);
        assert!(health.is_calm());
    }

    #[test]
    fn a_probe_that_fails_starts_the_next_cooldown_and_no_longer_wait() {
        let health = Health::default();
        health.note(MODEL, Reason::Throttled, None, at(100));
        health.begin(MODEL, at(102));
        health.note(MODEL, Reason::Throttled, None, at(103));
        assert_eq!(health.condition(MODEL, at(103)), until(107));
    }

    #[test]
    fn a_call_from_before_the_cooldown_does_not_end_it() {
        let health = Health::default();
        health.note(MODEL, Reason::Throttled, None, at(100));
        health.succeeded(MODEL, at(101));
        assert_eq!(health.condition(MODEL, at(101)), until(102));
    }

    #[test]
    fn the_fault_of_a_request_rests_nothing_and_a_probe_so_answered_is_over() {
        let health = Health::default();
        health.note(MODEL, Reason::Rejected, None, at(100));
        assert!(health.is_calm());
        health.note(MODEL, Reason::Denied, None, at(100));
        let resting = Resting { model_id: MODEL.into(), reason: Reason::Denied, until: at(130) };
        assert_eq!(health.resting(at(110)), [resting]);
        health.begin(MODEL, at(130));
        health.note(MODEL, Reason::Rejected, None, at(131));
        assert_eq!(health.condition(MODEL, at(131)), Condition::Ready);
    }

    #[test]
    fn made_up_ids_do_not_grow_the_map_without_bound() {
        let health = Health::default();
        for id in 0..CAPACITY * 2 {
            health.note(&id.to_string(), Reason::Missing, None, at(100));
        }
        assert_eq!(health.resting(at(100)).len(), CAPACITY);
        health.note(MODEL, Reason::Missing, None, at(1000));
        assert_eq!(health.resting(at(1000)).len(), 1);
    }
}
