//! What happens to requests.

use std::time::Duration;

use prometheus::IntGauge;

use super::Metrics;
use super::labels::itoa;
use crate::telemetry::panics;

impl Metrics {
    /// A request came in; it counts as in flight until the guard is dropped.
    pub fn in_flight(&self) -> Open {
        Open::new(self.families().in_flight.clone())
    }

    /// A streamed answer began; it counts as open until the guard is dropped.
    pub fn stream_open(&self) -> Open {
        Open::new(self.families().streams_open.clone())
    }

    /// A request was answered.
    pub fn request(&self, what: (&str, &str), team: &str, model: &str, status: u16, took: Duration) {
        let (surface, operation) = what;
        let digits = itoa(status);
        let labels = [surface, self.team(team), operation, self.model(model), digits.text()];
        self.families().requests.with_label_values(&labels).inc();
        self.families().request_seconds.with_label_values(&[surface, operation]).observe(took.as_secs_f64());
    }

    /// So much of a request's time was the gateway's own.
    pub fn overhead(&self, (surface, operation): (&str, &str), own: Duration) {
        self.families().overhead_seconds.with_label_values(&[surface, operation]).observe(own.as_secs_f64());
    }

    /// A request was refused by the gateway itself.
    pub fn rejected(&self, reason: &str) {
        self.families().rejected.with_label_values(&[reason]).inc();
    }

    /// The panics of this process so far.
    pub(super) fn count_panics(&self) {
        let counter = &self.families().panics;
        counter.inc_by(panics::count().saturating_sub(counter.get()));
    }
}

/// Counts as open until dropped.
#[derive(Debug)]
pub struct Open(IntGauge);

impl Open {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
