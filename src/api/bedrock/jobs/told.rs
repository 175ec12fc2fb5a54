//! A batch, told as AWS tells of a job.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetModelInvocationJob.html>

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::request::FILES;
use crate::api::bedrock::control::{ACCOUNT, Moment, partition};
use crate::batch::record::{Batch, State};
use crate::catalog::Catalog;

/// What a job is called in messages and ARNs.
pub(super) const SORT: &str = "model-invocation-job";
/// AWS's states.
pub(super) const STATUSES: [&str; 10] = [
    "Submitted",
    "Validating",
    "Scheduled",
    "InProgress",
    "Completed",
    "PartiallyCompleted",
    "Failed",
    "Stopping",
    "Stopped",
    "Expired",
];
/// The longest message that AWS's shape has room for.
const LONGEST_MESSAGE: usize = 2048;

/// What is kept of the request beside the batch.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Details {
    /// As its owner calls it.
    pub(super) job_name: String,
    /// The caller's, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_request_token: Option<String>,
    /// Of the ARN. Parts of the job may run in others.
    pub(super) region: String,
    /// How long it may take.
    pub(super) timeout_duration_in_hours: u64,
}

impl Details {
    pub(super) fn of(batch: &Batch) -> Self {
        batch.details.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The ARN of the job, as its callers know it.
    pub(super) fn arn(&self, catalog: &Catalog, id: &str) -> String {
        let region = &self.region;
        format!("arn:{}:bedrock:{region}:{ACCOUNT}:{SORT}/{id}", partition(catalog, region))
    }
}

/// AWS's word for where a batch is.
pub(super) fn status(batch: &Batch) -> &'static str {
    match batch.state {
        State::Validating => "Validating",
        State::InProgress | State::Finalizing => "InProgress",
        State::Completed => "Completed",
        State::Failed => "Failed",
        State::Expired if batch.counts.completed > 0 => "PartiallyCompleted",
        State::Expired => "Expired",
        State::Cancelling => "Stopping",
        State::Cancelled => "Stopped",
    }
}

/// The states of ours that may have this status of AWS's; none has some.
pub(super) fn states(status: &str) -> &'static [State] {
    match status {
        "Validating" => &[State::Validating],
        "InProgress" => &[State::InProgress, State::Finalizing],
        "Completed" => &[State::Completed],
        "Failed" => &[State::Failed],
        "PartiallyCompleted" | "Expired" => &[State::Expired],
        "Stopping" => &[State::Cancelling],
        "Stopped" => &[State::Cancelled],
        _ => &[],
    }
}

/// The answer of `CreateModelInvocationJob`.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelInvocationJobCreated)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created {
    /// Of the account 000000000000, whoever's it really is.
    pub(super) job_arn: String,
}

/// The answer of `StopModelInvocationJob`.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelInvocationJobStopped)]
pub(super) struct Stopped {}

/// The answer of `ListModelInvocationJobs`.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelInvocationJobs)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    pub(super) invocation_job_summaries: Vec<Told>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<String>,
}

/// A job.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelInvocationJob)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    /// Of the account 000000000000, whoever's it really is.
    job_arn: String,
    job_name: String,
    /// The model as the caller named it.
    model_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_request_token: Option<String>,
    /// Stands for the gateway's own.
    role_arn: String,
    /// `Validating`, `InProgress`, `Completed`, `PartiallyCompleted`, `Failed`, `Stopping`, `Stopped` or `Expired`.
    status: &'static str,
    /// What it waits for, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    submit_time: Moment,
    last_modified_time: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Moment>,
    input_data_config: Input,
    output_data_config: Output,
    timeout_duration_in_hours: u64,
    job_expiration_time: Moment,
    /// `InvokeModel` or `Converse`.
    model_invocation_type: &'static str,
    total_record_count: u64,
    processed_record_count: u64,
    success_record_count: u64,
    error_record_count: u64,
}

/// Where the records are.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelInvocationJobToldInput)]
#[serde(rename_all = "camelCase")]
struct Input {
    s3_input_data_config: S3Input,
}

/// A file of records.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelInvocationJobToldS3Input)]
#[serde(rename_all = "camelCase")]
struct S3Input {
    /// Always `JSONL`.
    s3_input_format: &'static str,
    /// `s3://bedrock-gateway/files/<id>`
    s3_uri: String,
}

/// Where the result is.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelInvocationJobToldOutput)]
#[serde(rename_all = "camelCase")]
struct Output {
    s3_output_data_config: S3Output,
}

/// The file of the result.
#[derive(Serialize, ToSchema)]
#[schema(as = ModelInvocationJobToldS3Output)]
#[serde(rename_all = "camelCase")]
struct S3Output {
    /// `s3://bedrock-gateway/files/<id>`: its bytes are at `/v1/files/<id>/content`.
    s3_uri: String,
}

impl Told {
    pub(super) fn of(catalog: &Catalog, batch: Batch) -> Self {
        let details = Details::of(&batch);
        let moments = [batch.in_progress_at, batch.finalizing_at, batch.cancelling_at, batch.ended_at];
        let modified = moments
            .into_iter()
            .flatten()
            .fold(batch.created_at, |last, at| if at.millis() > last.millis() { at } else { last });
        let partition = partition(catalog, &details.region);
        Self {
            job_arn: details.arn(catalog, &batch.id),
            role_arn: format!("arn:{partition}:iam::{ACCOUNT}:role/bedrock-gateway"),
            status: status(&batch),
            message: message(&batch),
            job_name: details.job_name,
            client_request_token: details.client_request_token,
            submit_time: Moment::at(batch.created_at),
            last_modified_time: Moment::at(modified),
            end_time: batch.ended_at.map(Moment::at),
            input_data_config: Input {
                s3_input_data_config: S3Input {
                    s3_input_format: "JSONL",
                    s3_uri: format!("{FILES}{}", batch.input_file),
                },
            },
            output_data_config: Output {
                s3_output_data_config: S3Output { s3_uri: format!("{FILES}{}", batch.output_file.unwrap_or_default()) },
            },
            timeout_duration_in_hours: details.timeout_duration_in_hours,
            job_expiration_time: Moment::at(batch.expires_at),
            model_invocation_type: batch.invocation.map_or("InvokeModel", Into::into),
            model_id: batch.model.unwrap_or_default(),
            total_record_count: batch.counts.total,
            processed_record_count: batch.counts.completed + batch.counts.failed,
            success_record_count: batch.counts.completed,
            error_record_count: batch.counts.failed,
        }
    }
}

/// What there is to say of a batch: what is wrong with its lines, else what it waits for.
fn message(batch: &Batch) -> Option<String> {
    let problems: Vec<String> = batch
        .errors
        .iter()
        .map(|problem| match problem.line {
            Some(line) => format!("Line {line}: {}", problem.message),
            None => problem.message.clone(),
        })
        .collect();
    let text = if problems.is_empty() { batch.reason.clone()? } else { problems.join(" ") };
    Some(text.chars().take(LONGEST_MESSAGE).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_status_by_which_it_is_found() {
        let open = [State::Validating, State::InProgress, State::Finalizing, State::Cancelling];
        let over = [State::Completed, State::Failed, State::Expired, State::Cancelled];
        for state in open.into_iter().chain(over) {
            let found: Vec<&str> = STATUSES.into_iter().filter(|status| states(status).contains(&state)).collect();
            let expected = if state == State::Expired { 2 } else { 1 };
            assert_eq!(found.len(), expected, "{state:?}: {found:?}");
        }
        assert!(states("Submitted").is_empty() && states("Scheduled").is_empty());
    }
}
