//! OpenAI's chat body, which gpt-oss and the open-weight models take on InvokeModel, and those and the newest of OpenAI and xAI
//! on the runtime's chat path.
//!
//! Where reasoning shows differs. On InvokeModel it stands in the text, in `<reasoning>` tags. On the chat path it is the
//! member `reasoning` of the message or delta, as the servers of gpt-oss write it (others say `reasoning_content`; never both
//! here), but GPT-5.x and GPT-6.x keep it to themselves and only count it in `completion_tokens_details.reasoning_tokens`.

use serde_json::{Value, json};

use super::{Native, is_blocked, openai_rules};
use crate::simulator::content::{self, Answer, Block, Choice, Prompt, Tool};
use crate::simulator::converse::Delivery;
use crate::simulator::errors::Failure;
use crate::simulator::guardrail;
use crate::simulator::operations::Context;
use crate::simulator::prompt_cache::{Input, Meter};
use crate::simulator::resolve::Target;

/// How an answer tells what the model thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reasoning {
    InTags,
    InItsField,
    Hidden,
}

impl Reasoning {
    /// As the chat path tells it.
    pub(crate) fn of_path(target: &Target) -> Self {
        if openai_rules::is_proprietary(&target.model) { Self::Hidden } else { Self::InItsField }
    }
}

/// Answers a chat body.
pub(crate) fn answer(
    context: &Context<'_>,
    target: &Target,
    body: &Value,
    delivery: Delivery,
    reasoning: Reasoning,
) -> Result<Native, Failure> {
    openai_rules::check(body, &target.model)?;
    let tier = context.tier(target, body["service_tier"].as_str())?.unwrap_or("default");
    let (prompt, meter) = read(body, target);
    let input = context.meet_cache(target, &meter).map_err(Failure::validation)?;
    let mut answer = content::answer(&prompt);
    if is_blocked(context, &prompt.question) {
        answer.blocks = vec![Block::Text(guardrail::MESSAGE.to_owned())];
        "guardrail_intervened".clone_into(&mut answer.stop_reason);
    }
    let completion = Completion {
        target,
        answer: &answer,
        input: &input,
        reasoning,
        tier,
        id: content::identifier("chatcmpl-", prompt.seed, 0),
        created: context.seconds(),
        usage_chunk: body["stream_options"]["include_usage"] == true,
    };
    let output_tokens = answer.output_tokens;
    Ok(match delivery {
        Delivery::Whole => Native::whole(completion.whole(), input, output_tokens),
        Delivery::Stream => Native::stream(completion.chunks(), input, output_tokens),
    })
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn read(body: &Value, target: &Target) -> (Prompt, Meter) {
    let mut meter = Meter::default();
    let mut tools = Vec::new();
    for tool in items(&body["tools"]) {
        meter.json(tool);
        let function = &tool["function"];
        if let Some(name) = function["name"].as_str() {
            tools.push(Tool { name: name.to_owned(), schema: function["parameters"].clone() });
        }
    }
    for message in items(&body["messages"]) {
        meter.turn(message["role"].as_str().unwrap_or_default());
        meter.text(message["content"].as_str().unwrap_or_default());
        for part in items(&message["content"]) {
            match part["type"].as_str() {
                Some("image_url") => meter.image(part["image_url"]["url"].as_str().unwrap_or_default()),
                _ => meter.text(part["text"].as_str().unwrap_or_default()),
            }
        }
        items(&message["tool_calls"]).for_each(|call| meter.json(call));
    }
    let messages: Vec<&Value> = items(&body["messages"]).collect();
    let results = messages.iter().rev().take_while(|message| message["role"] == "tool");
    let results: Vec<String> = results.map(|message| text(&message["content"])).collect();
    let last = messages.iter().rev().find(|message| message["role"] == "user");
    let choice = &body["tool_choice"];
    let stop = &body["stop"];
    let prompt = Prompt {
        question: last.map_or_else(String::new, |message| text(&message["content"])),
        tool_results: results.into_iter().rev().collect(),
        images: last.map_or(0, |message| items(&message["content"]).filter(|part| part["type"] == "image_url").count()),
        documents: 0,
        choice: match choice.as_str().or_else(|| choice["function"]["name"].as_str()) {
            Some("none") => Choice::Off,
            Some("required") => Choice::Any,
            Some(name) if choice.is_object() => Choice::Named(name.to_owned()),
            _ => Choice::Auto,
        },
        one_call: body["parallel_tool_calls"] == false,
        schema: schema(&body["response_format"]),
        thinks: body["reasoning_effort"].as_str().is_some_and(|effort| effort != "none")
            && target.model.reasoning != Some(false),
        max_tokens: body["max_completion_tokens"]
            .as_u64()
            .or_else(|| body["max_tokens"].as_u64())
            .or(target.model.max_output_tokens),
        stop_sequences: stop
            .as_str()
            .into_iter()
            .chain(items(stop).filter_map(Value::as_str))
            .map(str::to_owned)
            .collect(),
        seed: meter.fingerprint(),
        tools,
    };
    (prompt, meter)
}

fn schema(format: &Value) -> Option<Value> {
    match format["type"].as_str() {
        Some("json_object") => Some(json!({"type": "object", "properties": {"answer": {"type": "string"}}})),
        _ => format["json_schema"].get("schema").cloned(),
    }
}

fn text(content: &Value) -> String {
    let parts = content.as_str().into_iter().chain(items(content).filter_map(|part| part["text"].as_str()));
    parts.collect::<Vec<_>>().join("\n")
}

struct Completion<'a> {
    target: &'a Target,
    answer: &'a Answer,
    input: &'a Input,
    tier: &'static str,
    reasoning: Reasoning,
    id: String,
    created: i64,
    usage_chunk: bool,
}

impl Completion<'_> {
    fn whole(&self) -> Value {
        let (mut said, mut thought) = (String::new(), String::new());
        let mut calls = Vec::new();
        for block in &self.answer.blocks {
            match block {
                Block::Text(text) => said.push_str(text),
                Block::Reasoning { text, .. } => match self.reasoning {
                    Reasoning::InTags => said.push_str(&tagged(text)),
                    Reasoning::InItsField => thought.push_str(text),
                    Reasoning::Hidden => {}
                },
                Block::Redacted { .. } => {}
                Block::Tool { id, name, input } => calls.push(call(id, name, &input.to_string())),
            }
        }
        let mut message = json!({"role": "assistant", "refusal": null, "content": if said.is_empty() { Value::Null } else { Value::from(said) }});
        if !thought.is_empty() {
            message["reasoning"] = Value::from(thought);
        }
        if !calls.is_empty() {
            message["tool_calls"] = Value::from(calls);
        }
        let choices =
            json!([{"index": 0, "message": message, "logprobs": null, "finish_reason": self.finish_reason()}]);
        let mut body = self.envelope("chat.completion", &choices);
        body["usage"] = self.usage();
        body
    }

    fn envelope(&self, object: &str, choices: &Value) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.target.model.id, "service_tier": self.tier, "choices": choices})
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.input.total(), self.answer.output_tokens);
        let mut usage = json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output});
        if self.reasoning != Reasoning::InTags {
            let reasoned = self.answer.blocks.iter().filter(|block| matches!(block, Block::Reasoning { .. }));
            usage["prompt_tokens_details"] = json!({"cached_tokens": self.input.read});
            usage["completion_tokens_details"] =
                json!({"reasoning_tokens": reasoned.map(content::block_tokens).sum::<u64>()});
        }
        usage
    }

    fn finish_reason(&self) -> &'static str {
        match self.answer.stop_reason.as_str() {
            "tool_use" => "tool_calls",
            "max_tokens" | "model_context_window_exceeded" => "length",
            "content_filtered" | "guardrail_intervened" => "content_filter",
            _ => "stop",
        }
    }

    fn chunks(&self) -> Vec<(Value, u64)> {
        let chunk = |delta: Value, reason: Value| {
            let mut chunk = self.envelope(
                "chat.completion.chunk",
                &json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]),
            );
            if self.usage_chunk {
                chunk["usage"] = Value::Null;
            }
            chunk
        };
        let mut spoken = 0;
        let mut chunks = vec![(chunk(json!({"role": "assistant", "content": ""}), Value::Null), 0)];
        let mut next_call = 0;
        for block in &self.answer.blocks {
            match block {
                Block::Text(text) => {
                    for (text, tokens) in content::text_deltas(text) {
                        spoken += tokens;
                        chunks.push((chunk(json!({"content": text}), Value::Null), spoken));
                    }
                }
                Block::Reasoning { text, .. } if self.reasoning == Reasoning::InItsField => {
                    for (text, tokens) in content::text_deltas(text) {
                        spoken += tokens;
                        chunks.push((chunk(json!({"reasoning": text}), Value::Null), spoken));
                    }
                }
                Block::Reasoning { text, .. } => {
                    spoken += content::block_tokens(block);
                    if self.reasoning == Reasoning::InTags {
                        chunks.push((chunk(json!({"content": tagged(text)}), Value::Null), spoken));
                    }
                }
                Block::Redacted { .. } => spoken += content::block_tokens(block),
                Block::Tool { id, name, input } => {
                    let mut first = call(id, name, "");
                    first["index"] = Value::from(next_call);
                    chunks.push((chunk(json!({"tool_calls": [first]}), Value::Null), spoken));
                    for piece in content::json_deltas(input).into_iter().skip(1) {
                        let delta = json!({"index": next_call, "function": {"arguments": piece}});
                        chunks.push((chunk(json!({"tool_calls": [delta]}), Value::Null), spoken));
                    }
                    spoken += content::block_tokens(block);
                    next_call += 1;
                }
            }
        }
        let output_tokens = self.answer.output_tokens;
        chunks.push((chunk(json!({}), Value::from(self.finish_reason())), output_tokens));
        if self.usage_chunk {
            let mut last = self.envelope("chat.completion.chunk", &json!([]));
            last["usage"] = self.usage();
            chunks.push((last, output_tokens));
        }
        chunks
    }
}

fn tagged(reasoning: &str) -> String {
    format!("<reasoning>{reasoning}</reasoning>")
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    let id = id.replacen("tooluse_", "chatcmpl-tool-", 1);
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}
