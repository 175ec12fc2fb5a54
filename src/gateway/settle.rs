//! Books a call exactly once, however it ends.
//!
//! A [`Settlement`] is made before the first byte goes to AWS and travels with the call. Each attempt is written down in
//! the journal before it is sent: if the process dies, that is what the call is booked as. Whoever learns how the call
//! ended hands it the usage; if nobody does, because the client left and the task was dropped, its own drop books what
//! is known by then.
//!
//! A call that went on without its client is booked with AWS's own count, `final`, and as `cancelled` all the same: that is
//! how it ended for who asked. Its status is 499, or 200 where the head of a stream was sent. One that AWS broke off after
//! the client left is booked with AWS's failure.

use std::mem;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::semantics;
use super::service::{Latency, Service};
use super::statement::Statement;
use super::traced::{Told, Traced};
use super::weight::Weight;
use super::{Gateway, Origin, Trail};
use crate::catalog::{Charged, Fence, Order, Place, Price, Tier};
use crate::converse::Usage;
use crate::error::Error;
use crate::money::MicroUsd;
use crate::report::Report;
use crate::telemetry::metrics::{self, GenAi, Tokens, Unpriced};
use crate::tenancy::ledger::{Entry, Outcome, UsageSource};
use crate::tenancy::{Caller, Hold, Used};
use crate::upstream::quota::Reservation;

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
    pub(super) fn add(&mut self, other: &Self) {
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

/// The status that nginx made customary for a client that left.
const CLIENT_LEFT: u16 = 499;

/// How a call ended.
enum End<'a> {
    Ok,
    Failed(&'a Error),
    Cancelled,
}

/// What AWS charges a call by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// Its tokens.
    Tokens,
    /// Something that the gateway does not count, such as the text units of a guardrail: what an answered call cost is
    /// not known.
    Otherwise,
}

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
    pub(super) fn begin(
        gateway: &Gateway,
        caller: &Caller,
        origin: Origin,
        (model, charge): (&Arc<str>, Charge),
        (id, hold, input_estimate): (String, Hold, u64),
    ) -> Self {
        let receipt = Arc::new(Receipt {
            caller: caller.clone(),
            model: Arc::clone(model),
            chosen: OnceLock::new(),
            booked: OnceLock::new(),
        });
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

    /// An attempt is about to be made at `place`.
    pub(super) fn attempt(&mut self, place: &Place) {
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
        let cost = match self.charge {
            Charge::Otherwise => None,
            Charge::Tokens if usage == Usage::default() => Some(MicroUsd::default()),
            Charge::Tokens => place.price.as_ref().and_then(|price| price.cost(&usage)),
        };
        self.entry(&place.region, (&usage, UsageSource::Estimated, cost), outcome)
    }

    /// What counts is the attempt at `place`.
    pub(super) fn is_at(&mut self, place: &Place) {
        self.region = place.region.clone();
        self.price.clone_from(&place.price);
    }

    /// A second attempt is about to be made beside the one at `place`.
    pub(super) fn hedge(&mut self, place: &Arc<Place>) {
        self.beside = Some(Arc::clone(place));
        self.discard_second();
        self.second = Some(Entry::fresh_id());
    }

    /// Whether an attempt is made beside another one.
    pub(super) fn is_hedged(&self) -> bool {
        self.beside.is_some()
    }

    /// A second attempt that nobody left is part of the call's own entry.
    fn discard_second(&mut self) {
        if let Some(id) = self.second.take() {
            self.gateway.tenancy().discard(&id);
        }
    }

    /// One of the two has ended.
    pub(super) fn unhedge(&mut self) {
        self.beside = None;
    }

    /// Nobody waits any more for the attempt at `place`, because another one was faster. AWS may charge for its input.
    pub(super) fn lost(&mut self, place: &Place) {
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

    /// Whether the answer is charged by something else than its tokens.
    pub(super) fn is_by_unit(&self) -> bool {
        self.price.as_ref().is_some_and(|price| price.by_unit.is_some())
    }

    /// That is what it is charged by.
    pub(super) fn charge(&mut self, charged: Option<Charged>) {
        self.charged = charged;
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
        self.receipt.chosen.set(chosen.name).ok();
    }

    pub(super) fn receipt(&self) -> &Arc<Receipt> {
        &self.receipt
    }

    /// Who made the call.
    pub(super) fn caller(&self) -> &Caller {
        &self.receipt.caller
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

    /// What an answered call cost. What hurries has a price of its own, which is not known, and so has what is not
    /// charged by tokens in another tier than the usual.
    fn cost(&self, usage: &Usage) -> Option<MicroUsd> {
        if self.service.latency == Some(Latency::Optimized) {
            return None;
        }
        self.price.as_ref()?.cost_at(self.service.tier.unwrap_or_default(), usage)
    }

    fn cost_by_unit(&self, usage: &Usage) -> Option<MicroUsd> {
        if self.service.tier.unwrap_or_default() != Tier::Standard {
            return None;
        }
        self.price.as_ref()?.by_unit.as_ref()?.cost(self.charged?, usage.input_tokens)
    }

    /// Why what it cost is not known, where it is not.
    fn unpriced(&self) -> Unpriced {
        let is_untold = self.is_by_unit() && self.charged.is_none();
        if is_untold || self.charge == Charge::Otherwise { Unpriced::NotCounted } else { Unpriced::NoPrice }
    }

    fn book(&mut self, end: &End<'_>, usage: Usage, source: UsageSource) -> Option<MicroUsd> {
        // The hold goes with the booking, so that a second one finds none.
        let hold = self.hold.take()?;
        self.discard_second();
        if self.attempts == 0 {
            // Nothing was asked of AWS, so there is nothing to book, and what is held goes back.
            mem::take(&mut self.span).end(&self.told(end), None);
            return None;
        }
        let cost = match (end, self.charge) {
            (End::Ok | End::Cancelled, Charge::Otherwise) => None,
            (End::Ok, Charge::Tokens) if self.is_by_unit() => self.cost_by_unit(&usage),
            _ if usage == Usage::default() => Some(MicroUsd::default()),
            _ => self.cost(&usage),
        };
        if let Some(reservation) = self.reservation.take() {
            reservation.used(&usage);
        }
        let is_unattended = self.origin.trail.attendance().has_ended();
        let (outcome, status) = match end {
            End::Ok if is_unattended => (Outcome::CANCELLED, CLIENT_LEFT),
            End::Failed(error) if is_unattended => (Outcome::failed(error.kind()), CLIENT_LEFT),
            End::Ok => (Outcome::OK, 200),
            End::Failed(error) => (Outcome::failed(error.kind()), (self.origin.status)(error)),
            End::Cancelled => (Outcome::CANCELLED, CLIENT_LEFT),
        };
        // A stream's head was sent before anything could befall it.
        let status = if self.first_event.is_some() && !self.left_early { 200 } else { status };
        let end_user = self.origin.end_user.take();
        let entry = Entry { status, end_user, ..self.entry(&self.region, (&usage, source, cost), outcome.clone()) };
        self.count(&entry);
        mem::take(&mut self.span).end(&self.told(end), Some((&entry, &usage)));
        self.time(end, source, &entry);
        let tokens = usage.input_tokens + usage.cache_write_input_tokens + usage.output_tokens;
        if let (Some(weight), UsageSource::Final, End::Ok) = (self.weight, source, end) {
            self.gateway.ratios().learn(&self.receipt.model, weight, usage.prompt_tokens());
        }
        let at = entry.at;
        // Whoever reads from the ledger what was spent finds there whatever was settled before.
        self.gateway.tenancy().record(entry);
        let used = Used { tokens, cost };
        if self.origin.trail.is_paid_by_batch() {
            hold.settle_paid_for(used, at);
        } else {
            hold.settle(used, at);
        }
        let booked = Booked { region: self.region.clone(), attempts: self.attempts, usage, cost, outcome };
        // Set once, because the hold was taken above.
        self.receipt.booked.set(booked).ok();
        cost
    }

    /// The row of the ledger for what was asked of `region`.
    fn entry(
        &self,
        region: &str,
        (usage, source, cost): (&Usage, UsageSource, Option<MicroUsd>),
        outcome: Outcome,
    ) -> Entry {
        let receipt = &self.receipt;
        Entry {
            id: self.id.clone(),
            request_id: self.origin.trail.id().clone(),
            at: self.gateway.clock().now(),
            team: receipt.caller.team.id.clone(),
            key: receipt.caller.key.id.clone(),
            surface: self.origin.surface.into(),
            operation: self.origin.operation.into(),
            model: receipt.model().to_owned(),
            region: Some(region.to_owned()),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_tokens: usage.cache_read_input_tokens,
            cache_write_tokens: usage.cache_write_input_tokens,
            cost,
            tier: self.service.tier.unwrap_or_default().name().into(),
            latency_ms: millis(self.started.elapsed()),
            ttft_ms: self.first_event.map(millis),
            attempts: self.attempts - self.lost,
            status: 0,
            outcome,
            usage_source: source,
            streamed: self.first_event.is_some(),
            end_user: self.origin.end_user.clone(),
        }
    }

    /// What the span says of a call that ends.
    fn told<'a>(&'a self, end: &End<'a>) -> Told<'a> {
        Told {
            region: &self.region,
            model: self.receipt.model(),
            attempts: self.attempts,
            tier: self.service.tier.unwrap_or_default().name(),
            error: if let End::Failed(error) = end { Some(error) } else { None },
        }
    }

    /// The call in OpenTelemetry's words.
    fn in_otel(&self) -> GenAi<'_> {
        GenAi { operation: self.operation, model: &self.receipt.model }
    }

    /// Counts how long the call took, once, and how long each token of a stream that ended well.
    fn time(&self, end: &End<'_>, source: UsageSource, entry: &Entry) {
        let metrics = self.gateway.metrics();
        let took = self.started.elapsed();
        let error = Some(entry.outcome.as_str()).filter(|_| entry.outcome != Outcome::OK);
        metrics.operation(self.in_otel(), took, error);
        if let (End::Ok, UsageSource::Final, Some(first)) = (end, source, self.first_event) {
            metrics.output_tokens(self.in_otel(), entry.output_tokens, took.saturating_sub(first));
        }
    }

    fn count(&self, entry: &Entry) {
        let tokens = Tokens {
            input: entry.input_tokens,
            output: entry.output_tokens,
            cache_read: entry.cache_read_tokens,
            cache_write: entry.cache_write_tokens,
        };
        self.gateway.metrics().booked(&metrics::Booked {
            team: self.receipt.team(),
            model: self.receipt.model(),
            region: entry.region.as_deref().unwrap_or_default(),
            tokens,
            cost: entry.cost.ok_or_else(|| self.unpriced()),
            tier: self.service.tier.unwrap_or_default().name(),
        });
        self.gateway.metrics().token_usage(self.in_otel(), tokens);
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
