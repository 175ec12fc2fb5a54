//! What a client gets: a response in one piece, and what the routes beside it answer. The events of a stream are
//! written by hand, in `events`, around these same types.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Text;

/// A response, whole or as far as it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesResponse)]
pub struct Response {
    /// Starts with `resp_`.
    pub id: String,
    /// Always `response`.
    pub object: &'static str,
    /// When it was asked for: seconds since the Unix epoch.
    pub created_at: i64,
    /// How far it is.
    pub status: Status,
    /// When it was completed: seconds since the Unix epoch.
    pub completed_at: Option<i64>,
    /// Always false.
    pub background: bool,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Why it is incomplete.
    pub incomplete_details: Option<Incomplete>,
    /// As the request gave them.
    pub instructions: Option<String>,
    /// As the request gave it.
    pub max_output_tokens: Option<u32>,
    /// As the request gave it.
    pub max_tool_calls: Option<u32>,
    /// As the request gave it; empty if it gave none.
    pub metadata: BTreeMap<String, String>,
    /// The model as the request named it.
    pub model: String,
    /// What the model did, in order.
    pub output: Vec<OutputItem>,
    /// As the request gave it; true if it gave none.
    pub parallel_tool_calls: bool,
    /// The response that this one goes on from.
    pub previous_response_id: Option<String>,
    /// As the request gave it.
    pub prompt_cache_key: Option<String>,
    /// As the request gave it.
    pub reasoning: ResponseReasoning,
    /// As the request gave it.
    pub safety_identifier: Option<String>,
    /// The tier that served, if it is known; else the one asked for.
    pub service_tier: String,
    /// Whether it is kept.
    pub store: bool,
    /// As the request gave it.
    pub temperature: Option<f64>,
    /// As the request gave it.
    pub text: Text,
    /// As the request gave it; `auto` if it gave none.
    pub tool_choice: Value,
    /// As the request gave them, in order.
    #[schema(value_type = Vec<Value>)]
    pub tools: Box<RawValue>,
    /// As the request gave it; 0 if it gave none.
    pub top_logprobs: u32,
    /// As the request gave it.
    pub top_p: Option<f64>,
    /// As the request gave it; `disabled` if it gave none.
    pub truncation: String,
    /// What it used; null until it ended.
    pub usage: Option<Usage>,
    /// As the request gave it.
    pub user: Option<String>,
}

/// How far a response or an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ResponsesStatus)]
pub enum Status {
    /// The model is at work.
    InProgress,
    /// All is there.
    Completed,
    /// The model stopped early.
    Incomplete,
    /// The model failed.
    Failed,
}

/// Why a response failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesFailure)]
pub struct Failure {
    /// `server_error`, `rate_limit_exceeded` or `invalid_prompt`.
    pub code: &'static str,
    /// What happened.
    pub message: String,
}

/// Why a response is incomplete.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesIncomplete)]
pub struct Incomplete {
    /// `max_output_tokens` or `content_filter`.
    pub reason: &'static str,
}

/// What a request said of reasoning.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = ResponsesReasoningEcho)]
pub struct ResponseReasoning {
    /// How much to think.
    pub effort: Option<String>,
    /// How to tell of it.
    pub summary: Option<String>,
}

/// Something the model did.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = ResponsesOutputItem)]
pub enum OutputItem {
    /// It thought.
    Reasoning {
        /// Starts with `rs_`.
        id: String,
        /// What of it is readable.
        summary: Vec<SummaryText>,
        /// What the model needs of it in a later turn; to be sent back unchanged.
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
    },
    /// It said something.
    Message {
        /// Starts with `msg_`.
        id: String,
        /// How far it is.
        status: Status,
        /// Always `assistant`.
        role: &'static str,
        /// What it said.
        content: Vec<OutputText>,
    },
    /// It asks for a function.
    FunctionCall {
        /// Starts with `fc_`.
        id: String,
        /// Pairs the call with its answer.
        call_id: String,
        /// The function's name as the request gave it.
        name: String,
        /// The group that the request offered it in.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// The text of a JSON object.
        arguments: String,
        /// How far it is.
        status: Status,
    },
    /// It asks for a custom tool.
    CustomToolCall {
        /// Starts with `ctc_`.
        id: String,
        /// Pairs the call with its answer.
        call_id: String,
        /// The tool's name as the request gave it.
        name: String,
        /// The group that the request offered it in.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// The text for the tool.
        input: String,
        /// How far it is.
        status: Status,
    },
}

impl OutputItem {
    /// The item's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. }
            | Self::Message { id, .. }
            | Self::FunctionCall { id, .. }
            | Self::CustomToolCall { id, .. } => id,
        }
    }

    /// Says that nothing more comes, unless it was said already that it ended otherwise.
    pub fn set_done(&mut self) {
        match self {
            Self::Message { status, .. } | Self::FunctionCall { status, .. } | Self::CustomToolCall { status, .. }
                if *status == Status::InProgress =>
            {
                *status = Status::Completed;
            }
            _ => {}
        }
    }

    /// Says how far the item is; reasoning does not tell.
    pub fn set_status(&mut self, now: Status) {
        match self {
            Self::Reasoning { .. } => {}
            Self::Message { status, .. } | Self::FunctionCall { status, .. } | Self::CustomToolCall { status, .. } => {
                *status = now;
            }
        }
    }
}

/// A piece of readable reasoning.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ResponsesSummaryText)]
pub struct SummaryText {
    /// Always `summary_text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

impl SummaryText {
    /// The piece that says `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { kind: "summary_text", text: text.into() }
    }
}

/// A piece of what the model said.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ResponsesOutputText)]
pub struct OutputText {
    /// Always `output_text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Always empty.
    #[schema(value_type = Vec<Value>)]
    pub annotations: [(); 0],
    /// Always empty.
    #[schema(value_type = Vec<Value>)]
    pub logprobs: [(); 0],
    /// The text.
    pub text: String,
}

impl OutputText {
    /// The piece that says `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self { kind: "output_text", annotations: [], logprobs: [], text: text.into() }
    }
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesUsage)]
pub struct Usage {
    /// The whole prompt, whether fresh, read from a cache or written to it.
    pub input_tokens: u64,
    /// Of the prompt.
    pub input_tokens_details: InputDetails,
    /// The answer, reasoning included.
    pub output_tokens: u64,
    /// Of the answer.
    pub output_tokens_details: OutputDetails,
    /// Their sum.
    pub total_tokens: u64,
}

/// Of the prompt.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesInputDetails)]
pub struct InputDetails {
    /// Read from the cache.
    pub cached_tokens: u64,
    /// Written to the cache.
    pub cache_write_tokens: u64,
}

/// Of the answer.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesOutputDetails)]
pub struct OutputDetails {
    /// Always 0: Bedrock does not count reasoning apart.
    pub reasoning_tokens: u64,
}

/// What is told of a response that was deleted.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesDeleted)]
pub struct Deleted {
    /// The response.
    pub id: String,
    /// Always `response`.
    pub object: &'static str,
    /// Always true.
    pub deleted: bool,
}

/// How many tokens the input of a response would have.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesInputTokens)]
pub struct InputTokens {
    /// Always `response.input_tokens`.
    pub object: &'static str,
    /// Items, instructions and tools together.
    pub input_tokens: u64,
}

/// A page of a response's input.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ResponsesItemList)]
pub struct ItemList {
    /// Always `list`.
    pub object: &'static str,
    /// The items, as they were sent, each with an id.
    pub data: Vec<Value>,
    /// The id of the first; null when there is none.
    pub first_id: Option<String>,
    /// The id of the last; null when there is none.
    pub last_id: Option<String>,
    /// Whether there are more after the last.
    pub has_more: bool,
}
