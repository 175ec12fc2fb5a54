//! What a client may send. Fields that this version does not know are kept in `extra`; null counts as absent
//! throughout.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Url;

use crate::converse::{GuardrailConfig, Object};

/// A request for a completion.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct ChatRequest {
    /// The model, by any name the gateway knows.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Whether the answer comes in pieces.
    pub stream: Option<bool>,
    /// How it does.
    pub stream_options: Option<StreamOptions>,
    /// The most tokens of the answer, by its old name.
    pub max_tokens: Option<u32>,
    /// The most tokens of the answer.
    pub max_completion_tokens: Option<u32>,
    /// 0 to 2 at OpenAI.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// From how many of the likeliest tokens to draw; not OpenAI's, but taken by many servers of its dialect.
    pub top_k: Option<u32>,
    /// Where to stop.
    #[schema(inline)]
    pub stop: Option<TextOrList<String>>,
    /// Tools the model may ask for.
    pub tools: Option<Vec<Tool>>,
    /// `none`, `auto`, `required`, or one by name.
    pub tool_choice: Option<Value>,
    /// Whether the model may ask for several tools at once; true if absent.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// `auto`, `default`, `flex`, `priority` or `scale`.
    pub service_tier: Option<String>,
    /// How many answers.
    pub n: Option<u32>,
    /// Up to 16 pairs for the caller's own bookkeeping.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Who is behind the request.
    pub user: Option<String>,
    /// Who is behind the request, by its newer name.
    pub safety_identifier: Option<String>,
    /// How much to think.
    pub reasoning_effort: Option<String>,
    /// The forms of the answer; only text is possible.
    pub modalities: Option<Vec<String>>,
    /// Spoken answers.
    pub audio: Option<Value>,
    /// Tools, as they were called in 2023; the answer then has `function_call`, and one call at most.
    pub functions: Option<Vec<Function>>,
    /// Tool choice, as it was called in 2023: `none`, `auto`, or one by name.
    pub function_call: Option<Value>,
    /// A search run by OpenAI.
    pub web_search_options: Option<Value>,
    /// Default 0.
    pub frequency_penalty: Option<f64>,
    /// Default 0.
    pub presence_penalty: Option<f64>,
    /// Default none.
    pub logit_bias: Option<Object>,
    /// Default false.
    pub logprobs: Option<bool>,
    /// Default 0.
    pub top_logprobs: Option<u32>,
    /// Default none.
    pub seed: Option<i64>,
    /// What the answer probably looks like.
    pub prediction: Option<Value>,
    /// Whether OpenAI keeps the answer; default false.
    pub store: Option<bool>,
    /// `low`, `medium` (the default) or `high`.
    pub verbosity: Option<String>,
    /// Which requests share a prefix.
    pub prompt_cache_key: Option<String>,
    /// How long the prefix is kept.
    pub prompt_cache_retention: Option<String>,
    /// How prefixes are kept.
    pub prompt_cache_options: Option<Value>,
    /// What OpenAI is to judge.
    pub moderation: Option<Value>,
    /// The guardrail that judges the call, as Converse has it; or the headers `x-amzn-bedrock-guardrail...`.
    #[serde(rename = "guardrailConfig")]
    #[schema(value_type = Option<Object>)]
    pub guardrail_config: Option<GuardrailConfig>,
    /// Whether the answer hurries, as Converse has it: `{"latency": "standard" | "optimized"}`.
    #[serde(rename = "performanceConfig")]
    pub performance_config: Option<PerformanceConfig>,
    /// Everything else, for the model itself.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
    /// The paths of fields further in that this version does not know.
    #[serde(skip)]
    pub ignored: Vec<String>,
}

/// How a stream comes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct StreamOptions {
    /// Whether a last chunk tells the usage.
    pub include_usage: Option<bool>,
    /// Whether chunks are padded against eavesdroppers; these never are.
    pub include_obfuscation: Option<bool>,
}

/// Whether an answer hurries.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct PerformanceConfig {
    /// `standard` or `optimized`.
    pub latency: String,
}

/// Marks what is worth caching, up to here; as Anthropic has it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct CacheControl {
    /// `ephemeral`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `5m` (the default) or `1h`.
    pub ttl: Option<String>,
}

/// Marks what is worth caching, up to here; as OpenAI has it
/// (<https://platform.openai.com/docs/guides/prompt-caching>).
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct CacheBreakpoint {
    /// `explicit`.
    pub mode: String,
}

/// Who said a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// Instructions, by their newer name.
    Developer,
    /// The caller.
    User,
    /// The model.
    Assistant,
    /// A tool the model asked for.
    Tool,
    /// The same, as it was called in 2023.
    Function,
}

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said.
    #[schema(inline)]
    pub content: Option<TextOrList<Part>>,
    /// Of a function message: the function that it answers.
    pub name: Option<String>,
    /// The assistant's refusal to answer.
    pub refusal: Option<String>,
    /// The tools the assistant asked for.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The function the assistant asked for, as it was called in 2023.
    pub function_call: Option<FunctionCall>,
    /// Which of those a tool message answers.
    pub tool_call_id: Option<String>,
    /// The assistant's signed reasoning, as an answer gave it.
    pub thinking_blocks: Option<Vec<ThinkingBlock>>,
    /// The message is worth caching, and what is before it.
    pub cache_control: Option<CacheControl>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// A piece of signed reasoning.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct ThinkingBlock {
    /// `thinking` or `redacted_thinking`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `thinking`.
    pub thinking: Option<String>,
    /// With `thinking`.
    pub signature: Option<String>,
    /// With `redacted_thinking`.
    pub data: Option<String>,
}

/// A tool call in a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct ToolCall {
    /// Pairs the call with its result.
    pub id: String,
    /// `function`, also if absent, or `custom`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its number in a stream, which clients repeat; of no meaning here.
    pub index: Option<u32>,
    /// With `function`: what was called.
    pub function: Option<FunctionCall>,
    /// With `custom`: what was called.
    pub custom: Option<CustomCall>,
}

impl ToolCall {
    /// The tool's name, and the field it stands in.
    pub fn name(&self) -> Option<(&'static str, &str)> {
        match self.kind.as_deref() {
            Some("custom") => self.custom.as_ref().map(|custom| ("custom.name", custom.name.as_str())),
            _ => self.function.as_ref().map(|function| ("function.name", function.name.as_str())),
        }
    }
}

/// Which custom tool was called, and with what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct CustomCall {
    /// The tool's name.
    pub name: String,
    /// The text for it.
    pub input: String,
}

/// What was called, and with what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct FunctionCall {
    /// The tool's name.
    pub name: String,
    /// The text of a JSON object.
    pub arguments: Option<String>,
}

/// One part of a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct Part {
    /// `text`, `image_url`, `refusal`, `input_audio`, `file` or `video_url`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `text`.
    pub text: Option<String>,
    /// With `image_url`.
    pub image_url: Option<ImageUrl>,
    /// With `refusal`.
    pub refusal: Option<String>,
    /// With `input_audio`.
    pub input_audio: Option<InputAudio>,
    /// With `file`.
    pub file: Option<File>,
    /// With `video_url`, which is not OpenAI's.
    pub video_url: Option<VideoUrl>,
    /// The part is worth caching, and what is before it.
    pub cache_control: Option<CacheControl>,
    /// The same, by OpenAI's name.
    pub prompt_cache_breakpoint: Option<CacheBreakpoint>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// A picture.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct ImageUrl {
    /// Where it is, or the picture itself.
    #[schema(value_type = String)]
    pub url: Url,
    /// How closely to look: `auto` (the default), `low` or `high`.
    pub detail: Option<String>,
}

/// A recording.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct InputAudio {
    /// In base64.
    pub data: String,
    /// Such as `wav` or `mp3`.
    pub format: String,
}

/// A document.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct File {
    /// The document itself, as a data URL or in base64.
    #[schema(value_type = Option<String>)]
    pub file_data: Option<Url>,
    /// Where it is; not OpenAI's.
    #[schema(value_type = Option<String>)]
    pub file_url: Option<Url>,
    /// An uploaded file.
    pub file_id: Option<String>,
    /// Its name.
    pub filename: Option<String>,
    /// Its media type; not OpenAI's.
    pub format: Option<String>,
}

/// A film.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct VideoUrl {
    /// Where it is, or the film itself.
    #[schema(value_type = String)]
    pub url: Url,
}

/// A tool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct Tool {
    /// `function` or `custom`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `function`.
    pub function: Option<Function>,
    /// With `custom`.
    pub custom: Option<Custom>,
    /// The tools up to here are worth caching.
    pub cache_control: Option<CacheControl>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// A tool the caller runs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The JSON schema of its arguments; without one it takes none.
    pub parameters: Option<Object>,
    /// Whether the arguments are held to the schema.
    pub strict: Option<bool>,
}

impl Tool {
    /// The tool's name, and the field it stands in.
    pub fn name(&self) -> Option<(&'static str, &str)> {
        match self.kind.as_str() {
            "custom" => self.custom.as_ref().map(|custom| ("custom.name", custom.name.as_str())),
            _ => self.function.as_ref().map(|function| ("function.name", function.name.as_str())),
        }
    }
}

/// A tool the caller runs, which takes text instead of JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct Custom {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The form of the text.
    pub format: Option<CustomFormat>,
}

/// The form of the text for a custom tool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct CustomFormat {
    /// `text` or `grammar`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `grammar`.
    pub grammar: Option<CustomGrammar>,
}

/// The grammar of the text for a custom tool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct CustomGrammar {
    /// `lark` or `regex`.
    pub syntax: String,
    /// The grammar itself.
    pub definition: String,
}

/// The form of the answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `json_schema`.
    pub json_schema: Option<JsonSchema>,
}

/// The schema of the answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
pub struct JsonSchema {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The schema.
    pub schema: Option<Object>,
    /// Whether the answer is held to it; it always is.
    pub strict: Option<bool>,
}

/// A string, or a list.
// Serialises only so that the API document knows its form.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum TextOrList<T> {
    /// A string.
    Text(String),
    /// A list.
    List(Vec<T>),
}

/// By hand, because an untagged enum would buffer the content and forget the path of a fault in it.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOrList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = TextOrList<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOrList::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
                Ok(TextOrList::Text(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(TextOrList::List)
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}
