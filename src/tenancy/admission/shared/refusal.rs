//! What a caller is told that the shared store refuses, or that cannot be asked.

use std::sync::Arc;
use std::time::Duration;

use super::script::{BudgetRow, Use, What};
use crate::error::{Error, Kind};
use crate::money::MicroUsd;
use crate::tenancy::budget::Budget;
use crate::tenancy::limit::{Limit, Subject};

/// The limit or budget at `place` of its list refuses.
pub(super) fn error(
    what: What,
    place: usize,
    wait: Option<Duration>,
    (limits, rows, budgets): (&[&Limit], &[BudgetRow<'_>], &[Arc<Budget>]),
    uses: &[Use],
) -> Error {
    let missing = || Error::internal("the shared store refuses by a rule that it was not asked about");
    if what == What::Budget {
        let budget = budgets.get(place).zip(rows.get(place)).zip(uses.get(place));
        return budget.map_or_else(missing, |((budget, row), used)| exhausted(budget, row, *used));
    }
    limits.get(place).map_or_else(missing, |limit| reached(what, limit, wait))
}

fn reached(what: What, limit: &Limit, wait: Option<Duration>) -> Error {
    let (allowed, of) = match what {
        What::Requests => (limit.requests_per_minute.unwrap_or_default(), "requests per minute"),
        What::Tokens => (limit.tokens_per_minute.unwrap_or_default(), "tokens per minute"),
        What::Concurrency | What::Budget => {
            (limit.concurrent_requests.map(u64::from).unwrap_or_default(), "requests at the same time")
        }
    };
    let model = limit.model.as_ref().map(|model| format!(" on `{model}`")).unwrap_or_default();
    let what = format!("The limit of {allowed} {of} of {}{model}", whose(&limit.subject));
    match wait {
        Some(wait) => Error::new(Kind::RateLimited, format!("{what} is reached.")).retry_after(wait),
        None => Error::new(Kind::RateLimited, format!("{what} is less than this request needs.")),
    }
}

fn exhausted(budget: &Budget, row: &BudgetRow<'_>, used: Use) -> Error {
    let period = budget.period;
    let text = format!(
        "The {period} budget of {}, {} USD, has no room for this request: {} USD are spent, {} USD are held for \
         requests that run.",
        whose(&budget.subject),
        budget.limit,
        MicroUsd(used.spent),
        MicroUsd(used.held),
    );
    let text = match row.window.end.and_then(|end| jiff::Timestamp::from_millisecond(end.millis()).ok()) {
        Some(end) => format!("{text} It begins anew at {end}."),
        None => text,
    };
    Error::new(Kind::BudgetExhausted, text)
}

fn whose(subject: &Subject) -> &'static str {
    match subject {
        Subject::Everyone => "this gateway",
        Subject::Team(_) => "this team",
        Subject::Key(_) => "this key",
    }
}

/// Nobody can say whether there is room, and without that nothing is admitted.
pub(super) fn denied(cause: Error) -> Error {
    let text = "Limits and budgets cannot be checked now, because the store that they are shared through is away. \
                Nothing was sent to a model; try again.";
    Error::new(Kind::UpstreamUnavailable, text).reason("shared").retry_after(Duration::from_secs(1)).source(cause)
}
