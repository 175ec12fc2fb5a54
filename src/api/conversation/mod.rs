//! What all surfaces that translate have in common: from the pieces of a caller's request to what Converse takes.
//!
//! Pure, and of no surface: pieces come in canonical form, each with its place in the caller's request ([`At`]), and
//! what differs in words is a [`Dialect`]. The invariant: what comes in is sent, or named in the report, or refused
//! with its place.

mod at;
mod auto_cache;
mod builder;
mod cache;
mod custom;
mod form;
mod media;
mod metadata;
mod names;
mod sampling;
mod schema;
mod tools;

pub use at::At;
pub use auto_cache::auto_cache;
pub use builder::{Builder, Conversation, ToolAnswer};
pub use cache::{CachePoints, check_breakpoint, says_more_than_marks};
pub use custom::{CallerTools, Grammar, custom_arguments, custom_schema, custom_text, custom_text_of};
pub use form::{Block, Form, Wanted};
pub use media::{Label, audio, document, image, is_picture, picture_type, video};
pub use metadata::request_metadata;
pub use names::ToolNames;
pub use sampling::{Sampling, max_tokens, sampling, stop_sequences, top_k};
pub use tools::{Choice, Parallel, Tools, arguments, spec};

/// What a surface calls the things that several of them have.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The list of messages, or of what else the conversation is made of.
    pub conversation: &'static str,
    /// What the turns of the conversation are made of.
    pub grain: Grain,
    /// The id in a tool call.
    pub call_id: &'static str,
    /// The id of a call in a tool's result.
    pub result_id: &'static str,
    /// What the tool answered, in its result.
    pub result_content: &'static str,
    /// The tools offered.
    pub tools: &'static str,
    /// Which tool to use.
    pub tool_choice: &'static str,
    /// Its name, in there.
    pub tool_choice_name: &'static str,
    /// The switch that forbids several tools at once.
    pub parallel: &'static str,
}

/// What the turns of a conversation are made of, in a dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// A message is a turn: that two of one role are joined is news to the caller.
    Messages,
    /// Several items make a turn, each call and each result is one: that they are joined is no news.
    Items,
}
