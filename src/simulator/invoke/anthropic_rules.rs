//! What Anthropic's Messages API refuses, in its words, before the rules that Converse shares (`validate::claude`).

use std::collections::HashSet;

use serde_json::Value;

use crate::simulator::catalog::Model;
use crate::simulator::validate::{claude, images, model as model_rules};

const BLOCKS: &[&str] = &[
    "document",
    "image",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "text",
    "thinking",
    "tool_result",
    "tool_use",
    "web_search_tool_result",
];

/// Checks a Messages body.
pub(crate) fn check(body: &Value, model: &Model) -> Result<(), String> {
    match body["anthropic_version"].as_str() {
        None => return Err("anthropic_version: Field required".to_owned()),
        Some("bedrock-2023-05-31") => {}
        Some(_) => return Err("anthropic_version: Input should be 'bedrock-2023-05-31'".to_owned()),
    }
    limit(body, model)?;
    let messages = body
        .get("messages")
        .ok_or("messages: Field required")?
        .as_array()
        .ok_or("messages: Input should be a valid list")?;
    if messages.is_empty() {
        return Err("messages: at least one message is required".to_owned());
    }
    for (at, message) in messages.iter().enumerate() {
        turn(message, at, at + 1 == messages.len())?;
    }
    if messages.first().is_some_and(|first| first["role"] != "user") {
        return Err("messages: first message must use the \"user\" role".to_owned());
    }
    system(&body["system"])?;
    tools(body)?;
    tool_turns(messages)?;
    if let Some(schema) = body["output_config"]["format"].get("schema") {
        model_rules::closed_objects(schema).map_err(|message| format!("output_config.format.schema: {message}"))?;
    }
    claude::check(&claude::Request::from_messages(body), model)
}

fn limit(body: &Value, model: &Model) -> Result<(), String> {
    let asked = body.get("max_tokens").ok_or("max_tokens: Field required")?;
    let asked = asked.as_u64().ok_or("max_tokens: Input should be a valid integer")?;
    if asked == 0 {
        return Err("max_tokens: Input should be greater than or equal to 1".to_owned());
    }
    match model.max_output_tokens.filter(|limit| asked > *limit) {
        Some(limit) => Err(format!(
            "max_tokens: {asked} > {limit}, which is the maximum allowed number of output tokens for {}",
            model.id
        )),
        None => Ok(()),
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn turn(message: &Value, at: usize, is_last: bool) -> Result<(), String> {
    let role = message["role"].as_str().ok_or_else(|| format!("messages.{at}.role: Field required"))?;
    if role != "user" && role != "assistant" {
        return Err(format!(
            "messages: Unexpected role \"{role}\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role."
        ));
    }
    match &message["content"] {
        Value::Null => Err(format!("messages.{at}.content: Field required")),
        Value::String(text) if text.is_empty() => Err(format!(
            "messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        )),
        Value::String(text) => not_blank(text),
        Value::Array(blocks) if blocks.is_empty() && !(is_last && role == "assistant") => Err(format!(
            "messages.{at}: all messages must have non-empty content except for the optional final assistant message"
        )),
        Value::Array(blocks) => blocks
            .iter()
            .enumerate()
            .try_for_each(|(index, part)| block(part, role, &format!("messages.{at}.content.{index}"))),
        _ => Err(format!("messages.{at}.content: Input should be a valid string or list")),
    }
}

fn not_blank(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("messages: text content blocks must be non-empty".to_owned());
    }
    if text.trim().is_empty() {
        return Err("messages: text content blocks must contain non-whitespace text".to_owned());
    }
    Ok(())
}

fn block(block: &Value, role: &str, path: &str) -> Result<(), String> {
    let required = |key: &str| block[key].as_str().ok_or_else(|| format!("{path}.{key}: Field required"));
    let kind = required("type")?;
    if !BLOCKS.contains(&kind) {
        let tags: Vec<String> = BLOCKS.iter().map(|tag| format!("'{tag}'")).collect();
        return Err(format!(
            "{path}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {}",
            tags.join(", ")
        ));
    }
    let of_user = ["image", "document", "tool_result"].contains(&kind);
    let of_assistant = ["tool_use", "thinking", "redacted_thinking"].contains(&kind);
    if (role == "assistant" && of_user) || (role == "user" && of_assistant) {
        return Err(format!("{path}: `{kind}` blocks are not allowed in `{role}` messages"));
    }
    match kind {
        "text" => not_blank(required("text")?),
        "image" => image(block, path),
        "tool_use" => {
            required("id")?;
            required("name")?;
            if block["input"].is_object() {
                Ok(())
            } else {
                Err(format!("{path}.tool_use.input: Input should be a valid dictionary"))
            }
        }
        "tool_result" => required("tool_use_id").map(|_| ()),
        _ => Ok(()),
    }
}

fn image(block: &Value, path: &str) -> Result<(), String> {
    let source = &block["source"];
    if source["type"] != "base64" {
        return Err(format!("{path}.image.source: only base64 sources are supported"));
    }
    let data = source["data"].as_str().ok_or_else(|| format!("{path}.image.source.base64.data: Field required"))?;
    let media = source["media_type"].as_str().unwrap_or_default();
    let format = media.strip_prefix("image/").filter(|format| ["png", "jpeg", "gif", "webp"].contains(format));
    let Some(format) = format else {
        return Err(format!(
            "{path}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
        ));
    };
    match images::sniff(data) {
        None => Err("Could not process image".to_owned()),
        Some(real) if real != format => Err(format!(
            "{path}.image.source.base64: The image was specified using the {media} media type, but the image appears to be a image/{real} image"
        )),
        Some(_) => Ok(()),
    }
}

fn system(system: &Value) -> Result<(), String> {
    let empty = system.as_str() == Some("")
        || items(system).any(|block| block["text"].as_str().is_some_and(|text| text.trim().is_empty()));
    if empty { Err("system: text content blocks must be non-empty".to_owned()) } else { Ok(()) }
}

fn tools(body: &Value) -> Result<(), String> {
    let mut names = HashSet::new();
    for (index, tool) in items(&body["tools"]).enumerate() {
        let is_custom = tool.get("type").is_none_or(|kind| kind == "custom");
        let name = tool["name"].as_str().ok_or_else(|| format!("tools.{index}.custom.name: Field required"))?;
        let well_named = (1..=128).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        if !well_named {
            return Err(format!("tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"));
        }
        if !names.insert(name) {
            return Err("tools: Tool names must be unique.".to_owned());
        }
        if is_custom && tool["input_schema"]["type"] != "object" {
            return Err(format!("tools.{index}.custom.input_schema.type: Field required"));
        }
    }
    match body["tool_choice"]["type"].as_str() {
        Some("auto" | "any" | "tool") if names.is_empty() => {
            Err("tool_choice: tools must be provided when tool_choice is set".to_owned())
        }
        Some("tool") if !body["tool_choice"]["name"].as_str().is_some_and(|name| names.contains(name)) => Err(format!(
            "Tool '{}' not found in provided tools",
            body["tool_choice"]["name"].as_str().unwrap_or_default()
        )),
        _ => Ok(()),
    }
}

fn tool_turns(messages: &[Value]) -> Result<(), String> {
    let ids = |message: Option<&Value>, kind: &str, key: &str| -> Vec<String> {
        let blocks =
            message.into_iter().flat_map(|message| items(&message["content"])).filter(|block| block["type"] == kind);
        blocks.filter_map(|block| block[key].as_str()).map(str::to_owned).collect()
    };
    for at in 0..messages.len() {
        let uses = ids(messages.get(at), "tool_use", "id");
        let answers = ids(messages.get(at + 1), "tool_result", "tool_use_id");
        let open: Vec<&str> = uses.iter().filter(|id| !answers.contains(id)).map(String::as_str).collect();
        if !open.is_empty() {
            return Err(format!(
                "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a \
                 corresponding `tool_result` block in the next message.",
                open.join(", ")
            ));
        }
        let asked = if at == 0 { Vec::new() } else { ids(messages.get(at - 1), "tool_use", "id") };
        for (index, id) in ids(messages.get(at), "tool_result", "tool_use_id").iter().enumerate() {
            if !asked.contains(id) {
                return Err(format!(
                    "messages.{at}.content.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must \
                     have a corresponding `tool_use` block in the previous message."
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::simulator::catalog;

    fn told(fields: &Value) -> String {
        let mut body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{"role": "user", "content": "a"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let model = catalog::model("anthropic.claude-haiku-4-5-20251001-v1:0").unwrap();
        check(&body, model).map_or_else(|message| message, |()| "ok".to_owned())
    }

    fn said(turns: &Value) -> String {
        told(&json!({"messages": turns, "tools": [{"name": "t", "input_schema": {"type": "object"}}]}))
    }

    #[test]
    fn bodies_are_refused_in_the_words_of_the_messages_api() {
        let call = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "t", "input": {}}]});
        let ask = json!({"role": "user", "content": "a"});
        let result =
            |id: &str| json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "5"}]});
        for (message, expected) in [
            (told(&json!({})), "ok"),
            (told(&json!({"anthropic_version": null})), "anthropic_version: Field required"),
            (told(&json!({"max_tokens": null})), "max_tokens: Input should be a valid integer"),
            (told(&json!({"max_tokens": 64001})), "max_tokens: 64001 > 64000"),
            (told(&json!({"model": "m"})), "model: Extra inputs are not permitted"),
            (told(&json!({"stream": true})), "stream: Extra inputs are not permitted"),
            (said(&json!([])), "at least one message is required"),
            (said(&json!([{"role": "assistant", "content": "a"}])), "first message must use the \"user\" role"),
            (said(&json!([{"role": "user", "content": [{"type": "text", "text": ""}]}])), "must be non-empty"),
            (said(&json!([{"role": "user", "content": [{"type": "robot"}]}])), "Input tag 'robot'"),
            (said(&json!([ask, call, result("x")])), "ok"),
            (said(&json!([ask, call, ask])), "without `tool_result` blocks immediately after: x"),
            (said(&json!([ask, result("y")])), "unexpected `tool_use_id`"),
        ] {
            assert!(message.contains(expected), "{message}");
        }
    }
}
