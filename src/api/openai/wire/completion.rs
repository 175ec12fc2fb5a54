//! What a client gets in one piece. The pieces of a stream are written by hand, in `translate::Chunks`.

use serde::Serialize;
use serde_json::Value;

/// A whole completion.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ChatCompletion {
    /// Starts with `chatcmpl-`.
    pub id: String,
    /// Always `chat.completion`.
    pub object: &'static str,
    /// When: seconds since the Unix epoch.
    pub created: i64,
    /// The model as the request named it.
    pub model: String,
    /// Exactly one.
    pub choices: Vec<Choice>,
    /// What it used.
    pub usage: Usage,
    /// The tier that served, if Bedrock told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
}

/// One answer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Choice {
    /// Always 0.
    pub index: u32,
    /// What the model said.
    pub message: Answer,
    /// Always null.
    pub logprobs: Option<Value>,
    /// `stop`, `length`, `tool_calls` or `content_filter`.
    pub finish_reason: &'static str,
}

/// What the model said.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Answer {
    /// Always `assistant`.
    pub role: &'static str,
    /// The text; null when there is none.
    pub content: Option<String>,
    /// Always null: a refusal comes as text.
    pub refusal: Option<String>,
    /// The model's reasoning, where it shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The tools it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<AnswerToolCall>,
}

/// A tool the model asks for.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AnswerToolCall {
    /// Pairs the call with its result.
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What to call.
    pub function: AnswerFunction,
}

/// What to call, and with what.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct AnswerFunction {
    /// The tool's name as the request gave it.
    pub name: String,
    /// The text of a JSON object.
    pub arguments: String,
}

/// Tokens used.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Usage {
    /// The whole prompt, whether fresh, read from a cache or written to it.
    pub prompt_tokens: u64,
    /// The answer, reasoning included.
    pub completion_tokens: u64,
    /// Their sum.
    pub total_tokens: u64,
    /// Of the prompt.
    pub prompt_tokens_details: PromptDetails,
    /// Of the answer.
    pub completion_tokens_details: CompletionDetails,
}

/// Of the prompt.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PromptDetails {
    /// Read from the cache.
    pub cached_tokens: u64,
    /// Written to the cache; absent when none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
}

/// Of the answer.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CompletionDetails {
    /// 0 when the model showed no reasoning; absent when it did, because Bedrock does not count it apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}
