//! A request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CachePoint, Message, Object};

/// A completion to ask for. Serialises to the body of Converse and ConverseStream, which name the model in the path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The model as the caller named it.
    #[serde(skip)]
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Instructions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<SystemBlock>,
    /// Length and sampling.
    #[serde(default, skip_serializing_if = "InferenceConfig::is_empty")]
    pub inference_config: InferenceConfig,
    /// Tools the model may ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig>,
    /// The form of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig>,
    /// The guardrail that judges the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guardrail_config: Option<GuardrailConfig>,
    /// Fields of the model's own, merged into its native request.
    #[serde(default, skip_serializing_if = "Object::is_empty")]
    pub additional_model_request_fields: Object,
    /// JSON pointers into the model's native response; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_model_response_field_paths: Vec<String>,
    /// At most 16 pairs, for the invocation log.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_metadata: BTreeMap<String, String>,
    /// `{"latency": "standard" | "optimized"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performance_config: Option<Value>,
    /// `{"type": "priority" | "default" | "flex" | "reserved"}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<Value>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SystemBlock {
    /// Plain text, not blank.
    Text(String),
    /// Everything before this point may be cached.
    CachePoint(CachePoint),
    /// Any other kind, whole.
    #[serde(untagged)]
    Other(Value),
}

/// Length and sampling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InferenceConfig {
    /// At least 1; without it the model's maximum is reserved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Each at least one character.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
}

impl InferenceConfig {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Tools the model may ask for, and whether it must.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolConfig {
    /// At least one.
    pub tools: Vec<Tool>,
    /// Absent: the model decides. There is no "none".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
}

/// A tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Tool {
    /// One the caller runs.
    ToolSpec(ToolSpec),
    /// Everything before this point may be cached.
    CachePoint(CachePoint),
    /// Any other kind, whole.
    #[serde(untagged)]
    Other(Value),
}

/// A tool the caller runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolSpec {
    /// 1 to 64 of `[a-zA-Z0-9_-]`.
    pub name: String,
    /// At least one character when present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the arguments look like.
    pub input_schema: InputSchema,
    /// Whether the arguments are held to the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// A JSON schema in Bedrock's wrapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSchema {
    /// The schema, an object.
    pub json: Value,
}

/// Whether, and which, tool the model has to use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolChoice {
    /// The model decides.
    Auto(Object),
    /// Some tool.
    Any(Object),
    /// The named one: `{"name": ...}`.
    Tool {
        /// The tool's name.
        name: String,
    },
}

/// The form of the answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputConfig {
    /// Holds the answer to a schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_format: Option<TextFormat>,
    /// `low` to `max`, for the models that take it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
}

/// Holds the answer to a schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextFormat {
    /// Always `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The schema in its wrapping.
    pub structure: Structure,
}

/// The wrapping of an answer's schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Structure {
    /// A JSON schema.
    JsonSchema(JsonSchema),
}

/// An answer's schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JsonSchema {
    /// The schema as JSON text.
    pub schema: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The guardrail that judges the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardrailConfig {
    /// Its id or ARN.
    pub guardrail_identifier: String,
    /// Its version, or `DRAFT`.
    pub guardrail_version: String,
    /// `enabled`, `disabled` or `enabled_full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// `sync` or `async`; streams only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_processing_mode: Option<String>,
}
