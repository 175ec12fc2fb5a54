//! `POST /openai/v1/responses` of the runtime: OpenAI's Responses API as Bedrock offers it. Synchronous or streamed, the tools
//! of clients alone, no background, no conversations, no stored prompts; a response is stored in the Region that gave it unless
//! `store` is false. Sources: OpenAI's API reference, "Responses API support on Amazon Bedrock", `bedrock.md` of the project.
//!
//! GPT-5.x, GPT-6.x and Grok answer here, all by inference profile alone (`us.`, `global.`, ...): their bare ids are refused
//! as those of any profile-only model. gpt-oss and the open-weight models answer chat completions, not this.

mod fields;
mod input;
mod render;
mod stored;
mod tools;

use serde_json::{Value, json};

use super::content::{self, Block};
use super::converse::Delivery;
use super::errors::Failure;
use super::guardrail;
use super::invoke::is_blocked;
use super::operations::Context;
use super::prompt_cache::Input;
use super::reply::Reply;
use super::resolve::Target;

pub(crate) use fields::{known_keys, missing, one_of, refuse, wrong_type};
pub(crate) use input::image;
pub(crate) use stored::Stored;
pub(crate) use tools::{strict, well_named};

use input::Turns;
use render::Response;
use stored::Kept;

/// Answers a Responses body.
pub(crate) fn answer(
    context: &Context<'_>,
    target: &Target,
    body: &Value,
    delivery: Delivery,
) -> Result<Reply, Failure> {
    fields::check(body, &target.model)?;
    let tier = context.tier(target, body["service_tier"].as_str())?.unwrap_or("default");
    let stored = context.simulator.stored_responses();
    let mut items = match body["previous_response_id"].as_str() {
        None => Vec::new(),
        Some(id) => {
            let kept = stored.find(context.region, id);
            kept.ok_or_else(|| missing_response(id).about("previous_response_id"))?.items
        }
    };
    let earlier = items.len();
    items.extend(input::items(body)?);
    input::check(&mut items, earlier, &target.model, &|id| stored.item(context.region, id))?;
    let turns = Turns { body, items: &items, model: &target.model };
    let (prompt, meter) = turns.read();
    let input = context.meet_cache(target, &meter).map_err(Failure::validation)?;
    let input = if fields::writes_cost(&target.model) { input } else { without_writes(&input) };
    let mut answer = content::answer(&prompt);
    if is_blocked(context, &prompt.question) {
        answer.blocks = vec![Block::Text(guardrail::MESSAGE.to_owned())];
        "content_filtered".clone_into(&mut answer.stop_reason);
    }
    let id = format!("resp_{}", uuid::Uuid::new_v4().simple());
    let response = Response {
        id: &id,
        body,
        target,
        tier,
        answer: &answer,
        input: &input,
        created_at: context.seconds(),
        tools: tools::seen(&body["tools"], &items),
    };
    let whole = response.whole();
    let events = matches!(delivery, Delivery::Stream).then(|| response.events(&whole));
    if body["store"] != false {
        items.extend(whole["output"].as_array().into_iter().flatten().cloned());
        stored.keep(context.region, &id, Kept { response: whole.clone(), items });
    }
    let reply = match events {
        None => Reply::json(&whole),
        Some(events) => Reply::events(events),
    };
    Ok(reply.costing(&input, answer.output_tokens))
}

/// Answers `GET /openai/v1/responses/{id}`.
pub(crate) fn retrieve(context: &Context<'_>, id: &str) -> Result<Reply, Failure> {
    let kept = context.simulator.stored_responses().find(context.region, id);
    Ok(Reply::json(&kept.ok_or_else(|| missing_response(id))?.response))
}

/// Answers `DELETE /openai/v1/responses/{id}`.
pub(crate) fn delete(context: &Context<'_>, id: &str) -> Result<Reply, Failure> {
    if !context.simulator.stored_responses().forget(context.region, id) {
        return Err(missing_response(id));
    }
    Ok(Reply::json(&json!({"id": id, "object": "response", "deleted": true})))
}

fn missing_response(id: &str) -> Failure {
    Failure::not_found(format!("Response with id '{id}' not found."))
}

/// Before GPT-5.6 writing to the cache cost nothing and was not told.
fn without_writes(input: &Input) -> Input {
    Input { fresh: input.fresh + input.written, read: input.read, ..Input::default() }
}

#[cfg(test)]
mod tests;
