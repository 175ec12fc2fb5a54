//! The shape of `POST /v1/messages` (<https://platform.claude.com/docs/en/api/messages>). Types only; what they mean for
//! Bedrock is `translate`'s matter.

mod message;
mod request;

pub use message::{CacheCreation, Citation, Message, OutBlock, StopDetails, Usage};
pub use request::{
    Block, CacheControl, Format, InMessage, MessagesRequest, Metadata, OutputConfig, Role, Source, Thinking, Tool,
    ToolChoice, Whereabouts,
};

use crate::api::body;
use crate::error::Error;

/// Reads the body of a request. A fault is `Kind::Invalid` and names the field.
pub fn parse(body: &[u8]) -> Result<MessagesRequest, Error> {
    body::read(body)
}
