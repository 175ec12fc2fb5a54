//! Between the OpenAI dialect and the canonical form: pure functions over owned values, no clock, no network.
//!
//! The invariant: what a request asks for is sent, or named in the [`Report`], or refused with the field's path.

mod chunks;
mod messages;
mod parts;
mod response;
mod settings;
#[cfg(test)]
mod tests;
mod tools;

pub use chunks::Chunks;
pub use response::response;
pub(super) use settings::performance;

use super::wire;
use crate::api::conversation::{self, CachePoints, CallerTools, Form, request_metadata};
use crate::converse;
use crate::error::Error;
use crate::families::{Traits, reasoning};
use crate::report::{Action, Report};

/// A request in canonical form, and what is needed to answer in the caller's.
#[derive(Debug)]
pub struct Translated {
    /// What to ask Bedrock.
    pub request: converse::Request,
    /// What a caller could notice of the translation.
    pub report: Report,
    /// The caller's tools.
    pub tools: CallerTools,
    /// What calls are in the answer.
    pub calling: Calling,
    /// The way back to the form of the answer.
    pub form: Form,
    /// How many answers; at least 1.
    pub choices: usize,
    /// Whether the answer comes in pieces.
    pub stream: bool,
    /// Whether a stream ends by telling the usage.
    pub include_usage: bool,
}

/// What an answer repeats of its request.
#[derive(Clone, Debug)]
pub struct Context {
    /// The answer's id, `chatcmpl-...`.
    pub id: String,
    /// When: seconds since the Unix epoch.
    pub created: i64,
    /// The model as the caller named it.
    pub model: String,
    /// The caller's tools.
    pub tools: CallerTools,
    /// What calls are in the answer.
    pub calling: Calling,
    /// The way back to the form of the answer.
    pub form: Form,
    /// Whether a stream ends by telling the usage.
    pub include_usage: bool,
}

/// What the calls that the model makes are in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calling {
    /// Tool calls.
    #[default]
    Tools,
    /// The one function call that answers had room for in 2023, for those who ask in those words.
    Function,
}

/// Puts a request into canonical form, for a model with `traits`. What cannot be is `Kind::Invalid` or
/// `Kind::Unsupported`, and names the field.
pub fn request(mut wire: wire::ChatRequest, traits: &Traits) -> Result<Translated, Error> {
    settings::refuse_impossible(&wire)?;
    let mut report = Report::default();
    for path in std::mem::take(&mut wire.ignored) {
        report.add(Action::Dropped, path);
    }
    let calling = tools::calling(&wire, &mut report)?;
    let caller = tools::caller(&wire, &mut report)?;
    let tool_names = &caller.names;
    let (stream, include_usage) = settings::stream(&wire, &mut report)?;
    let inference_config = settings::inference(&wire, traits, &mut report)?;
    settings::drop_untranslatable(&wire, &mut report);
    let ask = settings::ask(wire.reasoning_effort.as_deref())?;

    let mut request = converse::Request {
        inference_config,
        service_tier: settings::service_tier(wire.service_tier.as_deref())?,
        performance_config: settings::performance(wire.performance_config)?,
        guardrail_config: settings::guardrail(wire.guardrail_config, stream, &mut report),
        request_metadata: request_metadata(
            wire.metadata,
            [("user", "user", wire.user), ("safety_identifier", "safety_identifier", wire.safety_identifier)],
            &mut report,
        ),
        additional_model_request_fields: settings::additional(wire.extra),
        model: wire.model,
        ..converse::Request::default()
    };
    // In the order of the prompt, which is that of the cache points.
    let mut points = CachePoints::new(traits);
    let mut tools = if let Some(offered) = wire.functions {
        tools::functions(offered, wire.function_call.as_ref(), tool_names, traits, &mut report)?
    } else {
        let (choice, parallel) = (wire.tool_choice.as_ref(), wire.parallel_tool_calls);
        tools::tools(wire.tools, choice, parallel, &caller, &mut points, &mut report)?
    };
    let conversation = messages::conversation(wire.messages, tool_names, traits, &mut points, &mut report)?;
    request.system = conversation.system;
    request.messages = conversation.messages;
    tools.used = conversation.tools_used;
    let form = match settings::wanted(wire.response_format)? {
        Some(wanted) => {
            let places = (&mut tools, &mut request);
            Form::request(wanted, "response_format", ask, traits, places, &mut report)
        }
        None => Form::Plain,
    };
    tools.apply(messages::dialect(calling), tool_names, traits, &mut request, &mut report)?;
    conversation::top_k(wire.top_k, traits, &mut request.additional_model_request_fields, &mut report);
    if let Some(ask) = ask {
        reasoning::apply(ask, "reasoning_effort", traits, &mut request, &mut report)?;
    }
    let choices = usize::try_from(wire.n.unwrap_or(1)).unwrap_or(1);
    Ok(Translated { request, report, tools: caller, calling, form, choices, stream, include_usage })
}
