//! How large a job may be and how many there may be: AWS's defaults (`data/quotas.json`), or what a test made of them.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// "GB" as it refuses more.
const GB: u64 = 1_000_000_000;

/// What differs from AWS's defaults for the jobs of a model in a Region; `None` is the default.
/// <https://docs.aws.amazon.com/general/latest/gr/bedrock.html#limits_bedrock>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobQuota {
    /// The fewest records of a job.
    pub min_records: Option<u64>,
    /// The most records of a job.
    pub max_records: Option<u64>,
    /// The most records of one of its files.
    pub max_file_records: Option<u64>,
    /// The most bytes of one of its files.
    pub max_file_bytes: Option<u64>,
    /// The most bytes of all its files.
    pub max_job_bytes: Option<u64>,
    /// The most jobs that are `Submitted` to `InProgress`.
    pub max_jobs: Option<u64>,
}

/// What holds for the jobs of a model in a Region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) min_records: u64,
    pub(crate) max_records: u64,
    pub(crate) max_file_records: u64,
    pub(crate) max_file_bytes: u64,
    pub(crate) max_job_bytes: u64,
    pub(crate) max_jobs: u64,
}

/// A quota that was set, by Region and model (`*`: any).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobQuotaSet {
    /// The Region.
    pub region: String,
    /// The bare model id.
    pub id: String,
    /// What differs.
    pub jobs: JobQuota,
}

#[derive(Debug, Default)]
pub(crate) struct JobQuotas {
    set: Mutex<BTreeMap<(String, String), JobQuota>>,
}

impl JobQuotas {
    pub(crate) fn set(&self, region: &str, model: &str, quota: JobQuota) {
        self.lock().insert((region.to_owned(), model.to_owned()), quota);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    pub(crate) fn list(&self) -> Vec<JobQuotaSet> {
        let told = |((region, id), jobs): (&(String, String), &JobQuota)| JobQuotaSet {
            region: region.clone(),
            id: id.clone(),
            jobs: *jobs,
        };
        self.lock().iter().map(told).collect()
    }

    /// What holds for `model` in `region`; the narrower setting wins.
    pub(crate) fn limits(&self, region: &str, model: &str) -> Limits {
        let set = self.lock();
        let places = [(region, model), ("*", model), (region, "*"), ("*", "*")];
        let found: Vec<JobQuota> = places
            .into_iter()
            .filter_map(|(region, model)| set.get(&(region.to_owned(), model.to_owned())).copied())
            .collect();
        let chosen = |of: fn(&JobQuota) -> Option<u64>, default: u64| found.iter().find_map(of).unwrap_or(default);
        Limits {
            min_records: chosen(|quota| quota.min_records, DEFAULTS.min_records_per_job.of(model)),
            max_records: chosen(|quota| quota.max_records, DEFAULTS.max_records_per_job.of(model)),
            max_file_records: chosen(|quota| quota.max_file_records, DEFAULTS.max_records_per_input_file.of(model)),
            max_file_bytes: chosen(|quota| quota.max_file_bytes, DEFAULTS.max_input_file_size_gb.of(model) * GB),
            max_job_bytes: chosen(|quota| quota.max_job_bytes, DEFAULTS.max_job_size_gb.of(model) * GB),
            max_jobs: chosen(|quota| quota.max_jobs, DEFAULTS.in_progress_plus_submitted_jobs_base_model.of(model)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), JobQuota>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Deserialize)]
struct Row {
    value: u64,
    #[serde(default)]
    overrides: BTreeMap<String, u64>,
}

impl Row {
    fn of(&self, model: &str) -> u64 {
        self.overrides.get(model).copied().unwrap_or(self.value)
    }
}

#[derive(Deserialize)]
struct Defaults {
    min_records_per_job: Row,
    max_records_per_job: Row,
    max_records_per_input_file: Row,
    max_input_file_size_gb: Row,
    max_job_size_gb: Row,
    in_progress_plus_submitted_jobs_base_model: Row,
}

#[expect(clippy::expect_used, reason = "the file is compiled in, and a test reads it")]
static DEFAULTS: LazyLock<Defaults> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        batch: Defaults,
    }
    let file: File =
        serde_json::from_str(include_str!("../../../data/quotas.json")).expect("quotas.json does not parse");
    file.batch
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrower_setting_wins_and_what_nobody_set_is_awss() {
        let quotas = JobQuotas::default();
        let limits = quotas.limits("us-east-1", "amazon.nova-lite-v1:0");
        assert_eq!((limits.min_records, limits.max_records, limits.max_jobs), (100, 100_000, 100));
        assert_eq!((limits.max_file_bytes, limits.max_job_bytes), (GB, 5 * GB));
        assert_eq!(quotas.limits("us-east-1", "amazon.nova-2-multimodal-embeddings-v1:0").max_job_bytes, 100 * GB);
        quotas.set("*", "*", JobQuota { max_records: Some(200), max_jobs: Some(2), ..JobQuota::default() });
        quotas.set("us-east-1", "m", JobQuota { max_jobs: Some(1), ..JobQuota::default() });
        let (here, there) = (quotas.limits("us-east-1", "m"), quotas.limits("us-west-2", "m"));
        assert_eq!((here.max_records, here.max_jobs, there.max_jobs, here.min_records), (200, 1, 2, 100));
    }
}
