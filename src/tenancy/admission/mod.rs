//! Admission: whether a caller may make a call now, and what is held for it until it is settled.
//!
//! Scope and allow-lists are judged first; then every limit and budget that counts the call, in one step: all of them
//! have room and something of each is held, or none is touched. What a call may use at most is held, what it really used
//! is settled, once. Invariant: a [`Hold`] that is dropped gives back everything it holds.

mod local;
mod rules;
mod shared;

use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) use self::rules::{RuleBook, Rules};
pub(super) use self::shared::Shared;
pub use self::shared::State as SharedState;
use super::directory::Caller;
use super::key::Scope;
use super::ledger::Entry;
use crate::clock::{Clock, Timestamp};
use crate::config::OnFailure;
use crate::error::{Error, Exception, Kind, Result};
use crate::money::{MicroUsd, round_up};

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

/// What an admitted call holds. Dropping it gives everything back.
#[derive(Debug)]
pub struct Hold {
    caller: Caller,
    granted: Granted,
    clock: Clock,
}

/// What was granted, and where it is to be given back.
#[derive(Debug)]
struct Granted {
    output_tokens: u64,
    standing: Option<Standing>,
    held: Held,
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
    fn settle(&mut self, used: Used, at: Timestamp) {
        match self {
            Self::Local(held) => held.settle(used, at),
            Self::Shared(held) => held.settle(used, at),
            Self::Apart(here, there) => {
                here.settle(used, at);
                there.settle(used, at);
            }
        }
    }
}

impl Hold {
    /// Who holds it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The most tokens that the answer may have: what was asked for, or what was left of it.
    pub fn output_tokens(&self) -> u64 {
        self.granted.output_tokens
    }

    /// How far the nearest limits are used, this call included; `None` where there are none.
    pub fn standing(&self) -> Option<&Standing> {
        self.granted.standing.as_ref()
    }

    /// The call has ended and really used this; `at` is when, by the ledger.
    pub fn settle(mut self, used: Used, at: Timestamp) {
        self.granted.held.settle(used, at);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.granted.held.settle(Used { tokens: 0, cost: Some(MicroUsd::default()) }, self.clock.now());
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
    clock: Clock,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Local,
    Shared(Shared),
}

impl Admission {
    /// In this process alone.
    pub(super) fn local(clock: Clock) -> Self {
        Self { clock, place: Place::Local }
    }

    /// Together with other replicas.
    pub(super) fn shared(clock: Clock, shared: Shared) -> Self {
        Self { clock, place: Place::Shared(shared) }
    }

    /// How the shared store is, if there is one.
    pub(super) fn shared_state(&self) -> Option<SharedState> {
        match &self.place {
            Place::Local => None,
            Place::Shared(shared) => Some(shared.state()),
        }
    }

    pub(super) async fn admit(&self, caller: &Caller, need: &Need<'_>) -> Result<Hold, Refused> {
        caller.permits(need)?;
        let granted = match &self.place {
            Place::Local => self.here(&caller.rules, need, Held::Local)?,
            Place::Shared(shared) => self.there(shared, &caller.rules, need).await?,
        };
        caller.activity.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Hold { caller: caller.clone(), granted, clock: self.clock.clone() })
    }

    /// See [`super::Tenancy::settle_replayed`].
    pub(super) fn settle_replayed(&self, rules: &Rules, entry: &Entry) {
        if let Place::Shared(shared) = &self.place {
            shared.settle_replayed(rules, entry);
        }
    }

    /// See [`super::Tenancy::charge`].
    pub(super) fn charge(&self, rules: &Rules, entry: &Entry) {
        if let Place::Shared(shared) = &self.place {
            shared.charge(rules, entry);
        }
    }

    fn here(&self, rules: &Rules, need: &Need<'_>, held: impl FnOnce(local::Held) -> Held) -> Result<Granted, Refused> {
        let local::Granted { output_tokens, standing, held: here } = local::admit(rules, need, self.clock.now())?;
        Ok(Granted { output_tokens, standing, held: held(here) })
    }

    async fn there(&self, shared: &Shared, rules: &Rules, need: &Need<'_>) -> Result<Granted, Refused> {
        match shared.admit(rules, need).await {
            Ok(admitted) => {
                let shared::Granted { output_tokens, standing, held } = admitted?;
                Ok(Granted { output_tokens, standing, held: Held::Shared(held) })
            }
            Err(away) if shared.on_failure() == OnFailure::Deny => Err(away.denied().into()),
            Err(_) => self.here(rules, need, |here| Held::Apart(here, shared.unheld(rules, need))),
        }
    }
}
