//! Admission: whether a caller may make a call now, and what is held for it until it is settled.
//!
//! Scope and allow-lists are judged first; then every limit and budget that counts the call, in one step: all of them
//! have room and something of each is held, or none is touched. What a call may use at most is held, what it really used
//! is settled, once. Invariant: a [`Hold`] that is dropped gives back everything it holds.
//!
//! Here is the desk where calls are admitted, by this process alone (`local.rs`) or by all replicas together (`shared/`).
//! What is asked for is in `need.rs`, what is given out in `hold.rs`, what is counted in `rules.rs` and `meter.rs`.

mod hold;
mod local;
mod meter;
mod need;
mod refusal;
mod rules;
mod seed;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use self::hold::Hold;
use self::hold::{Granted, Held, Settled};
pub use self::meter::Balance;
pub use self::need::{Demand, LEAST_OUTPUT, Need, Output, Used, Worst};
pub(super) use self::rules::{RuleBook, Rules};
pub(super) use self::seed::Seeds;
pub(super) use self::shared::Shared;
pub use self::shared::State as SharedState;
use super::budget::Budget;
use super::directory::Caller;
use super::key::Scope;
use super::team::Team;
use crate::clock::Clock;
use crate::config::OnFailure;
use crate::error::{Error, Exception, Kind, Result};
use crate::money::MicroUsd;
use crate::telemetry::Metrics;

/// How far the limits that are nearest are used, for the headers of the dialects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Calls a minute, by the limit with the fewest left.
    pub requests: Option<Gauge>,
    /// Tokens a minute, likewise.
    pub tokens: Option<Gauge>,
}

/// A limit by the minute and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// What a minute allows.
    pub limit: u64,
    /// What could be used now.
    pub remaining: u64,
    /// Until all of it is there again, if nothing more is used.
    pub reset: Duration,
}

/// A budget of which this process knows how it stands.
#[derive(Clone, Debug)]
pub struct Account {
    /// The budget.
    pub budget: Arc<Budget>,
    /// The team that pays, for its own budget or its key's.
    pub payer: Arc<Team>,
    /// How it stands now.
    pub balance: Balance,
}

/// A call that is not admitted.
#[derive(Debug)]
pub struct Refused {
    /// Why, for the caller.
    pub error: Error,
    /// How far the limits are used.
    pub standing: Option<Standing>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, standing: None }
    }
}

impl Caller {
    /// Fails with [`Kind::Forbidden`] unless the key was made with `scope`.
    pub fn require(&self, scope: Scope) -> Result<()> {
        if self.key.may(scope) {
            return Ok(());
        }
        let message = format!("This key lacks the scope `{scope}`. Use a key that was made with it.");
        let exception = Exception { name: "AccessDeniedException", status: 403 };
        Err(Error::new(Kind::Forbidden, message).exception(exception))
    }

    /// Fails with [`Kind::Forbidden`] without the scope, and with [`Kind::ModelNotFound`] when team or key may not use
    /// the model.
    pub fn permits(&self, need: &Need<'_>) -> Result<()> {
        self.require(need.scope)?;
        match need.model {
            Some(model) if !self.allows_model(need.all_names()) => Err(Error::model_not_found(model)),
            _ => Ok(()),
        }
    }
}

/// Where limits and budgets are counted.
#[derive(Debug)]
pub(super) struct Admission {
    desk: Arc<Desk>,
    book: Arc<RuleBook>,
}

/// What every hold needs to be given back.
#[derive(Debug)]
struct Desk {
    clock: Clock,
    metrics: Metrics,
    seeds: Seeds,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Local,
    Shared(Shared),
}

impl Admission {
    /// In this process alone.
    pub(super) fn local(clock: Clock, metrics: Metrics, seeds: Seeds, book: Arc<RuleBook>) -> Self {
        Self { desk: Arc::new(Desk { clock, metrics, seeds, place: Place::Local }), book }
    }

    /// Together with other replicas.
    pub(super) fn shared(
        clock: Clock,
        metrics: Metrics,
        seeds: Seeds,
        (book, shared): (Arc<RuleBook>, Shared),
    ) -> Self {
        Self { desk: Arc::new(Desk { clock, metrics, seeds, place: Place::Shared(shared) }), book }
    }

    /// How the shared store is, if there is one.
    pub(super) fn shared_state(&self) -> Option<SharedState> {
        self.desk.shared().map(Shared::state)
    }

    /// Every budget that paid for a call since this process began.
    pub(super) fn accounts(&self) -> Vec<Account> {
        self.desk.shared().map_or_else(|| self.book.accounts(), |shared| shared.accounts(&self.book.budgets()))
    }

    /// The most calls that any limit counts as open; where limits are shared, the calls of this process that hold something.
    pub(super) fn most_open(&self) -> u32 {
        self.book.most_open().max(self.desk.shared().map(Shared::open_calls).unwrap_or_default())
    }

    pub(super) async fn admit(&self, caller: &Caller, need: &Need<'_>) -> Result<Hold, Refused> {
        caller.permits(need)?;
        let desk = &self.desk;
        let granted = match &desk.place {
            Place::Local => self.here(caller, need, Held::Local).await?,
            Place::Shared(shared) => Box::pin(self.there(shared, caller, need)).await?,
        };
        Ok(Hold::new(caller, granted, desk))
    }

    /// Holds `cost` from the caller's budgets whether they have so much left or not: what a batch held that another
    /// process, or this one before it began anew, was admitted with. Only while the store is away it fails, where budgets
    /// are counted here.
    pub(super) async fn hold_anyway(&self, caller: &Caller, id: &str, cost: MicroUsd) -> Result<Hold> {
        let desk = &self.desk;
        let held = match &desk.place {
            Place::Local => {
                desk.seeds.sow(caller, &desk.clock).await?;
                Held::Local(local::hold_anyway(caller, cost, desk.clock.now()))
            }
            Place::Shared(shared) => Held::Shared(shared.hold_anyway(caller, id, cost).await),
        };
        Ok(Hold::new(caller, Granted { output_tokens: 0, standing: None, held }, desk))
    }

    async fn here(
        &self,
        caller: &Caller,
        need: &Need<'_>,
        held: impl FnOnce(local::Held) -> Held,
    ) -> Result<Granted, Refused> {
        let desk = &self.desk;
        desk.seeds.sow(caller, &desk.clock).await?;
        let Granted { output_tokens, standing, held: here } = local::admit(caller, need, desk.clock.now())?;
        Ok(Granted { output_tokens, standing, held: held(here) })
    }

    async fn there(&self, shared: &Shared, caller: &Caller, need: &Need<'_>) -> Result<Granted, Refused> {
        match shared.admit(caller, need).await {
            Ok(admitted) => {
                let Granted { output_tokens, standing, held } = admitted?;
                Ok(Granted { output_tokens, standing, held: Held::Shared(held) })
            }
            Err(away) if shared.on_failure() == OnFailure::Deny => Err(away.denied().into()),
            Err(_) => {
                // What this process counted in an earlier absence says little of what was spent since.
                if shared.is_first_of_absence() {
                    self.book.forget_spent();
                }
                self.here(caller, need, |here| Held::Apart(here, shared.unheld(caller, need))).await
            }
        }
    }
}

impl Desk {
    fn shared(&self) -> Option<&Shared> {
        match &self.place {
            Place::Local => None,
            Place::Shared(shared) => Some(shared),
        }
    }

    fn report(&self, team: &Team, settled: Settled) {
        settled.report(&self.metrics, team);
    }
}
