//! The runtime's OpenAI and Anthropic paths (`/openai/v1/chat/completions`, `/openai/v1/responses`, `/anthropic/v1/messages`):
//! the native bodies with the model inside, answered as JSON or server-sent events.

use serde_json::Value;

use super::{Native, NativeBody, anthropic, headers, openai, parse};
use crate::simulator::converse::Delivery;
use crate::simulator::errors::{Failure, Surface};
use crate::simulator::frames::Item;
use crate::simulator::operations::Context;
use crate::simulator::reply::Reply;
use crate::simulator::responses;

/// An API of another provider that the runtime speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    ChatCompletions,
    Responses,
    Messages,
}

impl Api {
    /// Whose shape its errors have.
    pub(crate) const fn surface(self) -> Surface {
        match self {
            Self::ChatCompletions => Surface::OpenAi,
            Self::Responses => Surface::Responses,
            Self::Messages => Surface::Anthropic,
        }
    }
}

/// The model and delivery that a body asks for; an unreadable body asks for none.
pub(crate) fn peek(body: &[u8]) -> (String, Delivery) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let delivery = if body["stream"] == true { Delivery::Stream } else { Delivery::Whole };
    (body["model"].as_str().unwrap_or_default().to_owned(), delivery)
}

/// Answers a call of `api`.
pub(crate) fn answer(
    context: &Context<'_>,
    api: Api,
    model_id: &str,
    body: &[u8],
    delivery: Delivery,
) -> Result<Reply, Failure> {
    let mut body = parse(body)?;
    headers(context)?;
    if model_id.is_empty() {
        return Err(Failure::validation("model: Field required").about("model"));
    }
    if api == Api::Responses && model_id.contains("application-inference-profile/") {
        return Err(Failure::validation("Application inference profiles are not supported by this API.").about("model"));
    }
    let target = context.resolve(model_id)?;
    let serves = match api {
        Api::ChatCompletions => target.model.completes_chats(),
        Api::Responses => target.model.responds(),
        Api::Messages => target.model.takes_messages(),
    };
    if !serves {
        return Err(Failure::validation("This API doesn't support the model that you provided.").about("model"));
    }
    if api == Api::Responses {
        return responses::answer(context, &target, &body, delivery);
    }
    if let Some(fields) = body.as_object_mut() {
        fields.shift_remove("model");
        fields.shift_remove("stream");
        if api == Api::Messages {
            fields.insert("anthropic_version".to_owned(), Value::from("bedrock-2023-05-31"));
        }
    }
    let native = match api {
        Api::Messages if context.header("anthropic-version").is_none() => {
            Err(Failure::validation("anthropic-version: header is required"))
        }
        Api::Messages => anthropic::answer(context, &target, &body, delivery),
        _ => openai::answer(context, &target, &body, delivery),
    }?;
    let Native { body, input, output_tokens } = native;
    let reply = match body {
        NativeBody::Whole(body) => Reply::json(&body),
        NativeBody::Stream(objects) => Reply::events(server_sent(api, &objects, output_tokens)),
    };
    Ok(reply.costing(&input, output_tokens))
}

fn server_sent(api: Api, objects: &[(Value, u64)], output_tokens: u64) -> Vec<Item> {
    let event = |object: &Value| object["type"].as_str().filter(|_| api == Api::Messages).map(str::to_owned);
    let mut items: Vec<Item> =
        objects.iter().map(|(object, tokens)| Item::server_sent(event(object), object.to_string(), *tokens)).collect();
    if api == Api::ChatCompletions {
        items.push(Item::server_sent(None, "[DONE]".to_owned(), output_tokens));
    }
    items
}
