//! Which models take batch jobs, from which Regions, and how large a job may be: AWS's table and AWS's quotas, as compiled
//! in (`data/models.json`, `data/quotas.json`).
//!
//! What the table does not list is not known to be offered. The quotas are defaults: an account may have others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Deserialize;

use super::{Catalog, Scope};
use crate::error::{Error, Result};

/// AWS writes GB without saying which; by the smaller reading no job is refused for its size.
const GB: u64 = 1_000_000_000;

/// From where a model takes batch jobs.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-supported.html>
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Regions in which it takes them by its own id.
    pub in_region: Vec<Arc<str>>,
    /// Regions in which it takes them by an inference profile.
    pub via_profile: Vec<Arc<str>>,
}

impl Batch {
    /// Whether a job may be made in `region` for what is called there with this scope.
    pub fn takes(&self, region: &str, scope: &Scope) -> bool {
        let regions = match scope {
            Scope::InRegion => &self.in_region,
            Scope::Profile(_) => &self.via_profile,
        };
        regions.iter().any(|known| **known == *region)
    }

    /// Whether a job may be made in `region`, one way or the other.
    pub fn is_in(&self, region: &str) -> bool {
        self.in_region.iter().chain(&self.via_profile).any(|known| **known == *region)
    }

    /// Whether a job may be made anywhere.
    pub fn is_offered(&self) -> bool {
        !self.in_region.is_empty() || !self.via_profile.is_empty()
    }
}

/// How large a batch job of a model may be, and how many there may be in one Region.
/// <https://docs.aws.amazon.com/general/latest/gr/bedrock.html#limits_bedrock>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The fewest records of a job.
    pub min_records: u64,
    /// The most records of a job.
    pub max_records: u64,
    /// The most records of one of its files.
    pub max_file_records: u64,
    /// The most bytes of one of its files.
    pub max_file_bytes: u64,
    /// The most bytes of all its files.
    pub max_job_bytes: u64,
    /// The most jobs that are submitted or in progress.
    pub max_jobs: u64,
}

/// What is compiled in.
#[derive(Debug, Default)]
pub(super) struct BatchFacts {
    models: HashMap<Box<str>, Batch>,
    limits: Option<LimitRows>,
}

impl BatchFacts {
    pub(super) fn embedded() -> Result<Self> {
        let models: Models<'_> =
            serde_json::from_str(include_str!("../../data/models.json")).map_err(Error::internal)?;
        let quotas: Quotas = serde_json::from_str(include_str!("../../data/quotas.json")).map_err(Error::internal)?;
        let shared = |regions: Vec<&str>| regions.into_iter().map(Arc::from).collect();
        let models = models.models.into_iter().map(|row| {
            let BatchRow { single_region, via_profile } = row.batch;
            (row.id.into(), Batch { in_region: shared(single_region), via_profile: shared(via_profile) })
        });
        Ok(Self { models: models.collect(), limits: Some(quotas.batch) })
    }
}

impl Catalog {
    /// From where the model of this id takes batch jobs; `None` when nothing lists it.
    pub fn batch(&self, model: &str) -> Option<&Batch> {
        self.0.batch.models.get(model).filter(|batch| batch.is_offered())
    }

    /// How large a batch job of the model of this id may be, by AWS's defaults.
    pub fn batch_limits(&self, model: &str) -> Option<BatchLimits> {
        let limits = self.0.batch.limits.as_ref()?;
        Some(BatchLimits {
            min_records: limits.min_records_per_job.of(model),
            max_records: limits.max_records_per_job.of(model),
            max_file_records: limits.max_records_per_input_file.of(model),
            max_file_bytes: limits.max_input_file_size_gb.of(model) * GB,
            max_job_bytes: limits.max_job_size_gb.of(model) * GB,
            max_jobs: limits.in_progress_plus_submitted_jobs_base_model.of(model),
        })
    }
}

#[derive(Deserialize)]
struct Models<'a> {
    #[serde(borrow)]
    models: Vec<ModelRow<'a>>,
}

#[derive(Deserialize)]
struct ModelRow<'a> {
    id: &'a str,
    #[serde(borrow)]
    batch: BatchRow<'a>,
}

#[derive(Deserialize)]
struct BatchRow<'a> {
    #[serde(borrow)]
    single_region: Vec<&'a str>,
    via_profile: Vec<&'a str>,
}

#[derive(Deserialize)]
struct Quotas {
    batch: LimitRows,
}

#[derive(Debug, Deserialize)]
struct LimitRows {
    min_records_per_job: Limit,
    max_records_per_job: Limit,
    max_records_per_input_file: Limit,
    max_input_file_size_gb: Limit,
    max_job_size_gb: Limit,
    in_progress_plus_submitted_jobs_base_model: Limit,
}

/// One number for all models but those with their own.
#[derive(Debug, Deserialize)]
struct Limit {
    value: u64,
    #[serde(default)]
    overrides: BTreeMap<String, u64>,
}

impl Limit {
    fn of(&self, model: &str) -> u64 {
        self.overrides.get(model).copied().unwrap_or(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_takes_jobs_where_and_as_the_table_says() {
        let catalog = Catalog::embedded(&[]).unwrap();
        let haiku = catalog.batch("anthropic.claude-haiku-4-5-20251001-v1:0").unwrap();
        assert!(haiku.is_in("eu-west-1") && haiku.takes("eu-west-1", &Scope::Profile("eu".into())));
        assert!(!haiku.takes("eu-west-1", &Scope::InRegion) && !haiku.is_in("us-gov-west-1"));
        assert_eq!(catalog.batch("anthropic.claude-opus-4-8"), None);
        assert_eq!(catalog.batch("no.such-model"), None);
    }

    #[test]
    fn limits_are_the_same_for_all_models_but_those_with_their_own() {
        let catalog = Catalog::embedded(&[]).unwrap();
        let limits = catalog.batch_limits("amazon.nova-lite-v1:0").unwrap();
        assert_eq!((limits.min_records, limits.max_records, limits.max_jobs), (100, 100_000, 100));
        assert_eq!((limits.max_file_bytes, limits.max_job_bytes), (GB, 5 * GB));
        let large = catalog.batch_limits("amazon.nova-2-multimodal-embeddings-v1:0").unwrap();
        assert_eq!(large.max_job_bytes, 100 * GB);
    }
}
