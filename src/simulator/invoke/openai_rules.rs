//! What OpenAI's chat API refuses of a body, in its words. GPT-5.x, GPT-6.x and Grok refuse more than the open-weight models,
//! which take the sampling fields of their servers as well.

use serde_json::Value;

use crate::simulator::catalog::Model;
use crate::simulator::errors::Failure;
use crate::simulator::responses::{image, known_keys, missing, one_of, refuse, strict, well_named, wrong_type};

const KNOWN: &[&str] = &[
    "amazon-bedrock-guardrailConfig",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
];

/// What the servers of open-weight models take beside OpenAI's fields.
const OF_SERVERS: &[&str] = &["chat_template_kwargs", "include_reasoning", "min_p", "repetition_penalty", "top_k"];

/// What models without sampling parameters refuse.
const SAMPLING: [&str; 8] =
    ["temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "stop"];

/// Whether the rules of OpenAI's own models hold.
pub(super) fn is_proprietary(model: &Model) -> bool {
    model.is_any(&["openai.gpt-5", "openai.gpt-6"])
}

/// Checks a chat body, which has neither `model` nor `stream`.
pub(super) fn check(body: &Value, model: &Model) -> Result<(), Failure> {
    if is_proprietary(model) {
        known_keys(body, KNOWN, "")?;
    } else {
        known_keys(body, &[KNOWN, OF_SERVERS].concat(), "")?;
    }
    limits(body, model)?;
    if model.sampling_params == Some(false)
        && let Some(name) = SAMPLING.into_iter().find(|name| !body[*name].is_null())
    {
        return Err(refuse(name, format!("Unsupported parameter: '{name}' is not supported with this model.")));
    }
    if body["n"].as_u64().is_some_and(|count| count != 1) {
        return Err(refuse(
            "n",
            format!(
                "Unsupported value: 'n' does not support {} with this model. Only the default (1) value is supported.",
                body["n"]
            ),
        ));
    }
    one_of(&body["service_tier"], &["auto", "default", "flex", "priority"], "service_tier")?;
    one_of(&body["verbosity"], &["low", "medium", "high"], "verbosity")?;
    one_of(
        &body["reasoning_effort"],
        &["none", "minimal", "low", "medium", "high", "xhigh", "max"],
        "reasoning_effort",
    )?;
    format(&body["response_format"], body)?;
    tools(body, model)?;
    messages(body, model)
}

fn limits(body: &Value, model: &Model) -> Result<(), Failure> {
    if is_proprietary(model) && !body["max_tokens"].is_null() {
        return Err(refuse(
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ));
    }
    let fewest = if model.is_any(&["openai.gpt-5", "openai.gpt-6", "xai.grok", "kimi-k3"]) { 16 } else { 1 };
    for name in ["max_tokens", "max_completion_tokens"] {
        if body[name].is_null() {
            continue;
        }
        let asked = body[name].as_u64().ok_or_else(|| wrong_type(name, "an integer", &body[name]))?;
        let most = model.max_output_tokens.unwrap_or(u64::MAX);
        let (side, sign, bound) = match asked {
            asked if asked < fewest => ("below minimum", ">=", fewest),
            asked if asked > most => ("above maximum", "<=", most),
            _ => continue,
        };
        return Err(refuse(
            name,
            format!(
                "Invalid '{name}': integer {side} value. Expected a value {sign} {bound}, but got {asked} instead."
            ),
        ));
    }
    Ok(())
}

fn format(format: &Value, body: &Value) -> Result<(), Failure> {
    if format.is_null() {
        return Ok(());
    }
    if format["type"].is_null() {
        return Err(missing("response_format.type"));
    }
    one_of(&format["type"], &["json_object", "json_schema", "text"], "response_format.type")?;
    if format["type"] == "json_object" && !body["messages"].to_string().to_lowercase().contains("json") {
        return Err(refuse(
            "messages",
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
        ));
    }
    if format["type"] != "json_schema" {
        return Ok(());
    }
    let schema = &format["json_schema"];
    let name = schema["name"].as_str().ok_or_else(|| missing("response_format.json_schema.name"))?;
    well_named(name, "response_format.json_schema.name")?;
    if schema["strict"] == true {
        strict(&schema["schema"]).map_err(|message| {
            refuse("response_format", format!("Invalid schema for response_format '{name}': {message}"))
        })?;
    }
    Ok(())
}

fn tools(body: &Value, model: &Model) -> Result<(), Failure> {
    let tools: Vec<&Value> = body["tools"].as_array().into_iter().flatten().collect();
    if tools.is_empty() {
        if body["tools"].is_array() && is_proprietary(model) {
            return Err(refuse(
                "tools",
                "Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            ));
        }
        return match body["tool_choice"].as_str() {
            None | Some("none") if !body["tool_choice"].is_object() => Ok(()),
            _ => Err(refuse(
                "tool_choice",
                "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            )),
        };
    }
    if model.tools == Some(false) {
        return Err(refuse("tools", "This model doesn't support tool use."));
    }
    for (index, tool) in tools.iter().enumerate() {
        let path = format!("tools[{index}]");
        if tool["type"].is_null() {
            return Err(missing(&format!("{path}.type")));
        }
        one_of(&tool["type"], &["function"], &format!("{path}.type"))?;
        let function = &tool["function"];
        let name = function["name"].as_str().ok_or_else(|| missing(&format!("{path}.function.name")))?;
        well_named(name, &format!("{path}.function.name"))?;
        if function["strict"] == true {
            strict(&function["parameters"]).map_err(|message| {
                refuse(
                    format!("{path}.function.parameters"),
                    format!("Invalid schema for function '{name}': {message}"),
                )
            })?;
        }
    }
    // The newest models reason by default, and chat completions has no way to carry reasoning between calls of tools.
    if model.is_any(&["openai.gpt-5.6", "openai.gpt-6"]) && body["reasoning_effort"] != "none" {
        return Err(refuse(
            "reasoning_effort",
            format!(
                "Function tools with reasoning_effort are not supported for {} in /v1/chat/completions. To use function tools, use /v1/responses or set reasoning_effort to 'none'.",
                model.id
            ),
        ));
    }
    choice(&body["tool_choice"], &tools)
}

fn choice(choice: &Value, tools: &[&Value]) -> Result<(), Failure> {
    if !choice.is_object() {
        return one_of(choice, &["none", "auto", "required"], "tool_choice");
    }
    let name = choice["function"]["name"].as_str().ok_or_else(|| missing("tool_choice.function.name"))?;
    if tools.iter().any(|tool| tool["function"]["name"] == name) {
        return Ok(());
    }
    Err(refuse(
        "tool_choice",
        format!("Invalid value for 'tool_choice': no function named '{name}' was specified in the 'tools' parameter."),
    ))
}

fn messages(body: &Value, model: &Model) -> Result<(), Failure> {
    let messages = match &body["messages"] {
        Value::Null => return Err(missing("messages")),
        Value::Array(messages) => messages,
        other => return Err(wrong_type("messages", "an array of objects", other)),
    };
    if messages.is_empty() {
        return Err(refuse(
            "messages",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        ));
    }
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let path = format!("messages[{at}]");
        let role = message["role"].as_str().ok_or_else(|| missing(&format!("{path}.role")))?;
        one_of(&message["role"], &["system", "assistant", "user", "tool", "developer"], &format!("{path}.role"))?;
        if role == "tool" {
            let id = message["tool_call_id"].as_str().ok_or_else(|| missing(&format!("{path}.tool_call_id")))?;
            let known = open.iter().position(|open| *open == id).ok_or_else(|| {
                refuse(
                    format!("{path}.role"),
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                )
            })?;
            open.remove(known);
        } else if !open.is_empty() {
            return Err(unanswered(&open, &path));
        }
        content(message, role, &path, model)?;
        for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
            let path = format!("{path}.tool_calls[{index}]");
            open.push(call["id"].as_str().ok_or_else(|| missing(&format!("{path}.id")))?);
            for key in ["name", "arguments"] {
                call["function"][key].as_str().ok_or_else(|| missing(&format!("{path}.function.{key}")))?;
            }
        }
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(&open, "messages")) }
}

fn unanswered(open: &[&str], path: &str) -> Failure {
    refuse(
        path,
        format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following \
             tool_call_ids did not have response messages: {}",
            open.join(", ")
        ),
    )
}

fn content(message: &Value, role: &str, path: &str, model: &Model) -> Result<(), Failure> {
    let path = format!("{path}.content");
    match &message["content"] {
        Value::Null if role == "assistant" && (message["tool_calls"].is_array() || message["refusal"].is_string()) => {
            Ok(())
        }
        Value::Null => Err(refuse(&path, format!("Invalid value for '{path}': expected a string, got null."))),
        Value::String(_) => Ok(()),
        Value::Array(parts) => {
            parts.iter().enumerate().try_for_each(|(index, one)| part(one, role, &format!("{path}[{index}]"), model))
        }
        other => Err(wrong_type(&path, "one of a string or array of objects", other)),
    }
}

fn part(part: &Value, role: &str, path: &str, model: &Model) -> Result<(), Failure> {
    let kind = part["type"].as_str().ok_or_else(|| missing(&format!("{path}.type")))?;
    let kinds: &[&str] = match role {
        "user" => &["text", "image_url", "input_audio", "file"],
        "assistant" => &["text", "refusal"],
        _ => &["text"],
    };
    one_of(&part["type"], kinds, &format!("{path}.type"))?;
    match kind {
        "text" => part["text"].as_str().map(|_| ()).ok_or_else(|| missing(&format!("{path}.text"))),
        "image_url" => {
            let url = part["image_url"]["url"].as_str().ok_or_else(|| missing(&format!("{path}.image_url.url")))?;
            if !model.vision {
                return Err(refuse(
                    path,
                    format!("Invalid content type. image_url is not supported by the '{}' model.", model.id),
                ));
            }
            image(url, &format!("{path}.image_url.url"))
        }
        "refusal" => Ok(()),
        kind => Err(refuse(
            format!("{path}.type"),
            format!("Invalid content type. {kind} is not supported by the '{}' model.", model.id),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::simulator::catalog;

    fn told(id: &str, fields: &Value) -> String {
        let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        check(&body, catalog::model(id).unwrap()).map_or_else(|failure| failure.message, |()| "ok".to_owned())
    }

    const OSS: &str = "openai.gpt-oss-120b-1:0";
    const SOL: &str = "openai.gpt-5.6-sol";

    #[test]
    fn bodies_are_refused_in_the_words_of_the_chat_api() {
        let tool = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]);
        let user = json!({"role": "user", "content": "a"});
        let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]});
        let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "5"});
        let image = |url: &str| json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]});
        for (model, fields, expected) in [
            (OSS, json!({"max_tokens": 1, "top_k": 5, "temperature": 2, "stop": "x"}), "ok"),
            (OSS, json!({"surprise": 1}), "Unknown parameter: 'surprise'."),
            (SOL, json!({"top_k": 5}), "Unknown parameter: 'top_k'."),
            (SOL, json!({"max_tokens": 50}), "Use 'max_completion_tokens' instead."),
            (SOL, json!({"max_completion_tokens": 5}), "Expected a value >= 16, but got 5 instead."),
            (SOL, json!({"temperature": 1}), "'temperature' is not supported with this model."),
            (SOL, json!({"tools": tool}), "set reasoning_effort to 'none'"),
            (SOL, json!({"tools": tool, "reasoning_effort": "none"}), "ok"),
            (
                OSS,
                json!({"tools": tool, "tool_choice": {"type": "function", "function": {"name": "clock"}}}),
                "no function named 'clock'",
            ),
            (OSS, json!({"tool_choice": "auto"}), "only allowed when 'tools' are specified"),
            (
                OSS,
                json!({"tools": [{"type": "function", "name": "flat"}]}),
                "Missing required parameter: 'tools[0].function.name'.",
            ),
            (OSS, json!({"n": 2}), "'n' does not support 2"),
            (OSS, json!({"response_format": {"type": "json_object"}}), "must contain the word 'json'"),
            (OSS, json!({"messages": []}), "empty array"),
            (OSS, json!({"messages": [{"role": "robot", "content": "a"}]}), "Invalid value: 'robot'"),
            (OSS, json!({"messages": [user, result("c1")]}), "must be a response to a preceeding message"),
            (OSS, json!({"messages": [user, call, user]}), "did not have response messages: c1"),
            (OSS, json!({"messages": [user, call, result("c1")]}), "ok"),
            (SOL, image("https://example.com/a.png"), "Images by URL are not supported"),
            (SOL, image("data:image/png;base64,aGVsbG8="), "does not represent a valid image"),
            (OSS, image("data:image/png;base64,aGVsbG8="), "image_url is not supported"),
        ] {
            let message = told(model, &fields);
            assert!(message.contains(expected), "{model} {fields}: {message}");
        }
    }
}
