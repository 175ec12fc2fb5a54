//! A response as OpenAI writes it: the object, and the events of its stream, each with its `sequence_number`. The stream ends
//! after `response.completed` or `response.incomplete`; there is no `[DONE]`.

use serde_json::{Map, Value, json};

use super::fields;
use super::input::encrypted;
use super::tools::Offered;
use crate::simulator::content::{self, Answer, Block};
use crate::simulator::frames::Item;
use crate::simulator::prompt_cache::Input;
use crate::simulator::resolve::Target;

/// What a response is made of.
pub(super) struct Response<'a> {
    pub(super) id: &'a str,
    pub(super) body: &'a Value,
    pub(super) target: &'a Target,
    pub(super) tier: &'static str,
    pub(super) answer: &'a Answer,
    pub(super) input: &'a Input,
    pub(super) created_at: i64,
    /// What the model could call.
    pub(super) tools: Vec<Offered<'a>>,
}

impl Response<'_> {
    /// The ended response.
    pub(super) fn whole(&self) -> Value {
        let reason = match self.answer.stop_reason.as_str() {
            "max_tokens" | "model_context_window_exceeded" => Some("max_output_tokens"),
            "content_filtered" | "guardrail_intervened" => Some("content_filter"),
            _ => None,
        };
        let status = if reason.is_some() { "incomplete" } else { "completed" };
        let last = self.answer.blocks.len().saturating_sub(1);
        let output: Vec<Value> = self
            .answer
            .blocks
            .iter()
            .enumerate()
            .map(|(index, block)| self.item(index, block, if index == last { status } else { "completed" }))
            .collect();
        let mut whole = self.object(status);
        whole["output"] = Value::from(output);
        whole["usage"] = self.usage();
        match reason {
            Some(reason) => whole["incomplete_details"] = json!({"reason": reason}),
            None => whole["completed_at"] = Value::from(self.created_at),
        }
        whole
    }

    fn object(&self, status: &str) -> Value {
        let body = self.body;
        let or = |name: &str, default: Value| if body[name].is_null() { default } else { body[name].clone() };
        let effort = fields::effort(body, &self.target.model);
        let sampling = if self.target.model.sampling_params == Some(false) { Value::Null } else { json!(1.0) };
        let format =
            if body["text"]["format"].is_null() { json!({"type": "text"}) } else { body["text"]["format"].clone() };
        let verbosity = body["text"]["verbosity"].as_str().unwrap_or("medium");
        let mut object = json!({
            "id": self.id, "object": "response", "created_at": self.created_at, "status": status, "background": false,
            "completed_at": null, "error": null, "incomplete_details": null, "max_tool_calls": null,
            "model": self.target.model.id, "output": [], "usage": null,
            "reasoning": {"effort": effort, "summary": body["reasoning"]["summary"]},
            "text": {"format": format, "verbosity": verbosity},
        });
        let echoed = [
            ("instructions", Value::Null),
            ("max_output_tokens", Value::Null),
            ("metadata", json!({})),
            ("parallel_tool_calls", json!(true)),
            ("previous_response_id", Value::Null),
            ("prompt_cache_key", Value::Null),
            ("safety_identifier", Value::Null),
            ("store", json!(true)),
            ("temperature", sampling.clone()),
            ("tool_choice", json!("auto")),
            ("tools", json!([])),
            ("top_logprobs", json!(0)),
            ("top_p", sampling),
            ("truncation", json!("disabled")),
            ("user", Value::Null),
        ];
        for (name, default) in echoed {
            object[name] = or(name, default);
        }
        object["service_tier"] = Value::from(self.tier);
        object
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.input.total(), self.answer.output_tokens);
        let reasoned =
            self.answer.blocks.iter().filter(|block| matches!(block, Block::Reasoning { .. } | Block::Redacted { .. }));
        json!({
            "input_tokens": input,
            "input_tokens_details": {"cache_write_tokens": self.input.written, "cached_tokens": self.input.read},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": reasoned.map(content::block_tokens).sum::<u64>()},
            "total_tokens": input + output,
        })
    }

    fn item_id(&self, index: usize, block: &Block) -> String {
        let prefix = match block {
            Block::Text(_) => "msg",
            Block::Reasoning { .. } | Block::Redacted { .. } => "rs",
            Block::Tool { name, .. } => match self.offered(name).map(|tool| tool.kind) {
                Some("custom") => "ctc",
                Some("tool_search") => "tsc",
                _ => "fc",
            },
        };
        format!("{prefix}_{index:02x}{}", self.id.trim_start_matches("resp_"))
    }

    fn offered(&self, called: &str) -> Option<&Offered<'_>> {
        self.tools.iter().find(|tool| tool.called == called)
    }

    fn wants(&self, include: &str) -> bool {
        self.body["include"].as_array().is_some_and(|list| list.iter().any(|item| item == include))
    }

    fn summarises(&self) -> bool {
        self.body["reasoning"]["summary"].is_string() || self.body["reasoning"]["generate_summary"].is_string()
    }

    fn item(&self, index: usize, block: &Block, status: &str) -> Value {
        let id = self.item_id(index, block);
        match block {
            Block::Text(text) => {
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": [part(text)]})
            }
            Block::Tool { id: call, name, input } => {
                let mut item = json!({"id": id, "type": "function_call", "status": status, "call_id": call_id(call)});
                let tool = self.offered(name);
                let members = match tool.map(|tool| tool.kind) {
                    Some("custom") => json!({"type": "custom_tool_call", "input": input["input"]}),
                    Some("tool_search") => {
                        json!({"type": "tool_search_call", "execution": "client", "arguments": input})
                    }
                    _ => json!({"arguments": input.to_string()}),
                };
                for (key, value) in members.as_object().into_iter().flatten() {
                    item[key] = value.clone();
                }
                if item["type"] != "tool_search_call" {
                    item["name"] = Value::from(tool.map_or(name.as_str(), |tool| tool.name));
                }
                if let Some(namespace) = tool.and_then(|tool| tool.namespace) {
                    item["namespace"] = Value::from(namespace);
                }
                item
            }
            Block::Redacted { .. } => json!({"id": id, "type": "reasoning", "summary": []}),
            Block::Reasoning { text, .. } => {
                let summary =
                    if self.summarises() { json!([{"type": "summary_text", "text": text}]) } else { json!([]) };
                let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
                if self.wants("reasoning.encrypted_content") {
                    item["encrypted_content"] = Value::from(encrypted(text));
                }
                item
            }
        }
    }

    /// The stream that ends in `whole`.
    pub(super) fn events(&self, whole: &Value) -> Vec<Item> {
        let mut stream =
            Events { items: Vec::new(), spoken: 0, hides: self.body["stream_options"]["include_obfuscation"] != false };
        let started = self.object("in_progress");
        stream.push("response.created", json!({"response": started}));
        stream.push("response.in_progress", json!({"response": started}));
        for (index, block) in self.answer.blocks.iter().enumerate() {
            let done = &whole["output"][index];
            let at = At { item: self.item_id(index, block), output: index };
            stream.push("response.output_item.added", json!({"output_index": index, "item": opened(done)}));
            match block {
                Block::Text(text) => stream.text(&at, text),
                Block::Tool { input, .. } if done["type"] == "custom_tool_call" => stream.custom(&at, input, done),
                Block::Tool { .. } if done["type"] == "tool_search_call" => {
                    stream.spoken += content::block_tokens(block);
                }
                Block::Tool { input, .. } => stream.arguments(&at, input, done),
                Block::Reasoning { text, .. } if self.summarises() => stream.summary(&at, text),
                Block::Reasoning { .. } | Block::Redacted { .. } => stream.spoken += content::block_tokens(block),
            }
            stream.push("response.output_item.done", json!({"output_index": index, "item": done}));
        }
        stream.spoken = self.answer.output_tokens;
        let last = if whole["status"] == "completed" { "response.completed" } else { "response.incomplete" };
        stream.push(last, json!({"response": whole}));
        stream.items
    }
}

/// The item as it is announced, before anything of it was said.
fn opened(done: &Value) -> Value {
    let mut item = done.clone();
    for (name, empty) in
        [("content", json!([])), ("summary", json!([])), ("arguments", json!("")), ("input", json!(""))]
    {
        if item.get(name).is_some_and(|value| !value.is_object()) {
            item[name] = empty;
        }
    }
    if item.get("status").is_some() {
        item["status"] = Value::from("in_progress");
    }
    item
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

fn call_id(id: &str) -> String {
    id.replacen("tooluse_", "call_", 1)
}

/// Which item, and where it stands in the output.
struct At {
    item: String,
    output: usize,
}

struct Events {
    items: Vec<Item>,
    spoken: u64,
    /// Deltas carry padding that hides their length.
    hides: bool,
}

impl Events {
    fn push(&mut self, kind: &str, members: Value) {
        let mut event = Map::new();
        event.insert("type".to_owned(), Value::from(kind));
        event.insert("sequence_number".to_owned(), Value::from(self.items.len()));
        if let Value::Object(members) = members {
            event.extend(members);
        }
        if self.hides && kind.rsplit('.').next() == Some("delta") {
            let length = 1 + self.items.len() * 7 % 16;
            event.insert("obfuscation".to_owned(), Value::from(&"xK3vQ9mZr7TbW2pL"[..length]));
        }
        self.items.push(Item::server_sent(Some(kind.to_owned()), Value::Object(event).to_string(), self.spoken));
    }

    fn of(&mut self, kind: &str, at: &At, index: Option<&str>, mut members: Value) {
        members["item_id"] = Value::from(at.item.as_str());
        members["output_index"] = Value::from(at.output);
        if let Some(index) = index {
            members[index] = Value::from(0);
        }
        self.push(kind, members);
    }

    fn text(&mut self, at: &At, text: &str) {
        let index = Some("content_index");
        self.of("response.content_part.added", at, index, json!({"part": part("")}));
        for (delta, tokens) in content::text_deltas(text) {
            self.spoken += tokens;
            self.of("response.output_text.delta", at, index, json!({"delta": delta, "logprobs": []}));
        }
        self.of("response.output_text.done", at, index, json!({"text": text, "logprobs": []}));
        self.of("response.content_part.done", at, index, json!({"part": part(text)}));
    }

    fn summary(&mut self, at: &At, text: &str) {
        let index = Some("summary_index");
        let part = |text: &str| json!({"part": {"type": "summary_text", "text": text}});
        self.of("response.reasoning_summary_part.added", at, index, part(""));
        for (delta, tokens) in content::text_deltas(text) {
            self.spoken += tokens;
            self.of("response.reasoning_summary_text.delta", at, index, json!({"delta": delta}));
        }
        self.of("response.reasoning_summary_text.done", at, index, json!({"text": text}));
        self.of("response.reasoning_summary_part.done", at, index, part(text));
    }

    fn arguments(&mut self, at: &At, input: &Value, done: &Value) {
        for delta in content::json_deltas(input).into_iter().skip(1) {
            self.of("response.function_call_arguments.delta", at, None, json!({"delta": delta}));
        }
        let members = json!({"arguments": done["arguments"], "name": done["name"]});
        self.of("response.function_call_arguments.done", at, None, members);
        let name = done["name"].as_str().unwrap_or_default();
        self.spoken += crate::simulator::tokens::count(name) + crate::simulator::tokens::count(&input.to_string());
    }

    fn custom(&mut self, at: &At, input: &Value, done: &Value) {
        for (delta, _) in content::text_deltas(done["input"].as_str().unwrap_or_default()) {
            self.of("response.custom_tool_call_input.delta", at, None, json!({"delta": delta}));
        }
        self.of("response.custom_tool_call_input.done", at, None, json!({"input": done["input"]}));
        let name = done["name"].as_str().unwrap_or_default();
        self.spoken += crate::simulator::tokens::count(name) + crate::simulator::tokens::count(&input.to_string());
    }
}
