//! How budgets stand by the shared store's answers to this process, for who asks without a call: metrics and
//! administration.
//!
//! What a budget's limit is, and whether there still is one, is not known here: the directory has it. Answers may be
//! handled in another order than they were given; what is spent in a window only grows, so the larger one is the newer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::held::Leaving;
use super::script::{Charge, Use};
use crate::clock::Timestamp;
use crate::ids::BudgetId;
use crate::money::MicroUsd;
use crate::tenancy::admission::Account;
use crate::tenancy::admission::meter::Balance;
use crate::tenancy::budget::{Budget, Period, Window};
use crate::tenancy::team::Team;

/// What was told last of each budget that calls of this process were asked or settled for.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<HashMap<(BudgetId, Period), Told>>);

/// How a budget stands, and when that was so.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) payer: Arc<Team>,
    pub(super) window: Window,
    /// The generation that said so.
    pub(super) since: i64,
    pub(super) used: Use,
}

impl Told {
    fn age(&self) -> (Timestamp, i64, i64) {
        (self.window.start, self.since, self.used.spent)
    }
}

impl Accounts {
    /// The shared store has told of `budget`.
    pub(super) fn learn(&self, budget: &Budget, told: Told) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (budget.id.clone(), budget.period);
        if all.get(&place).is_none_or(|known| known.age() <= told.age()) {
            all.insert(place, told);
        }
    }

    /// A hold was settled, and the generation `since` told what that did to its budgets.
    pub(super) fn settled(&self, leaving: &Leaving, payer: &Arc<Team>, (since, charges): (i64, &[Charge])) {
        for ((budget, window), charge) in leaving.charged().zip(charges) {
            if let Charge::Made(used) | Charge::None(used) = *charge {
                self.learn(budget, Told { payer: Arc::clone(payer), window, since, used });
            }
        }
    }

    /// How those of `budgets` stand at `now` that were told of; all others are forgotten. In a window that nobody told of
    /// yet nothing is spent.
    pub(super) fn of(&self, budgets: &[Arc<Budget>], now: Timestamp) -> Vec<Account> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = HashMap::with_capacity(budgets.len());
        let mut accounts = Vec::with_capacity(budgets.len());
        for budget in budgets {
            let Some((place, told)) = all.remove_entry(&(budget.id.clone(), budget.period)) else { continue };
            let (window, spent) = match told.window {
                over if over.is_over(now) => (budget.period.window(now), 0),
                window => (window, told.used.spent),
            };
            let held = MicroUsd(told.used.held);
            let balance = Balance { limit: budget.limit, spent: MicroUsd(spent), held, window };
            accounts.push(Account { budget: Arc::clone(budget), payer: Arc::clone(&told.payer), balance });
            kept.insert(place, told);
        }
        *all = kept;
        accounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TeamId;
    use crate::tenancy::limit::Subject;
    use crate::tenancy::team::NewTeam;

    const DAY: i64 = 86_400_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn budget(id: &str, limit: i64) -> Arc<Budget> {
        Arc::new(Budget {
            id: BudgetId::from(id),
            subject: Subject::Team(TeamId::from("team_1")),
            period: Period::Day,
            limit: MicroUsd(limit),
            created_at: at(0),
            updated_at: at(0),
            removed_at: None,
            version: 1,
        })
    }

    fn told(day: i64, since: i64, (spent, held): (i64, i64)) -> Told {
        let window = Period::Day.window(at(day * DAY));
        let payer = NewTeam::new("acme").check(TeamId::from("team_1"), at(0)).unwrap();
        Told { payer: Arc::new(payer), window, since, used: Use { spent, held } }
    }

    /// Limit, spent and held of each.
    fn stand(accounts: &Accounts, budgets: &[Arc<Budget>], now: Timestamp) -> Vec<[i64; 3]> {
        let all = accounts.of(budgets, now).into_iter().map(|account| account.balance);
        all.map(|balance| [balance.limit.0, balance.spent.0, balance.held.0]).collect()
    }

    #[test]
    fn the_newest_answer_counts_whichever_is_handled_last() {
        let (accounts, budget) = (Accounts::default(), budget("b", 100));
        let learn = |told| {
            accounts.learn(&budget, told);
            stand(&accounts, &[Arc::clone(&budget)], at(2 * DAY + 1))[0]
        };
        assert_eq!(learn(told(2, 7, (30, 5))), [100, 30, 5]);
        assert_eq!(learn(told(2, 7, (20, 9))), [100, 30, 5], "an answer from before");
        assert_eq!(learn(told(1, 7, (90, 9))), [100, 30, 5], "charged to the window before");
        assert_eq!(learn(told(2, 7, (30, 0))), [100, 30, 0], "what was held is given back");
        assert_eq!(learn(told(2, 8, (10, 0))), [100, 10, 0], "the store forgot, and was told again");
    }

    #[test]
    fn limits_are_those_of_now_and_a_new_window_begins_with_nothing() {
        let accounts = Accounts::default();
        accounts.learn(&budget("b", 100), told(1, 7, (30, 5)));
        assert_eq!(stand(&accounts, &[budget("b", 50), budget("untold", 9)], at(DAY)), [[50, 30, 5]]);
        assert_eq!(stand(&accounts, &[budget("b", 50)], at(2 * DAY)), [[50, 0, 5]]);
        assert!(stand(&accounts, &[], at(DAY)).is_empty(), "it was removed");
        assert!(stand(&accounts, &[budget("b", 50)], at(DAY)).is_empty(), "and is forgotten");
    }
}
