//! What of a call those may know who did not make it: the access log and the response headers. Filled in as the call goes,
//! each field once, and never taken back.

use std::sync::{Arc, OnceLock};

use crate::converse::Usage;
use crate::money::MicroUsd;
use crate::tenancy::Caller;
use crate::tenancy::ledger::Outcome;

/// What the access log and the response headers may know of a call.
#[derive(Debug)]
pub struct Receipt {
    caller: Caller,
    model: Arc<str>,
    /// The model that a prompt router chose.
    chosen: OnceLock<Arc<str>>,
    booked: OnceLock<Booked>,
}

impl Receipt {
    /// Of a call of `caller`, on `model`.
    pub(super) fn begin(caller: &Caller, model: &Arc<str>) -> Self {
        let (caller, model) = (caller.clone(), Arc::clone(model));
        Self { caller, model, chosen: OnceLock::new(), booked: OnceLock::new() }
    }

    /// A prompt router chose that model.
    pub(super) fn choose(&self, model: Arc<str>) {
        self.chosen.set(model).ok();
    }

    /// The call was booked so. The first time counts.
    pub(super) fn book(&self, booked: Booked) {
        self.booked.set(booked).ok();
    }

    /// Who made the call.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What was called, whoever answered.
    pub(super) fn called(&self) -> &Arc<str> {
        &self.model
    }

    /// The team's name.
    pub fn team(&self) -> &str {
        &self.caller.team.name
    }

    /// The key's id.
    pub fn key(&self) -> &str {
        self.caller.key.id.as_str()
    }

    /// The model's Bedrock id: of the one that answered, as soon as that is known.
    pub fn model(&self) -> &str {
        self.chosen.get().unwrap_or(&self.model)
    }

    /// How the call was booked, once it is.
    pub fn booked(&self) -> Option<&Booked> {
        self.booked.get()
    }
}

/// How a call was booked.
#[derive(Clone, Debug)]
pub struct Booked {
    /// The Region that served, or was asked last.
    pub region: Arc<str>,
    /// Attempts made.
    pub attempts: u32,
    /// Tokens by class.
    pub usage: Usage,
    /// `None` when the model has no known price.
    pub cost: Option<MicroUsd>,
    /// `ok`, `cancelled`, or the error's kind.
    pub outcome: Outcome,
}

impl Booked {
    /// Counts another call of the same request in.
    pub(in crate::gateway) fn add(&mut self, other: &Self) {
        let usage = &other.usage;
        self.usage.input_tokens += usage.input_tokens;
        self.usage.output_tokens += usage.output_tokens;
        self.usage.total_tokens += usage.total_tokens;
        self.usage.cache_read_input_tokens += usage.cache_read_input_tokens;
        self.usage.cache_write_input_tokens += usage.cache_write_input_tokens;
        self.cost = self.cost.zip(other.cost).map(|(cost, other)| cost + other);
        self.attempts += other.attempts;
        if self.outcome == Outcome::OK && other.outcome != Outcome::OK {
            self.region.clone_from(&other.region);
            self.outcome = other.outcome.clone();
        }
    }
}
