//! InvokeModel and `InvokeModelWithResponseStream`: one file per native body, the headers and chunks that all share.

mod anthropic;
mod anthropic_blocks;
mod anthropic_citations;
mod anthropic_rules;
mod anthropic_tools;
pub(crate) mod direct;
mod embeddings;
mod images;
mod llama;
mod media_embeddings;
mod nova;
mod openai;
mod openai_rules;
mod rerank;

pub(crate) use media_embeddings::check_async;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::catalog::{Family, Model};
use super::converse::Delivery;
use super::errors::Failure;
use super::frames::Item;
use super::guardrail;
use super::operations::Context;
use super::prompt_cache::{Input, Meter};
use super::reply::{Reply, latency};
use super::resolve::Target;
use super::validate::model::check_latency;
use super::validate::shape;

const MAX_BODY: usize = 25_000_000;

/// An answer in a model's own format: its body, or the objects of its stream with the output tokens up to each.
#[derive(Debug)]
pub(crate) struct Native {
    body: NativeBody,
    input: Input,
    output_tokens: u64,
}

#[derive(Debug)]
enum NativeBody {
    Whole(Value),
    Stream(Vec<(Value, u64)>),
}

/// Answers either invoke operation.
pub(crate) fn answer(context: &Context<'_>, model_id: &str, body: &[u8], delivery: Delivery) -> Result<Reply, Failure> {
    if body.len() > MAX_BODY {
        return Err(Failure::validation(format!(
            "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length less than or equal to {MAX_BODY}"
        )));
    }
    headers(context)?;
    let target = context.resolve(model_id)?;
    check_latency(&target.model, context.header("x-amzn-bedrock-performanceconfig-latency"))?;
    let tier = context.tier(&target, None)?;
    let body = parse(body)?;
    if !target.model.invokes() {
        return Err(Failure::validation("This action doesn't support the model that you provided."));
    }
    if delivery == Delivery::Stream && (target.model.streaming == Some(false) || target.model.kind != "chat") {
        return Err(Failure::validation("The model is unsupported for streaming"));
    }
    let native = match target.model.family() {
        Family::Claude => anthropic::answer(context, &target, &body, delivery, None),
        Family::Nova => nova::answer(context, &target, &body, delivery),
        Family::Chat => openai::answer(context, &target, &body, delivery, openai::Reasoning::InTags),
        Family::Llama => llama::answer(context, &target, &body, delivery),
        Family::TitanText | Family::TitanImage | Family::NovaEmbedding | Family::CohereEmbedding | Family::Marengo => {
            embeddings::answer(&target, &body)
        }
        Family::Stability => images::answer(&target, &body),
        Family::Rerank => rerank::answer(&body),
        Family::Other => Err(Failure::validation("The simulator does not know this model's native format.")),
    }?;
    Ok(reply(context, native, tier))
}

/// Refuses a body with a key that its format does not have.
fn refuse_keys(body: &Value, known: &[&str]) -> Result<(), Failure> {
    let mut keys = body.as_object().into_iter().flat_map(|body| body.keys());
    match keys.find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Failure::malformed(format!("#: extraneous key [{key}] is not permitted"))),
        None => Ok(()),
    }
}

/// The input of a native body, counted but not answered.
pub(crate) fn measure(body: &[u8], model: &Model) -> Result<Meter, Failure> {
    let body = parse(body)?;
    match model.family() {
        Family::Claude => anthropic::measure(&body, model),
        _ => Err(Failure::validation("The provided model doesn't support counting tokens.")),
    }
}

fn parse(body: &[u8]) -> Result<Value, Failure> {
    let malformed = || Failure::validation("Malformed input request, please reformat your input and try again.");
    let body: Value = serde_json::from_slice(body).map_err(|_| malformed())?;
    if body.is_object() { Ok(body) } else { Err(Failure::malformed("#: expected type: JSONObject")) }
}

fn headers(context: &Context<'_>) -> Result<(), Failure> {
    let (id, version) =
        (context.header("x-amzn-bedrock-guardrailidentifier"), context.header("x-amzn-bedrock-guardrailversion"));
    guardrail::pair(id, version)?;
    if let Some(text) = context.header("x-amzn-bedrock-request-metadata") {
        let metadata: Value = serde_json::from_str(text)
            .map_err(|_| Failure::validation("The request metadata is not a valid JSON object."))?;
        shape::check("RequestMetadata", &metadata)?;
    }
    match context.header("accept") {
        Some(accept)
            if !["application/json", "*/*", "application/vnd.amazon.eventstream"]
                .iter()
                .any(|known| accept.contains(known)) =>
        {
            Err(Failure::validation("The Accept header is invalid. Use application/json and try again."))
        }
        _ => Ok(()),
    }
}

fn reply(context: &Context<'_>, native: Native, tier: Option<&'static str>) -> Reply {
    let (input, output) = (native.input, native.output_tokens);
    let mut reply = match native.body {
        NativeBody::Whole(body) => Reply::json(&body),
        NativeBody::Stream(objects) => Reply::events(chunks(objects, &input, output)),
    };
    match &reply.payload {
        super::reply::Payload::Json(_) => {
            reply.headers.push(("x-amzn-bedrock-invocation-latency", latency(output).to_string()));
            reply.headers.push(("x-amzn-bedrock-input-token-count", input.fresh.to_string()));
            reply.headers.push(("x-amzn-bedrock-output-token-count", output.to_string()));
            if input.read + input.written > 0 {
                reply.headers.push(("x-amzn-bedrock-cache-read-input-token-count", input.read.to_string()));
                reply.headers.push(("x-amzn-bedrock-cache-write-input-token-count", input.written.to_string()));
            }
        }
        _ => {
            reply.headers.push(("x-amzn-bedrock-content-type", "application/json".to_owned()));
        }
    }
    if let Some(latency) = context.header("x-amzn-bedrock-performanceconfig-latency") {
        reply.headers.push(("x-amzn-bedrock-performanceconfig-latency", latency.to_owned()));
    }
    if let Some(tier) = tier {
        reply.headers.push(("x-amzn-bedrock-service-tier", tier.to_owned()));
    }
    reply.costing(&input, output)
}

/// `chunk` events; the last object carries the metrics.
fn chunks(mut objects: Vec<(Value, u64)>, input: &Input, output_tokens: u64) -> Vec<Item> {
    if let Some((last, _)) = objects.last_mut() {
        let mut metrics = json!({
            "inputTokenCount": input.fresh,
            "outputTokenCount": output_tokens,
            "invocationLatency": latency(output_tokens),
            "firstByteLatency": latency(1),
        });
        if input.read + input.written > 0 {
            metrics["cacheReadInputTokenCount"] = Value::from(input.read);
            metrics["cacheWriteInputTokenCount"] = Value::from(input.written);
        }
        last["amazon-bedrock-invocationMetrics"] = metrics;
    }
    let items = objects.into_iter().enumerate().map(|(index, (object, tokens))| {
        Item::event("chunk", json!({"bytes": BASE64_STANDARD.encode(object.to_string())}), index, tokens)
    });
    items.collect()
}

impl Native {
    fn whole(body: Value, input: Input, output_tokens: u64) -> Self {
        Self { body: NativeBody::Whole(body), input, output_tokens }
    }

    fn stream(objects: Vec<(Value, u64)>, input: Input, output_tokens: u64) -> Self {
        Self { body: NativeBody::Stream(objects), input, output_tokens }
    }
}

/// The native answer to a request that a guardrail of the headers blocks.
pub(crate) fn is_blocked(context: &Context<'_>, question: &str) -> bool {
    context.header("x-amzn-bedrock-guardrailidentifier").is_some() && question.contains("[[blocked]]")
}

/// The part of a model id without provider and version suffix, as some bodies name the model.
fn short_name(target: &Target) -> &str {
    let name = target.model.id.split_once('.').map_or(target.model.id.as_str(), |(_, name)| name);
    name.split_once(':').map_or(name, |(name, _)| name).trim_end_matches("-v1")
}
