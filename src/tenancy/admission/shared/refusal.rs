//! What stands against a call by the word of the shared store; and what is said when it cannot be asked.

use std::sync::Arc;
use std::time::Duration;

use super::script::{Refused, What};
use crate::error::{Error, Kind};
use crate::tenancy::admission::Need;
use crate::tenancy::admission::meter::{Balance, Full, Short};
use crate::tenancy::admission::refusal::Shortage;
use crate::tenancy::budget::Budget;
use crate::tenancy::limit::Limit;

/// What refused, by its place among those that were asked.
pub(super) fn shortage<'a>(
    refused: &Refused,
    limits: &[&'a Limit],
    (budgets, balances): (&'a [Arc<Budget>], &[Balance]),
    need: &Need<'_>,
) -> Option<Shortage<'a>> {
    let demand = &need.demand;
    if refused.what == What::Budget {
        let short = match demand.cost.with(demand.output.least()) {
            cost if cost.0 > 0 => Short::Of(cost),
            _ => Short::OfAnything,
        };
        return Some(Shortage::Budget(budgets.get(refused.place)?, short, *balances.get(refused.place)?));
    }
    let limit = *limits.get(refused.place)?;
    let rates = refused.rates.get(refused.place)?;
    let used = |limit: Option<u64>, level: Option<super::script::Level>| {
        limit.unwrap_or_default().saturating_sub(level.map(|level| level.remaining).unwrap_or_default())
    };
    let wait = refused.wait;
    Some(Shortage::Limit(
        limit,
        match refused.what {
            What::Requests => Full::Requests { used: used(limit.requests_per_minute, rates.requests), wait },
            What::Tokens => {
                let needed = demand.input_tokens.saturating_add(demand.output.least());
                Full::Tokens { used: used(limit.tokens_per_minute, rates.tokens), needed, wait }
            }
            What::Concurrency | What::Budget => {
                Full::Open { open: limit.concurrent_requests.unwrap_or_default(), wait }
            }
        },
    ))
}

/// The shared store named what it was not asked about.
pub(super) fn unasked() -> Error {
    Error::internal("the shared store refuses by a rule that it was not asked about")
}

/// Nobody can say whether there is room, and without that nothing is admitted.
pub(super) fn denied(cause: Error) -> Error {
    let text = "Limits and budgets cannot be checked now, because the store that they are shared through is away. \
                Nothing was sent to a model; try again.";
    Error::new(Kind::Unavailable, text).reason("shared").retry_after(Duration::from_secs(1)).source(cause)
}
