//! The limits and budgets that count a caller's calls, with what is used of them.
//!
//! What is used outlives the snapshots of the directory: the book knows every limit and budget by its id. A change of
//! an amount is followed by the next call that sees it. Invariant: a caller's limits, and its budgets, are in the order
//! of their ids, and are locked in that order, limits first.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::meter::{Purse, Tally};
use super::{Account, Need};
use crate::clock::{Clock, Timestamp};
use crate::ids::{BudgetId, LimitId};
use crate::tenancy::budget::Budget;
use crate::tenancy::limit::Limit;

/// The limits and budgets of one caller. A cheap clone.
#[derive(Clone, Debug, Default)]
pub(in crate::tenancy) struct Rules {
    pub(super) limits: Arc<[LimitRule]>,
    pub(super) budgets: Arc<[BudgetRule]>,
}

impl Rules {
    /// Whether nothing counts the caller's calls.
    pub(in crate::tenancy) fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.budgets.is_empty()
    }

    /// Whether a budget pays for them.
    pub(in crate::tenancy) fn has_budgets(&self) -> bool {
        !self.budgets.is_empty()
    }

    /// The limits that count the call.
    pub(super) fn limits_of<'a>(&'a self, need: &Need<'a>) -> impl Iterator<Item = &'a LimitRule> {
        let counted = if need.is_batch() { &[][..] } else { &self.limits[..] };
        counted.iter().filter(move |rule| rule.limit.counts(need.all_names()))
    }
}

/// A limit, as the caller's snapshot has it, and what all its callers use of it.
#[derive(Clone, Debug)]
pub(super) struct LimitRule {
    pub(super) limit: Arc<Limit>,
    pub(super) meter: Arc<LimitMeter>,
}

impl LimitRule {
    /// What is used of it, by the newest version of the limit that anybody has seen.
    pub(super) fn lock(&self, now: Timestamp) -> MutexGuard<'_, Tally> {
        let mut tally = self.meter.lock();
        tally.follow(&self.limit, now);
        tally
    }
}

/// What is used of a limit.
#[derive(Debug)]
pub(super) struct LimitMeter(Mutex<Tally>);

impl LimitMeter {
    pub(super) fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A budget, as the caller's snapshot has it, and what all its callers spend of it.
#[derive(Clone, Debug)]
pub(super) struct BudgetRule {
    pub(super) budget: Arc<Budget>,
    pub(super) meter: Arc<BudgetMeter>,
}

impl BudgetRule {
    /// What is spent of it in the window that `now` is in; `None` as long as that was not read from the ledger.
    pub(super) fn lock(&self, now: Timestamp) -> MutexGuard<'_, Option<Purse>> {
        let mut purse = self.meter.lock();
        if let Some(purse) = &mut *purse {
            purse.follow(&self.budget);
            purse.roll(now);
        }
        purse
    }
}

/// What is spent of a budget.
#[derive(Debug, Default)]
pub(super) struct BudgetMeter {
    /// `None` until the ledger was read.
    purse: Mutex<Option<Purse>>,
    /// Held by who reads the ledger for it; when that was last tried in vain.
    pub(super) failed: tokio::sync::Mutex<Option<Instant>>,
}

impl BudgetMeter {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Purse>> {
        self.purse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_seeded(&self) -> bool {
        self.lock().is_some()
    }
}

/// All limits and budgets of this process, and what is used of them.
#[derive(Debug)]
pub(in crate::tenancy) struct RuleBook {
    clock: Clock,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    limits: HashMap<LimitId, LimitRule>,
    budgets: HashMap<BudgetId, BudgetRule>,
    /// How many there may be before those that nobody asks for any more are looked for.
    sweep_at: usize,
}

impl RuleBook {
    /// An empty one.
    pub(in crate::tenancy) fn new(clock: Clock) -> Self {
        Self { clock, pages: Mutex::default() }
    }

    /// Those that count the calls of one caller: its key's, its team's, everyone's.
    pub(in crate::tenancy) fn rules(
        &self,
        limits: impl IntoIterator<Item: Borrow<Limit>>,
        budgets: impl IntoIterator<Item: Borrow<Budget>>,
    ) -> Rules {
        let mut pages = self.lock();
        let mut limits: Vec<_> = limits.into_iter().map(|limit| pages.limit(limit.borrow())).collect();
        let mut budgets: Vec<_> = budgets.into_iter().map(|budget| pages.budget(budget.borrow())).collect();
        limits.sort_by(|a, b| a.limit.id.cmp(&b.limit.id));
        budgets.sort_by(|a, b| a.budget.id.cmp(&b.budget.id));
        let rules = Rules { limits: limits.into(), budgets: budgets.into() };
        pages.sweep(self.clock.now());
        rules
    }

    /// How every budget stands of which that is known.
    pub(super) fn accounts(&self) -> Vec<Account> {
        let now = self.clock.now();
        let account = |rule: &BudgetRule| {
            let purse = rule.lock(now);
            let purse = purse.as_ref()?;
            Some(Account {
                budget: Arc::clone(&rule.budget),
                payer: Arc::clone(purse.payer()),
                balance: purse.balance(),
            })
        };
        self.lock().counting_budgets().filter_map(account).collect()
    }

    /// The budgets that count somebody's calls.
    pub(super) fn budgets(&self) -> Vec<Arc<Budget>> {
        self.lock().counting_budgets().map(|rule| Arc::clone(&rule.budget)).collect()
    }

    /// Forgets what was spent: the ledger is read again for the next call.
    pub(super) fn forget_spent(&self) {
        for rule in self.lock().budgets.values() {
            *rule.meter.lock() = None;
        }
    }

    /// How many limits and budgets it knows.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let pages = self.lock();
        pages.limits.len() + pages.budgets.len()
    }

    /// The most calls that any limit counts as open.
    pub(super) fn most_open(&self) -> u32 {
        self.lock().limits.values().map(|rule| rule.meter.lock().open()).max().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Without those that were removed, which stay until they are swept.
    fn counting_budgets(&self) -> impl Iterator<Item = &BudgetRule> {
        self.budgets.values().filter(|rule| Arc::strong_count(&rule.meter) > 1)
    }

    fn limit(&mut self, limit: &Limit) -> LimitRule {
        let Some(known) = self.limits.get_mut(&limit.id) else {
            let meter = Arc::new(LimitMeter(Mutex::new(Tally::of(limit))));
            let rule = LimitRule { limit: Arc::new(limit.clone()), meter };
            self.limits.insert(limit.id.clone(), rule.clone());
            return rule;
        };
        if limit.version > known.limit.version {
            known.limit = Arc::new(limit.clone());
        }
        known.clone()
    }

    fn budget(&mut self, budget: &Budget) -> BudgetRule {
        let fresh = |meter| BudgetRule { budget: Arc::new(budget.clone()), meter };
        let known = self.budgets.entry(budget.id.clone()).or_insert_with(|| fresh(Arc::default()));
        if budget.version > known.budget.version {
            // What was spent in a day says nothing of what was spent in a month.
            let is_same = budget.period == known.budget.period && budget.subject == known.budget.subject;
            *known = fresh(if is_same { Arc::clone(&known.meter) } else { Arc::default() });
        }
        known.clone()
    }

    /// Forgets what no caller is counted by any more and of which nothing is used: what a limit counts is gone after a
    /// minute, what a budget counts is in the ledger. Now and then, so that it costs nothing to speak of.
    fn sweep(&mut self, now: Timestamp) {
        if self.limits.len() + self.budgets.len() < self.sweep_at {
            return;
        }
        self.limits.retain(|_, rule| Arc::strong_count(&rule.meter) > 1 || !rule.lock(now).is_idle(now));
        self.budgets.retain(|_, rule| Arc::strong_count(&rule.meter) > 1);
        self.sweep_at = 2 * (self.limits.len() + self.budgets.len()) + 1000;
    }
}
