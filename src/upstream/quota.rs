//! What was used of the account's quota, counted as AWS counts it, so that traffic can leave a Region before AWS throttles
//! it there. Pure but for the locks; time is passed in.
//!
//! AWS admits a call if its input, what it writes to the prompt cache and the most it may answer fit into the tokens per
//! minute; at its end it counts the input, what was written to the cache, and the output times the model's burndown. What
//! is read from the cache is free.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html>
//!
//! What others use of the account is not seen here: then AWS throttles, and the cooldown moves the traffic. Where no quota
//! is known nothing is counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::bucket::Bucket;
use crate::catalog::{Known, QuotaSource};
use crate::clock::{Clock, Timestamp};
use crate::converse::Usage;

/// What a call may use at most, as AWS judges it when it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of input, estimated: what turns out to be read from the cache goes back at the end.
    pub input: u64,
    /// The most tokens of the answer.
    pub output: u64,
}

impl Demand {
    fn tokens(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// The use of one quota. Whoever calls by the same quota shares it.
#[derive(Debug)]
pub struct Use(Mutex<Counted>);

#[derive(Clone, Copy, Debug)]
struct Counted {
    known: Known,
    tokens: Option<Bucket>,
    requests: Option<Bucket>,
}

/// The state of a quota, for the administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Tokens per minute that are known to be allowed.
    pub tokens_per_minute: Option<u64>,
    /// Requests per minute that are known to be allowed.
    pub requests_per_minute: Option<u64>,
    /// Who says so.
    pub source: QuotaSource,
    /// Tokens reserved or used that have not come back yet.
    pub tokens: u64,
    /// Requests that have not come back yet.
    pub requests: u64,
    /// Whether nine tenths of either are gone.
    pub is_nearly_full: bool,
}

impl Use {
    /// Nothing used yet.
    pub fn of(known: Known, now: Timestamp) -> Self {
        let full = |per_minute: Option<u64>| per_minute.map(|amount| Bucket::full(amount, now));
        let (tokens, requests) = (full(known.tokens_per_minute), full(known.requests_per_minute));
        Self(Mutex::new(Counted { known, tokens, requests }))
    }

    /// Counts against `known` from now on, if it has changed.
    pub fn adopt(&self, known: Known, now: Timestamp) {
        self.change(|counted| {
            if counted.known != known {
                resize(&mut counted.tokens, known.tokens_per_minute, now);
                resize(&mut counted.requests, known.requests_per_minute, now);
                counted.known = known;
            }
        });
    }

    /// Reserves what a call may use if all of it fits now; otherwise how long it would have to wait, if waiting helps.
    pub fn reserve_if_fits(self: &Arc<Self>, demand: Demand, clock: &Clock) -> Result<Reservation, Option<Duration>> {
        let now = clock.now();
        self.change(|counted| match counted.wait_for(demand, now) {
            Some(Duration::ZERO) => {
                counted.take(demand, now);
                Ok(())
            }
            wait => Err(wait),
        })?;
        Ok(self.reserved(demand, clock))
    }

    /// Reserves what a call may use, whether it fits or not: AWS has the last word.
    pub fn reserve(self: &Arc<Self>, demand: Demand, clock: &Clock) -> Reservation {
        let now = clock.now();
        self.change(|counted| counted.take(demand, now));
        self.reserved(demand, clock)
    }

    /// How long a call would have to wait for the quota: nothing, a while, or in vain.
    pub fn wait_for(&self, demand: Demand, now: Timestamp) -> Option<Duration> {
        self.change(|counted| counted.wait_for(demand, now))
    }

    /// How much is gone.
    pub fn in_use(&self, now: Timestamp) -> InUse {
        let Counted { known, tokens, requests } = self.change(|counted| *counted);
        let used = |bucket: Option<Bucket>| bucket.map_or(0, |bucket| bucket.used(now));
        let is_short =
            |bucket: Option<Bucket>| bucket.is_some_and(|bucket| !bucket.fits(bucket.per_minute().div_ceil(10), now));
        InUse {
            tokens_per_minute: known.tokens_per_minute,
            requests_per_minute: known.requests_per_minute,
            source: known.source,
            tokens: used(tokens),
            requests: used(requests),
            is_nearly_full: is_short(tokens) || is_short(requests),
        }
    }

    fn reserved(self: &Arc<Self>, demand: Demand, clock: &Clock) -> Reservation {
        Reservation { of: Arc::clone(self), demand, clock: clock.clone(), is_open: true }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counted) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counted {
    fn wait_for(&self, demand: Demand, now: Timestamp) -> Option<Duration> {
        let wait = |bucket: Option<Bucket>, amount| bucket.map_or(Some(Duration::ZERO), |b| b.wait_for(amount, now));
        Some(wait(self.tokens, demand.tokens())?.max(wait(self.requests, 1)?))
    }

    fn take(&mut self, demand: Demand, now: Timestamp) {
        if let Some(tokens) = &mut self.tokens {
            tokens.take(demand.tokens(), now);
        }
        if let Some(requests) = &mut self.requests {
            requests.take(1, now);
            requests.limit_debt();
        }
    }
}

fn resize(bucket: &mut Option<Bucket>, per_minute: Option<u64>, now: Timestamp) {
    match (bucket.as_mut(), per_minute) {
        (Some(bucket), Some(per_minute)) => bucket.resize(per_minute, now),
        _ => *bucket = per_minute.map(|per_minute| Bucket::full(per_minute, now)),
    }
}

/// What a call has reserved. It is settled once; dropped without a word it counts the input, since a call that nobody
/// waited for was read at least.
#[derive(Debug)]
pub struct Reservation {
    of: Arc<Use>,
    demand: Demand,
    clock: Clock,
    is_open: bool,
}

impl Reservation {
    /// The call ended, and this is what it used.
    pub fn used(self, usage: &Usage) {
        let burndown = u64::from(self.of.change(|counted| counted.known.burndown));
        let output = usage.output_tokens.saturating_mul(burndown);
        self.settle(usage.input_tokens.saturating_add(usage.cache_write_input_tokens).saturating_add(output));
    }

    /// AWS did not take the call. The request itself was counted.
    pub fn refused(self) {
        self.settle(0);
    }

    fn settle(mut self, tokens: u64) {
        self.close(tokens);
    }

    fn close(&mut self, tokens: u64) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let (now, reserved) = (self.clock.now(), self.demand.tokens());
        self.of.change(|counted| {
            if let Some(bucket) = &mut counted.tokens {
                bucket.settle(reserved, tokens, now);
                // Only here: what calls have reserved beyond the quota, most of them give back.
                bucket.limit_debt();
            }
        });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.close(self.demand.input);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(tokens: Option<u64>, requests: Option<u64>, burndown: u32) -> Known {
        Known { tokens_per_minute: tokens, requests_per_minute: requests, burndown, source: QuotaSource::Config }
    }

    fn usage(input: u64, output: u64, read: u64, written: u64) -> Usage {
        Usage {
            input_tokens: input,
            output_tokens: output,
            cache_read_input_tokens: read,
            cache_write_input_tokens: written,
            ..Usage::default()
        }
    }

    fn quota(known: Known) -> (Arc<Use>, Clock) {
        let clock = Clock::manual(Timestamp::from_millis(0));
        (Arc::new(Use::of(known, clock.now())), clock)
    }

    #[test]
    fn a_call_reserves_the_most_it_may_use_and_is_settled_to_what_it_did() {
        let (quota, clock) = quota(known(Some(1000), None, 5));
        let demand = Demand { input: 300, output: 600 };
        let first = quota.reserve_if_fits(demand, &clock).unwrap();
        assert_eq!(quota.in_use(clock.now()).tokens, 900);
        let wait = quota.reserve_if_fits(demand, &clock).unwrap_err();
        assert_eq!(wait, Some(Duration::from_secs(48)), "800 of 1000 a minute are missing");

        first.used(&usage(100, 30, 200, 50));
        assert_eq!(quota.in_use(clock.now()).tokens, 100 + 50 + 5 * 30, "what is read from the cache is free");
        let too_much = Demand { input: 1, output: 1000 };
        assert_eq!(quota.reserve_if_fits(too_much, &clock).unwrap_err(), None, "it never fits");
    }

    #[test]
    fn output_beyond_the_reservation_is_charged_and_paid_off_by_time() {
        let (quota, clock) = quota(known(Some(1000), None, 15));
        quota.reserve(Demand { input: 10, output: 100 }, &clock).used(&usage(10, 100, 0, 0));
        assert_eq!(quota.in_use(clock.now()).tokens, 1510);
        assert_eq!(quota.wait_for(Demand::default(), clock.now()), Some(Duration::from_millis(30_600)));
    }

    #[test]
    fn a_refused_call_gives_its_tokens_back_but_not_its_request() {
        let (quota, clock) = quota(known(Some(1000), Some(2), 1));
        quota.reserve(Demand { input: 300, output: 600 }, &clock).refused();
        let found = quota.in_use(clock.now());
        assert_eq!((found.tokens, found.requests), (0, 1));
        drop(quota.reserve(Demand { input: 300, output: 600 }, &clock));
        let found = quota.in_use(clock.now());
        assert_eq!((found.tokens, found.requests, found.is_nearly_full), (300, 2, true), "its input was read");
        assert_eq!(quota.wait_for(Demand::default(), clock.now()), Some(Duration::from_secs(30)));
    }

    #[test]
    fn what_was_asked_beyond_a_quota_is_forgotten_after_two_minutes() {
        let (quota, clock) = quota(known(Some(1000), Some(30), 1));
        let demand = Demand { input: 10, output: 90 };
        for _ in 0..3000 {
            quota.reserve(demand, &clock).refused();
        }
        for _ in 0..3000 {
            quota.reserve(demand, &clock).used(&usage(10, 90, 0, 0));
        }
        let found = quota.in_use(clock.now());
        assert_eq!((found.tokens, found.requests), (2000, 60), "AWS remembers no more than a minute");
        let later = clock.now().plus(Duration::from_secs(70));
        assert_eq!(quota.wait_for(demand, later), Some(Duration::ZERO));
    }

    #[test]
    fn a_quota_that_changes_keeps_what_was_used() {
        let (quota, clock) = quota(known(Some(1000), None, 1));
        quota.reserve(Demand { input: 500, output: 0 }, &clock).used(&usage(500, 0, 0, 0));
        quota.adopt(known(Some(600), Some(10), 1), clock.now());
        let found = quota.in_use(clock.now());
        assert_eq!((found.tokens, found.tokens_per_minute, found.requests_per_minute), (500, Some(600), Some(10)));
        quota.adopt(Known::NOTHING, clock.now());
        assert_eq!(quota.wait_for(Demand { input: u64::MAX, output: 1 }, clock.now()), Some(Duration::ZERO));
    }

    #[test]
    fn calls_side_by_side_reserve_no_more_than_there_is() {
        let (quota, clock) = quota(known(Some(1000), None, 1));
        let demand = Demand { input: 3, output: 4 };
        let granted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let kept =
                        || (0..200).filter_map(|_| quota.reserve_if_fits(demand, &clock).ok()).collect::<Vec<_>>();
                    scope.spawn(kept)
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(granted.len(), 1000 / 7);
        granted.into_iter().for_each(Reservation::refused);
        assert_eq!(quota.in_use(clock.now()).tokens, 0);
    }
}
