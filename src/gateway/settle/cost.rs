//! What a call cost, by the price of the place that answered it. Where that cannot be told the cost is unknown, which is
//! not the same as nothing.

use super::Settlement;
use super::booking::End;
use crate::catalog::{Charged, Place, Tier};
use crate::converse::Usage;
use crate::gateway::service::Latency;
use crate::money::MicroUsd;
use crate::telemetry::metrics::Unpriced;

/// What AWS charges a call by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Its tokens.
    Tokens,
    /// Something that the gateway does not count, such as the text units of a guardrail: what an answered call cost is
    /// not known.
    Otherwise,
}

impl Settlement {
    /// Whether the answer is charged by something else than its tokens.
    pub(in crate::gateway) fn is_by_unit(&self) -> bool {
        self.price.as_ref().is_some_and(|price| price.by_unit.is_some())
    }

    /// That is what it is charged by.
    pub(in crate::gateway) fn charge(&mut self, charged: Option<Charged>) {
        self.charged = charged;
    }

    /// What a call cost that ended so, with this usage.
    pub(super) fn cost(&self, end: &End<'_>, usage: &Usage) -> Option<MicroUsd> {
        match (end, self.charge) {
            (End::Ok | End::Cancelled, Charge::Otherwise) => None,
            (End::Ok, Charge::Tokens) if self.is_by_unit() => self.cost_by_unit(usage),
            _ if *usage == Usage::default() => Some(MicroUsd::default()),
            _ => self.cost_by_tokens(usage),
        }
    }

    /// What an attempt at `place` may cost whose answer nobody saw: its input.
    pub(super) fn cost_unanswered(&self, place: &Place, usage: &Usage) -> Option<MicroUsd> {
        match self.charge {
            Charge::Otherwise => None,
            Charge::Tokens if *usage == Usage::default() => Some(MicroUsd::default()),
            Charge::Tokens => place.price.as_ref().and_then(|price| price.cost(usage)),
        }
    }

    /// Why what it cost is not known, where it is not.
    pub(super) fn unpriced(&self) -> Unpriced {
        let is_untold = self.is_by_unit() && self.charged.is_none();
        if is_untold || self.charge == Charge::Otherwise { Unpriced::NotCounted } else { Unpriced::NoPrice }
    }

    /// What hurries has a price of its own, which is not known.
    fn cost_by_tokens(&self, usage: &Usage) -> Option<MicroUsd> {
        if self.service.latency == Some(Latency::Optimized) {
            return None;
        }
        self.price.as_ref()?.cost_at(self.service.tier.unwrap_or_default(), usage)
    }

    /// What is not charged by tokens has in another tier than the usual a price of its own, which is not known.
    fn cost_by_unit(&self, usage: &Usage) -> Option<MicroUsd> {
        if self.service.tier.unwrap_or_default() != Tier::Standard {
            return None;
        }
        self.price.as_ref()?.by_unit.as_ref()?.cost(self.charged?, usage.input_tokens)
    }
}
