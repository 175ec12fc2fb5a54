//! From a declaration to an instrument of the `prometheus` crate, and to what `/metrics` says of a family before it has a
//! series.

use std::collections::HashMap;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// A family before it is made.
pub(super) struct Declaration {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    /// Labels that have one value.
    pub(super) always: &'static [(&'static str, &'static str)],
    /// Upper bounds, of a histogram.
    pub(super) buckets: &'static [f64],
}

impl Declaration {
    pub(super) const fn plain(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, labels, always: &[], buckets: &[] }
    }

    fn options(&self) -> Opts {
        let always = self.always.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        Opts::new(self.name, self.help).const_labels(always.collect::<HashMap<_, _>>())
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
    /// The names of its labels, those with one value last.
    pub labels: Vec<String>,
    /// The upper bounds of its buckets but for the last, which has none; empty unless it is a histogram.
    pub buckets: Vec<f64>,
}

/// A kind of instrument.
pub(super) trait Instrument: Collector + Clone + 'static {
    /// What Prometheus calls it.
    const KIND: &'static str;

    fn new(declared: &Declaration) -> Result<Self, prometheus::Error>;
}

macro_rules! instrument {
    ($type:ident, $kind:literal, $declared:ident => $new:expr) => {
        impl Instrument for $type {
            const KIND: &'static str = $kind;

            fn new($declared: &Declaration) -> Result<Self, prometheus::Error> {
                $new
            }
        }
    };
}

instrument!(IntCounter, "counter", it => Self::with_opts(it.options()));
instrument!(IntCounterVec, "counter", it => Self::new(it.options(), it.labels));
instrument!(CounterVec, "counter", it => Self::new(it.options(), it.labels));
instrument!(Gauge, "gauge", it => Self::with_opts(it.options()));
instrument!(IntGauge, "gauge", it => Self::with_opts(it.options()));
instrument!(GaugeVec, "gauge", it => Self::new(it.options(), it.labels));
instrument!(HistogramVec, "histogram", it => {
    Self::new(HistogramOpts::from(it.options()).buckets(it.buckets.to_vec()), it.labels)
});

/// Makes families and remembers them for the announcement.
pub(super) struct Maker {
    pub(super) registry: Registry,
    pub(super) announced: Vec<Family>,
}

impl Maker {
    pub(super) fn new() -> Self {
        Self { registry: Registry::new(), announced: Vec::new() }
    }

    pub(super) fn make<I: Instrument>(&mut self, declared: &Declaration) -> Result<I, prometheus::Error> {
        let made = I::new(declared)?;
        let always = declared.always.iter().map(|(label, _)| *label);
        self.announced.push(Family {
            name: declared.name.to_owned(),
            help: declared.help.to_owned(),
            kind: I::KIND,
            labels: declared.labels.iter().copied().chain(always).map(str::to_owned).collect(),
            buckets: declared.buckets.to_vec(),
        });
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }

    /// What the operating system knows of this process, by the names that Prometheus's own clients use. Only Linux tells.
    #[cfg(target_os = "linux")]
    pub(super) fn process(&mut self) -> Result<(), prometheus::Error> {
        let process = prometheus::process_collector::ProcessCollector::for_self();
        for told in process.desc() {
            let kind = if told.fq_name.ends_with("_total") { "counter" } else { "gauge" };
            let (name, help) = (told.fq_name.clone(), told.help.clone());
            self.announced.push(Family { name, help, kind, labels: Vec::new(), buckets: Vec::new() });
        }
        self.registry.register(Box::new(process))
    }

    /// Only Linux tells.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn process(&mut self) -> Result<(), prometheus::Error> {
        Ok(())
    }
}
