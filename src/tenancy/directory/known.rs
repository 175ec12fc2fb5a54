//! What was read of teams, limits and budgets: those of everyone, of the teams whose keys are in memory, and of these
//! keys. From it callers are put together.

use std::collections::HashMap;
use std::sync::Arc;

use super::caller::{Activity, Caller, Membership};
use crate::ids::TeamId;
use crate::tenancy::admission::{RuleBook, Rules};
use crate::tenancy::budget::Budget;
use crate::tenancy::key::Key;
use crate::tenancy::limit::{Limit, Subject};
use crate::tenancy::team::Team;

#[derive(Default)]
pub(super) struct Known {
    teams: HashMap<TeamId, Arc<Team>>,
    limits: HashMap<Subject, Vec<Limit>>,
    budgets: HashMap<Subject, Vec<Budget>>,
}

impl Known {
    pub(super) fn has_team(&self, id: &TeamId) -> bool {
        self.teams.contains_key(id)
    }

    pub(super) fn put_team(&mut self, team: Team) {
        self.teams.insert(team.id.clone(), Arc::new(team));
    }

    /// Its keys have no team any more and are no callers.
    pub(super) fn forget_team(&mut self, id: &str) {
        self.teams.remove(id);
    }

    /// Puts a limit in the place of the one with its id, or takes that away if it was removed.
    pub(super) fn put_limit(&mut self, limit: Limit) {
        let limits = self.limits.entry(limit.subject.clone()).or_default();
        limits.retain(|known| known.id != limit.id);
        if limit.removed_at.is_none() {
            limits.push(limit);
        } else if limits.is_empty() {
            self.limits.remove(&limit.subject);
        }
    }

    /// Likewise, of a budget.
    pub(super) fn put_budget(&mut self, budget: Budget) {
        let budgets = self.budgets.entry(budget.subject.clone()).or_default();
        budgets.retain(|known| known.id != budget.id);
        if budget.removed_at.is_none() {
            budgets.push(budget);
        } else if budgets.is_empty() {
            self.budgets.remove(&budget.subject);
        }
    }

    /// Takes a limit away, whosever it is, and says whose it was.
    pub(super) fn forget_limit(&mut self, id: &str) -> Option<Subject> {
        let (subject, limits) =
            self.limits.iter_mut().find(|(_, limits)| limits.iter().any(|l| l.id.as_str() == id))?;
        limits.retain(|limit| limit.id.as_str() != id);
        Some(subject.clone())
    }

    /// Likewise, a budget.
    pub(super) fn forget_budget(&mut self, id: &str) -> Option<Subject> {
        let mut all = self.budgets.iter_mut();
        let (subject, budgets) = all.find(|(_, budgets)| budgets.iter().any(|b| b.id.as_str() == id))?;
        budgets.retain(|budget| budget.id.as_str() != id);
        Some(subject.clone())
    }

    /// Forgets the limits and budgets of somebody.
    pub(super) fn forget(&mut self, subject: &Subject) {
        self.limits.remove(subject);
        self.budgets.remove(subject);
    }

    /// The caller that presents `key`; none without its team.
    pub(super) fn caller(&self, book: &RuleBook, key: Arc<Key>, activity: Arc<Activity>) -> Option<Caller> {
        let team = self.teams.get(&key.team)?;
        let rules =
            self.rules(book, &[Subject::Everyone, Subject::Team(key.team.clone()), Subject::Key(key.id.clone())]);
        Some(Caller::new(Arc::clone(team), key, rules, activity))
    }

    /// What the callers of a team have in common; none where the team is not known.
    pub(super) fn membership(&self, book: &RuleBook, id: &TeamId) -> Option<Arc<Membership>> {
        let team = Arc::clone(self.teams.get(id)?);
        let rules = self.rules(book, &[Subject::Everyone, Subject::Team(id.clone())]);
        Some(Arc::new(Membership { team, rules }))
    }

    fn rules(&self, book: &RuleBook, subjects: &[Subject]) -> Rules {
        let limits = subjects.iter().filter_map(|subject| self.limits.get(subject)).flatten();
        let budgets = subjects.iter().filter_map(|subject| self.budgets.get(subject)).flatten();
        book.rules(limits, budgets)
    }
}
