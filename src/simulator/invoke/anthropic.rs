//! Anthropic's Messages body: the prompt of it, its answer, and its stream of events.

use serde_json::{Value, json};

use super::direct::Api;
use super::{Native, anthropic_citations, anthropic_rules, is_blocked, short_name};
use crate::simulator::catalog::Model;
use crate::simulator::content::{self, Answer, Block, Choice, Prompt, Tool};
use crate::simulator::converse::Delivery;
use crate::simulator::errors::Failure;
use crate::simulator::guardrail;
use crate::simulator::operations::Context;
use crate::simulator::prompt_cache::{Input, Meter};
use crate::simulator::resolve::Target;

/// Answers a Messages body: of InvokeModel, or of the `api` of its own path, whose streams ping.
pub(crate) fn answer(
    context: &Context<'_>,
    target: &Target,
    body: &Value,
    delivery: Delivery,
    api: Option<Api>,
) -> Result<Native, Failure> {
    anthropic_rules::check(body, &target.model).map_err(Failure::validation)?;
    let (prompt, meter) = read(body, &target.model);
    let input = context.meet_cache(target, &meter).map_err(Failure::validation)?;
    let mut answer = content::answer(&prompt);
    let blocked = is_blocked(context, &prompt.question);
    if blocked {
        answer.blocks = vec![Block::Text(guardrail::MESSAGE.to_owned())];
        "end_turn".clone_into(&mut answer.stop_reason);
    }
    let message = Message {
        target,
        input: &input,
        answer: &answer,
        id: content::identifier("msg_bdrk_01", prompt.seed, 0),
        citation: anthropic_citations::of(body["messages"].as_array().map_or(&[], Vec::as_slice)),
        manages_context: body["context_management"].is_object(),
    };
    let output_tokens = answer.output_tokens;
    Ok(match delivery {
        Delivery::Whole => {
            let mut whole = message.whole();
            if context.header("x-amzn-bedrock-guardrailidentifier").is_some() {
                whole["amazon-bedrock-guardrailAction"] = Value::from(if blocked { "INTERVENED" } else { "NONE" });
            }
            Native::whole(whole, input, output_tokens)
        }
        Delivery::Stream => {
            let mut events = message.events();
            if api.is_some() {
                events.insert(1, (json!({"type": "ping"}), 1));
            }
            Native::stream(events, input, output_tokens)
        }
    })
}

/// The input of a Messages body.
pub(crate) fn measure(body: &Value, model: &Model) -> Result<Meter, Failure> {
    anthropic_rules::check(body, model).map_err(Failure::validation)?;
    Ok(read(body, model).1)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn read(body: &Value, model: &Model) -> (Prompt, Meter) {
    let mut meter = Meter::default();
    let mut tools = Vec::new();
    for tool in items(&body["tools"]) {
        meter.json(tool);
        checkpoint(tool, &mut meter);
        if let Some(name) = tool["name"].as_str() {
            tools.push(Tool { name: name.to_owned(), schema: tool["input_schema"].clone() });
        }
    }
    measure_content(&body["system"], &mut meter);
    for message in items(&body["messages"]) {
        meter.turn(message["role"].as_str().unwrap_or_default());
        measure_content(&message["content"], &mut meter);
    }
    checkpoint(body, &mut meter);
    let last = items(&body["messages"]).filter(|message| message["role"] == "user").last();
    let last = last.map_or(&Value::Null, |message| &message["content"]);
    let of = |kind: &str| items(last).filter(|block| block["type"] == kind).count();
    let texts: Vec<&str> =
        last.as_str().into_iter().chain(items(last).filter_map(|block| block["text"].as_str())).collect();
    let choice = &body["tool_choice"];
    let prompt = Prompt {
        question: texts.join("\n"),
        tool_results: items(last).filter(|block| block["type"] == "tool_result").map(tool_result).collect(),
        images: of("image"),
        documents: of("document"),
        choice: match choice["type"].as_str() {
            Some("any") => Choice::Any,
            Some("none") => Choice::Off,
            Some("tool") => Choice::Named(choice["name"].as_str().unwrap_or_default().to_owned()),
            _ => Choice::Auto,
        },
        one_call: choice["disable_parallel_tool_use"] == true,
        schema: body["output_config"]["format"].get("schema").or_else(|| body["output_format"].get("schema")).cloned(),
        thinks: matches!(body["thinking"]["type"].as_str(), Some("enabled" | "adaptive"))
            && model.reasoning != Some(false),
        max_tokens: body["max_tokens"].as_u64(),
        stop_sequences: items(&body["stop_sequences"]).filter_map(Value::as_str).map(str::to_owned).collect(),
        seed: meter.fingerprint(),
        tools,
    };
    (prompt, meter)
}

fn checkpoint(block: &Value, meter: &mut Meter) {
    if block["cache_control"]["type"] == "ephemeral" {
        meter.checkpoint(block["cache_control"]["ttl"].as_str());
    }
}

fn measure_content(content: &Value, meter: &mut Meter) {
    if let Some(text) = content.as_str() {
        meter.text(text);
    }
    for block in items(content) {
        match block["type"].as_str().unwrap_or_default() {
            "text" => meter.text(block["text"].as_str().unwrap_or_default()),
            "thinking" => meter.text(block["thinking"].as_str().unwrap_or_default()),
            "image" => meter.image(block["source"]["data"].as_str().unwrap_or_default()),
            "document" => meter.document(block["source"]["data"].as_str().unwrap_or_default()),
            "tool_use" => meter.json(&block["input"]),
            "tool_result" => measure_content(&block["content"], meter),
            _ => meter.json(block),
        }
        checkpoint(block, meter);
    }
}

fn tool_result(block: &Value) -> String {
    match &block["content"] {
        Value::String(text) => text.clone(),
        content => items(content).filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" "),
    }
}

struct Message<'a> {
    target: &'a Target,
    input: &'a Input,
    answer: &'a Answer,
    id: String,
    /// What the text cites.
    citation: Option<Value>,
    manages_context: bool,
}

impl Message<'_> {
    fn whole(&self) -> Value {
        let mut content: Vec<Value> = self.answer.blocks.iter().map(whole_block).collect();
        if let (Some(citation), Some(text)) = (&self.citation, content.iter_mut().find(|block| block["type"] == "text"))
        {
            text["citations"] = json!([citation]);
        }
        let mut whole = self.object(&Value::from(content), &self.stop_reason(), self.answer.output_tokens);
        if self.manages_context {
            whole["context_management"] = json!({"applied_edits": []});
        }
        whole
    }

    fn object(&self, content: &Value, stop_reason: &Value, output_tokens: u64) -> Value {
        let ended = !stop_reason.is_null();
        json!({
            "model": short_name(self.target), "id": self.id, "type": "message", "role": "assistant", "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": if ended { json!(self.answer.stop_sequence) } else { Value::Null },
            "usage": self.usage(output_tokens),
        })
    }

    fn usage(&self, output_tokens: u64) -> Value {
        json!({
            "input_tokens": self.input.fresh,
            "cache_creation_input_tokens": self.input.written,
            "cache_read_input_tokens": self.input.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.input.written_for("5m"),
                "ephemeral_1h_input_tokens": self.input.written_for("1h"),
            },
            "output_tokens": output_tokens,
        })
    }

    fn stop_reason(&self) -> Value {
        Value::from(match self.answer.stop_reason.as_str() {
            "content_filtered" => "refusal",
            "guardrail_intervened" => "end_turn",
            other => other,
        })
    }

    fn events(&self) -> Vec<(Value, u64)> {
        let start = self.object(&json!([]), &Value::Null, 1);
        let mut events = vec![(json!({"type": "message_start", "message": start}), 1)];
        let mut spoken = 0;
        for (index, block) in self.answer.blocks.iter().enumerate() {
            let mut push = |mut event: Value, tokens| {
                event["index"] = Value::from(index);
                events.push((event, tokens));
            };
            let mut opened = opened(block);
            let citation = self.citation.as_ref().filter(|_| matches!(block, Block::Text(_)));
            if citation.is_some() {
                opened["citations"] = json!([]);
            }
            push(json!({"type": "content_block_start", "content_block": opened}), spoken);
            if let Some(citation) = citation {
                let delta = json!({"type": "citations_delta", "citation": citation});
                push(json!({"type": "content_block_delta", "delta": delta}), spoken);
            }
            for (delta, tokens) in deltas(block) {
                spoken += tokens;
                push(json!({"type": "content_block_delta", "delta": delta}), spoken);
            }
            if matches!(block, Block::Tool { .. } | Block::Redacted { .. }) {
                spoken += content::block_tokens(block);
            }
            push(json!({"type": "content_block_stop"}), spoken);
        }
        let output_tokens = self.answer.output_tokens;
        let delta = json!({"stop_reason": self.stop_reason(), "stop_sequence": self.answer.stop_sequence});
        let mut ended = json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": output_tokens}});
        if self.manages_context {
            ended["context_management"] = json!({"applied_edits": []});
        }
        events.push((ended, output_tokens));
        events.push((json!({"type": "message_stop"}), output_tokens));
        events
    }
}

fn whole_block(block: &Block) -> Value {
    match block {
        Block::Text(text) => json!({"type": "text", "text": text}),
        Block::Reasoning { text, signature } => json!({"type": "thinking", "thinking": text, "signature": signature}),
        Block::Redacted { data } => json!({"type": "redacted_thinking", "data": data}),
        Block::Tool { id, name, input } => {
            json!({"type": "tool_use", "id": native_id(id), "name": name, "input": input})
        }
    }
}

fn opened(block: &Block) -> Value {
    match block {
        Block::Text(_) => json!({"type": "text", "text": ""}),
        Block::Reasoning { .. } => json!({"type": "thinking", "thinking": "", "signature": ""}),
        Block::Redacted { .. } => whole_block(block),
        Block::Tool { id, name, .. } => json!({"type": "tool_use", "id": native_id(id), "name": name, "input": {}}),
    }
}

fn deltas(block: &Block) -> Vec<(Value, u64)> {
    match block {
        Block::Text(text) => content::text_deltas(text)
            .into_iter()
            .map(|(text, tokens)| (json!({"type": "text_delta", "text": text}), tokens))
            .collect(),
        Block::Reasoning { text, signature } => {
            let thoughts = content::text_deltas(text).into_iter();
            let thoughts = thoughts.map(|(text, tokens)| (json!({"type": "thinking_delta", "thinking": text}), tokens));
            thoughts.chain([(json!({"type": "signature_delta", "signature": signature}), 0)]).collect()
        }
        Block::Redacted { .. } => Vec::new(),
        Block::Tool { input, .. } => {
            let pieces = content::json_deltas(input).into_iter();
            pieces.map(|piece| (json!({"type": "input_json_delta", "partial_json": piece}), 0)).collect()
        }
    }
}

fn native_id(id: &str) -> String {
    id.replacen("tooluse_", "toolu_bdrk_01", 1)
}
