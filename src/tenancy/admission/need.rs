//! What a call needs: told before it is made, at most; and what it really used, told when it has ended.

use crate::money::{MicroUsd, round_up};
use crate::tenancy::key::Scope;

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
    pub(super) fn is_batch(&self) -> bool {
        self.scope == Scope::Batch && self.model.is_none()
    }

    /// Every name that the model goes by.
    pub(super) fn all_names(&self) -> impl Iterator<Item = &'a str> + Clone {
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
