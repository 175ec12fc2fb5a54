//! Every metric: name, help and labels in one place, one method for each thing that happens.
//!
//! Labels are bounded sets. Team and model names are as many as people make them, so each metric set knows at most
//! [`NAMES`] of either and calls the rest `other`: no caller can make the scrape grow without end.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

use crate::money::MicroUsd;

/// How many different teams, and how many different models, are told apart.
pub const NAMES: usize = 200;

/// Seconds: from an answer out of the cache to a long reasoning call.
const CALL_SECONDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The metrics of one gateway. A cheap clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    registry: Registry,
    announced: Vec<Family>,
    teams: Bound,
    models: Bound,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    in_flight: IntGauge,
    streams_open: IntGauge,
    tokens: IntCounterVec,
    cost: CounterVec,
    unpriced: IntCounterVec,
    legacy: IntCounterVec,
    rejected: IntCounterVec,
    attempts: IntCounterVec,
    cooling: GaugeVec,
    first_token_seconds: HistogramVec,
    ledger_lag: Gauge,
    shared_up: GaugeVec,
    shared_errors: IntCounterVec,
    budgets: Budgets,
    journal_errors: IntCounter,
    webhooks: IntCounterVec,
    catalog_refreshes: IntCounterVec,
    config_reloads: IntCounterVec,
    catalog_age: GaugeVec,
    batches: Batches,
}

/// The families of batches.
#[derive(Debug)]
struct Batches {
    jobs: GaugeVec,
    records: IntCounterVec,
}

impl Batches {
    fn new(make: &mut Maker) -> Result<Self, prometheus::Error> {
        let jobs = make.gauges(
            "gateway_batch_jobs",
            "Batch jobs that this process looks after, by AWS's state in snake case; queued are those that wait for a slot.",
            &["state"],
        )?;
        let records = make.int_counters(
            "gateway_batch_records_total",
            "Records of batches that ended, by outcome (completed, failed, cancelled, expired).",
            &["outcome"],
        )?;
        Ok(Self { jobs, records })
    }
}

/// The families of budgets.
#[derive(Debug)]
struct Budgets {
    remaining: GaugeVec,
    thresholds: IntCounterVec,
    overruns: IntCounterVec,
}

impl Budgets {
    fn new(make: &mut Maker) -> Result<Self, prometheus::Error> {
        let remaining = make.gauges(
            "gateway_budget_remaining_usd",
            "US dollars that are not spent of the budget that has the fewest left, of those of a team itself.",
            &["team"],
        )?;
        let thresholds = make.int_counters(
            "gateway_budget_thresholds_total",
            "How often 50, 80 or 100 percent of a budget of a team or of one of its keys were reached.",
            &["team", "threshold"],
        )?;
        let overruns = make.int_counters(
            "gateway_hold_overruns_total",
            "Calls that cost more than was held of their budgets.",
            &["team"],
        )?;
        Ok(Self { remaining, thresholds, overruns })
    }
}

/// What is said of a family even before it has a series.
#[derive(Clone, Debug)]
pub struct Family {
    /// For example `gateway_requests_total`.
    pub name: String,
    /// One sentence; the unit where the name does not tell it.
    pub help: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: Vec<String>,
}

/// Tokens by class, as the label `type` names them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokens {
    /// Read at the full price.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
    /// Read from the cache.
    pub cache_read: u64,
    /// Written to the cache.
    pub cache_write: u64,
}

impl Metrics {
    /// A set of metrics of its own, with nothing counted yet.
    ///
    /// # Errors
    /// Two families of one name, which only a change of this file can bring about.
    #[expect(clippy::too_many_lines, reason = "the list of all families, one after the other")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let mut make = Maker { registry: Registry::new(), announced: Vec::new() };
        let requests = make.int_counters(
            "gateway_requests_total",
            "Requests answered, by surface, operation, team, model and HTTP status.",
            &["surface", "operation", "team", "model", "status"],
        )?;
        let request_seconds = make.histograms(
            "gateway_request_duration_seconds",
            "Seconds from the head of a request to the last byte of its answer.",
            &["surface", "operation"],
        )?;
        let in_flight = make.int_gauge("gateway_requests_in_flight", "Requests whose answer has not ended.")?;
        let streams_open = make.int_gauge("gateway_streams_open", "Streamed answers that have not ended.")?;
        let tokens = make.int_counters(
            "gateway_tokens_total",
            "Tokens booked, by team, model, Region and class (input, output, cache_read, cache_write).",
            &["team", "model", "region", "type"],
        )?;
        let cost = make.counters(
            "gateway_cost_usd_total",
            "US dollars booked, by team, model and service tier; calls without a known price are not in it.",
            &["team", "model", "tier"],
        )?;
        let unpriced = make.int_counters(
            "gateway_unpriced_requests_total",
            "Calls booked without a cost because the model has no known price.",
            &["model"],
        )?;
        let legacy = make.int_counters(
            "gateway_legacy_requests_total",
            "Requests answered by a model that is on its way out: legacy, or with a known end.",
            &["model"],
        )?;
        let rejected = make.int_counters(
            "gateway_rejected_total",
            "Requests refused by the gateway itself, by reason.",
            &["reason"],
        )?;
        let attempts = make.int_counters(
            "gateway_upstream_attempts_total",
            "Attempts at AWS, by Region, model and outcome (ok, throttled, unavailable, timeout, rejected, error).",
            &["region", "model", "outcome"],
        )?;
        let cooling = make.gauges(
            "gateway_upstream_cooling",
            "1 while a model rests in a Region after throttling or an outage.",
            &["region", "model"],
        )?;
        let first_token_seconds = make.histograms(
            "gen_ai_server_time_to_first_token_seconds",
            "Seconds from sending a streamed call to its first event.",
            &["model"],
        )?;
        let ledger_lag =
            make.gauge("gateway_ledger_lag_seconds", "Age of the oldest call that is not yet in the ledger.")?;
        let shared_up = make.gauges(
            "gateway_shared_store_up",
            "Whether the store that limits and budgets are shared through could be reached last (1) or not (0).",
            &[],
        )?;
        let shared_errors = make.int_counters(
            "gateway_shared_store_errors_total",
            "Scripts and connections of the shared store that failed or took too long.",
            &[],
        )?;
        let budgets = Budgets::new(&mut make)?;
        let journal_errors = make.int_counter(
            "gateway_journal_errors_total",
            "Writes to the journal that failed; a crash may lose the calls they were for.",
        )?;
        let webhooks = make.int_counters(
            "gateway_webhook_deliveries_total",
            "Tries to tell a team's webhook of a batch, by result (delivered, retried, gone, given_up).",
            &["team", "result"],
        )?;
        let config_reloads = make.int_counters(
            "gateway_config_reloads_total",
            "Readings of the configuration after the start, by result (applied, unchanged, refused).",
            &["result"],
        )?;
        let catalog_refreshes = make.int_counters(
            "gateway_catalog_refreshes_total",
            "Looks at which models and inference profiles AWS has in a Region, by result (ok, denied, throttled, ...).",
            &["region", "result"],
        )?;
        let catalog_age = make.gauges(
            "gateway_catalog_age_seconds",
            "Seconds since AWS last told what it has in a Region.",
            &["region"],
        )?;
        let batches = Batches::new(&mut make)?;
        Ok(Self(Arc::new(Families {
            registry: make.registry,
            announced: make.announced,
            teams: Bound::default(),
            models: Bound::default(),
            requests,
            request_seconds,
            in_flight,
            streams_open,
            tokens,
            cost,
            unpriced,
            legacy,
            rejected,
            attempts,
            cooling,
            first_token_seconds,
            ledger_lag,
            shared_up,
            shared_errors,
            budgets,
            journal_errors,
            webhooks,
            catalog_refreshes,
            config_reloads,
            catalog_age,
            batches,
        })))
    }

    /// A request came in; it counts as in flight until the guard is dropped.
    pub fn in_flight(&self) -> Open {
        Open::new(self.0.in_flight.clone())
    }

    /// A streamed answer began; it counts as open until the guard is dropped.
    pub fn stream_open(&self) -> Open {
        Open::new(self.0.streams_open.clone())
    }

    /// A request was answered.
    pub fn request(&self, what: (&str, &str), team: &str, model: &str, status: u16, took: Duration) {
        let (surface, operation) = what;
        let digits = itoa(status);
        let labels = [surface, operation, self.0.teams.label(team), self.0.models.label(model), digits.text()];
        self.0.requests.with_label_values(&labels).inc();
        self.0.request_seconds.with_label_values(&[surface, operation]).observe(took.as_secs_f64());
    }

    /// A call was booked, at a cost in a tier; `None` when the price is not known.
    pub fn booked(
        &self,
        team: &str,
        model: &str,
        region: &str,
        tokens: Tokens,
        (cost, tier): (Option<MicroUsd>, &str),
    ) {
        let (team, model) = (self.0.teams.label(team), self.0.models.label(model));
        let classes = [
            ("input", tokens.input),
            ("output", tokens.output),
            ("cache_read", tokens.cache_read),
            ("cache_write", tokens.cache_write),
        ];
        for (class, count) in classes {
            if count > 0 {
                self.0.tokens.with_label_values(&[team, model, region, class]).inc_by(count);
            }
        }
        match cost {
            #[expect(clippy::cast_precision_loss, reason = "exact up to nine billion dollars for one series")]
            Some(cost) => self.0.cost.with_label_values(&[team, model, tier]).inc_by(cost.0 as f64 / 1e6),
            None => self.0.unpriced.with_label_values(&[model]).inc(),
        }
    }

    /// How many batch jobs this process looks after now, by AWS's words.
    pub fn batch_jobs(&self, states: &[(String, u64)]) {
        let jobs = &self.0.batches.jobs;
        jobs.reset();
        for (word, count) in states {
            #[expect(clippy::cast_precision_loss, reason = "exact up to far more jobs than there are")]
            jobs.with_label_values(&[job_state(word)]).set(*count as f64);
        }
    }

    /// So many records of a batch ended so.
    pub fn batch_records(&self, outcome: &str, count: u64) {
        if count > 0 {
            self.0.batches.records.with_label_values(&[outcome]).inc_by(count);
        }
    }

    /// A model that is on its way out answered a request.
    pub fn legacy(&self, model: &str) {
        self.0.legacy.with_label_values(&[self.0.models.label(model)]).inc();
    }

    /// A request was refused by the gateway itself.
    pub fn rejected(&self, reason: &str) {
        self.0.rejected.with_label_values(&[reason]).inc();
    }

    /// An attempt at AWS ended.
    pub fn attempt(&self, region: &str, model: &str, outcome: &str) {
        self.0.attempts.with_label_values(&[region, self.0.models.label(model), outcome]).inc();
    }

    /// Which models rest in which Regions, now.
    pub fn cooling(&self, resting: impl Iterator<Item = (String, String)>) {
        self.0.cooling.reset();
        for (region, model) in resting {
            self.0.cooling.with_label_values(&[region.as_str(), self.0.models.label(&model)]).set(1.0);
        }
    }

    /// The first event of a stream came.
    pub fn first_token(&self, model: &str, after: Duration) {
        self.0.first_token_seconds.with_label_values(&[self.0.models.label(model)]).observe(after.as_secs_f64());
    }

    /// How far the ledger is behind.
    pub fn ledger_lag(&self, lag: Duration) {
        self.0.ledger_lag.set(lag.as_secs_f64());
    }

    /// What is not spent of each team's tightest budget, now.
    pub fn budgets_remaining<'a>(&self, remaining: impl Iterator<Item = (&'a str, MicroUsd)>) {
        self.0.budgets.remaining.reset();
        for (team, left) in remaining {
            #[expect(clippy::cast_precision_loss, reason = "exact up to nine billion dollars")]
            self.0.budgets.remaining.with_label_values(&[self.0.teams.label(team)]).set(left.0 as f64 / 1e6);
        }
    }

    /// So many percent of a budget are spent now.
    pub fn budget_threshold(&self, team: &str, percent: u8) {
        let (team, percent) = (self.0.teams.label(team), itoa(percent.into()));
        let threshold = percent.text().trim_start_matches('0');
        self.0.budgets.thresholds.with_label_values(&[team, threshold]).inc();
    }

    /// A call cost more than was held for it.
    pub fn hold_overrun(&self, team: &str) {
        self.0.budgets.overruns.with_label_values(&[self.0.teams.label(team)]).inc();
    }

    /// How the shared store is, and how many errors there were since the start.
    pub fn shared_store(&self, is_up: u8, errors: u64) {
        let none: [&str; 0] = [];
        self.0.shared_up.with_label_values(&none).set(f64::from(is_up));
        let counter = self.0.shared_errors.with_label_values(&none);
        counter.inc_by(errors.saturating_sub(counter.get()));
    }

    /// Something could not be written to the journal.
    pub fn journal_error(&self) {
        self.0.journal_errors.inc();
    }

    /// A webhook was called.
    pub fn webhook(&self, team: &str, result: &str) {
        self.0.webhooks.with_label_values(&[self.0.teams.label(team), result]).inc();
    }

    /// A Region was asked which models and profiles it has.
    pub fn catalog_refresh(&self, region: &str, result: &str) {
        self.0.catalog_refreshes.with_label_values(&[region, result]).inc();
    }

    /// The configuration was read again: `applied`, `unchanged` (it says what is in force), or `refused` (it is broken,
    /// and what was in force still is).
    pub fn config_reload(&self, result: &str) {
        self.0.config_reloads.with_label_values(&[result]).inc();
    }

    /// How old what a Region told of its models and profiles is.
    pub fn catalog_age(&self, region: &str, age: Duration) {
        self.0.catalog_age.with_label_values(&[region]).set(age.as_secs_f64());
    }

    /// Every family there is, in the order of their declaration; `docs/METRICS.md` lists them.
    pub fn families(&self) -> &[Family] {
        &self.0.announced
    }

    /// The scrape, in Prometheus's text format.
    pub fn render(&self) -> String {
        let families = self.0.registry.gather();
        let mut text = Vec::with_capacity(16 * 1024);
        // Writing to memory fails only for a family without series, and gathering leaves those out.
        TextEncoder::new().encode(&families, &mut text).ok();
        let mut text = String::from_utf8(text).unwrap_or_default();
        for family in &self.0.announced {
            if !families.iter().any(|gathered| gathered.name() == family.name) {
                writeln!(text, "# HELP {0} {1}\n# TYPE {0} {2}", family.name, family.help, family.kind).ok();
            }
        }
        text
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

/// Makes families and remembers them for the announcement.
struct Maker {
    registry: Registry,
    announced: Vec<Family>,
}

impl Maker {
    fn register<C: Collector + Clone + 'static>(
        &mut self,
        family: C,
        kind: &'static str,
    ) -> Result<C, prometheus::Error> {
        for told in family.desc() {
            let (name, help) = (told.fq_name.clone(), told.help.clone());
            self.announced.push(Family { name, help, kind, labels: told.variable_labels.clone() });
        }
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn int_counters(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?, "counter")
    }

    fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<CounterVec, prometheus::Error> {
        self.register(CounterVec::new(Opts::new(name, help), labels)?, "counter")
    }

    fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
        self.register(GaugeVec::new(Opts::new(name, help), labels)?, "gauge")
    }

    fn int_counter(&mut self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.register(IntCounter::new(name, help)?, "counter")
    }

    fn int_gauge(&mut self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.register(IntGauge::new(name, help)?, "gauge")
    }

    fn gauge(&mut self, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
        self.register(Gauge::new(name, help)?, "gauge")
    }

    fn histograms(&mut self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(CALL_SECONDS.to_vec());
        self.register(HistogramVec::new(options, labels)?, "histogram")
    }
}

/// The first [`NAMES`] names seen.
#[derive(Debug, Default)]
struct Bound(RwLock<HashSet<Box<str>>>);

impl Bound {
    /// The name itself while it is one of the first, else `other`.
    fn label<'a>(&self, name: &'a str) -> &'a str {
        if self.0.read().is_ok_and(|seen| seen.contains(name)) {
            return name;
        }
        let Ok(mut seen) = self.0.write() else { return "other" };
        if seen.len() >= NAMES {
            return "other";
        }
        seen.insert(name.into());
        name
    }
}

/// A status code as text, without an allocation.
fn itoa(status: u16) -> Digits {
    let digit = |by: u16| b'0' + u8::try_from(status / by % 10).unwrap_or_default();
    Digits([digit(100), digit(10), digit(1)])
}

struct Digits([u8; 3]);

impl Digits {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("000")
    }
}

/// AWS's word for the state of a job as a label.
fn job_state(word: &str) -> &'static str {
    match word {
        "queued" => "queued",
        "Submitted" => "submitted",
        "Validating" => "validating",
        "Scheduled" => "scheduled",
        "InProgress" => "in_progress",
        "Completed" => "completed",
        "PartiallyCompleted" => "partially_completed",
        "Failed" => "failed",
        "Stopping" => "stopping",
        "Stopped" => "stopped",
        "Expired" => "expired",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_announced_before_they_have_a_series() {
        let text = Metrics::new().unwrap().render();
        assert!(text.contains("# TYPE gateway_requests_total counter"), "{text}");
        assert!(text.contains("# TYPE gateway_request_duration_seconds histogram"), "{text}");
        assert!(text.contains("gateway_requests_in_flight 0"), "{text}");
    }

    #[test]
    fn a_flood_of_model_names_adds_a_bounded_number_of_series() {
        let metrics = Metrics::new().unwrap();
        for n in 0..NAMES * 3 {
            metrics.request(("openai", "chat"), "team", &format!("model-{n}"), 200, Duration::from_millis(3));
        }
        let text = metrics.render();
        assert_eq!(text.lines().filter(|line| line.starts_with("gateway_requests_total{")).count(), NAMES + 1);
        assert!(text.contains(r#"model="other""#));
    }

    #[test]
    fn cost_is_counted_in_dollars_and_a_missing_price_is_counted_apart() {
        let metrics = Metrics::new().unwrap();
        let tokens = Tokens { input: 10, ..Tokens::default() };
        metrics.booked("a", "m", "us-east-1", tokens, (Some(MicroUsd(1_250_000)), "flex"));
        metrics.booked("a", "m", "us-east-1", tokens, (None, "default"));
        let text = metrics.render();
        assert!(text.contains(r#"gateway_cost_usd_total{model="m",team="a",tier="flex"} 1.25"#), "{text}");
        assert!(text.contains(r#"gateway_unpriced_requests_total{model="m"} 1"#), "{text}");
        assert!(
            text.contains(r#"gateway_tokens_total{model="m",region="us-east-1",team="a",type="input"} 20"#),
            "{text}"
        );
    }

    #[test]
    fn an_open_guard_counts_while_it_lives() {
        let metrics = Metrics::new().unwrap();
        let guard = metrics.in_flight();
        assert!(metrics.render().contains("gateway_requests_in_flight 1"));
        drop(guard);
        assert!(metrics.render().contains("gateway_requests_in_flight 0"));
    }
}
