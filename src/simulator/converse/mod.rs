//! Converse and ConverseStream: check the request as AWS does, make the prompt, render the answer.

mod prompt;
mod render;

use serde_json::Value;

pub(crate) use prompt::read;
pub(crate) use render::{Style, events, message};

use super::catalog::Family;
use super::content::{self, Answer, Block};
use super::errors::Failure;
use super::guardrail;
use super::operations::{Context, Lane};
use super::prompt_cache::Input;
use super::reply::{Reply, latency};
use super::resolve::Target;
use super::validate::{claude, conversation, model, shape};

/// Whether the answer is wanted whole or as a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Whole,
    Stream,
}

/// Answers a Converse call.
pub(crate) fn answer(context: &Context<'_>, model_id: &str, body: &[u8], delivery: Delivery) -> Result<Reply, Failure> {
    let shape = if delivery == Delivery::Stream { "ConverseStreamRequest" } else { "ConverseRequest" };
    let body = shape::parse(shape, body)?;
    let target = context.resolve(model_id)?;
    if !target.model.converses() || target.kind() == "imported-model" {
        return Err(Failure::validation(
            "This action doesn't support the model that you provided. Try again with a supported text or chat model.",
        ));
    }
    conversation::check(&body, &target.model)?;
    model::check(&body, &target.model, delivery == Delivery::Stream)?;
    model::check_latency(&target.model, body["performanceConfig"]["latency"].as_str())?;
    let tier = context.tier(&target, body["serviceTier"]["type"].as_str())?;
    let (prompt, meter) = prompt::read(&body, &target.model);
    let input = context.meet_cache(&target, &meter).map_err(Failure::model)?;
    let blocked = guardrail::of_converse(&body, &prompt.question)?;
    let (input, answer) =
        if blocked { (Input::default(), guardrail_answer()) } else { (input, content::answer(&prompt)) };
    let mut trace = serde_json::Map::new();
    if blocked && guardrail::is_traced(&body) {
        trace.insert("guardrail".to_owned(), guardrail::trace(&body));
    }
    if target.kind().ends_with("prompt-router") {
        let invoked = target.served_by(context.partition(), context.account());
        trace.insert("promptRouter".to_owned(), serde_json::json!({"invokedModelId": invoked}));
    }
    let style = Style { signed: target.model.family() == Family::Claude };
    let closing = Closing { body: &body, target: &target, answer: &answer, input: &input, trace, tier };
    Ok(match delivery {
        Delivery::Whole => Reply::json(&closing.whole(style)),
        Delivery::Stream => Reply::events(closing.stream(style)),
    }
    .costing(&input, answer.output_tokens))
}

fn guardrail_answer() -> Answer {
    Answer {
        blocks: vec![Block::Text(guardrail::MESSAGE.to_owned())],
        stop_reason: "guardrail_intervened".to_owned(),
        stop_sequence: None,
        output_tokens: 0,
    }
}

/// What an answer ends with, in one body or in the last events of a stream.
struct Closing<'a> {
    body: &'a Value,
    target: &'a Target,
    answer: &'a Answer,
    input: &'a Input,
    /// By what it is about; empty when nothing is traced.
    trace: serde_json::Map<String, Value>,
    /// The service tier that served, if one was asked for.
    tier: Option<&'static str>,
}

impl Closing<'_> {
    fn whole(&self, style: Style) -> Value {
        let mut reply = self.metadata();
        reply["output"] = serde_json::json!({"message": render::message(self.answer, style)});
        reply["stopReason"] = Value::from(self.answer.stop_reason.as_str());
        if let Some(fields) = self.response_fields() {
            reply["additionalModelResponseFields"] = fields;
        }
        reply
    }

    fn stream(&self, style: Style) -> Vec<super::frames::Item> {
        render::events(self.answer, style, self.response_fields(), self.metadata())
            .into_iter()
            .enumerate()
            .map(|(index, event)| super::frames::Item::event(event.kind, event.payload, index, event.output_tokens))
            .collect()
    }

    fn metadata(&self) -> Value {
        let mut metadata = serde_json::json!({
            "metrics": {"latencyMs": latency(self.answer.output_tokens)},
            "usage": render::usage(self.input, self.answer.output_tokens),
        });
        if self.body["performanceConfig"].is_object() {
            metadata["performanceConfig"] = self.body["performanceConfig"].clone();
        }
        if let Some(tier) = self.tier {
            metadata["serviceTier"] = serde_json::json!({"type": tier});
        }
        if !self.trace.is_empty() {
            metadata["trace"] = Value::Object(self.trace.clone());
        }
        metadata
    }

    /// Members of the native answer that were asked for by JSON pointer; absent ones are left out.
    fn response_fields(&self) -> Option<Value> {
        let native = match self.target.model.family() {
            Family::Claude => render::stop_fields(self.answer),
            _ => serde_json::json!({}),
        };
        let paths = self.body["additionalModelResponseFieldPaths"].as_array()?;
        let found = paths.iter().filter_map(Value::as_str).filter_map(|path| {
            let name = path.strip_prefix('/').filter(|name| !name.contains('/'))?;
            Some((name.to_owned(), native.pointer(path)?.clone()))
        });
        let fields: serde_json::Map<String, Value> = found.collect();
        (!fields.is_empty()).then_some(Value::Object(fields))
    }
}

impl Context<'_> {
    /// Holds the rules of cache points and meets the cache.
    pub(crate) fn meet_cache(&self, target: &Target, meter: &super::prompt_cache::Meter) -> Result<Input, String> {
        if target.model.family() == Family::Claude {
            claude::cache_points(meter.ttls())?;
        }
        if let Some(window) = target.model.context_window.filter(|window| meter.total() > *window) {
            return Err(match target.model.family() {
                Family::Claude => format!("prompt is too long: {} tokens > {window} maximum", meter.total()),
                _ => "Input is too long for requested model.".to_owned(),
            });
        }
        let minimum = target.model.cacheable_tokens().filter(|_| self.lane == Lane::Online);
        let (input, prefixes) = self.simulator.prompt_cache().meet(&target.region, &target.model.id, meter, minimum);
        self.prefixes.borrow_mut().extend(prefixes);
        Ok(input)
    }
}
