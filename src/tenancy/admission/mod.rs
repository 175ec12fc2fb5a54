//! Admission: whether a caller may make a call now, and what is held for it until it is settled.
//!
//! Scope and allow-lists are judged first; then every limit and budget that counts the call, in one step: all of them
//! have room and something of each is held, or none is touched. What a call may use at most is held, what it really used
//! is settled, once. Invariant: a [`Hold`] that is dropped gives back everything it holds.

mod local;
mod meter;
mod refusal;
mod rules;
mod seed;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use self::meter::Balance;
pub(super) use self::rules::{RuleBook, Rules};
pub(super) use self::seed::Seeds;
pub(super) use self::shared::Shared;
pub use self::shared::State as SharedState;
use super::budget::Budget;
use super::directory::Caller;
use super::key::Scope;
use super::team::Team;
use crate::clock::{Clock, Timestamp};
use crate::config::OnFailure;
use crate::error::{Error, Exception, Kind, Result};
use crate::money::{MicroUsd, round_up};
use crate::telemetry::Metrics;

/// The fewest tokens that an answer is capped to where less is left than it might need.
pub const LEAST_OUTPUT: u64 = 1024;

/// What a call needs.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// Unique to the call: the id of its row in the ledger.
    pub id: &'a str,
    /// The scope the route asks for.
    pub scope: Scope,
    /// The model as the caller named it: what an error repeats. `None`: the call is on no model.
    pub model: Option<&'a str>,
    /// Every other name the model goes by: Bedrock's id, the short id, an alias. Being allowed under one is enough.
    pub names: &'a [&'a str],
    /// What it may use at most.
    pub demand: Demand,
}

impl<'a> Need<'a> {
    /// Whether it is a batch as a whole: it is paid for, but it is no call, so nothing that is counted by the minute or by
    /// open calls counts it.
    fn is_batch(&self) -> bool {
        self.scope == Scope::Batch && self.model.is_none()
    }

    /// Every name that the model goes by.
    fn all_names(&self) -> impl Iterator<Item = &'a str> + Clone {
        self.model.into_iter().chain(self.names.iter().copied())
    }
}

/// What a call may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Tokens of its input, estimated; those written to a prompt cache are among them.
    pub input_tokens: u64,
    /// Tokens of its answer.
    pub output: Output,
    /// What it may cost.
    pub cost: Worst,
}

impl Demand {
    /// Of a call that uses no tokens and costs nothing.
    pub const NOTHING: Self = Self { input_tokens: 0, output: Output::Asked(0), cost: Worst::Free };
}

/// The most tokens of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// As the caller said, or as the model has it and cannot be told otherwise.
    Asked(u64),
    /// The caller did not say, and the answer can be capped: to what is left, not below [`LEAST_OUTPUT`].
    Open {
        /// What the model can answer at most.
        most: u64,
    },
}

impl Output {
    /// The most tokens.
    pub fn most(self) -> u64 {
        match self {
            Self::Asked(tokens) | Self::Open { most: tokens } => tokens,
        }
    }

    /// The fewest that would do.
    pub fn least(self) -> u64 {
        match self {
            Self::Asked(tokens) => tokens,
            Self::Open { most } => most.min(LEAST_OUTPUT),
        }
    }
}

/// What a call may cost at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worst {
    /// Nothing.
    Free,
    /// At the dearest of the prices that may come to count.
    Known {
        /// The input, in pico-dollars.
        input_pico: u128,
        /// Each token of the answer, in pico-dollars.
        output_pico: u64,
    },
    /// It has no price.
    Unknown,
}

impl Worst {
    /// What it costs with an answer of so many tokens; nothing where that is not known.
    pub fn with(self, output_tokens: u64) -> MicroUsd {
        match self {
            Self::Free | Self::Unknown => MicroUsd::default(),
            Self::Known { input_pico, output_pico } => {
                round_up(input_pico.saturating_add(u128::from(output_pico) * u128::from(output_tokens)))
            }
        }
    }
}

/// What a call really used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Tokens read and written, without those read from a prompt cache.
    pub tokens: u64,
    /// What it cost; `None`: its price is not known.
    pub cost: Option<MicroUsd>,
}

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

/// What an admitted call holds. Dropping it gives everything back; that a call was made stays counted.
#[derive(Debug)]
pub struct Hold {
    caller: Caller,
    granted: Granted,
    desk: Arc<Desk>,
}

/// What was granted, and where it is to be given back.
#[derive(Debug)]
struct Granted<H = Held> {
    output_tokens: u64,
    standing: Option<Standing>,
    held: H,
}

/// What is held, by where it is.
#[derive(Debug)]
enum Held {
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
struct Settled {
    /// It cost more than was held for it.
    is_overrun: bool,
    /// Budgets of which so many percent are spent now, and how they stand.
    thresholds: Vec<(Arc<Budget>, u8, Balance)>,
}

impl Hold {
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
}

impl Caller {
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
        caller.activity.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Hold { caller: caller.clone(), granted, desk: Arc::clone(desk) })
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
        caller.activity.in_flight.fetch_add(1, Ordering::Relaxed);
        let granted = Granted { output_tokens: 0, standing: None, held };
        Ok(Hold { caller: caller.clone(), granted, desk: Arc::clone(desk) })
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

impl Settled {
    /// Counts and logs what is worth knowing.
    fn report(self, metrics: &Metrics, team: &Team) {
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
