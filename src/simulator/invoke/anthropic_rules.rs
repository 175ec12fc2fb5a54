//! What Anthropic's Messages API refuses, in its words, before the rules that Converse shares (`validate::claude`).

use serde_json::Value;

use super::{anthropic_blocks as blocks, anthropic_tools as tools};
use crate::simulator::catalog::Model;
use crate::simulator::validate::{betas, claude, model as model_rules};

/// Checks a Messages body.
pub(crate) fn check(body: &Value, model: &Model) -> Result<(), String> {
    match body["anthropic_version"].as_str() {
        None => return Err("anthropic_version: Field required".to_owned()),
        Some("bedrock-2023-05-31") => {}
        Some(_) => return Err("anthropic_version: Input should be 'bedrock-2023-05-31'".to_owned()),
    }
    betas::check(&body["anthropic_beta"])?;
    limit(body, model)?;
    let messages = body
        .get("messages")
        .ok_or("messages: Field required")?
        .as_array()
        .ok_or("messages: Input should be a valid list")?;
    if messages.is_empty() {
        return Err("messages: at least one message is required".to_owned());
    }
    for at in 0..messages.len() {
        turn(messages, at, model)?;
    }
    if messages.first().is_some_and(|first| first["role"] != "user") {
        return Err("messages: first message must use the \"user\" role".to_owned());
    }
    system(&body["system"])?;
    tools::check(body, model)?;
    tools::turns(messages)?;
    blocks::cache_control(body, "cache_control")?;
    output_config(body, model)?;
    blocks::citations(messages, || body["output_config"]["format"].is_object())?;
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

/// The format and effort of the output; effort is of Opus 4.5 by its beta flag, and of every model since 4.6.
fn output_config(body: &Value, model: &Model) -> Result<(), String> {
    let config = &body["output_config"];
    blocks::keys(config, &["effort", "format"], "output_config")?;
    if let Some(schema) = config["format"].get("schema") {
        if model.structured_output == Some(false) {
            return Err("output_config.format: Structured outputs are not supported for this model.".to_owned());
        }
        model_rules::closed_objects(schema).map_err(|message| format!("output_config.format.schema: {message}"))?;
    }
    let Some(effort) = config["effort"].as_str() else { return Ok(()) };
    let by_flag = model.is_any(&["claude-opus-4-5"]) && betas::has(&body["anthropic_beta"], "effort-");
    let newer = model.sampling_params == Some(false) || model.is_any(&["claude-opus-4-6", "claude-sonnet-4-6"]);
    if !by_flag && !newer {
        return Err("This model does not support the effort parameter.".to_owned());
    }
    let known: &[&str] = match model.sampling_params {
        Some(false) => &["low", "medium", "high", "xhigh", "max"],
        _ => &["low", "medium", "high", "max"],
    };
    if known.contains(&effort) {
        return Ok(());
    }
    let known: Vec<String> = known.iter().map(|known| format!("'{known}'")).collect();
    Err(format!("output_config.effort: Input should be {}", known.join(", ")))
}

fn turn(messages: &[Value], at: usize, model: &Model) -> Result<(), String> {
    let message = &messages[at];
    let role = message["role"].as_str().ok_or_else(|| format!("messages.{at}.role: Field required"))?;
    blocks::keys(message, &["role", "content"], &format!("messages.{at}"))?;
    match role {
        "user" | "assistant" => {}
        "system" if claude::takes_system_turns(model) => system_turn(messages, at)?,
        _ => {
            return Err(format!(
                "messages: Unexpected role \"{role}\". The Messages API accepts a top-level `system` parameter, not \"system\" as an input message role."
            ));
        }
    }
    let is_last = at + 1 == messages.len();
    match &message["content"] {
        Value::Null => Err(format!("messages.{at}.content: Field required")),
        Value::String(text) if text.is_empty() => Err(empty(at)),
        Value::String(text) => blocks::not_blank(text),
        Value::Array(parts) if parts.is_empty() && !(is_last && role == "assistant") => Err(empty(at)),
        Value::Array(parts) => parts
            .iter()
            .enumerate()
            .try_for_each(|(index, part)| blocks::check(part, role, &format!("messages.{at}.content.{index}"))),
        _ => Err(format!("messages.{at}.content: Input should be a valid string or list")),
    }
}

fn empty(at: usize) -> String {
    format!("messages.{at}: all messages must have non-empty content except for the optional final assistant message")
}

/// A system turn stands behind a user's and before an assistant's, or last.
fn system_turn(messages: &[Value], at: usize) -> Result<(), String> {
    let role = |at: usize| messages.get(at).and_then(|message| message["role"].as_str());
    let follows = at > 0 && role(at - 1) == Some("user");
    if follows && matches!(role(at + 1), None | Some("assistant")) {
        return Ok(());
    }
    Err(format!(
        "messages.{at}: a `system` message must directly follow a `user` message and be the last message or be followed by an `assistant` message"
    ))
}

fn system(system: &Value) -> Result<(), String> {
    if system.as_str() == Some("") {
        return Err("system: text content blocks must be non-empty".to_owned());
    }
    for (index, block) in system.as_array().into_iter().flatten().enumerate() {
        let path = format!("system.{index}");
        match block["type"].as_str() {
            Some("text") => {}
            Some(kind) => return Err(blocks::unknown_tag(&path, kind, ["text"].into_iter())),
            None => return Err(format!("{path}.type: Field required")),
        }
        if block["text"].as_str().is_some_and(|text| text.trim().is_empty()) {
            return Err("system: text content blocks must be non-empty".to_owned());
        }
        blocks::check(block, "system", &path)?;
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
            (
                said(
                    &json!([ask, call, {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "tool_result", "tool_use_id": "x"}]}]),
                ),
                "immediately after: x",
            ),
        ] {
            assert!(message.contains(expected), "{message}");
        }
    }

    fn user(block: &Value) -> String {
        told(&json!({"messages": [{"role": "user", "content": [block]}]}))
    }

    #[test]
    fn sources_that_would_have_to_be_fetched_are_refused() {
        let of = |kind: &str, source: Value| user(&json!({"type": kind, "source": source}));
        for (message, expected) in [
            (
                of("image", json!({"type": "url", "url": "https://example.com"})),
                "messages.0.content.0.image.source: Input tag 'url'",
            ),
            (of("image", json!({"type": "file", "file_id": "f"})), "Input tag 'file'"),
            (of("document", json!({"type": "url", "url": "https://example.com"})), "document.source: Input tag 'url'"),
            (
                of("document", json!({"type": "base64", "media_type": "application/pdf", "data": "aGVsbG8gd29ybGQ="})),
                "The PDF specified was not valid.",
            ),
            (of("document", json!({"type": "text", "media_type": "text/plain", "data": "hello"})), "ok"),
        ] {
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn unknown_keys_and_flags_are_refused_wherever_they_stand() {
        let tool = |fields: Value| {
            crate::simulator::probe::with(json!({"name": "t", "input_schema": {"type": "object"}}), &fields)
        };
        let cached = |control: Value| user(&json!({"type": "text", "text": "a", "cache_control": control}));
        for (message, expected) in [
            (told(&json!({"anthropic_beta": ["computer-use-2025-01-24"]})), "ok"),
            (told(&json!({"anthropic_beta": ["structured-outputs-2025-11-13"]})), "invalid beta flag"),
            (told(&json!({"context_management": {"edits": []}})), "context_management: Extra inputs are not permitted"),
            (
                told(
                    &json!({"context_management": {"edits": []}, "anthropic_beta": ["context-management-2025-06-27"]}),
                ),
                "ok",
            ),
            (told(&json!({"service_tier": "auto"})), "service_tier: Extra inputs are not permitted"),
            (
                user(&json!({"type": "text", "text": "a", "surprise": 1})),
                "messages.0.content.0.text.surprise: Extra inputs",
            ),
            (cached(json!({"type": "ephemeral", "ttl": "1h"})), "ok"),
            (
                cached(json!({"type": "ephemeral", "ttl": "2h"})),
                "text.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
            ),
            (cached(json!({"type": "ephemeral", "scope": "global"})), "cache_control.ephemeral.scope: Extra inputs"),
            (
                told(&json!({"tools": [tool(json!({"defer_loading": true}))]})),
                "tools.0.custom.defer_loading: Extra inputs",
            ),
            (
                told(
                    &json!({"tools": [tool(json!({"defer_loading": true}))], "anthropic_beta": ["tool-search-tool-2025-10-19"]}),
                ),
                "ok",
            ),
            (
                told(&json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]})),
                "Input tag 'web_search_20250305'",
            ),
            (
                told(&json!({"tools": [tool(json!({}))], "tool_choice": {"type": "none", "name": "t"}})),
                "tool_choice.none.name: Extra inputs",
            ),
            (told(&json!({"output_config": {"effort": "low"}})), "does not support the effort parameter"),
            (
                told(
                    &json!({"thinking": {"type": "enabled", "budget_tokens": 1024, "surprise": 1}, "max_tokens": 2000}),
                ),
                "thinking.enabled.surprise: Extra inputs",
            ),
        ] {
            assert!(message.contains(expected), "{message}");
        }
    }
}
