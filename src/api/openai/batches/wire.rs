//! What a client sends and gets: <https://platform.openai.com/docs/api-reference/batch>.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request for a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object", deny_unknown_fields)]
#[schema(as = BatchRequest)]
pub(super) struct Request {
    /// An uploaded file with the purpose `batch`.
    pub(super) input_file_id: String,
    /// `/v1/chat/completions`, `/v1/responses` or `/v1/embeddings`: what all of its records ask for.
    pub(super) endpoint: String,
    /// How long it may take: `24h`, or any number of hours up to `168h`.
    pub(super) completion_window: String,
    /// Up to 16 pairs for the caller's own bookkeeping.
    pub(super) metadata: Option<BTreeMap<String, String>>,
    /// How long the files of the results are kept.
    pub(super) output_expires_after: Option<OutputExpiresAfter>,
    /// Who is told when the batch is over; not OpenAI's. An https URL; the team's own if absent.
    pub(super) webhook_url: Option<String>,
}

/// How long the files of the results are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object", deny_unknown_fields)]
#[schema(as = BatchOutputExpiresAfter)]
pub(super) struct OutputExpiresAfter {
    /// Always `created_at`: from when a file was made.
    pub(super) anchor: Anchor,
    /// 3600 to 2592000.
    pub(super) seconds: u64,
}

/// From when the time of a file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BatchAnchor)]
pub(super) enum Anchor {
    /// From when it was made.
    CreatedAt,
}

/// A batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batch)]
pub(super) struct Batch {
    /// Starts with `batch_`.
    pub(super) id: String,
    /// Always `batch`.
    pub(super) object: &'static str,
    /// What its records ask for.
    pub(super) endpoint: &'static str,
    /// The model, where all records name one.
    pub(super) model: Option<String>,
    /// What is wrong with its file.
    pub(super) errors: Option<Errors>,
    /// The file of its records.
    pub(super) input_file_id: String,
    /// As it was asked for.
    pub(super) completion_window: String,
    /// `validating`, `failed`, `in_progress`, `finalizing`, `completed`, `expired`, `cancelling` or `cancelled`.
    pub(super) status: &'static str,
    /// The answers, once they are all there.
    pub(super) output_file_id: Option<String>,
    /// The records that have none, and why.
    pub(super) error_file_id: Option<String>,
    /// When it was submitted: seconds since the Unix epoch, as all times here.
    pub(super) created_at: i64,
    /// When its records began to run, or to wait for it.
    pub(super) in_progress_at: Option<i64>,
    /// When its window ends.
    pub(super) expires_at: i64,
    /// When all records were done.
    pub(super) finalizing_at: Option<i64>,
    /// When it was completed.
    pub(super) completed_at: Option<i64>,
    /// When it failed.
    pub(super) failed_at: Option<i64>,
    /// When its window had ended.
    pub(super) expired_at: Option<i64>,
    /// When somebody cancelled it.
    pub(super) cancelling_at: Option<i64>,
    /// When it was cancelled.
    pub(super) cancelled_at: Option<i64>,
    /// How far it is.
    pub(super) request_counts: RequestCounts,
    /// As it was asked for.
    pub(super) metadata: Option<BTreeMap<String, String>>,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_expires_after: Option<OutputExpiresAfter>,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) webhook_url: Option<String>,
    /// What only this gateway tells.
    pub(super) gateway: GatewayWord,
}

/// What is wrong with the file of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchErrors)]
pub(super) struct Errors {
    /// Always `list`.
    pub(super) object: &'static str,
    /// The first hundred.
    pub(super) data: Vec<LineError>,
}

/// What is wrong with one line, or with the file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchError)]
pub(super) struct LineError {
    /// For programs, such as `invalid_json_line`.
    pub(super) code: String,
    /// For people.
    pub(super) message: String,
    /// The member of the line.
    pub(super) param: Option<String>,
    /// The line, from 1.
    pub(super) line: Option<u64>,
}

/// How far a batch is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchRequestCounts)]
pub(super) struct RequestCounts {
    /// All records.
    pub(super) total: u64,
    /// Those with an answer.
    pub(super) completed: u64,
    /// Those that ended in an error; those that never ran among them.
    pub(super) failed: u64,
}

/// What only this gateway tells of a batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchAtGateway)]
pub(super) struct GatewayWord {
    /// US dollars that it may cost at most, as estimated when it was submitted; null: a price is not known.
    pub(super) estimate_usd: Option<String>,
    /// US dollars that it has cost so far; null: the price of a part of it is not known.
    pub(super) cost_usd: Option<String>,
    /// What it waits for, or what went wrong with it as a whole.
    pub(super) reason: Option<String>,
    /// How many parts of batches are in front of its first that waits for a job of AWS's; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) queue_position: Option<u64>,
    /// What its parts wait for, in words; not in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) waiting_for: Vec<String>,
    /// Its parts by how and where they run and how far they are; not in lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) shards: Vec<Shards>,
}

/// Parts of a batch that have everything in common that is told of them.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BatchShards)]
pub(super) struct Shards {
    /// As the records name it.
    pub(super) model: String,
    /// `job`: as a batch job of AWS's; `online`: record by record.
    pub(super) kind: &'static str,
    /// `queued`, `submitting`, `submitted`, `collecting` or `settled`.
    pub(super) state: &'static str,
    /// Where.
    pub(super) region: String,
    /// Why these records are no job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why_online: Option<String>,
    /// How many parts.
    pub(super) count: u64,
    /// Their records.
    pub(super) records: u64,
    /// Of those, how many have an answer or an error.
    pub(super) done: u64,
}

/// A page of batches.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchList)]
pub(super) struct List {
    /// Always `list`.
    pub(super) object: &'static str,
    /// The newest first.
    pub(super) data: Vec<Batch>,
    /// The id of the first; null when there is none.
    pub(super) first_id: Option<String>,
    /// The id of the last; null when there is none.
    pub(super) last_id: Option<String>,
    /// Whether there are more after the last.
    pub(super) has_more: bool,
}
