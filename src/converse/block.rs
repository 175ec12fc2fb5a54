//! Messages and what they hold.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The caller's side, tool results included.
    User,
    /// The model's side.
    Assistant,
    /// An instruction in the middle of a conversation; few models take it.
    System,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who said it.
    pub role: Role,
    /// What was said, in order.
    pub content: Vec<ContentBlock>,
}

/// One piece of a message. A kind this version does not know is kept as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContentBlock {
    /// Plain text.
    Text(String),
    /// A picture.
    Image(Image),
    /// A document.
    Document(Document),
    /// A recording, for the models that listen.
    Audio(Media),
    /// A film, for the models that watch.
    Video(Media),
    /// The model asks for a tool to be run.
    ToolUse(ToolUse),
    /// What a tool answered.
    ToolResult(ToolResult),
    /// The model's reasoning; its signature has to come back unchanged.
    ReasoningContent(ReasoningContent),
    /// Everything before this point may be cached.
    CachePoint(CachePoint),
    /// Any other kind, whole.
    #[serde(untagged)]
    Other(Value),
}

impl ContentBlock {
    /// Text, from anything that is text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

/// A picture in one of Bedrock's formats: `png`, `jpeg`, `gif` or `webp`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// The format's name.
    pub format: String,
    /// The bytes, or where they are.
    pub source: MediaSource,
}

/// Where the bytes of a picture, a recording or a film are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MediaSource {
    /// Base64.
    Bytes(String),
    /// An object in S3, for the models that read from there.
    S3Location(Value),
}

/// A recording or a film in one of Bedrock's formats, such as `mp3` or `mp4`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Media {
    /// The format's name.
    pub format: String,
    /// The bytes, or where they are.
    pub source: MediaSource,
}

/// A document in one of Bedrock's formats, such as `pdf` or `txt`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// The format's name; absent when the source is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// A neutral name: the model reads it.
    pub name: String,
    /// The bytes, the text, or where they are.
    pub source: DocumentSource,
    /// What the document is about, for citations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Whether the model cites from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citations: Option<Value>,
}

/// Where a document's content is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DocumentSource {
    /// Base64.
    Bytes(String),
    /// Plain text.
    Text(String),
    /// Text in pieces.
    Content(Value),
    /// An object in S3.
    S3Location(Value),
}

/// The model asks for a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUse {
    /// Pairs the call with its result: 1 to 64 of `[a-zA-Z0-9_.:-]`.
    pub tool_use_id: String,
    /// The tool's name: 1 to 64 of `[a-zA-Z0-9_-]`.
    pub name: String,
    /// The arguments, an object.
    pub input: Value,
    /// `server_tool_use` when Bedrock runs the tool itself.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// A tool call of which only the head is known yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUseStart {
    /// Pairs the call with its result.
    pub tool_use_id: String,
    /// The tool's name.
    pub name: String,
    /// `server_tool_use` when Bedrock runs the tool itself.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// What a tool answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    /// The id of the call.
    pub tool_use_id: String,
    /// The answer's parts.
    pub content: Vec<ToolResultBlock>,
    /// `success` or `error`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// One part of a tool's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolResultBlock {
    /// Plain text.
    Text(String),
    /// Structured data.
    Json(Value),
    /// A picture.
    Image(Image),
    /// A document.
    Document(Document),
    /// Any other kind, whole.
    #[serde(untagged)]
    Other(Value),
}

/// The model's reasoning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReasoningContent {
    /// Readable, with the signature that proves it genuine.
    ReasoningText(ReasoningText),
    /// Encrypted by the provider: base64.
    RedactedContent(String),
}

/// Readable reasoning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReasoningText {
    /// The text.
    pub text: String,
    /// Has to come back unchanged in the next turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// A cache point: everything before it may be cached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CachePoint {
    /// Always `default`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `5m` or `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}
