//! Quotas on demand, as "How token burndown works" says: what a call may need at most (its input, what it writes to the cache and
//! its `max_tokens`) must fit what is left of the minute, and is settled at its end to what it used, output tokens at the model's
//! rate. What is left refills evenly over a minute. Time is passed in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::calls::Tokens;
use super::errors::Failure;

/// What is allowed each minute; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Quota {
    /// Tokens, output tokens at the model's rate.
    pub tokens_per_minute: Option<u64>,
    /// Calls.
    pub requests_per_minute: Option<u64>,
}

/// A quota and how much of it is taken now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuotaUse {
    /// The Region that is called.
    pub region: String,
    /// The model id (in-Region), system profile id, or `custom-model-deployment/...` that it is for.
    pub id: String,
    /// The quota.
    #[serde(flatten)]
    pub quota: Quota,
    /// Tokens used or reserved and not yet refilled.
    pub tokens_taken: u64,
    /// Calls not yet refilled.
    pub requests_taken: u64,
}

const MINUTE_MILLIS: i128 = 60_000;

/// What was taken of one limit, in units of one sixty-thousandth, so that a millisecond refills whole units.
#[derive(Clone, Copy, Debug)]
struct Taken {
    units: i128,
    at: Timestamp,
}

impl Taken {
    /// What is taken once the time since has refilled `limit`.
    fn refilled(self, limit: u64, now: Timestamp) -> i128 {
        let millis = now.duration_since(self.at).as_millis().max(0);
        (self.units - millis * i128::from(limit)).max(0)
    }

    fn add(&mut self, limit: u64, amount: i128, now: Timestamp) {
        let units = (self.refilled(limit, now) + amount * MINUTE_MILLIS).max(0);
        *self = Self { units, at: now };
    }

    fn fits(self, limit: u64, amount: u64, now: Timestamp) -> bool {
        self.refilled(limit, now) + i128::from(amount) * MINUTE_MILLIS <= i128::from(limit) * MINUTE_MILLIS
    }

    fn whole(self, limit: u64, now: Timestamp) -> u64 {
        u64::try_from((self.refilled(limit, now) + MINUTE_MILLIS - 1) / MINUTE_MILLIS).unwrap_or(u64::MAX)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    quota: Quota,
    tokens: Taken,
    requests: Taken,
}

type Key = (String, String);

/// The quotas of one simulator, by Region and id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Quotas {
    kept: Arc<Mutex<BTreeMap<Key, Bucket>>>,
}

impl Quotas {
    /// Sets a quota, of which nothing is taken yet.
    pub(crate) fn set(&self, region: &str, id: &str, quota: Quota, now: Timestamp) {
        let none = Taken { units: 0, at: now };
        self.lock().insert((region.to_owned(), id.to_owned()), Bucket { quota, tokens: none, requests: none });
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    pub(crate) fn list(&self, now: Timestamp) -> Vec<QuotaUse> {
        let told = |((region, id), bucket): (&Key, &Bucket)| QuotaUse {
            region: region.clone(),
            id: id.clone(),
            quota: bucket.quota,
            tokens_taken: bucket.quota.tokens_per_minute.map_or(0, |limit| bucket.tokens.whole(limit, now)),
            requests_taken: bucket.quota.requests_per_minute.map_or(0, |limit| bucket.requests.whole(limit, now)),
        };
        self.lock().iter().map(told).collect()
    }

    /// Takes `most` tokens and one call, or refuses as AWS does; a refused call takes nothing.
    pub(crate) fn admit(
        &self,
        (region, id): (&str, &str),
        most: u64,
        burndown: u64,
        now: Timestamp,
    ) -> Result<Option<Reservation>, Failure> {
        let key = (region.to_owned(), id.to_owned());
        let mut kept = self.lock();
        let Some(bucket) = kept.get_mut(&key) else { return Ok(None) };
        let throttled = |what: &str| {
            let message = format!("Too many {what}, please wait before trying again.");
            Failure::new(429, "ThrottlingException", message)
        };
        let Quota { tokens_per_minute: tokens, requests_per_minute: requests } = bucket.quota;
        if requests.is_some_and(|limit| !bucket.requests.fits(limit, 1, now)) {
            return Err(throttled("requests"));
        }
        if tokens.is_some_and(|limit| !bucket.tokens.fits(limit, most, now)) {
            return Err(throttled("tokens"));
        }
        if let Some(limit) = requests {
            bucket.requests.add(limit, 1, now);
        }
        if let Some(limit) = tokens {
            bucket.tokens.add(limit, i128::from(most), now);
        }
        drop(kept);
        Ok(Some(Reservation { quotas: self.clone(), key, most, burndown }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Bucket>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tokens that a call under way may need.
#[derive(Debug)]
pub(crate) struct Reservation {
    quotas: Quotas,
    key: Key,
    most: u64,
    burndown: u64,
}

impl Reservation {
    /// Gives back what the call did not use, or takes what it used beyond.
    pub(crate) fn settle(self, tokens: Tokens) {
        let used = tokens.input + tokens.cache_write + tokens.output * self.burndown;
        if let Some(bucket) = self.quotas.lock().get_mut(&self.key) {
            let beyond = i128::from(used) - i128::from(self.most);
            bucket.tokens.units = (bucket.tokens.units + beyond * MINUTE_MILLIS).max(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: Quota = Quota { tokens_per_minute: Some(1000), requests_per_minute: None };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn used(input: u64, output: u64) -> Tokens {
        Tokens { input, output, ..Tokens::default() }
    }

    fn refusal(quotas: &Quotas, most: u64, second: i64) -> Option<String> {
        quotas.admit(("us-east-1", "m"), most, 5, at(second)).err().map(|failure| failure.message)
    }

    #[test]
    fn tokens_are_reserved_and_settled_at_the_models_rate() {
        let quotas = Quotas::default();
        quotas.set("us-east-1", "m", TOKENS, at(0));
        let reservation = quotas.admit(("us-east-1", "m"), 900, 5, at(0)).unwrap().unwrap();
        assert_eq!(refusal(&quotas, 101, 0).unwrap(), "Too many tokens, please wait before trying again.");
        reservation.settle(used(100, 20));
        assert_eq!(quotas.list(at(0))[0].tokens_taken, 200);
        assert_eq!(refusal(&quotas, 800, 0), None);
        assert!(refusal(&quotas, 1, 0).is_some());
        assert!(quotas.admit(("us-west-2", "m"), 5000, 5, at(0)).unwrap().is_none(), "no quota there");
    }

    #[test]
    fn what_was_taken_refills_over_the_minute() {
        let quotas = Quotas::default();
        quotas.set("us-east-1", "m", TOKENS, at(0));
        assert_eq!(refusal(&quotas, 1000, 0), None);
        assert!(refusal(&quotas, 501, 30).is_some());
        assert_eq!(refusal(&quotas, 500, 30), None);
        assert_eq!(quotas.list(at(600))[0].tokens_taken, 0);
        assert!(refusal(&quotas, 1001, 600).is_some(), "more than a whole minute never fits");
    }

    #[test]
    fn calls_are_counted_when_they_are_admitted() {
        let quotas = Quotas::default();
        let quota = Quota { requests_per_minute: Some(2), tokens_per_minute: Some(10) };
        quotas.set("us-east-1", "m", quota, at(0));
        assert!(refusal(&quotas, 11, 0).is_some());
        assert_eq!((refusal(&quotas, 1, 0), refusal(&quotas, 1, 0)), (None, None));
        assert_eq!(refusal(&quotas, 1, 0).unwrap(), "Too many requests, please wait before trying again.");
        assert_eq!(refusal(&quotas, 1, 30), None);
    }
}
