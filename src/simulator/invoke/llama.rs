//! Llama's native body: one raw prompt, the text after its last header.

use serde_json::{Value, json};

use super::Native;
use crate::simulator::content::{self, Prompt};
use crate::simulator::converse::Delivery;
use crate::simulator::errors::Failure;
use crate::simulator::operations::Context;
use crate::simulator::prompt_cache::Meter;
use crate::simulator::resolve::Target;

const KEYS: &[&str] = &["prompt", "max_gen_len", "temperature", "top_p", "images"];
const DEFAULT_MAX_GEN_LEN: u64 = 512;

/// Answers a Llama body.
pub(crate) fn answer(
    context: &Context<'_>,
    target: &Target,
    body: &Value,
    delivery: Delivery,
) -> Result<Native, Failure> {
    super::refuse_keys(body, KEYS)?;
    let text = body["prompt"].as_str().ok_or_else(|| Failure::malformed("#: required key [prompt] not found"))?;
    let max_tokens = body["max_gen_len"].as_u64().unwrap_or(DEFAULT_MAX_GEN_LEN);
    if let Some(limit) = target.model.max_output_tokens.filter(|limit| max_tokens > *limit) {
        return Err(Failure::malformed(format!("#/max_gen_len: {max_tokens} is not less or equal to {limit}")));
    }
    let mut meter = Meter::default();
    meter.text(text);
    let input = context.meet_cache(target, &meter).map_err(Failure::validation)?;
    let question = last_turn(text).to_owned();
    let answer = content::answer(&Prompt {
        question,
        max_tokens: Some(max_tokens),
        seed: meter.fingerprint(),
        ..Prompt::default()
    });
    let said: String = answer
        .blocks
        .iter()
        .filter_map(|block| if let content::Block::Text(text) = block { Some(text.as_str()) } else { None })
        .collect();
    let (prompt_tokens, output_tokens) = (input.total(), answer.output_tokens);
    let reason = if answer.stop_reason == "max_tokens" { "length" } else { "stop" };
    let object = |text: &str, prompt: Option<u64>, generated: u64, reason: Option<&str>| json!({"generation": text, "prompt_token_count": prompt, "generation_token_count": generated, "stop_reason": reason});
    if delivery == Delivery::Whole {
        return Ok(Native::whole(
            object(&said, Some(prompt_tokens), output_tokens, Some(reason)),
            input,
            output_tokens,
        ));
    }
    let mut spoken = 0;
    let mut objects: Vec<(Value, u64)> = Vec::new();
    for (piece, tokens) in content::text_deltas(&said) {
        spoken += tokens;
        objects.push((object(&piece, objects.is_empty().then_some(prompt_tokens), spoken, None), spoken));
    }
    objects.push((object("", None, output_tokens, Some(reason)), output_tokens));
    Ok(Native::stream(objects, input, output_tokens))
}

/// The text of the last user turn in Llama's prompt template; all of a prompt without one.
fn last_turn(prompt: &str) -> &str {
    let after = prompt.rsplit_once("<|start_header_id|>user<|end_header_id|>").map_or(prompt, |(_, after)| after);
    after.split("<|eot").next().unwrap_or(after).trim()
}
