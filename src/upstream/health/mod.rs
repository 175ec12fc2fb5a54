//! What is known of the ids that are called in one Region with one identity: which of them rest, which are being probed,
//! what is in flight, how much of a quota is used. Time is passed in, but for what has to be given back at any time.
//!
//! After throttling, an outage or a refusal an id rests, longer each time, and when the rest is over one call is the
//! probe. Of an id that is well, an attempt costs one look-up without a lock and a few atomics.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::classify::{Failure, Reason};
use super::quota::{InUse, Use};
use super::retry::Allowance;
use crate::catalog::Known;
use crate::clock::Timestamp;
use crate::table::Table;

/// After this long a probe that nobody reported on is thought lost.
const PROBE: Duration = Duration::from_mins(1);
/// No wish of AWS rests a model longer.
const LONGEST: Duration = Duration::from_hours(1);

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

/// One id that was called, for the administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The id that was called.
    pub id: Arc<str>,
    /// Whether it may be called.
    pub state: State,
    /// Why it rests or rested last, while that is not forgotten.
    pub trouble: Option<Trouble>,
    /// Attempts that have not ended.
    pub in_flight: u32,
    /// The quota, if one is known.
    pub quota: Option<InUse>,
    /// When an attempt last began to be answered.
    pub last_success: Option<Timestamp>,
    /// When an attempt last failed, and why.
    pub last_failure: Option<(Timestamp, Reason)>,
}

/// Why an id rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Why the last attempt failed.
    pub reason: Reason,
    /// Since when attempts fail.
    pub since: Timestamp,
    /// When the next probe may go; in the past when it has gone or may go.
    pub next_probe: Timestamp,
}

/// Whether an id may be called, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// It may.
    Ready,
    /// It may, but nine tenths of its quota are used.
    NearlyFull,
    /// Not before its cooldown is over.
    Resting,
    /// One call is trying.
    Probing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cooldown {
    failures: u32,
    reason: Reason,
    since: Timestamp,
    until: Timestamp,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody has tried since the last failure.
    Resting,
    /// One attempt is trying: that of this number, from this moment on.
    Probing(u32, Timestamp),
    /// An attempt began to be answered, and has not ended: if it breaks, the next cooldown is a longer one.
    Answering,
}

impl Cooldown {
    /// The cooldown after a failure at `now`. Failures of calls that ran side by side count once.
    fn after(last: Option<Self>, reason: Reason, retry_after: Option<Duration>, now: Timestamp) -> Option<Self> {
        let (first, longest) = pace(reason)?;
        let is_resting = |last: Self| last.phase == Phase::Resting && now < last.until;
        let resting = last.filter(|last| is_resting(*last));
        let failures = last.map_or(0, |last| last.failures) + u32::from(resting.is_none());
        let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest);
        let rest = retry_after.unwrap_or_default().clamp(doubled, LONGEST);
        // A longer rest that was given before holds.
        let given = resting.map_or(Timestamp::default(), |last| last.until);
        let since = last.map_or(now, |last| last.since);
        Some(Self { failures, reason, since, until: given.max(now.plus(rest)), phase: Phase::Resting })
    }

    fn condition(&self, now: Timestamp) -> Condition {
        let until = match self.phase {
            Phase::Resting => self.until,
            Phase::Probing(_, began) => began.plus(PROBE),
            Phase::Answering => return Condition::Ready,
        };
        if now < until { Condition::Resting { until } } else { Condition::Ready }
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

/// The ids of one Region, as called with one identity.
#[derive(Default)]
pub struct Health {
    pulses: Table<Pulse>,
    /// By what AWS counts together: an id, however it was spelled.
    quotas: Table<Use>,
    allowance: Allowance,
}

/// What is known of one id.
#[derive(Debug, Default)]
struct Pulse {
    /// Whether there is a cooldown.
    is_troubled: AtomicBool,
    /// How often it has failed: an attempt that succeeds says nothing of failures that came after it had begun.
    failures: AtomicU32,
    in_flight: AtomicU32,
    /// Milliseconds; 0: never.
    last_success: AtomicI64,
    quota: OnceLock<Arc<Use>>,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    cooldown: Option<Cooldown>,
    last_failure: Option<(Timestamp, Reason)>,
    /// Of the next probe.
    number: u32,
}

impl Health {
    /// Whether `id` may be called here at `now`.
    pub fn condition(&self, id: &str, now: Timestamp) -> Condition {
        self.pulses.find(id).map_or(Condition::Ready, |pulse| pulse.condition(now))
    }

    /// The use of the quota that calls of `id` count against; `None` when nothing is known of it.
    pub fn quota(&self, id: &Arc<str>, known: Known, now: Timestamp) -> Option<Arc<Use>> {
        if known.is_nothing() {
            return None;
        }
        let quota = self.quotas.find_or_add(id, || Use::of(known, now), |_| false);
        quota.adopt(known, now);
        Some(quota)
    }

    /// An attempt begins. If a cooldown has just ended it is the probe, and until it is reported the others see the id
    /// resting.
    pub fn begin(&self, id: &Arc<str>, quota: Option<&Arc<Use>>, now: Timestamp) -> Visit {
        let pulse = self.pulses.find_or_add(id, Pulse::default, |pulse| pulse.makes_room(now));
        if let Some(quota) = quota {
            pulse.quota.get_or_init(|| Arc::clone(quota));
        }
        pulse.in_flight.fetch_add(1, Ordering::Relaxed);
        let failures = pulse.failures.load(Ordering::Acquire);
        let probe = pulse.try_probe(now);
        Visit { pulse, failures, probe }
    }

    /// Whether calls may be repeated in this Region.
    pub fn allowance(&self) -> &Allowance {
        &self.allowance
    }

    /// What rests at `now`, in no order.
    pub fn resting(&self, now: Timestamp) -> impl Iterator<Item = Arc<str>> {
        let pulses = self.pulses.rows().into_iter();
        pulses.filter(move |(_, pulse)| pulse.condition(now) != Condition::Ready).map(|(id, _)| id)
    }

    /// Every id that was called, in order.
    pub fn rows(&self, now: Timestamp) -> Vec<Row> {
        let mut rows: Vec<Row> = self.pulses.rows().into_iter().map(|(id, pulse)| pulse.row(id, now)).collect();
        rows.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        rows
    }
}

impl Pulse {
    /// Whether little is lost with it. A refusal of the name is learnt again by one call that costs nothing, and ids that
    /// callers make up are refused like that: they must not take the room of what is real.
    fn makes_room(&self, now: Timestamp) -> bool {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let cooldown = self.record().cooldown;
        cooldown.is_none_or(|cooldown| {
            matches!(cooldown.reason, Reason::Missing | Reason::Denied) || cooldown.condition(now) == Condition::Ready
        })
    }

    fn condition(&self, now: Timestamp) -> Condition {
        if !self.is_troubled.load(Ordering::Acquire) {
            return Condition::Ready;
        }
        self.record().cooldown.map_or(Condition::Ready, |cooldown| cooldown.condition(now))
    }

    /// The number of the probe, if a cooldown is over and this is the first attempt since.
    fn try_probe(&self, now: Timestamp) -> Option<u32> {
        if !self.is_troubled.load(Ordering::Acquire) {
            return None;
        }
        let mut record = self.record();
        let number = record.number.wrapping_add(1);
        let cooldown = record.cooldown.as_mut()?;
        if cooldown.phase == Phase::Answering || cooldown.condition(now) != Condition::Ready {
            return None;
        }
        cooldown.phase = Phase::Probing(number, now);
        record.number = number;
        Some(number)
    }

    /// Changes the cooldown.
    fn change(&self, change: impl FnOnce(&mut Record)) {
        let mut record = self.record();
        change(&mut record);
        self.is_troubled.store(record.cooldown.is_some(), Ordering::Release);
    }

    fn row(&self, id: Arc<str>, now: Timestamp) -> Row {
        let (cooldown, last_failure) = {
            let record = self.record();
            (record.cooldown, record.last_failure)
        };
        let quota = self.quota.get().map(|quota| quota.in_use(now));
        let state = match cooldown.map(|cooldown| (cooldown.phase, cooldown.condition(now))) {
            Some((Phase::Probing(..), Condition::Resting { .. })) => State::Probing,
            Some((_, Condition::Resting { .. })) => State::Resting,
            _ if quota.is_some_and(|quota| quota.is_nearly_full) => State::NearlyFull,
            _ => State::Ready,
        };
        let trouble =
            cooldown.map(|Cooldown { reason, since, until, .. }| Trouble { reason, since, next_probe: until });
        let last_success = Some(self.last_success.load(Ordering::Relaxed)).filter(|millis| *millis != 0);
        Row {
            id,
            state,
            trouble,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            quota,
            last_success: last_success.map(Timestamp::from_millis),
            last_failure,
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt under way. Dropped without a word it says nothing of the id: if it was the probe, the next one is.
#[derive(Debug)]
pub struct Visit {
    pulse: Arc<Pulse>,
    /// How often the id had failed when this began.
    failures: u32,
    probe: Option<u32>,
}

impl Visit {
    /// The answer is there, or its first event: the id may be called, unless it has failed since this attempt began.
    pub fn answered(&self, now: Timestamp) {
        self.pulse.last_success.store(now.millis(), Ordering::Relaxed);
        if self.is_news() {
            self.pulse.change(|record| {
                if let Some(cooldown) = &mut record.cooldown {
                    cooldown.phase = Phase::Answering;
                }
            });
        }
    }

    /// The answer is complete: whatever the id rested for is over.
    pub fn succeeded(self) {
        if self.is_news() {
            self.pulse.change(|record| record.cooldown = None);
        }
    }

    /// There was no answer, or it broke.
    pub fn failed(self, failure: &Failure, now: Timestamp) {
        self.note(failure.reason, failure.retry_after, now);
    }

    fn note(&self, reason: Reason, retry_after: Option<Duration>, now: Timestamp) {
        self.pulse.change(|record| {
            record.last_failure = Some((now, reason));
            match Cooldown::after(record.cooldown, reason, retry_after, now) {
                Some(next) => {
                    record.cooldown = Some(next);
                    self.pulse.failures.fetch_add(1, Ordering::AcqRel);
                }
                // AWS did answer: whatever the id rested for is over.
                None if reason != Reason::Credentials && self.is_probe_of(record) => record.cooldown = None,
                None => {}
            }
        });
    }

    /// Whether the id is in trouble, and has not failed since this attempt began.
    fn is_news(&self) -> bool {
        self.pulse.is_troubled.load(Ordering::Acquire) && self.pulse.failures.load(Ordering::Acquire) == self.failures
    }

    fn is_probe_of(&self, record: &Record) -> bool {
        matches!(record.cooldown, Some(Cooldown { phase: Phase::Probing(number, _), .. }) if Some(number) == self.probe)
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.pulse.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.probe.is_some() {
            self.pulse.change(|record| {
                if self.is_probe_of(record)
                    && let Some(cooldown) = &mut record.cooldown
                {
                    cooldown.phase = Phase::Resting;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
