//! Books a call exactly once, however it ends.
//!
//! A [`Settlement`] is made before the first byte goes to AWS and travels with the call. Each attempt is written down in
//! the journal before it is sent: if the process dies, that is what the call is booked as. Whoever learns how the call
//! ended hands it the usage; if nobody does, because the client left and the task was dropped, its own drop books what
//! is known by then.
//!
//! Here is what a call carries and learns on its way, and its ends. Its attempts are in `attempts.rs`, what it cost in
//! `cost.rs`, its booking in `booking.rs`, and what the access log may know of it in `receipt.rs`.

mod attempts;
mod booking;
mod cost;
mod receipt;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use cost::Charge;
pub use receipt::{Booked, Receipt};

use super::semantics;
use super::service::Service;
use super::statement::Statement;
use super::traced::Traced;
use super::weight::Weight;
use super::{Gateway, Origin, Trail};
use crate::catalog::{Charged, Fence, Order, Place, Price};
use crate::converse::Usage;
use crate::error::Error;
use crate::money::MicroUsd;
use crate::report::Report;
use crate::tenancy::ledger::UsageSource;
use crate::tenancy::{Caller, Hold};
use crate::upstream::quota::Reservation;
use booking::End;

/// A call that is not booked yet. Dropping it books it as cancelled.
#[derive(Debug)]
pub(super) struct Settlement {
    /// That of its entry.
    id: String,
    gateway: Gateway,
    origin: Origin,
    /// In OpenTelemetry's words.
    operation: &'static str,
    receipt: Arc<Receipt>,
    region: Arc<str>,
    charge: Charge,
    price: Option<Arc<Price>>,
    /// What the answer is charged by, where that is not its tokens and can be told.
    charged: Option<Charged>,
    /// How the call is served: as was asked for, until AWS says something else.
    service: Service,
    attempts: u32,
    /// Of these, those that are booked apart.
    lost: u32,
    /// Where another attempt is under way beside the one at `region`.
    beside: Option<Arc<Place>>,
    /// The id of the entry that one of the two may get.
    second: Option<String>,
    /// What is set aside of the quota of the account.
    reservation: Option<Reservation>,
    input_estimate: u64,
    /// What the body weighs, where that was looked at: from it the estimates are learnt.
    weight: Option<Weight>,
    /// What was changed about the call that its caller could notice.
    changes: Report,
    /// What a stream was seen to use so far.
    seen: Option<Usage>,
    started: Instant,
    first_event: Option<Duration>,
    /// Whether the client had left by then, so that it never got the head of the answer.
    left_early: bool,
    /// Ends when the call is booked.
    pub(super) span: Traced,
    /// Freed when the call is booked.
    hold: Option<Hold>,
}

impl Settlement {
    /// A call was admitted: what is held for it is freed when this is booked.
    pub(super) fn begin(
        gateway: &Gateway,
        caller: &Caller,
        origin: Origin,
        (model, charge): (&Arc<str>, Charge),
        (id, hold, input_estimate): (String, Hold, u64),
    ) -> Self {
        let receipt = Arc::new(Receipt::begin(caller, model));
        origin.trail.admitted(&receipt);
        let kind = gateway.catalog().model(model).map(|model| model.kind);
        let operation = semantics::operation_name(origin.operation, kind);
        let span = Traced::begin(&origin, caller, operation, model);
        Self {
            id,
            gateway: gateway.clone(),
            operation,
            origin,
            receipt,
            region: Arc::from(""),
            charge,
            price: None,
            charged: None,
            service: Service::default(),
            attempts: 0,
            lost: 0,
            beside: None,
            second: None,
            reservation: None,
            input_estimate,
            weight: None,
            changes: Report::default(),
            seen: None,
            started: Instant::now(),
            first_event: None,
            left_early: false,
            span,
            hold: Some(hold),
        }
    }

    /// The attempt that is answered has set this aside.
    pub(super) fn reserved(&mut self, reservation: Reservation) {
        self.reservation = Some(reservation);
    }

    /// Nobody waits for the answer any more. AWS may have read what it was asked.
    pub(super) fn seen_input(&mut self) {
        self.seen = Some(self.input_usage());
    }

    fn input_usage(&self) -> Usage {
        let input = self.input_estimate;
        Usage { input_tokens: input, total_tokens: input, ..Usage::default() }
    }

    /// That is how it is asked to be served.
    pub(super) fn asks_for(&mut self, service: Service) {
        self.service = service;
    }

    /// That is what its body weighs.
    pub(super) fn weighs(&mut self, weight: Option<Weight>) {
        self.weight = weight;
    }

    /// That was changed about it.
    pub(super) fn changed(&mut self, changes: Report) {
        self.changes = changes;
    }

    pub(super) fn changes(&self) -> &Report {
        &self.changes
    }

    /// AWS said this of the answer.
    pub(super) fn learn(&mut self, told: Statement) {
        self.service = told.service.or(self.service);
        let Some(chosen) = told.chosen else { return };
        // What is not in the catalog stays what was called, without a price.
        let catalog = self.gateway.catalog();
        let Ok(chosen) = catalog.resolve(&chosen) else { return };
        let regions = [Arc::clone(&self.region)];
        let places = catalog.candidates(&chosen, &regions, &Fence::default(), Order::Preference);
        self.price = places.ok().and_then(|places| places.first()?.price.clone());
        self.receipt.choose(chosen.name);
    }

    pub(super) fn receipt(&self) -> &Arc<Receipt> {
        &self.receipt
    }

    /// Who made the call.
    pub(super) fn caller(&self) -> &Caller {
        self.receipt.caller()
    }

    pub(super) fn trail(&self) -> &Trail {
        &self.origin.trail
    }

    pub(super) fn region(&self) -> &Arc<str> {
        &self.region
    }

    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn input_estimate(&self) -> u64 {
        self.input_estimate
    }

    /// The client left. True where the call goes on without it.
    pub(super) fn goes_on(&self) -> bool {
        let attendance = self.origin.trail.attendance();
        attendance.end();
        attendance.is_optional()
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The first event of a stream came.
    pub(super) fn first_event(&mut self) {
        let after = self.started.elapsed();
        self.first_event = Some(after);
        self.left_early = self.origin.trail.attendance().has_ended();
        self.gateway.metrics().first_token(self.in_otel(), after);
        self.span.first_event();
    }

    /// Keeps what was seen so far, for the case that nothing more comes.
    pub(super) fn seen(&mut self, usage: Usage) {
        self.seen = Some(usage);
    }

    /// The call ended well, and Bedrock told what it used.
    pub(super) fn finish(mut self, usage: Usage) -> Option<MicroUsd> {
        self.book(&End::Ok, usage, UsageSource::Final)
    }

    /// The call ended well, but nothing told what it used.
    pub(super) fn finish_untold(mut self, usage: Usage) -> Option<MicroUsd> {
        self.book(&End::Ok, usage, UsageSource::Estimated)
    }

    /// The call failed. A refused call used nothing; a stream that broke used what was seen of it.
    pub(super) fn fail(mut self, error: &Error) {
        let (usage, source) = match self.seen.take() {
            Some(usage) => (usage, UsageSource::Partial),
            None => (Usage::default(), UsageSource::Final),
        };
        self.book(&End::Failed(error), usage, source);
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        if let Some(place) = self.beside.take() {
            self.lost(&place);
        }
        let (usage, source) = match self.seen.take() {
            Some(usage) => (usage, UsageSource::Partial),
            None => (self.input_usage(), UsageSource::Estimated),
        };
        self.book(&End::Cancelled, usage, source);
    }
}
