//! A request.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::openai::wire::TextOrList;
use crate::converse::Object;

/// A message to be answered. Fields that are not named here go to the model as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicMessageRequest)]
#[serde(expecting = "an object")]
pub struct MessagesRequest {
    /// Any name of a model: alias, short id, Bedrock id, inference profile, ARN.
    pub model: String,
    /// The most tokens of the answer; only a count of tokens does without.
    pub max_tokens: Option<u32>,
    /// The conversation.
    pub messages: Vec<InMessage>,
    /// Instructions.
    #[schema(inline)]
    pub system: Option<TextOrList<Block>>,
    /// Texts at which the answer stops.
    pub stop_sequences: Option<Vec<String>>,
    /// Whether the answer comes in pieces.
    pub stream: Option<bool>,
    /// 0 to 1.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// How many candidates each token is drawn from.
    pub top_k: Option<u32>,
    /// Whether, and how long, the model thinks.
    pub thinking: Option<Thinking>,
    /// The form of the answer, and the effort put into it.
    pub output_config: Option<OutputConfig>,
    /// The older name of `output_config.format`.
    pub output_format: Option<Format>,
    /// Tools the model may ask for.
    pub tools: Option<Vec<Tool>>,
    /// Which of them.
    pub tool_choice: Option<ToolChoice>,
    /// The caller's bookkeeping.
    pub metadata: Option<Metadata>,
    /// `auto`, `standard_only`, or one of Bedrock's: `priority`, `flex`, `reserved`.
    pub service_tier: Option<String>,
    /// Sets a cache point by itself.
    pub cache_control: Option<CacheControl>,
    /// Everything else, for the model itself.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = AnthropicRole)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The caller.
    User,
    /// The model.
    Assistant,
    /// Instructions in the middle of a conversation.
    System,
}

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicInputMessage)]
#[serde(expecting = "an object")]
pub struct InMessage {
    /// Who said it.
    pub role: Role,
    /// What was said.
    #[schema(inline)]
    pub content: TextOrList<Block>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// One block of content, of any type.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicInputBlock, no_recursion)]
#[serde(expecting = "an object")]
pub struct Block {
    /// `text`, `image`, `document`, `tool_use`, `tool_result`, `thinking`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// With `text`.
    pub text: Option<String>,
    /// With `image`, `document` and `search_result`.
    pub source: Option<Whereabouts>,
    /// With `document` and `search_result`.
    pub title: Option<String>,
    /// With `document`.
    pub context: Option<String>,
    /// With `document` and `search_result`; with `text`, those that the model made.
    pub citations: Option<Value>,
    /// With `tool_use`.
    pub id: Option<String>,
    /// With `tool_use`.
    pub name: Option<String>,
    /// With `tool_use`.
    pub input: Option<Object>,
    /// With `tool_result`.
    pub tool_use_id: Option<String>,
    /// With `tool_result` and `search_result`.
    #[schema(value_type = Option<Value>)]
    pub content: Option<TextOrList<Block>>,
    /// With `tool_result`.
    pub is_error: Option<bool>,
    /// With `thinking`.
    pub thinking: Option<String>,
    /// With `thinking`.
    pub signature: Option<String>,
    /// With `redacted_thinking`.
    pub data: Option<String>,
    /// Everything up to here may be cached.
    pub cache_control: Option<CacheControl>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// Where a block's content is; for a search result, where it was found.
// Serialises only so that the API document knows its form.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicSource)]
#[serde(untagged)]
pub enum Whereabouts {
    /// Of a search result.
    Name(String),
    /// Of a picture or a document.
    Source(Box<Source>),
}

/// By hand, because an untagged enum would buffer the content and forget the path of a fault in it.
impl<'de> Deserialize<'de> for Whereabouts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Whereabouts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Whereabouts::Name(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Source::deserialize(MapAccessDeserializer::new(map)).map(|source| Whereabouts::Source(Box::new(source)))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The content of a picture or a document.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = AnthropicSourceObject)]
#[serde(expecting = "an object")]
pub struct Source {
    /// `base64`, `url`, `text`, `content` or `file`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `base64` and `text`.
    pub media_type: Option<String>,
    /// With `base64` and `text`.
    pub data: Option<String>,
    /// With `url`.
    pub url: Option<String>,
    /// With `content`.
    pub content: Option<Value>,
}

/// A mark up to which everything may be cached.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicCacheControl)]
#[serde(expecting = "an object")]
pub struct CacheControl {
    /// Always `ephemeral`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `5m`, the default, or `1h`.
    pub ttl: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// Whether, and how long, the model thinks.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicThinking)]
#[serde(expecting = "an object")]
pub struct Thinking {
    /// `enabled`, `adaptive` or `disabled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `enabled`: at least 1024.
    pub budget_tokens: Option<u32>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// The form of the answer, and the effort put into it.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicOutputConfig)]
#[serde(expecting = "an object")]
pub struct OutputConfig {
    /// `low`, `medium`, `high`, `xhigh` or `max`.
    pub effort: Option<String>,
    /// Holds the answer to a schema.
    pub format: Option<Format>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// Holds the answer to a schema.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicFormat)]
#[serde(expecting = "an object")]
pub struct Format {
    /// `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The schema.
    pub schema: Option<Object>,
    /// Its name.
    pub name: Option<String>,
}

/// A tool.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicTool)]
#[serde(expecting = "an object")]
pub struct Tool {
    /// `custom`, also if absent; the others are Anthropic's own.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments.
    pub input_schema: Option<Object>,
    /// Whether the arguments are held to the schema.
    pub strict: Option<bool>,
    /// Everything up to here may be cached.
    pub cache_control: Option<CacheControl>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// Which tools the model may or must use.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicToolChoice)]
#[serde(expecting = "an object")]
pub struct ToolChoice {
    /// `auto`, `any`, `tool` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `tool`.
    pub name: Option<String>,
    /// Whether only one tool may be used at a time.
    pub disable_parallel_tool_use: Option<bool>,
}

/// The caller's bookkeeping.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = AnthropicMetadata)]
#[serde(expecting = "an object")]
pub struct Metadata {
    /// Who the caller's own user is.
    pub user_id: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}
