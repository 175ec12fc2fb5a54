//! The booking of a call that has ended: its entry in the ledger, its metrics, its span, and its hold. The hold is taken
//! out of the settlement first, so no call is booked twice.
//!
//! A call that went on without its client is booked with AWS's own count, `final`, and as `cancelled` all the same: that is
//! how it ended for who asked. Its status is 499, or 200 where the head of a stream was sent. One that AWS broke off after
//! the client left is booked with AWS's failure.

use std::mem;
use std::time::Duration;

use super::{Booked, Settlement};
use crate::converse::Usage;
use crate::error::Error;
use crate::gateway::traced::Told;
use crate::money::MicroUsd;
use crate::telemetry::metrics::{self, GenAi, Tokens};
use crate::tenancy::Used;
use crate::tenancy::ledger::{Entry, Outcome, UsageSource};

/// The status that nginx made customary for a client that left.
pub(super) const CLIENT_LEFT: u16 = 499;

/// How a call ended.
pub(super) enum End<'a> {
    Ok,
    Failed(&'a Error),
    Cancelled,
}

impl Settlement {
    /// Books the call, once; returns what it cost, if that is known.
    pub(super) fn book(&mut self, end: &End<'_>, usage: Usage, source: UsageSource) -> Option<MicroUsd> {
        // The hold goes with the booking, so that a second one finds none.
        let hold = self.hold.take()?;
        self.discard_second();
        if self.attempts == 0 {
            // Nothing was asked of AWS, so there is nothing to book, and what is held goes back.
            mem::take(&mut self.span).end(&self.told(end), None);
            return None;
        }
        let cost = self.cost(end, &usage);
        if let Some(reservation) = self.reservation.take() {
            reservation.used(&usage);
        }
        let (outcome, status) = self.outcome(end);
        let end_user = self.origin.end_user.take();
        let entry = Entry { status, end_user, ..self.entry(&self.region, (&usage, source, cost), outcome.clone()) };
        self.count(&entry);
        mem::take(&mut self.span).end(&self.told(end), Some((&entry, &usage)));
        self.time(end, source, &entry);
        let tokens = usage.input_tokens + usage.cache_write_input_tokens + usage.output_tokens;
        if let (Some(weight), UsageSource::Final, End::Ok) = (self.weight, source, end) {
            self.gateway.ratios().learn(self.receipt.called(), weight, usage.prompt_tokens());
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
        // Nothing was there: the hold was taken above.
        self.receipt.book(booked);
        cost
    }

    /// How the call ended for who asked, and the status that they got.
    fn outcome(&self, end: &End<'_>) -> (Outcome, u16) {
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
        (outcome, status)
    }

    /// The row of the ledger for what was asked of `region`.
    pub(super) fn entry(
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
            team: receipt.caller().team.id.clone(),
            key: receipt.caller().key.id.clone(),
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
    pub(super) fn in_otel(&self) -> GenAi<'_> {
        GenAi { operation: self.operation, model: self.receipt.called() }
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

    pub(super) fn count(&self, entry: &Entry) {
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
