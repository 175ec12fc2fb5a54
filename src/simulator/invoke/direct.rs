//! The runtime's OpenAI and Anthropic paths (`/openai/v1/chat/completions`, `/anthropic/v1/messages`): the native bodies
//! with the model inside, answered as JSON or server-sent events.

use serde_json::Value;

use super::{Native, NativeBody, anthropic, openai, parse};
use crate::simulator::catalog::Family;
use crate::simulator::converse::Delivery;
use crate::simulator::errors::{Failure, Surface};
use crate::simulator::frames::Item;
use crate::simulator::operations::Context;
use crate::simulator::reply::Reply;

/// The model and delivery that a body asks for; an unreadable body asks for none.
pub(crate) fn peek(body: &[u8]) -> (String, Delivery) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let delivery = if body["stream"] == true { Delivery::Stream } else { Delivery::Whole };
    (body["model"].as_str().unwrap_or_default().to_owned(), delivery)
}

/// Answers a call of `surface`.
pub(crate) fn answer(
    context: &Context<'_>,
    surface: Surface,
    model_id: &str,
    body: &[u8],
    delivery: Delivery,
) -> Result<Reply, Failure> {
    let mut body = parse(body)?;
    if model_id.is_empty() {
        return Err(Failure::validation("model: Field required"));
    }
    let target = context.resolve(model_id)?;
    if let Some(fields) = body.as_object_mut() {
        fields.shift_remove("model");
        fields.shift_remove("stream");
        if surface == Surface::Anthropic {
            fields.insert("anthropic_version".to_owned(), Value::from("bedrock-2023-05-31"));
        }
    }
    let native = match (surface, target.model.family()) {
        (Surface::Anthropic, Family::Claude) if context.header("anthropic-version").is_none() => {
            Err(Failure::validation("anthropic-version: header is required"))
        }
        (Surface::Anthropic, Family::Claude) => anthropic::answer(context, &target, &body, delivery),
        (Surface::OpenAi, Family::Chat) => openai::answer(context, &target, &body, delivery),
        _ => Err(Failure::validation("This API doesn't support the model that you provided.")),
    }?;
    let Native { body, input, output_tokens } = native;
    let reply = match body {
        NativeBody::Whole(body) => Reply::json(&body),
        NativeBody::Stream(objects) => Reply::events(server_sent(surface, &objects, output_tokens)),
    };
    Ok(reply.costing(&input, output_tokens))
}

fn server_sent(surface: Surface, objects: &[(Value, u64)], output_tokens: u64) -> Vec<Item> {
    let event = |object: &Value| object["type"].as_str().filter(|_| surface == Surface::Anthropic).map(str::to_owned);
    let mut items: Vec<Item> =
        objects.iter().map(|(object, tokens)| Item::server_sent(event(object), object.to_string(), *tokens)).collect();
    if surface == Surface::OpenAi {
        items.push(Item::server_sent(None, "[DONE]".to_owned(), output_tokens));
    }
    items
}
