//! The canonical form: one request, one response, one stream of events, shaped and named as Bedrock's Converse API
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
//!
//! These types are ours because the SDK's do not serialise and drop fields they do not know. They serialise straight
//! to the wire. Nothing here decides anything, and the module imports nothing of this crate. Binary content stays in
//! the base64 text in which it came and goes.

mod block;
mod event;
mod request;
mod response;

pub use block::{
    CachePoint, ContentBlock, Document, DocumentSource, Image, Media, MediaSource, Message, ReasoningContent,
    ReasoningText, Role, ToolResult, ToolResultBlock, ToolUse, ToolUseStart,
};
pub use event::{BlockStart, Delta, Event};
pub use request::{
    GuardrailConfig, InferenceConfig, InputSchema, JsonSchema, OutputConfig, Request, Structure, SystemBlock,
    TextFormat, Tool, ToolChoice, ToolConfig, ToolSpec,
};
pub use response::{CacheDetail, Metrics, Output, Response, StopReason, Usage};

/// A JSON object whose keys keep their order: the order of a tool's schema is part of what the model sees and of
/// what the prompt cache compares.
pub type Object = serde_json::Map<String, serde_json::Value>;
