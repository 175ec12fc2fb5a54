//! Prometheus's text format, read strictly.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    samples: Vec<Sample>,
    families: BTreeSet<String>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads the text; fails on a line that is no comment, no sample, or a sample of a family that was not announced.
    pub(crate) fn parse(text: &str) -> Self {
        let (mut samples, mut families) = (Vec::new(), BTreeSet::new());
        for line in text.lines() {
            if let Some(announced) = line.strip_prefix("# TYPE ") {
                let (name, kind) = announced.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(families.insert(name.to_owned()), "announced twice: {line}");
            } else if !line.starts_with("# HELP ") {
                let sample = Sample::parse(line);
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end));
                let known = families.contains(&sample.name) || family.is_some_and(|family| families.contains(family));
                assert!(known, "of no announced family: {line}");
                samples.push(sample);
            }
        }
        Self { samples, families }
    }

    pub(crate) fn has_family(&self, name: &str) -> bool {
        self.families.contains(name)
    }

    /// The sum of the samples of `name` that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &Sample| {
            labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
        };
        let found = self.samples.iter().filter(|sample| sample.name == name && has(sample));
        found.fold(0.0, |sum, sample| sum + sample.value)
    }

    /// The same where it counts things.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum = self.sum(name, labels).to_string();
        sum.parse().unwrap_or_else(|_| panic!("{name} is {sum}"))
    }
}

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let value = value.parse().unwrap_or_else(|_| panic!("{line:?}"));
        let Some((name, labels)) = series.split_once('{') else {
            return Self { name: series.to_owned(), labels: BTreeMap::new(), value };
        };
        let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line:?}"));
        // No label value of ours has a quote or a comma in it.
        let label = |text: &str| {
            let (name, value) = text.split_once('=').unwrap_or_else(|| panic!("{line:?}"));
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (name.to_owned(), value.unwrap_or_else(|| panic!("{line:?}")).to_owned())
        };
        Self { name: name.to_owned(), labels: labels.split(',').map(label).collect(), value }
    }
}
