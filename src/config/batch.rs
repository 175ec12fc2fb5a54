//! `[batch]`: where batch jobs and asynchronous invocations keep their files, and how the jobs run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::decode::key_text;
use super::{Problems, shape};

/// `[batch]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Batch {
    /// The bucket of each Region whose batch jobs and asynchronous invocations are to be used. None: there are no files, no
    /// batches and no asynchronous invocations.
    pub bucket: BTreeMap<String, String>,
    /// The first part of every object key in the buckets.
    pub prefix: String,
    /// The ARN of the role that Bedrock assumes to read and write the buckets. Without it there are no batches.
    pub role_arn: String,
    /// Seconds between two looks at running jobs: 1 to 3600.
    pub poll_seconds: u64,
    /// What becomes of a batch below AWS's minimum of records.
    pub small_batches: SmallBatches,
    /// Hours that inputs and results are kept: 1 to 8760.
    pub retention_hours: u64,
    /// The largest upload, in MiB: 1 to 5120. `server.max_body_mb` is for inference bodies.
    pub max_file_mb: u64,
    /// What the files of one team may take altogether, in MiB: 1 to 1000000000; 0: as much as it likes.
    pub team_storage_mb: u64,
    /// The largest body of an Anthropic message batch, in MiB: 1 to 1024.
    pub max_inline_mb: u64,
    /// Whether records with tools go to AWS in the model's native body; false: they run online.
    pub native_tools: bool,
    /// Limits below AWS's own.
    pub limits: BatchLimits,
}

/// `[batch.limits]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchLimits {
    /// Records of one job, for every model: at least 1. None: AWS's own limit.
    pub max_records_per_job: Option<u64>,
}

/// What becomes of a batch below AWS's minimum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SmallBatches {
    /// It runs through the ordinary completion path.
    #[default]
    Online,
    /// It is refused with the reason.
    Reject,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            bucket: BTreeMap::new(),
            prefix: "bedrock-gateway".into(),
            role_arn: String::new(),
            poll_seconds: 30,
            small_batches: SmallBatches::Online,
            retention_hours: 720,
            max_file_mb: 1024,
            team_storage_mb: 0,
            max_inline_mb: 256,
            native_tools: false,
            limits: BatchLimits::default(),
        }
    }
}

impl Batch {
    pub(super) fn validate(&self, problems: &mut Problems) {
        for region in self.bucket.keys().filter(|region| !shape::is_region(region)) {
            problems.add(format!("batch.bucket.{}", key_text(region)), shape::not_a_region(region));
        }
        for (region, bucket) in self.bucket.iter().filter(|(_, bucket)| !shape::is_bucket(bucket)) {
            let problem = format!(
                "\"{bucket}\" is not the name of a bucket: 3 to 63 of a-z, 0-9, - and ., with a letter or digit at each end"
            );
            problems.add(format!("batch.bucket.{}", key_text(region)), problem);
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if self.prefix.is_empty() || self.prefix.starts_with('/') || !self.prefix.chars().all(is_plain) {
            problems.add("batch.prefix", "must be letters, digits and -_./ and not begin with a slash");
        }
        shape::check_role_arn("batch.role_arn", &self.role_arn, problems);
        problems.add_unless_within("batch.poll_seconds", self.poll_seconds, 1, 3600);
        problems.add_unless_within("batch.retention_hours", self.retention_hours, 1, 8760);
        problems.add_unless_within("batch.max_file_mb", self.max_file_mb, 1, 5120);
        problems.add_unless_within("batch.team_storage_mb", self.team_storage_mb, 0, 1_000_000_000);
        problems.add_unless_within("batch.max_inline_mb", self.max_inline_mb, 1, 1024);
        if self.limits.max_records_per_job == Some(0) {
            problems.add("batch.limits.max_records_per_job", "must be at least 1");
        }
    }
}
