//! How the gateway and what it leans on are: budgets, ledger, shared store, batches, catalog, configuration, certificate.

use std::collections::HashMap;
use std::time::Duration;

use prometheus::IntCounter;

use super::Metrics;
use super::labels::{itoa, job_state};
use crate::clock::Timestamp;
use crate::money::MicroUsd;

/// How a budget stands.
#[derive(Clone, Copy, Debug)]
pub struct BudgetState<'a> {
    /// The name of the team that pays.
    pub team: &'a str,
    /// Whose calls it pays for: `team`, or `key` for those of one of its keys.
    pub scope: &'static str,
    /// `day`, `week`, `month`, `total`.
    pub period: &'static str,
    /// What may be spent in the period.
    pub limit: MicroUsd,
    /// What is spent since it began.
    pub spent: MicroUsd,
}

impl BudgetState<'_> {
    /// Whether a larger share of it is spent than of `other`. One of nothing is never used up more than another.
    fn is_used_up_more_than(&self, other: &Self) -> bool {
        let product = |spent: MicroUsd, limit: MicroUsd| i128::from(spent.0) * i128::from(limit.0);
        product(self.spent, other.limit) > product(other.spent, self.limit)
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact up to nine billion dollars")]
fn dollars(amount: MicroUsd) -> f64 {
    amount.0 as f64 / 1e6
}

/// The counter is as high as what is counted elsewhere.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

impl Metrics {
    /// How far the ledger is behind, and how many entries it lost since the start.
    pub fn ledger(&self, lag: Duration, lost: u64) {
        self.families().ledger_lag.set(lag.as_secs_f64());
        raise(&self.families().ledger_lost, lost);
    }

    /// What is not spent of each team's tightest budget, now.
    pub fn budgets_remaining<'a>(&self, remaining: impl Iterator<Item = (&'a str, MicroUsd)>) {
        let gauges = &self.families().budget_remaining;
        gauges.reset();
        for (team, left) in remaining {
            gauges.with_label_values(&[self.team(team)]).set(dollars(left));
        }
    }

    /// How all budgets stand, now. Of those that go by the same labels the one is told of which the largest share is spent:
    /// keys are too many to be labels.
    pub fn budgets<'a>(&self, all: impl Iterator<Item = BudgetState<'a>>) {
        let mut told: HashMap<[&str; 3], BudgetState<'_>> = HashMap::new();
        for state in all {
            let known = told.entry([self.team(state.team), state.scope, state.period]).or_insert(state);
            if state.is_used_up_more_than(known) {
                *known = state;
            }
        }
        let (limits, spent) = (&self.families().budget_limit, &self.families().budget_spent);
        limits.reset();
        spent.reset();
        for (labels, state) in told {
            limits.with_label_values(&labels).set(dollars(state.limit));
            spent.with_label_values(&labels).set(dollars(state.spent));
        }
    }

    /// So many percent of a budget are spent now.
    pub fn budget_threshold(&self, team: &str, percent: u8) {
        let percent = itoa(percent.into());
        let threshold = percent.text().trim_start_matches('0');
        self.families().budget_thresholds.with_label_values(&[self.team(team), threshold]).inc();
    }

    /// A call cost more than was held for it.
    pub fn hold_overrun(&self, team: &str) {
        self.families().hold_overruns.with_label_values(&[self.team(team)]).inc();
    }

    /// Spans of traces were not exported.
    pub fn spans_dropped(&self, reason: &str, count: u64) {
        self.families().spans_dropped.with_label_values(&[reason]).inc_by(count);
    }

    /// A request that should have been captured was not.
    pub fn capture_dropped(&self, reason: &str) {
        self.families().captures_dropped.with_label_values(&[reason]).inc();
    }

    /// How the shared store is, and how many errors there were since the start.
    pub fn shared_store(&self, is_up: u8, errors: u64) {
        let none: [&str; 0] = [];
        self.families().shared_up.with_label_values(&none).set(f64::from(is_up));
        raise(&self.families().shared_errors.with_label_values(&none), errors);
    }

    /// The bytes that bodies of requests take now, of those that they may take together.
    pub fn bodies(&self, taken: usize, most: usize) {
        let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.families().body_bytes.set(bytes(taken));
        self.families().body_bytes_limit.set(bytes(most));
    }

    /// Something could not be written to the journal.
    pub fn journal_error(&self) {
        self.families().journal_errors.inc();
    }

    /// So many segments of the journal were damaged, of this process or of a dead one.
    pub fn journal_damaged(&self, segments: u64) {
        self.families().journal_damaged.inc_by(segments);
    }

    /// How many batch jobs this process looks after now, by AWS's words.
    pub fn batch_jobs(&self, states: &[(String, u64)]) {
        let jobs = &self.families().batch_jobs;
        jobs.reset();
        for (word, count) in states {
            #[expect(clippy::cast_precision_loss, reason = "exact up to far more jobs than there are")]
            jobs.with_label_values(&[job_state(word)]).set(*count as f64);
        }
    }

    /// So many records of a batch ended so.
    pub fn batch_records(&self, outcome: &str, count: u64) {
        if count > 0 {
            self.families().batch_records.with_label_values(&[outcome]).inc_by(count);
        }
    }

    /// A webhook was called.
    pub fn webhook(&self, team: &str, result: &str) {
        self.families().webhooks.with_label_values(&[self.team(team), result]).inc();
    }

    /// A Region was asked which models and profiles it has.
    pub fn catalog_refresh(&self, region: &str, result: &str) {
        self.families().catalog_refreshes.with_label_values(&[region, result]).inc();
    }

    /// How old what a Region told of its models and profiles is.
    pub fn catalog_age(&self, region: &str, age: Duration) {
        self.families().catalog_age.with_label_values(&[region]).set(age.as_secs_f64());
    }

    /// The configuration was read again: `applied`, `unchanged` (it says what is in force), or `refused` (it is broken,
    /// and what was in force still is).
    pub fn config_reload(&self, result: &str) {
        self.families().config_reloads.with_label_values(&[result]).inc();
        self.families().config_is_good.set(i64::from(result != "refused"));
    }

    /// The configuration that is in force now was read then: at the start, and with each reload that was applied.
    pub fn config_read(&self, at: Timestamp) {
        #[expect(clippy::cast_precision_loss, reason = "exact to the millisecond for some 285,000 years")]
        self.families().config_read_at.set(at.millis() as f64 / 1e3);
    }

    /// The certificate of the clients' port was read, and ends then; `None`: that could not be made out.
    pub fn certificate(&self, not_after: Option<Timestamp>) {
        let (none, ends): ([&str; 0], _) = ([], &self.families().certificate_not_after);
        self.families().certificate_is_good.with_label_values(&none).set(1.0);
        ends.reset();
        if let Some(at) = not_after {
            #[expect(clippy::cast_precision_loss, reason = "seconds until the year 9999 are exact")]
            ends.with_label_values(&none).set(at.seconds() as f64);
        }
    }

    /// The certificate's files have changed and cannot be used; the one before still is.
    pub fn certificate_refused(&self) {
        let none: [&str; 0] = [];
        self.families().certificate_is_good.with_label_values(&none).set(0.0);
    }
}
