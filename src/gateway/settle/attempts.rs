//! The attempts of a call, as far as they are booked. Before one is sent it is in the journal: if the process dies, that is
//! what the call is booked as. Of two side by side one counts as the call; the other gets an entry of its own once nobody
//! waits for it, because AWS may charge for both.

use std::sync::Arc;

use super::Settlement;
use super::booking::CLIENT_LEFT;
use crate::catalog::Place;
use crate::tenancy::ledger::{Entry, Outcome, UsageSource};

impl Settlement {
    /// An attempt is about to be made at `place`.
    pub(in crate::gateway) fn attempt(&mut self, place: &Place) {
        self.attempts += 1;
        self.is_at(place);
        self.write_down(place);
    }

    /// What is booked if the process dies before it learns what became of the attempt at `place`.
    fn write_down(&self, place: &Place) {
        let tenancy = self.gateway.tenancy();
        if !tenancy.is_journaled() {
            return;
        }
        let entry = self.unanswered(place, Outcome::INTERRUPTED);
        match self.second.as_ref().filter(|_| self.beside.is_some()) {
            Some(second) => tenancy.begin(&Entry { id: second.clone(), attempts: 1, ..entry }),
            None => tenancy.begin(&entry),
        }
    }

    /// The row for an attempt at `place` of which nothing is known but what was asked.
    fn unanswered(&self, place: &Place, outcome: Outcome) -> Entry {
        let usage = self.input_usage();
        let cost = self.cost_unanswered(place, &usage);
        self.entry(&place.region, (&usage, UsageSource::Estimated, cost), outcome)
    }

    /// What counts is the attempt at `place`.
    pub(in crate::gateway) fn is_at(&mut self, place: &Place) {
        self.region = place.region.clone();
        self.price.clone_from(&place.price);
    }

    /// A second attempt is about to be made beside the one at `place`.
    pub(in crate::gateway) fn hedge(&mut self, place: &Arc<Place>) {
        self.beside = Some(Arc::clone(place));
        self.discard_second();
        self.second = Some(Entry::fresh_id());
    }

    /// Whether an attempt is made beside another one.
    pub(in crate::gateway) fn is_hedged(&self) -> bool {
        self.beside.is_some()
    }

    /// A second attempt that nobody left is part of the call's own entry.
    pub(super) fn discard_second(&mut self) {
        if let Some(id) = self.second.take() {
            self.gateway.tenancy().discard(&id);
        }
    }

    /// One of the two has ended.
    pub(in crate::gateway) fn unhedge(&mut self) {
        self.beside = None;
    }

    /// Nobody waits any more for the attempt at `place`, because another one was faster. AWS may charge for its input.
    pub(in crate::gateway) fn lost(&mut self, place: &Place) {
        self.lost += 1;
        let entry = Entry {
            id: self.second.take().unwrap_or_else(Entry::fresh_id),
            ttft_ms: None,
            attempts: 1,
            status: CLIENT_LEFT,
            streamed: false,
            ..self.unanswered(place, Outcome::CANCELLED)
        };
        self.count(&entry);
        let (id, at, cost) = (entry.id.clone(), entry.at, entry.cost.unwrap_or_default());
        self.gateway.tenancy().record(entry);
        if let Some(hold) = &self.hold {
            hold.spend(&id, cost, at);
        }
    }
}
