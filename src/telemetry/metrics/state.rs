//! How the gateway and what it leans on are: budgets, ledger, shared store, batches, catalog, configuration.

use std::time::Duration;

use super::Metrics;
use super::labels::{itoa, job_state};
use crate::clock::Timestamp;
use crate::money::MicroUsd;

impl Metrics {
    /// How far the ledger is behind.
    pub fn ledger_lag(&self, lag: Duration) {
        self.families().ledger_lag.set(lag.as_secs_f64());
    }

    /// What is not spent of each team's tightest budget, now.
    pub fn budgets_remaining<'a>(&self, remaining: impl Iterator<Item = (&'a str, MicroUsd)>) {
        let gauges = &self.families().budget_remaining;
        gauges.reset();
        for (team, left) in remaining {
            #[expect(clippy::cast_precision_loss, reason = "exact up to nine billion dollars")]
            gauges.with_label_values(&[self.team(team)]).set(left.0 as f64 / 1e6);
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
        let counter = self.families().shared_errors.with_label_values(&none);
        counter.inc_by(errors.saturating_sub(counter.get()));
    }

    /// Something could not be written to the journal.
    pub fn journal_error(&self) {
        self.families().journal_errors.inc();
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
}
