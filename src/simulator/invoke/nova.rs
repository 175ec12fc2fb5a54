//! Nova's native body: Converse's own messages with another envelope and stricter keys.

use serde_json::{Value, json};

use super::Native;
use crate::simulator::content;
use crate::simulator::converse::{self, Delivery, Style};
use crate::simulator::errors::Failure;
use crate::simulator::operations::Context;
use crate::simulator::reply::latency;
use crate::simulator::resolve::Target;
use crate::simulator::validate::{conversation, model, shape};

const KEYS: &[&str] =
    &["schemaVersion", "messages", "system", "inferenceConfig", "toolConfig", "reasoningConfig", "outputConfig"];

/// Answers a Nova body.
pub(crate) fn answer(
    context: &Context<'_>,
    target: &Target,
    body: &Value,
    delivery: Delivery,
) -> Result<Native, Failure> {
    super::refuse_keys(body, KEYS)?;
    if body.get("messages").is_none() {
        return Err(Failure::malformed("#: required key [messages] not found"));
    }
    shape::check("ConverseRequest", body)?;
    conversation::check(body, &target.model)?;
    model::check(body, &target.model, delivery == Delivery::Stream)?;
    let (prompt, meter) = converse::read(body, &target.model);
    let input = context.meet_cache(target, &meter).map_err(Failure::validation)?;
    let answer = content::answer(&prompt);
    let (style, output_tokens) = (Style { signed: false }, answer.output_tokens);
    let usage = json!({
        "inputTokens": input.fresh,
        "outputTokens": output_tokens,
        "totalTokens": input.total() + output_tokens,
        "cacheReadInputTokenCount": input.read,
        "cacheWriteInputTokenCount": input.written,
    });
    if delivery == Delivery::Whole {
        let body = json!({"output": {"message": converse::message(&answer, style)}, "stopReason": answer.stop_reason, "usage": usage});
        return Ok(Native::whole(body, input, output_tokens));
    }
    let metadata = json!({"usage": usage, "metrics": {"latencyMs": latency(output_tokens)}, "trace": {}});
    let events = converse::events(&answer, style, None, metadata).into_iter();
    let objects = events.map(|event| (json!({event.kind: event.payload}), event.output_tokens)).collect();
    Ok(Native::stream(objects, input, output_tokens))
}
