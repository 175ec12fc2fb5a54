//! The shape of `/v1/responses` (<https://platform.openai.com/docs/api-reference/responses>). Types only; what they mean
//! for Bedrock is `translate`'s matter.

mod item;
mod request;
mod response;

pub use item::{Item, Part, Role};
pub use request::{Format, Reasoning, Request, StreamOptions, Text, Tool, parse};
pub use response::{
    Deleted, Failure, Incomplete, InputDetails, InputTokens, ItemList, OutputDetails, OutputItem, OutputText, Response,
    ResponseReasoning, Status, SummaryText, Usage,
};
