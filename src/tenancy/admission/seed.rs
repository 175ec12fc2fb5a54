//! What was spent of a budget before this process began to count: read from the ledger, once, before the first call that
//! the budget has to pay for. A key whose budgets are known asks the store nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::meter::Purse;
use super::refusal;
use super::rules::BudgetRule;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::money::MicroUsd;
use crate::store::Store;
use crate::tenancy::budget::Window;
use crate::tenancy::directory::Caller;
use crate::tenancy::ledger::Recorder;
use crate::tenancy::usage;

/// A look into the ledger that takes longer has failed, and so has who waits longer for somebody else's.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// For so long after a look that failed nobody tries again.
const PAUSE: Duration = Duration::from_secs(1);

/// Where it is read.
#[derive(Debug)]
pub(in crate::tenancy) struct Seeds {
    store: Store,
    recorder: Arc<Recorder>,
}

impl Seeds {
    pub(in crate::tenancy) fn new(store: Store, recorder: Arc<Recorder>) -> Self {
        Self { store, recorder }
    }

    /// Returns when it is known what was spent of each of the caller's budgets.
    ///
    /// All who wait for one budget share one look. What this process has settled so far is written first, so that the
    /// ledger has it: nothing is lost, and what is settled later is counted by the purse alone, because only calls that
    /// the seeded purse admitted are settled with it. Fails, with [`Kind::Unavailable`], while the store is away:
    /// who cannot know what was spent must not spend.
    pub(super) async fn sow(&self, caller: &Caller, clock: &Clock) -> Result<()> {
        for rule in caller.rules.budgets.iter().filter(|rule| !rule.meter.is_seeded()) {
            Box::pin(self.sow_one(caller, rule, clock)).await.map_err(|cause| unknown(caller, rule, cause))?;
        }
        Ok(())
    }

    async fn sow_one(&self, caller: &Caller, rule: &BudgetRule, clock: &Clock) -> Result<()> {
        let mut failed = in_time(async { Ok(rule.meter.failed.lock().await) }).await?;
        if rule.meter.is_seeded() {
            return Ok(());
        }
        if failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(Error::new(Kind::Timeout, "The store did not answer a moment ago."));
        }
        let spent = in_time(self.spent(rule, clock)).await;
        // A client that leaves before this line leaves the look to the next one who waits.
        *failed = spent.is_err().then(Instant::now);
        let spent = spent?;
        rule.meter.lock().get_or_insert_with(|| Purse::of(&rule.budget, &caller.team, spent));
        Ok(())
    }

    async fn spent(&self, rule: &BudgetRule, clock: &Clock) -> Result<(Window, MicroUsd)> {
        self.recorder.flush().await;
        let window = rule.budget.period.window(clock.now());
        Ok((window, usage::spent(&self.store, &rule.budget.subject, window.end.map(|_| window.start)).await?))
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let timed_out = |_| Err(Error::new(Kind::Timeout, "The store did not answer in time."));
    tokio::time::timeout(READ_TIMEOUT, work).await.unwrap_or_else(timed_out)
}

fn unknown(caller: &Caller, rule: &BudgetRule, cause: Error) -> Error {
    tracing::warn!(
        budget = rule.budget.id.as_str(),
        error = %cause,
        causes = cause.causes(),
        "what was spent of a budget cannot be read from the ledger; its calls are refused"
    );
    let message = format!(
        "It cannot be told right now what is left of {}, so it pays for nothing. Try again in a moment.",
        refusal::whose(caller, &rule.budget)
    );
    Error::new(Kind::Unavailable, message).reason("budget").retry_after(PAUSE).source(cause)
}
