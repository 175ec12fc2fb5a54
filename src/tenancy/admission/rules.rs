//! The limits and budgets that count a caller's calls, with what is used of them.
//!
//! What is used outlives the snapshots of the directory: the book knows every limit and budget by its id.

use std::sync::Arc;

use super::Need;
use crate::tenancy::budget::Budget;
use crate::tenancy::limit::Limit;

/// The limits and budgets of one caller. A cheap clone.
#[derive(Clone, Debug, Default)]
pub(in crate::tenancy) struct Rules {
    pub(super) limits: Arc<[Arc<Limit>]>,
    pub(super) budgets: Arc<[Arc<Budget>]>,
}

impl Rules {
    /// The limits that count the call.
    pub(super) fn limits_of<'r>(&'r self, need: &Need<'r>) -> impl Iterator<Item = &'r Limit> {
        let names = need.all_names();
        self.limits.iter().map(|limit| &**limit).filter(move |limit| limit.counts(names.clone()))
    }

    /// The budgets that pay for it.
    pub(super) fn budgets_of(&self) -> impl Iterator<Item = Arc<Budget>> {
        self.budgets.iter().map(Arc::clone)
    }

    /// Whether nothing counts the caller's calls.
    pub(in crate::tenancy) fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.budgets.is_empty()
    }

    /// Whether a budget pays for them.
    pub(in crate::tenancy) fn has_budgets(&self) -> bool {
        !self.budgets.is_empty()
    }
}

/// All limits and budgets of this process, and what is used of them.
#[derive(Debug, Default)]
pub(in crate::tenancy) struct RuleBook;

impl RuleBook {
    /// Those that count the calls of one caller: its key's, its team's, everyone's.
    pub(in crate::tenancy) fn rules(&self, limits: Vec<Limit>, budgets: Vec<Budget>) -> Rules {
        Rules {
            limits: limits.into_iter().map(Arc::new).collect(),
            budgets: budgets.into_iter().map(Arc::new).collect(),
        }
    }
}
