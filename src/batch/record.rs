//! What the store knows of files, batches and shards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{KeyId, TeamId};
use crate::money::MicroUsd;

/// Whose lines a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `{"custom_id", "method", "url", "body"}`: <https://platform.openai.com/docs/api-reference/batch/request-input>.
    OpenAi,
    /// `{"custom_id", "params"}`: <https://docs.anthropic.com/en/api/creating-message-batches>.
    Anthropic,
    /// `{"recordId", "modelInput"}`: <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html>.
    Bedrock,
}

/// What the records of a batch ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumString, strum::IntoStaticStr, strum::EnumIter)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    #[strum(serialize = "/v1/chat/completions")]
    Chat,
    /// `/v1/responses`
    #[strum(serialize = "/v1/responses")]
    Responses,
    /// `/v1/embeddings`
    #[strum(serialize = "/v1/embeddings")]
    Embeddings,
    /// `/v1/messages`
    #[strum(serialize = "/v1/messages")]
    Messages,
    /// A job of AWS's own API.
    #[strum(serialize = "native")]
    Native,
}

/// How a job calls its model: AWS's `modelInvocationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
pub enum Invocation {
    /// Records are bodies of Converse.
    Converse,
    /// Records are the model's own bodies.
    InvokeModel,
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    /// Its file is being planned into shards.
    Validating,
    /// Its shards run, or wait.
    InProgress,
    /// All shards have ended; the result is put together.
    Finalizing,
    /// Every record has an answer or an error.
    Completed,
    /// Nothing ran: a line is wrong, or the plan could not be made.
    Failed,
    /// The completion window ended before all records were done.
    Expired,
    /// Somebody cancelled it; what runs is being stopped.
    Cancelling,
    /// Cancelled; what was done by then is in the result.
    Cancelled,
}

impl State {
    /// Whether nothing of it changes any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Expired | Self::Cancelled)
    }
}

/// An object in S3, or what a file has of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The Region of its bucket.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Its length.
    pub bytes: u64,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// `file-...`
    pub id: String,
    /// Whose it is.
    pub team: TeamId,
    /// Who made it.
    pub key: KeyId,
    /// `batch`, `batch_output`.
    pub purpose: String,
    /// As its owner called it.
    pub filename: String,
    /// How it came about.
    pub origin: Origin,
    /// The dialect of its lines, where one could be read.
    pub form: Option<Form>,
    /// Its length.
    pub bytes: u64,
    /// Where its bytes are, one after the other.
    pub segments: Vec<Segment>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it is deleted.
    pub expires_at: Timestamp,
}

/// How a file came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Origin {
    /// Somebody uploaded it.
    Upload,
    /// It was the body of a message batch. No list shows it.
    Inline,
    /// A batch made it.
    Result,
}

/// What is wrong with a batch as a whole, or with a line of its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The line, from 1; none: it is about all of it.
    pub line: Option<u64>,
    /// A word for programs, as at OpenAI: `invalid_json_line`, `duplicate_custom_id`, ...
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// The member of the line.
    pub param: Option<String>,
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All records.
    pub total: u64,
    /// Those with an answer.
    pub completed: u64,
    /// Those that ended in an error, `cancelled` and `expired` among them.
    pub failed: u64,
    /// Of those, the ones that were cancelled before they ran.
    pub cancelled: u64,
    /// Of those, the ones that the end of the window kept from running.
    pub expired: u64,
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `batch_...`, `msgbatch_...`, or the twelve letters and digits of a native job.
    pub id: String,
    /// Who pays.
    pub team: TeamId,
    /// Who submitted it.
    pub key: KeyId,
    /// `openai`, `anthropic`, `bedrock`.
    pub surface: String,
    /// What its records ask for.
    pub endpoint: Endpoint,
    /// The model of a native job, as its caller named it.
    pub model: Option<String>,
    /// Of a native job.
    pub invocation: Option<Invocation>,
    /// Its records.
    pub input_file: String,
    /// Answers. Known from the start; the file is there once there are answers.
    pub output_file: Option<String>,
    /// Errors, likewise; none where the surface has one result for both.
    pub error_file: Option<String>,
    /// Where it is.
    pub state: State,
    /// How far it is.
    pub counts: Counts,
    /// What it may cost at most; none: a price is not known.
    pub estimate: Option<MicroUsd>,
    /// What it has cost so far.
    pub cost: MicroUsd,
    /// Records that were settled without a price.
    pub unpriced: u64,
    /// The caller's own.
    pub metadata: BTreeMap<String, String>,
    /// What the surface wants back: JSON of its own.
    pub details: Option<String>,
    /// Why it failed: at most 100.
    pub errors: Vec<Problem>,
    /// What it waits for, or what went wrong with it as a whole.
    pub reason: Option<String>,
    /// Who is told when it is over.
    pub webhook_url: Option<String>,
    /// When it was submitted.
    pub created_at: Timestamp,
    /// When its shards began to run or to wait.
    pub in_progress_at: Option<Timestamp>,
    /// When all of them had ended.
    pub finalizing_at: Option<Timestamp>,
    /// When somebody cancelled it.
    pub cancelling_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// When its completion window ends.
    pub expires_at: Timestamp,
}

/// How a shard is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// As a batch job of AWS's.
    Job,
    /// Record by record through the completion path.
    Online,
}

/// Where a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum ShardState {
    /// It waits for a place.
    Queued,
    /// AWS is being asked for a job; it may have made one.
    Submitting,
    /// It runs.
    Submitted,
    /// It has ended and its answers are being read.
    Collecting,
    /// Its answers are kept and paid for.
    Settled,
}

/// A part of a batch that is run as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The batch.
    pub batch: String,
    /// Unique in the batch, from 0.
    pub number: u32,
    /// How it is run.
    pub kind: Kind,
    /// As the records name it.
    pub model: String,
    /// Bedrock's id of the model.
    pub model_id: String,
    /// What the job is made with; empty online.
    pub call_id: String,
    /// Where the job runs and the shard's objects are.
    pub region: String,
    /// The bucket of that Region.
    pub bucket: String,
    /// How the job calls its model.
    pub invocation: Invocation,
    /// From 1.
    pub attempt: u32,
    /// How many records.
    pub records: u64,
    /// Of its input.
    pub bytes: u64,
    /// What it may cost at most; its part of what the batch holds.
    pub worst: MicroUsd,
    /// Where it is.
    pub state: ShardState,
    /// AWS's word for the state of its job.
    pub job_state: Option<String>,
    /// AWS's ARN of the job, which holds the account: not for callers.
    pub job_arn: Option<String>,
    /// Why it is not run as a job.
    pub why_online: Option<String>,
    /// What it waits for, or what AWS said of it.
    pub reason: Option<String>,
    /// Records with an answer or an error so far.
    pub done: u64,
    /// Of those, errors.
    pub failed: u64,
    /// Of those, the ones that were cancelled before they ran.
    pub cancelled: u64,
    /// Of those, the ones that the end of the window kept from running.
    pub expired: u64,
    /// Its part of the output, once collected.
    pub output: Vec<Segment>,
    /// Its part of the errors, once collected.
    pub errors: Vec<Segment>,
    /// When it was planned.
    pub queued_at: Timestamp,
    /// When AWS took its job.
    pub submitted_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}
