//! The shape of `POST /v1/chat/completions` (<https://platform.openai.com/docs/api-reference/chat/create>). Types
//! only; what they mean for Bedrock is `translate`'s matter.

mod completion;
mod request;
mod url;

pub use completion::{
    Answer, AnswerCustom, AnswerFunction, AnswerThinking, AnswerToolCall, ChatCompletion, Choice, CompletionDetails,
    PromptDetails, Usage,
};
pub use request::{
    CacheBreakpoint, CacheControl, ChatRequest, Custom, CustomCall, CustomFormat, CustomGrammar, File, Function,
    FunctionCall, ImageUrl, InputAudio, JsonSchema, Message, Part, PerformanceConfig, ResponseFormat, Role,
    StreamOptions, TextOrList, ThinkingBlock, Tool, ToolCall, VideoUrl,
};
pub use url::Url;

use super::body;
use crate::error::Error;

/// Reads the body of a request. A fault is `Kind::Invalid` and names the field.
pub fn parse(body: &[u8]) -> Result<ChatRequest, Error> {
    let (mut request, ignored) = body::read_noting_ignored::<ChatRequest>(body)?;
    request.ignored = ignored;
    Ok(request)
}
