//! What is used of a limit and of a budget: two small values that are told what time it is.
//!
//! Whoever shares them puts a lock around. Invariants: what is spent and held of a budget is at most its limit after
//! every admission; a window that has begun counts what was settled within it and nothing else; what is held outlives
//! the window.

use std::sync::Arc;
use std::time::Duration;

use super::{Demand, Gauge, Worst};
use crate::bucket::Bucket;
use crate::clock::Timestamp;
use crate::money::MicroUsd;
use crate::tenancy::budget::{Budget, Period, Window};
use crate::tenancy::limit::Limit;
use crate::tenancy::team::Team;

/// How long who is refused because too many calls are open is told to wait: nobody knows when one of them ends.
const CONCURRENCY_WAIT: Duration = Duration::from_secs(1);

/// Shares of a budget, in percent, at which it is told that so much is spent.
pub(super) const THRESHOLDS: [u8; 3] = [50, 80, 100];

const PICO: i128 = 1_000_000;

/// What is used of a limit.
#[derive(Debug)]
pub(super) struct Tally {
    version: i64,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    most_open: Option<u32>,
    open: u32,
}

/// Why a limit does not let a call pass, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// So many calls have begun in this minute.
    Requests { used: u64, wait: Option<Duration> },
    /// So many tokens are used or held, and so many would be needed at least. `wait` is `None` where they will never be
    /// there, because it is more than a minute's worth.
    Tokens { used: u64, needed: u64, wait: Option<Duration> },
    /// So many calls are open.
    Open { open: u32, wait: Option<Duration> },
}

impl Full {
    /// When it might pass; `None`: never.
    pub(super) fn wait(self) -> Option<Duration> {
        match self {
            Self::Requests { wait, .. } | Self::Tokens { wait, .. } | Self::Open { wait, .. } => wait,
        }
    }
}

impl Tally {
    /// Nothing is used. Buckets that were full at any time are full now.
    pub(super) fn of(limit: &Limit) -> Self {
        let full = |amount: Option<u64>| amount.map(|amount| Bucket::full(amount, Timestamp::default()));
        Self {
            version: limit.version,
            requests: full(limit.requests_per_minute),
            tokens: full(limit.tokens_per_minute),
            most_open: limit.concurrent_requests,
            open: 0,
        }
    }

    /// Takes over what a newer version of the limit says. What was used stays used, but a limit that became much
    /// smaller has a minute's debt at most: nobody waits for hours because of calls that were allowed.
    pub(super) fn follow(&mut self, limit: &Limit, now: Timestamp) {
        if limit.version <= self.version {
            return;
        }
        self.version = limit.version;
        self.most_open = limit.concurrent_requests;
        resize(&mut self.requests, limit.requests_per_minute, now);
        resize(&mut self.tokens, limit.tokens_per_minute, now);
    }

    /// The most tokens of output that a call may have here, or why it may not be made.
    pub(super) fn room(&self, demand: &Demand, now: Timestamp) -> Result<u64, Full> {
        if let Some(most) = self.most_open
            && self.open >= most
        {
            return Err(Full::Open { open: self.open, wait: (most > 0).then_some(CONCURRENCY_WAIT) });
        }
        if let Some(requests) = &self.requests
            && !requests.fits(1, now)
        {
            return Err(Full::Requests { used: requests.used(now), wait: requests.wait_for(1, now) });
        }
        let needed = demand.input_tokens.saturating_add(demand.output.least());
        // What uses no tokens is none of a bucket's business, even if it is in debt.
        let Some(tokens) = self.tokens.as_ref().filter(|_| needed > 0) else { return Ok(u64::MAX) };
        let used = tokens.used(now);
        match tokens.per_minute().checked_sub(used).and_then(|left| left.checked_sub(demand.input_tokens)) {
            Some(room) if room >= demand.output.least() => Ok(room),
            _ => Err(Full::Tokens { used, needed, wait: tokens.wait_for(needed, now) }),
        }
    }

    /// A call begins. Says whether its tokens were taken.
    pub(super) fn take(&mut self, tokens: u64, now: Timestamp) -> bool {
        self.open = self.open.saturating_add(1);
        if let Some(requests) = &mut self.requests {
            requests.take(1, now);
        }
        self.tokens.as_mut().map(|bucket| bucket.take(tokens, now)).is_some()
    }

    /// A call ended that had taken `reserved` tokens and used `real`. That it was made stays counted.
    pub(super) fn settle(&mut self, reserved: Option<u64>, real: u64, now: Timestamp) {
        self.open = self.open.saturating_sub(1);
        if let Some((reserved, bucket)) = reserved.zip(self.tokens.as_mut()) {
            bucket.settle(reserved, real, now);
        }
    }

    /// Whether there is nothing to remember of it.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        let unused = |bucket: &Bucket| bucket.used(now) == 0;
        self.open == 0 && self.requests.as_ref().is_none_or(unused) && self.tokens.as_ref().is_none_or(unused)
    }

    /// Calls that are open.
    pub(super) fn open(&self) -> u32 {
        self.open
    }

    pub(super) fn requests(&self, now: Timestamp) -> Option<Gauge> {
        self.requests.as_ref().map(|bucket| gauge(bucket, now))
    }

    pub(super) fn tokens(&self, now: Timestamp) -> Option<Gauge> {
        self.tokens.as_ref().map(|bucket| gauge(bucket, now))
    }
}

fn resize(bucket: &mut Option<Bucket>, amount: Option<u64>, now: Timestamp) {
    let Some(amount) = amount else {
        *bucket = None;
        return;
    };
    match bucket {
        None => *bucket = Some(Bucket::full(amount, now)),
        Some(bucket) if bucket.per_minute() != amount => {
            bucket.resize(amount, now);
            bucket.limit_debt();
        }
        Some(_) => {}
    }
}

fn gauge(bucket: &Bucket, now: Timestamp) -> Gauge {
    let limit = bucket.per_minute();
    let remaining = limit.saturating_sub(bucket.used(now));
    // Only a bucket of nothing is never full again, and then it is as full as it gets.
    let reset = bucket.wait_for(limit, now).unwrap_or_default();
    Gauge { limit, remaining, reset }
}

/// What is spent and held of a budget, in micro-dollars. Sums of what no machine can spend fit.
#[derive(Debug)]
pub(super) struct Purse {
    version: i64,
    period: Period,
    limit: i128,
    window: Window,
    spent: i128,
    held: i128,
    /// Bits of [`THRESHOLDS`] that were told.
    told: u8,
    /// Who pays, by its newest name.
    payer: Arc<Team>,
}

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What may be spent in the window.
    pub limit: MicroUsd,
    /// What was settled in the window.
    pub spent: MicroUsd,
    /// What open calls may cost yet, whenever they began.
    pub held: MicroUsd,
    /// The span of time it is for.
    pub window: Window,
}

impl Balance {
    /// What is not spent; below zero where calls cost more than was held for them, or the budget was made smaller.
    pub fn unspent(&self) -> MicroUsd {
        MicroUsd(self.limit.0.saturating_sub(self.spent.0))
    }
}

/// Why a budget does not pay for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Short {
    /// Less than this is left, which the call may cost at least.
    Of(MicroUsd),
    /// What it costs is not known, and nothing is left.
    OfAnything,
}

impl Purse {
    /// Of which `spent` was spent in `window`. The thresholds that are behind it are not told again.
    pub(super) fn of(budget: &Budget, payer: &Arc<Team>, (window, spent): (Window, MicroUsd)) -> Self {
        let mut purse = Self {
            version: budget.version,
            period: budget.period,
            limit: budget.limit.0.into(),
            window,
            spent: spent.0.into(),
            held: 0,
            told: 0,
            payer: Arc::clone(payer),
        };
        purse.told = purse.reached();
        purse
    }

    /// Who pays.
    pub(super) fn payer(&self) -> &Arc<Team> {
        &self.payer
    }

    /// Remembers who pays.
    pub(super) fn is_paid_by(&mut self, team: &Arc<Team>) {
        if !Arc::ptr_eq(&self.payer, team) {
            self.payer = Arc::clone(team);
        }
    }

    /// Takes over what a newer version of the budget says.
    pub(super) fn follow(&mut self, budget: &Budget) {
        if budget.version > self.version {
            (self.version, self.limit) = (budget.version, budget.limit.0.into());
        }
    }

    /// Begins the window that `now` is in, if that is a later one. A clock that went back changes nothing.
    pub(super) fn roll(&mut self, now: Timestamp) {
        if self.window.is_over(now) {
            self.window = self.period.window(now);
            (self.spent, self.told) = (0, 0);
        }
    }

    /// The most tokens of output that it pays for, or why it does not pay for the call.
    pub(super) fn room(&self, demand: &Demand) -> Result<u64, Short> {
        let left = (self.limit - self.spent - self.held).max(0);
        match affordable(demand.cost, left) {
            Some(room) if room >= demand.output.least() => Ok(room),
            _ if demand.cost == Worst::Unknown => Err(Short::OfAnything),
            _ => Err(Short::Of(demand.cost.with(demand.output.least()))),
        }
    }

    pub(super) fn hold(&mut self, cost: MicroUsd) {
        self.held += i128::from(cost.0);
    }

    /// `held` is held no more, and `cost` was spent `at` that time. Tells the thresholds that are reached by it.
    pub(super) fn settle(&mut self, held: MicroUsd, cost: MicroUsd, at: Timestamp) -> impl Iterator<Item = u8> + use<> {
        self.roll(at);
        self.held -= i128::from(held.0);
        if at >= self.window.start {
            self.spent += i128::from(cost.0);
        }
        let reached = self.reached();
        let new = reached & !self.told;
        // A threshold that a larger limit moved away is told again when it is reached again.
        self.told = reached;
        THRESHOLDS.into_iter().enumerate().filter(move |(bit, _)| new & (1 << bit) != 0).map(|(_, percent)| percent)
    }

    pub(super) fn balance(&self) -> Balance {
        let micros = |amount: i128| MicroUsd(i64::try_from(amount).unwrap_or(i64::MAX));
        Balance { limit: micros(self.limit), spent: micros(self.spent), held: micros(self.held), window: self.window }
    }

    fn reached(&self) -> u8 {
        let is_reached = |percent: u8| self.limit > 0 && self.spent * 100 >= self.limit * i128::from(percent);
        THRESHOLDS.iter().enumerate().map(|(bit, percent)| u8::from(is_reached(*percent)) << bit).sum()
    }
}

/// The most tokens of output that `left` micro-dollars pay for; `None` when not even the input is paid.
pub(super) fn affordable(cost: Worst, left: i128) -> Option<u64> {
    match cost {
        Worst::Free => Some(u64::MAX),
        // It costs something.
        Worst::Unknown => (left > 0).then_some(u64::MAX),
        Worst::Known { input_pico, output_pico } => {
            let left = u128::try_from(left * PICO).ok()?.checked_sub(input_pico)?;
            Some(
                left.checked_div(output_pico.into())
                    .map_or(u64::MAX, |tokens| u64::try_from(tokens).unwrap_or(u64::MAX)),
            )
        }
    }
}
