//! A whole answer, and what it used.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Message;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// What the model said.
    pub output: Output,
    /// Why it stopped.
    pub stop_reason: StopReason,
    /// What it used.
    pub usage: Usage,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The fields asked for by `additionalModelResponseFieldPaths`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_model_response_fields: Option<Value>,
    /// What guardrail and prompt router did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Value>,
    /// Whether it really hurried, `{"latency": ...}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub performance_config: Option<Value>,
    /// The tier that really served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<Value>,
}

/// The wrapping of the answer's message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Output {
    /// What the model said.
    pub message: Message,
}

/// Why the model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was done.
    EndTurn,
    /// It wants tools run.
    ToolUse,
    /// `maxTokens` was reached.
    MaxTokens,
    /// A stop sequence came up.
    StopSequence,
    /// A guardrail stepped in.
    GuardrailIntervened,
    /// The provider's filter stepped in.
    ContentFiltered,
    /// The answer did not hold to its form.
    MalformedModelOutput,
    /// The tool call did not hold to its form.
    MalformedToolUse,
    /// The context window is full.
    ModelContextWindowExceeded,
    /// One this version does not know.
    #[serde(other)]
    Unknown,
}

/// How long the model took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    /// Milliseconds, by Bedrock's own clock.
    pub latency_ms: u64,
}

/// Tokens by class. `input_tokens` excludes what the cache served or took in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Read at the full price.
    pub input_tokens: u64,
    /// Written by the model.
    pub output_tokens: u64,
    /// Bedrock's sum.
    pub total_tokens: u64,
    /// Read from the cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_input_tokens: u64,
    /// Written to the cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_input_tokens: u64,
    /// Cache writes by lifetime.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache_details: Vec<CacheDetail>,
}

/// Cache writes of one lifetime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheDetail {
    /// `5m` or `1h`.
    pub ttl: String,
    /// Tokens written.
    pub input_tokens: u64,
}

impl Usage {
    /// The whole prompt: read fresh, read from the cache and written to it.
    pub fn prompt_tokens(&self) -> u64 {
        self.input_tokens + self.cache_read_input_tokens + self.cache_write_input_tokens
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
