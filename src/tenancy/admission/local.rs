//! Limits and budgets counted in the memory of this process.
//!
//! An admission locks all that count the call, in one order, looks whether every one has room, and takes from all or
//! from none: no call is refused because of what another one is about to give back.

use std::sync::{Arc, MutexGuard};

use super::meter::{Purse, Tally};
use super::refusal::{Refusal, Shortage};
use super::rules::{BudgetRule, LimitMeter, LimitRule};
use super::{Gauge, Granted, Need, Refused, Settled, Standing, Used, Worst};
use crate::clock::Timestamp;
use crate::money::MicroUsd;
use crate::tenancy::UnknownPrice;
use crate::tenancy::directory::Caller;

/// What a call holds here.
#[derive(Debug, Default)]
pub(super) struct Held {
    limits: Vec<(Arc<LimitMeter>, HeldTokens)>,
    tokens: u64,
    budgets: Arc<[BudgetRule]>,
    cost: MicroUsd,
    is_settled: bool,
}

/// Whether the limit counted tokens when the call began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldTokens {
    Taken,
    NotCounted,
}

impl Held {
    /// Gives back what was held beyond `used`; a second time does nothing.
    pub(super) fn settle(&mut self, used: Used, at: Timestamp) -> Settled {
        if std::mem::replace(&mut self.is_settled, true) {
            return Settled::default();
        }
        for (meter, held) in self.limits.drain(..) {
            let reserved = (held == HeldTokens::Taken).then_some(self.tokens);
            meter.lock().settle(reserved, used.tokens, at);
        }
        let cost = used.cost.unwrap_or_default();
        let mut settled = Settled { is_overrun: cost > self.cost && !self.budgets.is_empty(), ..Settled::default() };
        self.charge(self.cost, cost, at, &mut settled);
        settled
    }

    /// Its budgets are counted anew without it.
    pub(super) fn part_from_budgets(&mut self) {
        self.budgets = Arc::default();
    }

    /// Something was spent that is not what is held, which stays held.
    pub(super) fn spend(&self, cost: MicroUsd, at: Timestamp) -> Settled {
        let mut settled = Settled::default();
        self.charge(MicroUsd::default(), cost, at, &mut settled);
        settled
    }

    fn charge(&self, held: MicroUsd, cost: MicroUsd, at: Timestamp, settled: &mut Settled) {
        for rule in &*self.budgets {
            let mut purse = rule.lock(at);
            let Some(purse) = &mut *purse else { continue };
            let reached = purse.settle(held, cost, at);
            let balance = purse.balance();
            for percent in reached {
                settled.thresholds.push((Arc::clone(&rule.budget), percent, balance));
            }
        }
    }
}

/// Holds `cost` from the caller's budgets, which are seeded, whatever is left of them.
pub(super) fn hold_anyway(caller: &Caller, cost: MicroUsd, now: Timestamp) -> Held {
    let budgets = Arc::clone(&caller.rules.budgets);
    for rule in &*budgets {
        if let Some(purse) = &mut *rule.lock(now) {
            purse.is_paid_by(&caller.team);
            purse.hold(cost);
        }
    }
    Held { budgets, cost, ..Held::default() }
}

/// Everything that counts one call, locked.
struct Locked<'a> {
    limits: Vec<(&'a LimitRule, MutexGuard<'a, Tally>)>,
    budgets: Vec<(&'a BudgetRule, MutexGuard<'a, Option<Purse>>)>,
    now: Timestamp,
}

/// Admits the call by all limits and budgets of its caller, whose budgets are seeded.
pub(super) fn admit(caller: &Caller, need: &Need<'_>, now: Timestamp) -> Result<Granted<Held>, Refused> {
    let rules = &caller.rules;
    let mut locked = Locked {
        limits: rules.limits_of(need).map(|rule| (rule, rule.lock(now))).collect(),
        budgets: rules.budgets.iter().map(|rule| (rule, rule.lock(now))).collect(),
        now,
    };
    let output_tokens = match locked.output_tokens(caller, need) {
        Ok(tokens) => tokens,
        Err(shortage) => {
            let standing = locked.standing();
            drop(locked);
            return Err(Refused { error: Refusal { caller, need, shortage }.error(), standing });
        }
    };
    let cost = need.demand.cost.with(output_tokens);
    let tokens = need.demand.input_tokens.saturating_add(output_tokens);
    let limits = locked.take(caller, tokens, cost);
    let standing = locked.standing();
    drop(locked);
    let held = Held { limits, tokens, budgets: Arc::clone(&rules.budgets), cost, is_settled: false };
    Ok(Granted { output_tokens, standing, held })
}

impl<'a> Locked<'a> {
    /// The most tokens of output that all have room for, or what is worst of what stands against the call.
    fn output_tokens(&self, caller: &Caller, need: &Need<'_>) -> Result<u64, Shortage<'a>> {
        let demand = &need.demand;
        let mut room = demand.output.most();
        let mut worst: Option<Shortage<'a>> = None;
        let mut stands_against = |shortage: Shortage<'a>| match &worst {
            Some(known) if known.rank() >= shortage.rank() => {}
            _ => worst = Some(shortage),
        };
        for (rule, tally) in &self.limits {
            match tally.room(demand, self.now) {
                Ok(left) => room = room.min(left),
                Err(full) => stands_against(Shortage::Limit(&rule.limit, full)),
            }
        }
        for (rule, purse) in &self.budgets {
            let Some(purse) = &**purse else { continue };
            if demand.cost == Worst::Unknown && caller.team.unknown_price == UnknownPrice::Refuse {
                stands_against(Shortage::Price(&rule.budget));
                continue;
            }
            match purse.room(demand) {
                Ok(left) => room = room.min(left),
                Err(short) => stands_against(Shortage::Budget(&rule.budget, short, purse.balance())),
            }
        }
        worst.map_or(Ok(room), Err)
    }

    fn take(&mut self, caller: &Caller, tokens: u64, cost: MicroUsd) -> Vec<(Arc<LimitMeter>, HeldTokens)> {
        for purse in self.budgets.iter_mut().filter_map(|(_, purse)| purse.as_mut()) {
            purse.is_paid_by(&caller.team);
            purse.hold(cost);
        }
        let now = self.now;
        let take = |(rule, tally): &mut (&LimitRule, MutexGuard<'_, Tally>)| {
            let held = if tally.take(tokens, now) { HeldTokens::Taken } else { HeldTokens::NotCounted };
            (Arc::clone(&rule.meter), held)
        };
        self.limits.iter_mut().map(take).collect()
    }

    /// The limits that are nearest.
    fn standing(&self) -> Option<Standing> {
        let nearest = |gauge: fn(&Tally, Timestamp) -> Option<Gauge>| {
            let gauges = self.limits.iter().filter_map(|(_, tally)| gauge(tally, self.now));
            gauges.min_by_key(|gauge| (gauge.remaining, gauge.limit))
        };
        let standing = Standing { requests: nearest(Tally::requests), tokens: nearest(Tally::tokens) };
        (standing != Standing::default()).then_some(standing)
    }
}
