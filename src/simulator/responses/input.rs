//! The input of a Responses body: its items, what is refused of them, and the prompt that they make.

use std::collections::HashSet;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::fields::{self, list, missing, refuse, wrong_type};
use super::tools;
use crate::simulator::catalog::Model;
use crate::simulator::content::{self, Choice, Prompt, Tool};
use crate::simulator::errors::Failure;
use crate::simulator::prompt_cache::Meter;
use crate::simulator::validate::images;

const ITEMS: [&str; 9] = [
    "message",
    "function_call",
    "function_call_output",
    "reasoning",
    "item_reference",
    "custom_tool_call",
    "custom_tool_call_output",
    "tool_search_call",
    "tool_search_output",
];
/// How many of [`ITEMS`] models of other makers than OpenAI take.
const OF_OTHERS: usize = 5;
/// Items that call, and those that answer them.
const CALLS: [&str; 2] = ["function_call", "custom_tool_call"];
const ANSWERS: [&str; 2] = ["function_call_output", "custom_tool_call_output"];

/// The items of `input`; a string is one user message.
pub(super) fn items(body: &Value) -> Result<Vec<Value>, Failure> {
    match &body["input"] {
        Value::Null => Err(missing("input")),
        Value::String(text) => {
            Ok(vec![json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})])
        }
        Value::Array(items) if items.is_empty() => Err(refuse(
            "input",
            "Invalid 'input': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        )),
        Value::Array(items) => Ok(items.clone()),
        other => Err(wrong_type("input", "one of an array of objects or string", other)),
    }
}

/// Checks the conversation `items`, of which the first `earlier` were stored; references become what `find` knows.
pub(super) fn check(
    items: &mut [Value],
    earlier: usize,
    model: &Model,
    find: &dyn Fn(&str) -> Option<Value>,
) -> Result<(), Failure> {
    let taken = if tools::is_openais(model) { &ITEMS[..] } else { &ITEMS[..OF_OTHERS] };
    for (index, item) in items.iter_mut().skip(earlier).enumerate() {
        let path = format!("input[{index}]");
        match item["type"].as_str() {
            None if item["role"].is_string() => item["type"] = Value::from("message"),
            None => return Err(missing(&format!("{path}.type"))),
            Some("item_reference") => {
                let id = item["id"].as_str().ok_or_else(|| missing(&format!("{path}.id")))?;
                *item = find(id).ok_or_else(|| missing_item(id))?;
            }
            Some(kind) if !taken.contains(&kind) => {
                return Err(refuse(
                    format!("{path}.type"),
                    format!("Invalid value: '{kind}'. Supported values are: {}.", list(taken)),
                ));
            }
            Some(_) => {}
        }
        one(item, &path, find)?;
    }
    calls(items, earlier)
}

fn missing_item(id: &str) -> Failure {
    Failure::not_found(format!(
        "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove \
         this item from your input."
    ))
    .about("input")
}

fn one(item: &Value, path: &str, find: &dyn Fn(&str) -> Option<Value>) -> Result<(), Failure> {
    let required = |key: &str| item[key].as_str().ok_or_else(|| missing(&format!("{path}.{key}")));
    match item["type"].as_str().unwrap_or_default() {
        "message" => message(item, path),
        "function_call" => {
            required("name")?;
            required("call_id")?;
            required("arguments").map(|_| ())
        }
        "custom_tool_call" => {
            required("name")?;
            required("call_id")?;
            required("input").map(|_| ())
        }
        "tool_search_call" => match &item["arguments"] {
            Value::Null => Err(missing(&format!("{path}.arguments"))),
            _ => Ok(()),
        },
        "tool_search_output" => match &item["tools"] {
            Value::Array(_) => Ok(()),
            Value::Null => Err(missing(&format!("{path}.tools"))),
            other => Err(wrong_type(&format!("{path}.tools"), "an array of objects", other)),
        },
        "function_call_output" | "custom_tool_call_output" => {
            required("call_id")?;
            match &item["output"] {
                Value::String(_) => Ok(()),
                Value::Array(parts) => {
                    parts.iter().enumerate().try_for_each(|(at, part)| user_part(part, &format!("{path}.output[{at}]")))
                }
                Value::Null => Err(missing(&format!("{path}.output"))),
                other => Err(wrong_type(&format!("{path}.output"), "one of an array of objects or string", other)),
            }
        }
        _ => reasoning(item, path, find),
    }
}

fn message(item: &Value, path: &str) -> Result<(), Failure> {
    let roles = ["assistant", "system", "developer", "user"];
    if item["role"].is_null() {
        return Err(missing(&format!("{path}.role")));
    }
    fields::one_of(&item["role"], &roles, &format!("{path}.role"))?;
    match &item["content"] {
        Value::String(_) => Ok(()),
        Value::Array(parts) => parts.iter().enumerate().try_for_each(|(at, part)| {
            let path = format!("{path}.content[{at}]");
            if item["role"] == "assistant" { own_part(part, &path) } else { user_part(part, &path) }
        }),
        Value::Null => Err(missing(&format!("{path}.content"))),
        other => Err(wrong_type(&format!("{path}.content"), "one of an array of objects or string", other)),
    }
}

fn own_part(part: &Value, path: &str) -> Result<(), Failure> {
    let kinds = ["output_text", "refusal"];
    let kind = part["type"].as_str().ok_or_else(|| missing(&format!("{path}.type")))?;
    fields::one_of(&part["type"], &kinds, &format!("{path}.type"))?;
    let key = if kind == "refusal" { "refusal" } else { "text" };
    part[key].as_str().map(|_| ()).ok_or_else(|| missing(&format!("{path}.{key}")))
}

fn user_part(part: &Value, path: &str) -> Result<(), Failure> {
    let kinds = ["input_text", "input_image", "input_file"];
    let kind = part["type"].as_str().ok_or_else(|| missing(&format!("{path}.type")))?;
    fields::one_of(&part["type"], &kinds, &format!("{path}.type"))?;
    let breakpoint = &part["prompt_cache_breakpoint"];
    if !breakpoint.is_null() {
        fields::one_of(&breakpoint["mode"], &["explicit"], &format!("{path}.prompt_cache_breakpoint.mode"))?;
    }
    match kind {
        "input_text" => part["text"].as_str().map(|_| ()).ok_or_else(|| missing(&format!("{path}.text"))),
        "input_image" => {
            fields::one_of(&part["detail"], &["low", "high", "auto", "original"], &format!("{path}.detail"))?;
            inline(part, "image_url", path)?;
            image(part["image_url"].as_str().unwrap_or_default(), &format!("{path}.image_url"))
        }
        _ => {
            if !part["file_url"].is_null() {
                return Err(refuse(
                    format!("{path}.file_url"),
                    "Files by URL are not supported. Send 'file_data' instead.",
                ));
            }
            if part["filename"].as_str().is_none() {
                return Err(missing(&format!("{path}.filename")));
            }
            inline(part, "file_data", path)
        }
    }
}

/// Files live with OpenAI; here every part brings its bytes.
fn inline(part: &Value, key: &str, path: &str) -> Result<(), Failure> {
    if !part["file_id"].is_null() {
        return Err(refuse(format!("{path}.file_id"), format!("Files by id are not supported. Send '{key}' instead.")));
    }
    let data = part[key].as_str().ok_or_else(|| missing(&format!("{path}.{key}")))?;
    if data.starts_with("data:") || key != "file_data" {
        return Ok(());
    }
    Err(refuse(
        format!("{path}.{key}"),
        format!(
            "Invalid '{path}.{key}'. Expected a base64-encoded data URL with a MIME type (e.g. 'data:application/pdf;base64,JVBERi0...')."
        ),
    ))
}

/// Refuses an image that is not a data URL of what it says.
pub(crate) fn image(url: &str, path: &str) -> Result<(), Failure> {
    if url.starts_with("http://") || url.starts_with("https://") {
        return Err(refuse(
            path,
            format!("Invalid '{path}'. Images by URL are not supported. Send a base64-encoded data URL instead."),
        ));
    }
    let data = url.strip_prefix("data:image/").and_then(|rest| rest.split_once(";base64,"));
    let Some((_, data)) = data.filter(|(kind, _)| ["png", "jpeg", "gif", "webp"].contains(kind)) else {
        return Err(refuse(
            path,
            format!(
                "Invalid '{path}'. Expected a base64-encoded data URL with an image MIME type (e.g. 'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU=')."
            ),
        ));
    };
    match images::sniff(data) {
        Some(_) => Ok(()),
        None => Err(refuse(
            path,
            "The image data you provided does not represent a valid image. Please check your input and try again.",
        )),
    }
}

/// What a reasoning item carries for callers that keep it themselves.
pub(super) fn encrypted(text: &str) -> String {
    format!("gAAAAAB{}", BASE64_URL_SAFE_NO_PAD.encode(format!("{}:{text}", content::signature(text))))
}

fn is_ours(encrypted: &str) -> bool {
    let bytes = encrypted.strip_prefix("gAAAAAB").and_then(|rest| BASE64_URL_SAFE_NO_PAD.decode(rest).ok());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.as_deref()
        .and_then(|text| text.split_once(':'))
        .is_some_and(|(signature, text)| signature == content::signature(text))
}

fn reasoning(item: &Value, path: &str, find: &dyn Fn(&str) -> Option<Value>) -> Result<(), Failure> {
    if !item["summary"].is_array() {
        return Err(missing(&format!("{path}.summary")));
    }
    let id = item["id"].as_str().unwrap_or_default();
    match item["encrypted_content"].as_str() {
        Some(text) if is_ours(text) => Ok(()),
        Some(_) => Err(refuse(
            format!("{path}.encrypted_content"),
            format!("The encrypted content for item {id} could not be verified."),
        )),
        None if id.is_empty() => Err(missing(&format!("{path}.id"))),
        None => find(id).map(|_| ()).ok_or_else(|| missing_item(id)),
    }
}

/// Every call has its output and every output its call.
fn calls(items: &[Value], earlier: usize) -> Result<(), Failure> {
    let has_new_turn = items.len() > earlier;
    for (call, answer) in CALLS.into_iter().zip(ANSWERS) {
        let ids = |kind: &'static str| {
            items.iter().filter(move |item| item["type"] == kind).filter_map(|item| item["call_id"].as_str())
        };
        let called: HashSet<&str> = ids(call).collect();
        let answered: HashSet<&str> = ids(answer).collect();
        let what = call.replace('_', " ");
        if let Some(id) = ids(answer).find(|id| !called.contains(id)) {
            return Err(refuse("input", format!("No tool call found for {what} output with call_id {id}.")));
        }
        if let Some(id) = ids(call).find(|id| has_new_turn && !answered.contains(id)) {
            return Err(refuse("input", format!("No tool output found for {what} {id}.")));
        }
    }
    Ok(())
}

fn is_answer(item: &Value) -> bool {
    item["type"].as_str().is_some_and(|kind| ANSWERS.contains(&kind))
}

/// A conversation that passed the checks.
pub(super) struct Turns<'a> {
    pub(super) body: &'a Value,
    pub(super) items: &'a [Value],
    pub(super) model: &'a Model,
}

impl Turns<'_> {
    /// The prompt and its input tokens.
    pub(super) fn read(&self) -> (Prompt, Meter) {
        let body = self.body;
        let mut meter = Meter::default();
        body["tools"].as_array().into_iter().flatten().for_each(|tool| meter.json(tool));
        let seen = tools::seen(&body["tools"], self.items);
        let tools = seen.into_iter().map(|tool| Tool { schema: tool.schema(), name: tool.called }).collect();
        meter.text(body["instructions"].as_str().unwrap_or_default());
        let ttl = Some("30m");
        for item in self.items {
            measure(item, &mut meter);
        }
        if body["prompt_cache_options"]["mode"] != "explicit" {
            meter.checkpoint(ttl);
        }
        let results = self.items.iter().rev().take_while(|item| is_answer(item));
        let results: Vec<String> = results.map(|item| text(&item["output"])).collect();
        let last =
            self.items.iter().rev().find(|item| item["role"] == "user").map_or(&Value::Null, |item| &item["content"]);
        let of = |kind: &str| last.as_array().into_iter().flatten().filter(|part| part["type"] == kind).count();
        let choice = &body["tool_choice"];
        let prompt = Prompt {
            question: text(last),
            tool_results: results.into_iter().rev().collect(),
            images: of("input_image"),
            documents: of("input_file"),
            choice: tool_choice(choice),
            one_call: body["parallel_tool_calls"] == false,
            schema: schema(&body["text"]["format"]),
            thinks: self.model.reasoning != Some(false) && fields::effort(body, self.model) != "none",
            max_tokens: body["max_output_tokens"].as_u64().or(self.model.max_output_tokens),
            stop_sequences: Vec::new(),
            seed: meter.fingerprint(),
            tools,
        };
        (prompt, meter)
    }
}

fn tool_choice(choice: &Value) -> Choice {
    let mode = choice.as_str().or_else(|| choice["mode"].as_str());
    match (mode, choice["type"].as_str()) {
        (Some("none"), _) => Choice::Off,
        (Some("required"), _) => Choice::Any,
        (_, Some("function" | "custom")) => Choice::Named(choice["name"].as_str().unwrap_or_default().to_owned()),
        _ => Choice::Auto,
    }
}

fn schema(format: &Value) -> Option<Value> {
    match format["type"].as_str() {
        Some("json_schema") => Some(format["schema"].clone()),
        Some("json_object") => Some(json!({"type": "object", "properties": {"answer": {"type": "string"}}})),
        _ => None,
    }
}

fn measure(item: &Value, meter: &mut Meter) {
    match item["type"].as_str() {
        Some("message") => {
            meter.turn(item["role"].as_str().unwrap_or_default());
            if let Some(text) = item["content"].as_str() {
                meter.text(text);
            }
            item["content"].as_array().into_iter().flatten().for_each(|part| measure_part(part, meter));
        }
        Some("function_call") => {
            meter.text(item["name"].as_str().unwrap_or_default());
            meter.text(item["arguments"].as_str().unwrap_or_default());
        }
        Some("custom_tool_call") => {
            meter.text(item["name"].as_str().unwrap_or_default());
            meter.text(item["input"].as_str().unwrap_or_default());
        }
        Some("tool_search_call" | "tool_search_output") => meter.json(item),
        Some("function_call_output" | "custom_tool_call_output") => {
            meter.turn("tool");
            meter.text(item["output"].as_str().unwrap_or_default());
            item["output"].as_array().into_iter().flatten().for_each(|part| measure_part(part, meter));
        }
        _ => {}
    }
}

fn measure_part(part: &Value, meter: &mut Meter) {
    match part["type"].as_str() {
        Some("input_image") => meter.image(part["image_url"].as_str().unwrap_or_default()),
        Some("input_file") => meter.document(part["file_data"].as_str().unwrap_or_default()),
        _ => meter.text(part["text"].as_str().unwrap_or_default()),
    }
    if part["prompt_cache_breakpoint"].is_object() {
        meter.checkpoint(Some("30m"));
    }
}

fn text(content: &Value) -> String {
    let parts = content.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    content.as_str().into_iter().chain(parts).collect::<Vec<_>>().join("\n")
}
