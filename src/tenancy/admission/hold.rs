//! What an admitted call holds until it is settled, wherever that is counted, and what settling it brought about.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Balance, Desk, Standing, Used, local, shared};
use crate::clock::Timestamp;
use crate::money::MicroUsd;
use crate::telemetry::Metrics;
use crate::tenancy::budget::Budget;
use crate::tenancy::directory::Caller;
use crate::tenancy::team::Team;

/// What an admitted call holds. Dropping it gives everything back; that a call was made stays counted.
#[derive(Debug)]
pub struct Hold {
    caller: Caller,
    granted: Granted,
    desk: Arc<Desk>,
}

/// What was granted, and where it is to be given back.
#[derive(Debug)]
pub(super) struct Granted<H = Held> {
    pub(super) output_tokens: u64,
    pub(super) standing: Option<Standing>,
    pub(super) held: H,
}

/// What is held, by where it is.
#[derive(Debug)]
pub(super) enum Held {
    Local(local::Held),
    Shared(shared::Held),
    /// The shared store was away: held here, and what the call cost is told there when it is back.
    Apart(local::Held, shared::Held),
}

impl Held {
    /// Gives back what was held beyond `used`; a second time does nothing.
    fn settle(&mut self, used: Used, at: Timestamp) -> Settled {
        match self {
            Self::Local(held) => held.settle(used, at),
            Self::Shared(held) => held.settle(used, at),
            Self::Apart(here, there) => {
                there.settle(used, at);
                there.part_from(here);
                here.settle(used, at)
            }
        }
    }

    /// Something was spent that is in the ledger by this id and is not what is held, which stays held.
    fn spend(&self, id: &str, cost: MicroUsd, at: Timestamp) -> Settled {
        match self {
            Self::Local(held) => held.spend(cost, at),
            Self::Shared(held) | Self::Apart(_, held) => {
                held.spend(id, cost, at);
                Settled::default()
            }
        }
    }
}

/// What settling a call brought about.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// It cost more than was held for it.
    pub(super) is_overrun: bool,
    /// Budgets of which so many percent are spent now, and how they stand.
    pub(super) thresholds: Vec<(Arc<Budget>, u8, Balance)>,
}

impl Settled {
    /// Counts and logs what is worth knowing.
    pub(super) fn report(self, metrics: &Metrics, team: &Team) {
        let team = &*team.name;
        if self.is_overrun {
            metrics.hold_overrun(team);
        }
        for (budget, percent, balance) in self.thresholds {
            metrics.budget_threshold(team, percent);
            let (kind, subject) = budget.subject.parts();
            tracing::warn!(
                budget = budget.id.as_str(),
                team,
                subject_kind = kind,
                subject,
                period = %budget.period,
                percent,
                limit_usd = %balance.limit,
                spent_usd = %balance.spent,
                "a budget has reached a threshold"
            );
        }
    }
}

impl Hold {
    /// Of what was granted to a call, which is in flight until this is dropped.
    pub(super) fn new(caller: &Caller, granted: Granted, desk: &Arc<Desk>) -> Self {
        caller.activity.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { caller: caller.clone(), granted, desk: Arc::clone(desk) }
    }

    /// Who holds it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether every budget that the caller has now knows of it: one that was made since does not.
    pub fn is_of(&self, caller: &Caller) -> bool {
        let (then, now) = (&self.caller.rules.budgets, &caller.rules.budgets);
        then.len() == now.len() && then.iter().zip(&**now).all(|(then, now)| Arc::ptr_eq(&then.meter, &now.meter))
    }

    /// The most tokens that the answer may have: what was asked for, or what was left of it.
    pub fn output_tokens(&self) -> u64 {
        self.granted.output_tokens
    }

    /// How far the nearest limits are used, this call included; `None` where there are none.
    pub fn standing(&self) -> Option<&Standing> {
        self.granted.standing.as_ref()
    }

    /// The call has ended and really used this; `at` is when, by the ledger: budgets count it in the window of that time.
    pub fn settle(mut self, used: Used, at: Timestamp) {
        self.finish(used, at);
    }

    /// The same for a call that somebody else holds the money for: that nothing was held for it here is no overrun.
    pub fn settle_paid_for(mut self, used: Used, at: Timestamp) {
        let settled = Settled { is_overrun: false, ..self.granted.held.settle(used, at) };
        self.desk.report(&self.caller.team, settled);
    }

    /// Something else was spent for the call and is in the ledger on its own, such as a second attempt that was not
    /// waited for, under this id; the hold stays.
    pub fn spend(&self, id: &str, cost: MicroUsd, at: Timestamp) {
        self.desk.report(&self.caller.team, self.granted.held.spend(id, cost, at));
    }

    /// The same for what is in the ledger since before: another process, which may be dead, booked it. Budgets that this
    /// process counts alone were read from the ledger; shared ones may not know it, and go by the id.
    pub fn spend_booked(&self, id: &str, cost: MicroUsd, at: Timestamp) {
        if !matches!(self.granted.held, Held::Local(_)) {
            self.spend(id, cost, at);
        }
    }

    fn finish(&mut self, used: Used, at: Timestamp) {
        let settled = self.granted.held.settle(used, at);
        self.desk.report(&self.caller.team, settled);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.finish(Used { tokens: 0, cost: Some(MicroUsd::default()) }, self.desk.clock.now());
        self.caller.activity.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
