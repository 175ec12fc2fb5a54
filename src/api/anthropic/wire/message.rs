//! An answer.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AnthropicMessage)]
pub struct Message {
    /// Its id, `msg_...`.
    pub id: String,
    /// Always `message`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Always `assistant`.
    pub role: &'static str,
    /// The model as the caller named it.
    pub model: String,
    /// What the model said.
    pub content: Vec<OutBlock>,
    /// Why it stopped: `end_turn`, `max_tokens`, `stop_sequence`, `tool_use`, `refusal` or
    /// `model_context_window_exceeded`; null at the start of a stream.
    pub stop_reason: Option<&'static str>,
    /// The text at which it stopped, if that is known.
    pub stop_sequence: Option<String>,
    /// More about a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_details: Option<StopDetails>,
    /// What it used.
    pub usage: Usage,
}

/// More about a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AnthropicStopDetails)]
pub struct StopDetails {
    /// Always `refusal`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Not told by Bedrock.
    pub category: Option<String>,
    /// Not told by Bedrock.
    pub explanation: Option<String>,
}

/// One block of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = AnthropicBlock)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutBlock {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// What it goes back to.
        citations: Option<Vec<Citation>>,
    },
    /// The model's reasoning.
    Thinking {
        /// The text.
        thinking: String,
        /// Has to come back unchanged; empty for a model that does not sign.
        signature: String,
    },
    /// Reasoning that is kept secret.
    RedactedThinking {
        /// Has to come back unchanged.
        data: String,
    },
    /// The model asks for a tool.
    ToolUse {
        /// Pairs the call with its result.
        id: String,
        /// The tool's name.
        name: String,
        /// The arguments.
        input: Value,
    },
}

/// What a text goes back to. Fields that its kind does not have are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = AnthropicCitation)]
pub struct Citation {
    /// `char_location`, `page_location`, `content_block_location` or `search_result_location`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The words.
    pub cited_text: String,
    /// Which document of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_index: Option<u64>,
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_title: Option<String>,
    /// Which search result of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_result_index: Option<u64>,
    /// Where the search result was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The search result's title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// First character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_char_index: Option<u64>,
    /// Behind the last character.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_char_index: Option<u64>,
    /// First page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_page_number: Option<u64>,
    /// Behind the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_page_number: Option<u64>,
    /// First block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_block_index: Option<u64>,
    /// Behind the last block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_block_index: Option<u64>,
}

/// Tokens by class. `input_tokens` excludes what the cache served or took in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AnthropicUsage)]
pub struct Usage {
    /// Read at the full price.
    pub input_tokens: u64,
    /// Written to the cache.
    pub cache_creation_input_tokens: u64,
    /// Read from the cache.
    pub cache_read_input_tokens: u64,
    /// Cache writes by lifetime.
    pub cache_creation: CacheCreation,
    /// Written by the model.
    pub output_tokens: u64,
    /// The tier that served: `standard`, or Bedrock's name for another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
}

/// Cache writes by lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AnthropicCacheCreation)]
pub struct CacheCreation {
    /// For five minutes.
    pub ephemeral_5m_input_tokens: u64,
    /// For an hour.
    pub ephemeral_1h_input_tokens: u64,
}
