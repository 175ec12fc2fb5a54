//! Between the Anthropic dialect and the canonical form, for the models that do not speak it: pure functions over owned
//! values, no clock, no network.
//!
//! The invariant: what a request asks for is sent, or named in the [`Report`], or refused with the field's path.

mod citations;
mod document;
mod events;
mod messages;
mod response;
mod settings;
mod sources;
mod tools;

pub use events::Events;
pub use response::response;
pub(in crate::api) use sources::{inline, remotes};

use super::wire;
use crate::api::conversation::{CachePoints, Form, ToolNames};
use crate::converse::{self, ContentBlock};
use crate::error::Error;
use crate::families::{Traits, reasoning};
use crate::report::Report;

/// A request in canonical form, and what is needed to answer in the caller's.
#[derive(Debug)]
pub struct Translated {
    /// What to ask Bedrock.
    pub request: converse::Request,
    /// How the answer gets its form.
    pub form: Form,
    /// The way back to the caller's tool names.
    pub tool_names: ToolNames,
}

/// What an answer repeats of its request.
#[derive(Clone, Debug)]
pub struct Context {
    /// The answer's id, `msg_...`.
    pub id: String,
    /// The model as the caller named it.
    pub model: String,
    /// The way back to the caller's tool names.
    pub tool_names: ToolNames,
    /// How the answer got its form.
    pub form: Form,
    /// The stop sequences that were asked for.
    pub stop_sequences: Vec<String>,
}

/// Puts a request, whose sources are all in it, into canonical form, for a model with `traits`. What cannot be is
/// `Kind::Invalid` or `Kind::Unsupported`, and names the field.
pub fn request(wire: wire::MessagesRequest, traits: &Traits, report: &mut Report) -> Result<Translated, Error> {
    let tool_names = tools::names(&wire, report)?;
    let mut points = CachePoints::new(traits);
    let mut tools = tools::tools(wire.tools, wire.tool_choice, &tool_names, &mut points, report)?;
    let ask = settings::ask(wire.thinking.as_ref(), wire.output_config.as_ref(), report)?;
    let mut request = converse::Request {
        model: wire.model,
        inference_config: settings::inference(
            wire.max_tokens,
            (wire.temperature, wire.top_p),
            wire.stop_sequences.unwrap_or_default(),
            traits,
            report,
        )?,
        service_tier: settings::service_tier(wire.service_tier.as_deref())?,
        request_metadata: settings::metadata(wire.metadata, report),
        additional_model_request_fields: settings::additional(wire.extra, report),
        ..converse::Request::default()
    };
    if !request.inference_config.stop_sequences.is_empty() {
        // Which of them it was, where the model tells; a model that does not have the field passes over it.
        request.additional_model_response_field_paths = vec!["/stop_sequence".to_owned()];
    }
    crate::api::conversation::top_k(wire.top_k, traits, &mut request.additional_model_request_fields, report);

    let conversation = messages::conversation((wire.system, wire.messages), &tool_names, traits, &mut points, report)?;
    request.system = conversation.system;
    request.messages = conversation.messages;
    if let Some(control) = wire.cache_control
        && let Some(point) =
            messages::point(&control, crate::api::conversation::At::field("cache_control"), &mut points, report)
        && let Some(last) = request.messages.last_mut()
    {
        last.content.push(ContentBlock::CachePoint(point));
    }
    tools.used = conversation.tools_used;
    let form = match settings::wanted(wire.output_config, wire.output_format, report)? {
        Some((wanted, field)) => {
            let asked = ask.map(|(ask, _)| ask);
            Form::request(wanted, field, asked, traits, (&mut tools, &mut request), report)
        }
        None => Form::Plain,
    };
    tools.apply(&messages::DIALECT, &tool_names, traits, &mut request, report)?;
    if let Some((ask, field)) = ask {
        reasoning::apply(ask, field, traits, &mut request, report)?;
    }
    Ok(Translated { request, form, tool_names })
}
