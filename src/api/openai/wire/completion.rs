//! What a client gets in one piece. The pieces of a stream are written by hand, in `translate::Chunks`.

use serde::Serialize;
use serde_json::Value;

/// A whole completion.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ChatCompletion {
    /// Starts with `chatcmpl-`.
    pub id: String,
    /// Always `chat.completion`.
    pub object: &'static str,
    /// When: seconds since the Unix epoch.
    pub created: i64,
    /// The model as the request named it.
    pub model: String,
    /// As many as were asked for.
    pub choices: Vec<Choice>,
    /// What it used.
    pub usage: Usage,
    /// The tier that served, if Bedrock told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
}

/// One answer.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Choice {
    /// From 0.
    pub index: u32,
    /// What the model said.
    pub message: Answer,
    /// Always null.
    pub logprobs: Option<Value>,
    /// `stop`, `length`, `tool_calls`, `function_call` or `content_filter`.
    pub finish_reason: &'static str,
}

/// What the model said.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
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
    /// The same as the model signed it: to be sent back unchanged, so that the model can go on from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thinking_blocks: Vec<AnswerThinking>,
    /// The tools it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<AnswerToolCall>,
    /// The function it asks for, where the request had `functions`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<AnswerFunction>,
}

/// A piece of signed reasoning.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AnswerThinking {
    /// Readable.
    Thinking {
        /// The text.
        thinking: String,
        /// What proves it genuine.
        signature: String,
    },
    /// Encrypted.
    RedactedThinking {
        /// In base64.
        data: String,
    },
}

/// A tool the model asks for.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AnswerToolCall {
    /// Pairs the call with its result.
    pub id: String,
    /// `function` or `custom`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// With `function`: what to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<AnswerFunction>,
    /// With `custom`: what to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<AnswerCustom>,
}

/// Which custom tool to call, and with what.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AnswerCustom {
    /// The tool's name as the request gave it.
    pub name: String,
    /// The text for it.
    pub input: String,
}

/// What to call, and with what.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AnswerFunction {
    /// The tool's name as the request gave it.
    pub name: String,
    /// The text of a JSON object.
    pub arguments: String,
}

/// Tokens used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
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

impl Usage {
    /// Adds what another answer used.
    pub fn add(&mut self, other: &Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.total_tokens += other.total_tokens;
        let (prompt, more) = (&mut self.prompt_tokens_details, &other.prompt_tokens_details);
        prompt.cached_tokens += more.cached_tokens;
        prompt.cache_write_tokens = sum(prompt.cache_write_tokens, more.cache_write_tokens);
        // Unknown in one, unknown in all.
        let answer = &mut self.completion_tokens_details;
        let reasoning = answer.reasoning_tokens.zip(other.completion_tokens_details.reasoning_tokens);
        answer.reasoning_tokens = reasoning.map(|(own, more)| own + more);
    }
}

/// Of what there is.
fn sum(own: Option<u64>, more: Option<u64>) -> Option<u64> {
    own.map_or(more, |own| Some(own + more.unwrap_or(0)))
}

/// Of the prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PromptDetails {
    /// Read from the cache.
    pub cached_tokens: u64,
    /// Written to the cache; absent when none were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
}

/// Of the answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CompletionDetails {
    /// 0 when the model showed no reasoning; absent when it did, because Bedrock does not count it apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}
