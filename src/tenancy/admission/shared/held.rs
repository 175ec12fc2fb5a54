//! What a call holds in the shared store, from its admission to its settlement, which is sent behind. Whatever ends a
//! call, one settlement leaves for what it held; one that is lost with the process leaves the hold to its lease.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::Shared;
use super::script::{Settling, Way};
use crate::clock::Timestamp;
use crate::money::MicroUsd;
use crate::tenancy::admission::{Settled, Used, local};
use crate::tenancy::budget::{Budget, Window};
use crate::tenancy::limit::Limit;
use crate::tenancy::team::Team;

/// A settlement on its way, and what is told of the budgets that it is charged to.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) settling: Settling,
    pub(super) budgets: Vec<Arc<Budget>>,
    pub(super) payer: Option<Arc<Team>>,
}

impl Leaving {
    /// The budgets that it is charged to, each with the window of the time when the call ended.
    pub(super) fn charged(&self) -> impl Iterator<Item = (&Arc<Budget>, Window)> {
        self.budgets.iter().zip(self.settling.budgets.iter().map(|(_, window)| *window))
    }
}

/// What a call holds in the shared store. Dropping it without [`Held::settle`] leaves it to its lease.
#[derive(Debug)]
pub(in crate::tenancy::admission) struct Held {
    shared: Shared,
    /// None when it is settled.
    open: Option<Open>,
    /// How often there had been a connection.
    connections: u64,
}

#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: String,
    /// The generation of its admission; 0: it was admitted while the store was away.
    pub(super) since: i64,
    pub(super) reserved: u64,
    /// Micro-dollars.
    pub(super) held: i64,
    pub(super) limits: Vec<(String, u64)>,
    pub(super) budgets: Vec<Arc<Budget>>,
    pub(super) payer: Option<Arc<Team>>,
}

/// An admission whose answer nobody got. Whether it holds something is not known, so it is given back in any case.
pub(super) struct Pending<'a> {
    shared: &'a Shared,
    id: &'a str,
    answered: bool,
}

impl<'a> Pending<'a> {
    /// Without a connection nothing can be held.
    pub(super) fn of(shared: &'a Shared, id: &'a str) -> Self {
        Self { shared, id, answered: !shared.0.shared.is_up() }
    }

    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let inner = &self.shared.0;
            let open = Open { since: inner.since.load(Ordering::Acquire), ..Open::new(self.id, &[], Vec::new()) };
            self.shared.queue(open.leaving(0, MicroUsd::default(), inner.clock.now()));
        }
    }
}

impl Open {
    /// Of nothing that the shared store was told.
    pub(super) fn new(id: &str, limits: &[&Limit], budgets: Vec<Arc<Budget>>) -> Self {
        let by_tokens = |limit: &&Limit| Some((limit.id.as_str().to_owned(), limit.tokens_per_minute?));
        let limits = limits.iter().filter_map(by_tokens).collect();
        Self { id: id.to_owned(), since: 0, reserved: 0, held: 0, limits, budgets, payer: None }
    }

    pub(super) fn leaving(self, used: u64, cost: MicroUsd, at: Timestamp) -> Leaving {
        let window = |budget: &Arc<Budget>| (budget.id.as_str().to_owned(), budget.period.window(at));
        let settling = Settling {
            way: Way::Settled,
            since: self.since,
            at,
            cost: cost.0,
            reserved: self.reserved,
            used,
            limits: self.limits,
            budgets: self.budgets.iter().map(window).collect(),
            id: self.id,
        };
        Leaving { settling, budgets: self.budgets, payer: self.payer }
    }
}

impl Held {
    pub(super) fn new(shared: Shared, open: Option<Open>) -> Self {
        let connections = shared.0.connections.load(Ordering::Acquire);
        Self { shared, open, connections }
    }

    /// Gives back what was held beyond `used` and charges it, behind; a second time does nothing.
    pub(in crate::tenancy::admission) fn settle(&mut self, used: Used, at: Timestamp) -> Settled {
        let Some(mut open) = self.open.take() else { return Settled::default() };
        let live = self.shared.0.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&open.id);
        if let Some(live) = live {
            open.since = live.since; // It may have been held again under another one.
        }
        let cost = used.cost.unwrap_or_default();
        let is_overrun = open.since > 0 && cost.0 > open.held && !open.budgets.is_empty();
        self.shared.queue(open.leaving(used.tokens, cost, at));
        Settled { is_overrun, ..Settled::default() }
    }

    /// Something was spent that is in the ledger by this id and is not what is held.
    pub(in crate::tenancy::admission) fn spend(&self, id: &str, cost: MicroUsd, at: Timestamp) {
        if let Some(open) = &self.open {
            let payer = open.payer.clone();
            let other = Open { payer, ..Open::new(id, &[], open.budgets.clone()) };
            self.shared.queue(other.leaving(0, cost, at));
        }
    }

    /// Where the shared store was back in the meantime, the budgets of this process no longer know the call.
    pub(in crate::tenancy::admission) fn part_from(&self, here: &mut local::Held) {
        if self.connections != self.shared.0.connections.load(Ordering::Acquire) {
            here.part_from_budgets();
        }
    }
}
