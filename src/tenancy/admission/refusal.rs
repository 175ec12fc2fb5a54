//! Why a call is not admitted, in words and for the dialects: whose limit or budget it is, what it allows, what is used
//! of it, and when to come back. The same whether it is counted here or shared with other replicas.

use std::time::Duration;

use super::Need;
use super::meter::{Balance, Full, Short};
use crate::error::{Error, Exception, Kind};
use crate::tenancy::budget::{Budget, Period};
use crate::tenancy::directory::Caller;
use crate::tenancy::limit::{Limit, Subject};

/// How AWS tells that waiting does not help: clients of its own try again after every 429.
const QUOTA_EXCEEDED: Exception = Exception { name: "ServiceQuotaExceededException", status: 400 };

/// What stands against a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shortage<'a> {
    /// A limit is reached.
    Limit(&'a Limit, Full),
    /// A budget does not reach.
    Budget(&'a Budget, Short, Balance),
    /// A budget would have to pay for what has no known price.
    Price(&'a Budget),
}

impl Shortage<'_> {
    /// Who has to wait is told the longest wait, and who need not try again, that.
    pub(super) fn rank(&self) -> (u8, Duration) {
        match self {
            Self::Limit(_, full) => match full.wait() {
                Some(wait) => (0, wait),
                None => (3, Duration::ZERO),
            },
            Self::Budget(..) => (1, Duration::ZERO),
            Self::Price(_) => (2, Duration::ZERO),
        }
    }
}

fn requests(count: u64) -> String {
    format!("{count} {}", if count == 1 { "request" } else { "requests" })
}

/// A shortage, and whose call it is that is refused for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    pub(super) caller: &'a Caller,
    pub(super) need: &'a Need<'a>,
    pub(super) shortage: Shortage<'a>,
}

impl Refusal<'_> {
    /// The error for the caller.
    pub(super) fn error(&self) -> Error {
        match self.shortage {
            Shortage::Limit(limit, full) => self.limit(limit, full),
            Shortage::Budget(budget, short, balance) => self.budget(budget, short, &balance),
            Shortage::Price(budget) => self.price(budget),
        }
    }

    fn limit(&self, limit: &Limit, full: Full) -> Error {
        let who = self.who(&limit.subject);
        let on = limit.model.as_ref().map(|model| format!(" on `{model}`")).unwrap_or_default();
        let most = |amount: Option<u64>| amount.unwrap_or_default();
        let (reason, allowed, used) = match full {
            Full::Requests { used, .. } => {
                let most = most(limit.requests_per_minute);
                ("requests_per_minute", format!("make {} per minute{on}", requests(most)), format!("{used} are used"))
            }
            Full::Tokens { used, needed, wait } => {
                let most = most(limit.tokens_per_minute);
                let needs = format!(
                    "this call needs {needed} at least, {} of them for its answer",
                    self.need.demand.output.least()
                );
                let used = match wait {
                    Some(_) => format!("{used} are used or held for open calls, and {needs}"),
                    None => needs,
                };
                ("tokens_per_minute", format!("use {most} tokens per minute{on}"), used)
            }
            Full::Open { open, .. } => {
                let most = limit.concurrent_requests.unwrap_or_default();
                let allowed = format!("have {} open at the same time{on}", requests(most.into()));
                ("concurrent_requests", allowed, format!("{open} are open"))
            }
        };
        let error = |message: String| Error::new(Kind::RateLimited, message).reason(reason);
        let Some(wait) = full.wait() else {
            let advice = match full {
                Full::Tokens { .. } => " Shorten the input, or ask for a shorter answer.",
                Full::Requests { .. } | Full::Open { .. } => "",
            };
            let message = format!("Limit reached: {who} may {allowed}; {used}. Waiting does not help.{advice}");
            return error(message).exception(QUOTA_EXCEEDED);
        };
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        error(format!("Limit reached: {who} may {allowed}; {used}. Try again in {seconds} s.")).retry_after(wait)
    }

    fn budget(&self, budget: &Budget, short: Short, balance: &Balance) -> Error {
        let Balance { limit, spent, held, .. } = balance;
        let cost = match short {
            Short::Of(cost) => format!("this call may cost {cost}"),
            Short::OfAnything => "what this call costs is not known".to_owned(),
        };
        let end = balance.window.end.and_then(|end| jiff::Timestamp::from_millisecond(end.millis()).ok());
        let anew = end.map_or_else(|| "It does not begin anew.".to_owned(), |end| format!("It begins anew at {end}."));
        let message = format!(
            "Budget exhausted: of the {limit} USD of {}, {spent} are spent and {held} are held for open calls; {cost}. \
             {anew}",
            self.whose(budget)
        );
        Error::new(Kind::BudgetExhausted, message).reason("budget").exception(QUOTA_EXCEEDED)
    }

    fn price(&self, budget: &Budget) -> Error {
        let model = self.need.model.map_or_else(|| "this call".to_owned(), |model| format!("`{model}`"));
        let message = format!(
            "The price of {model}, as it is called, is not known, and {} would have to pay for it. Use a model with a \
             known price, or ask an administrator to set `unknown_price` of the team to `allow_unpriced`.",
            self.whose(budget)
        );
        let exception = Exception { name: "AccessDeniedException", status: 403 };
        Error::new(Kind::Forbidden, message).reason("budget").exception(exception)
    }

    /// For example "the monthly budget of the team `acme`".
    fn whose(&self, budget: &Budget) -> String {
        whose(self.caller, budget)
    }

    fn who(&self, subject: &Subject) -> String {
        who(self.caller, subject)
    }
}

/// For example "the monthly budget of the team `acme`".
pub(super) fn whose(caller: &Caller, budget: &Budget) -> String {
    let period = match budget.period {
        Period::Day => "daily",
        Period::Week => "weekly",
        Period::Month => "monthly",
        Period::Total => "total",
    };
    format!("the {period} budget of {}", who(caller, &budget.subject))
}

fn who(caller: &Caller, subject: &Subject) -> String {
    match subject {
        Subject::Everyone => "all callers together".to_owned(),
        Subject::Team(_) => format!("the team `{}`", caller.team.name),
        Subject::Key(_) => format!("the key `{}`", caller.key.name),
    }
}
