//! What a client may send. Fields that this version does not know are kept in `extra`; null counts as absent
//! throughout.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Item;
use crate::api::body;
use crate::api::openai::wire::TextOrList;
use crate::converse::Object;
use crate::error::Error;

/// Reads the body of a request. A fault is `Kind::Invalid` and names the field.
pub fn parse(body: &[u8]) -> Result<Request, Error> {
    let (mut request, ignored) = body::read_noting_ignored::<Request>(body)?;
    request.ignored = ignored;
    Ok(request)
}

/// A request for a response.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResponsesRequest)]
pub struct Request {
    /// The model, by any name the gateway knows.
    pub model: String,
    /// What the model is asked, or the items of the conversation so far.
    #[schema(inline)]
    pub input: Option<TextOrList<Item>>,
    /// Instructions; those of `previous_response_id` do not count any more.
    pub instructions: Option<String>,
    /// The most tokens of the answer.
    pub max_output_tokens: Option<u32>,
    /// 0 to 2 at OpenAI.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// Tools the model may ask for.
    pub tools: Option<Vec<Tool>>,
    /// `none`, `auto`, `required`, one by name, or `allowed_tools`.
    pub tool_choice: Option<Value>,
    /// Whether the model may ask for several tools at once; true if absent.
    pub parallel_tool_calls: Option<bool>,
    /// The most calls of tools that OpenAI runs itself; there are none here.
    pub max_tool_calls: Option<u32>,
    /// The form of the answer.
    pub text: Option<Text>,
    /// How much to think.
    pub reasoning: Option<Reasoning>,
    /// What else to tell; `reasoning.encrypted_content` is always told.
    pub include: Option<Vec<String>>,
    /// Up to 16 pairs for the caller's own bookkeeping.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Who is behind the request.
    pub user: Option<String>,
    /// Who is behind the request, by its newer name.
    pub safety_identifier: Option<String>,
    /// `auto`, `default`, `flex`, `priority` or `scale`.
    pub service_tier: Option<String>,
    /// Whether the response is kept, so that a later one can go on from it; true if absent.
    pub store: Option<bool>,
    /// The response to go on from.
    pub previous_response_id: Option<String>,
    /// Whether the answer comes in pieces.
    pub stream: Option<bool>,
    /// How it does.
    pub stream_options: Option<StreamOptions>,
    /// `disabled` (the default) or `auto`.
    pub truncation: Option<String>,
    /// Whether to answer at once and work later; not possible.
    pub background: Option<bool>,
    /// A conversation that OpenAI keeps; not possible.
    pub conversation: Option<Value>,
    /// A template that OpenAI keeps; not possible.
    pub prompt: Option<Value>,
    /// How many alternatives of each token to tell.
    pub top_logprobs: Option<u32>,
    /// Which requests share a prefix.
    pub prompt_cache_key: Option<String>,
    /// How long the prefix is kept.
    pub prompt_cache_retention: Option<Value>,
    /// How prefixes are kept.
    pub prompt_cache_options: Option<Value>,
    /// When OpenAI shortens the conversation by itself.
    pub context_management: Option<Value>,
    /// What OpenAI is to judge.
    pub moderation: Option<Value>,
    /// Options of work in the background.
    pub background_options: Option<Value>,
    /// Only the most probable tokens; a field of other dialects that models here take.
    pub top_k: Option<u32>,
    /// What the client tells of itself.
    pub client_metadata: Option<Value>,
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
#[schema(as = ResponsesStreamOptions)]
pub struct StreamOptions {
    /// Whether events are padded against eavesdroppers; these never are.
    pub include_obfuscation: Option<bool>,
}

/// A tool.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResponsesTool)]
pub struct Tool {
    /// `function`, `custom`, or `namespace` for a group of these. What OpenAI runs itself is left out where a client
    /// offers `web_search`, `tool_search` or `image_generation` beside its own.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Of `function`: the JSON schema of its arguments; without one it takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Object>,
    /// Of `function`: whether the arguments are held to the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
    /// Of `custom`: the form of the text it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Value>,
    /// Of `namespace`: the tools of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(no_recursion)]
    pub tools: Option<Vec<Self>>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}

/// The form of the answer.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResponsesText)]
pub struct Text {
    /// Plain if absent.
    pub format: Option<Format>,
    /// `low`, `medium` (the default) or `high`.
    pub verbosity: Option<String>,
}

/// What the answer's text is.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResponsesFormat)]
pub struct Format {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `json_schema`: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Object>,
    /// Whether the answer is held to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// How much to think, and how to tell of it.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = ResponsesReasoning)]
pub struct Reasoning {
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`.
    pub effort: Option<String>,
    /// `auto`, `concise` or `detailed`; what a model shows of its reasoning is always told.
    pub summary: Option<String>,
    /// `summary` by its old name.
    pub generate_summary: Option<String>,
    /// Everything else.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub extra: Object,
}
