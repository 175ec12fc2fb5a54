//! Between Responses and the canonical form: pure functions over owned values, no clock, no network, no store.
//!
//! The invariant: what a request asks for is sent, or named in the [`Report`], or refused with the field's path.

mod answer;
mod events;
mod input;
mod namespaces;
mod reasoning;
mod settings;
#[cfg(test)]
mod tests;
mod told;
mod tools;

pub use answer::response;
pub use events::Events;
pub use namespaces::Namespaces;
pub use reasoning::is_sealed;
pub use settings::{impossible, response as unanswered};
pub use told::{failure, tell_error};
pub use tools::is_extra;

use input::Input;
use tools::Offer;

use super::wire::{Item, Request, Response};
use crate::api::conversation::{self, At, CallerTools, Form, request_metadata};
use crate::converse;
use crate::error::Error;
use crate::families::{self, Traits};
use crate::report::{Action, Report};

/// What a request is, with all that it points to at hand.
#[derive(Debug)]
pub struct Asked {
    /// The request, its input taken out.
    pub wire: Request,
    /// The conversation, each item with its place in the request.
    pub items: Vec<(At, Item)>,
    /// What was changed already.
    pub report: Report,
    /// The id of the response.
    pub id: String,
    /// When: seconds since the Unix epoch.
    pub created: i64,
    /// Whether the response is to be kept.
    pub store: bool,
    /// Who made the model, such as `anthropic`.
    pub provider: String,
}

/// A request in canonical form, and what is needed to answer in the caller's.
#[derive(Debug)]
pub struct Translated {
    /// What to ask Bedrock.
    pub request: converse::Request,
    /// What a caller could notice of the translation.
    pub report: Report,
    /// What the answer repeats.
    pub context: Context,
}

/// What an answer repeats of its request.
#[derive(Clone, Debug)]
pub struct Context {
    /// The response before the model has said anything.
    pub response: Response,
    /// The caller's tools.
    pub tools: CallerTools,
    /// Those of them that are in groups.
    pub namespaces: Namespaces,
    /// The way back to the form of the answer.
    pub form: Form,
    /// Who made the model, such as `anthropic`.
    pub provider: String,
}

impl Context {
    /// The id of the output item at `position`: it leads back to the response (see [`owner`]).
    fn item_id(&self, prefix: &str, position: usize) -> String {
        item_id(prefix, &self.response.id, position)
    }
}

/// The id of an item of the response `id`.
pub fn item_id(prefix: &str, id: &str, position: usize) -> String {
    let response = id.strip_prefix(RESPONSE_PREFIX).unwrap_or(id);
    // An id that Bedrock made has a length of its own.
    let between = if response.len() == RESPONSE_DIGITS { "" } else { "_" };
    format!("{prefix}{response}{between}{position:04x}")
}

/// The id of the response that the item with this id belongs to, if this gateway made the id.
pub fn owner(item_id: &str) -> Option<String> {
    let (_, rest) = item_id.split_once('_')?;
    let response = match rest.rsplit_once('_') {
        Some((response, _)) => response,
        None => rest.get(..RESPONSE_DIGITS).filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()))?,
    };
    Some(format!("{RESPONSE_PREFIX}{response}"))
}

/// What the id of a response begins with.
pub const RESPONSE_PREFIX: &str = "resp_";
/// How many hex digits follow it in an id that this gateway made.
const RESPONSE_DIGITS: usize = 32;

/// Puts a request into canonical form, for a model with `traits`. What cannot be is `Kind::Invalid` or
/// `Kind::Unsupported`, and names the field.
pub fn request(asked: Asked, traits: &Traits) -> Result<Translated, Error> {
    let Asked { mut wire, mut items, mut report, id, created, store, provider } = asked;
    for path in std::mem::take(&mut wire.ignored) {
        report.add(Action::Dropped, path);
    }
    settings::refuse_impossible(&wire)?;
    settings::drop_untranslatable(&wire, &mut report)?;
    let ask = settings::ask(wire.reasoning.as_ref())?;
    let mut response = settings::response(&wire, id)?;
    response.created_at = created;
    response.store = store;
    namespaces::join_calls(&mut items);
    let Offer { caller: tools, namespaces, tools: mut offer } = Offer::read(&mut wire, &items, &mut report)?;

    let mut request = converse::Request {
        inference_config: settings::inference(&wire, traits, &mut report)?,
        service_tier: settings::service_tier(wire.service_tier.as_deref())?,
        request_metadata: request_metadata(
            wire.metadata,
            [("user", "user", wire.user), ("safety_identifier", "safety_identifier", wire.safety_identifier)],
            &mut report,
        ),
        additional_model_request_fields: settings::additional(wire.extra),
        model: wire.model,
        ..converse::Request::default()
    };
    let input = Input { instructions: wire.instructions, items, provider: &provider };
    let conversation = input.conversation(&tools.names, traits, &mut report)?;
    request.system = conversation.system;
    request.messages = conversation.messages;
    offer.used = conversation.tools_used;
    let form = match settings::wanted(wire.text.and_then(|text| text.format))? {
        Some(wanted) => Form::request(wanted, "text.format", ask, traits, (&mut offer, &mut request), &mut report),
        None => Form::Plain,
    };
    offer.apply(&input::DIALECT, &tools.names, traits, &mut request, &mut report)?;
    conversation::top_k(wire.top_k, traits, &mut request.additional_model_request_fields, &mut report);
    if let Some(ask) = ask {
        families::reasoning::apply(ask, settings::EFFORT, traits, &mut request, &mut report)?;
    }
    Ok(Translated { request, report, context: Context { response, tools, namespaces, form, provider } })
}
