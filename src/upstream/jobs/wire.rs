//! Batch jobs as AWS's control plane writes and reads them:
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html>.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{HOURS, JobCounts, JobStatus, NewJob};
use crate::clock::Timestamp;
use crate::upstream::mask::mask;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create<'a> {
    job_name: &'a str,
    client_request_token: &'a str,
    role_arn: &'a str,
    model_id: &'a str,
    model_invocation_type: &'a str,
    input_data_config: Input<'a>,
    output_data_config: Output<'a>,
    timeout_duration_in_hours: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<Tag<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    s3_input_data_config: InputObject<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InputObject<'a> {
    s3_input_format: &'static str,
    s3_uri: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    s3_output_data_config: OutputObject<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutputObject<'a> {
    s3_uri: &'a str,
}

#[derive(Serialize)]
struct Tag<'a> {
    key: &'a str,
    value: &'a str,
}

impl<'a> Create<'a> {
    pub(super) fn of(job: &NewJob<'a>) -> Self {
        Self {
            job_name: job.name,
            client_request_token: job.token,
            role_arn: job.role,
            model_id: job.model,
            model_invocation_type: job.invocation,
            input_data_config: Input {
                s3_input_data_config: InputObject { s3_input_format: "JSONL", s3_uri: job.input_uri },
            },
            output_data_config: Output { s3_output_data_config: OutputObject { s3_uri: job.output_uri } },
            timeout_duration_in_hours: job.timeout_hours.clamp(*HOURS.start(), *HOURS.end()),
            tags: job.tags.iter().map(|(key, value)| Tag { key, value }).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created {
    pub(super) job_arn: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    #[serde(default)]
    pub(super) invocation_job_summaries: Vec<Job>,
    pub(super) next_token: Option<String>,
}

/// The same members in a list and alone, but for the counts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    #[serde(rename = "jobArn")]
    arn: String,
    #[serde(default, rename = "jobName")]
    name: String,
    #[serde(default)]
    status: String,
    message: Option<String>,
    total_record_count: Option<u64>,
    processed_record_count: Option<u64>,
    success_record_count: Option<u64>,
    error_record_count: Option<u64>,
    submit_time: Option<String>,
    last_modified_time: Option<String>,
    end_time: Option<String>,
}

impl Job {
    pub(super) fn known(self) -> super::Job {
        let counts = self.total_record_count.map(|total| JobCounts {
            total,
            processed: self.processed_record_count.unwrap_or_default(),
            succeeded: self.success_record_count.unwrap_or_default(),
            failed: self.error_record_count.unwrap_or_default(),
        });
        super::Job {
            name: self.name,
            status: self.status.parse().unwrap_or(JobStatus::Other(self.status)),
            message: self.message.filter(|text| !text.is_empty()).map(|text| mask(&text).into_owned()),
            counts,
            submitted_at: self.submit_time.as_deref().and_then(moment),
            modified_at: self.last_modified_time.as_deref().and_then(moment),
            ended_at: self.end_time.as_deref().and_then(moment),
            arn: self.arn,
        }
    }
}

/// `2026-01-02T03:04:05.678Z`
fn moment(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_millis(at.as_millisecond()))
}

/// As AWS reads it: whole seconds, rounded down.
pub(super) fn time(at: Timestamp) -> Option<String> {
    let whole = Duration::from_secs(u64::try_from(at.seconds()).ok()?);
    let at = jiff::Timestamp::from_second(i64::try_from(whole.as_secs()).ok()?).ok()?;
    Some(at.to_string())
}
