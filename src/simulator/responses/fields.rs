//! What the Responses API refuses of a body's own fields, in OpenAI's words. Input items are checked in `input`, tools in
//! `tools`.

use serde_json::Value;

use super::tools;
use crate::simulator::catalog::Model;
use crate::simulator::errors::Failure;

const KNOWN: &[&str] = &[
    "background",
    "conversation",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

const INCLUDABLE: &[&str] = &[
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
];

/// The fewest output tokens that may be asked for.
const MIN_OUTPUT_TOKENS: u64 = 16;

/// A refusal of OpenAI's that names its parameter.
pub(crate) fn refuse(param: impl Into<String>, message: impl Into<String>) -> Failure {
    Failure::validation(message).about(param)
}

/// Refuses a key of `object` that is not in `known`; `at` is the path of the object.
pub(crate) fn known_keys(object: &Value, known: &[&str], at: &str) -> Result<(), Failure> {
    let mut keys = object.as_object().into_iter().flat_map(|object| object.keys());
    match keys.find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
            Err(refuse(&path, format!("Unknown parameter: '{path}'.")))
        }
    }
}

/// Refuses a string outside of `values`, and anything but a string; null and absent pass.
pub(crate) fn one_of(value: &Value, values: &[&str], path: &str) -> Result<(), Failure> {
    let Some(text) = text(value, path)? else { return Ok(()) };
    if values.contains(&text) {
        return Ok(());
    }
    Err(refuse(path, format!("Invalid value: '{text}'. Supported values are: {}.", list(values))))
}

/// `'a', 'b', and 'c'`.
pub(super) fn list(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
    match &quoted[..] {
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        [first @ .., last] => format!("{}, and {last}", first.join(", ")),
        [] => String::new(),
    }
}

/// A string or nothing.
pub(super) fn text<'a>(value: &'a Value, path: &str) -> Result<Option<&'a str>, Failure> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        other => Err(wrong_type(path, "a string", other)),
    }
}

/// OpenAI's refusal of a JSON type.
pub(crate) fn wrong_type(path: &str, expected: &str, value: &Value) -> Failure {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    refuse(path, format!("Invalid type for '{path}': expected {expected}, but got {got} instead."))
}

/// Whether a model of OpenAI charges what it writes to its cache, and tells it: GPT-5.6 and later.
pub(super) fn writes_cost(model: &Model) -> bool {
    model.is_any(&["openai.gpt-5.6", "openai.gpt-6"])
}

/// The effort at which `body` has the model reason.
pub(super) fn effort<'a>(body: &'a Value, model: &Model) -> &'a str {
    let default = if model.is_any(&["openai.gpt-5.4", "openai.gpt-5.5"]) { "none" } else { "medium" };
    body["reasoning"]["effort"].as_str().unwrap_or(default)
}

/// Checks everything of a body but its input items.
pub(super) fn check(body: &Value, model: &Model) -> Result<(), Failure> {
    known_keys(body, KNOWN, "")?;
    if body["background"] == true {
        return Err(refuse("background", "Background mode is not supported. Set 'background' to false and try again."));
    }
    let absent = ["conversation", "prompt", "max_tool_calls"];
    if let Some(name) = absent.into_iter().find(|name| !body[*name].is_null()) {
        return Err(refuse(name, format!("Unsupported parameter: '{name}' is not supported with this model.")));
    }
    for name in ["background", "parallel_tool_calls", "store", "stream"] {
        if !body[name].is_null() && !body[name].is_boolean() {
            return Err(wrong_type(name, "a boolean", &body[name]));
        }
    }
    for name in ["instructions", "previous_response_id", "prompt_cache_key", "safety_identifier", "user"] {
        text(&body[name], name)?;
    }
    one_of(&body["truncation"], &["auto", "disabled"], "truncation")?;
    one_of(&body["service_tier"], &["auto", "default", "flex", "priority"], "service_tier")?;
    one_of(&body["prompt_cache_retention"], &["in_memory", "24h"], "prompt_cache_retention")?;
    cache_options(body, model)?;
    numbers(body, model)?;
    reasoning(body, model)?;
    format(&body["text"], model)?;
    include(&body["include"])?;
    metadata(&body["metadata"])?;
    tools::check(body, model)
}

fn cache_options(body: &Value, model: &Model) -> Result<(), Failure> {
    let options = &body["prompt_cache_options"];
    if options.is_null() {
        return Ok(());
    }
    if !writes_cost(model) {
        return Err(refuse(
            "prompt_cache_options",
            "Unsupported parameter: 'prompt_cache_options' is not supported with this model.",
        ));
    }
    if !body["prompt_cache_retention"].is_null() {
        return Err(refuse(
            "prompt_cache_retention",
            "'prompt_cache_retention' and 'prompt_cache_options.ttl' cannot both be specified.",
        ));
    }
    known_keys(options, &["mode", "ttl"], "prompt_cache_options")?;
    one_of(&options["mode"], &["implicit", "explicit"], "prompt_cache_options.mode")?;
    one_of(&options["ttl"], &["30m"], "prompt_cache_options.ttl")
}

fn numbers(body: &Value, model: &Model) -> Result<(), Failure> {
    let asked = &body["max_output_tokens"];
    if !asked.is_null() {
        let number = asked.as_i64().ok_or_else(|| wrong_type("max_output_tokens", "an integer", asked))?;
        let limit = model.max_output_tokens.unwrap_or(u64::MAX);
        let bound = if number < i64::try_from(MIN_OUTPUT_TOKENS).unwrap_or(i64::MAX) {
            Some(("below minimum", ">=", MIN_OUTPUT_TOKENS))
        } else if number.unsigned_abs() > limit {
            Some(("above maximum", "<=", limit))
        } else {
            None
        };
        if let Some((side, sign, limit)) = bound {
            return Err(refuse(
                "max_output_tokens",
                format!(
                    "Invalid 'max_output_tokens': integer {side} value. Expected a value {sign} {limit}, but got {number} instead."
                ),
            ));
        }
    }
    for (name, most) in [("temperature", 2.0), ("top_p", 1.0), ("top_logprobs", 20.0)] {
        if body[name].is_null() {
            continue;
        }
        let number = body[name].as_f64().ok_or_else(|| wrong_type(name, "a decimal", &body[name]))?;
        if model.sampling_params == Some(false) {
            return Err(refuse(name, format!("Unsupported parameter: '{name}' is not supported with this model.")));
        }
        if !(0.0..=most).contains(&number) {
            let (side, sign, bound) =
                if number < 0.0 { ("below minimum", ">=", 0.0) } else { ("above maximum", "<=", most) };
            return Err(refuse(
                name,
                format!(
                    "Invalid '{name}': decimal {side} value. Expected a value {sign} {bound}, but got {number} instead."
                ),
            ));
        }
    }
    Ok(())
}

fn reasoning(body: &Value, model: &Model) -> Result<(), Failure> {
    let reasoning = &body["reasoning"];
    if reasoning.is_null() {
        return Ok(());
    }
    if !reasoning.is_object() {
        return Err(wrong_type("reasoning", "an object", reasoning));
    }
    if model.reasoning == Some(false) {
        return Err(refuse("reasoning", "Unsupported parameter: 'reasoning' is not supported with this model."));
    }
    known_keys(reasoning, &["effort", "summary", "generate_summary", "context", "mode"], "reasoning")?;
    let efforts: &[&str] = if model.is_any(&["openai.gpt-6", "openai.gpt-5.6"]) {
        &["none", "low", "medium", "high", "xhigh", "max"]
    } else {
        &["none", "minimal", "low", "medium", "high", "xhigh"]
    };
    let effort = text(&reasoning["effort"], "reasoning.effort")?;
    if let Some(effort) = effort.filter(|effort| !efforts.contains(effort)) {
        return Err(refuse(
            "reasoning.effort",
            format!(
                "Unsupported value: '{effort}' is not supported with the '{}' model. Supported values are: {}.",
                model.id,
                list(efforts)
            ),
        ));
    }
    one_of(&reasoning["summary"], &["auto", "concise", "detailed"], "reasoning.summary")
}

fn format(text_config: &Value, model: &Model) -> Result<(), Failure> {
    if text_config.is_null() {
        return Ok(());
    }
    known_keys(text_config, &["format", "verbosity"], "text")?;
    one_of(&text_config["verbosity"], &["low", "medium", "high"], "text.verbosity")?;
    let format = &text_config["format"];
    if format.is_null() {
        return Ok(());
    }
    let kinds = ["json_object", "json_schema", "text"];
    if format["type"].is_null() {
        return Err(missing("text.format.type"));
    }
    one_of(&format["type"], &kinds, "text.format.type")?;
    if format["type"] != "json_schema" {
        return known_keys(format, &["type"], "text.format");
    }
    known_keys(format, &["type", "name", "schema", "strict", "description"], "text.format")?;
    let name = text(&format["name"], "text.format.name")?.ok_or_else(|| missing("text.format.name"))?;
    tools::well_named(name, "text.format.name")?;
    if !format["schema"].is_object() {
        return Err(missing("text.format.schema"));
    }
    if model.structured_output == Some(false) {
        return Err(refuse(
            "text.format",
            "Invalid parameter: 'text.format' of type 'json_schema' is not supported with this model.",
        ));
    }
    if format["strict"] != false {
        tools::strict(&format["schema"]).map_err(|message| {
            refuse("text.format.schema", format!("Invalid schema for response_format '{name}': {message}"))
        })?;
    }
    Ok(())
}

fn include(include: &Value) -> Result<(), Failure> {
    for (index, item) in include.as_array().into_iter().flatten().enumerate() {
        one_of(item, INCLUDABLE, &format!("include[{index}]"))?;
    }
    match include {
        Value::Null | Value::Array(_) => Ok(()),
        other => Err(wrong_type("include", "an array of strings", other)),
    }
}

fn metadata(metadata: &Value) -> Result<(), Failure> {
    let Some(pairs) = metadata.as_object() else {
        return if metadata.is_null() { Ok(()) } else { Err(wrong_type("metadata", "an object", metadata)) };
    };
    if pairs.len() > 16 {
        return Err(refuse(
            "metadata",
            format!(
                "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, but got an object with {} properties instead.",
                pairs.len()
            ),
        ));
    }
    for (key, value) in pairs {
        let path = format!("metadata.{key}");
        let value = text(value, &path)?.unwrap_or_default();
        for (what, length, most) in [("key", key.chars().count(), 64), ("string", value.chars().count(), 512)] {
            if length > most {
                return Err(refuse(
                    &path,
                    format!(
                        "Invalid '{path}': {what} too long. Expected a string with maximum length {most}, but got a string with length {length} instead."
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// OpenAI's refusal of an absent member.
pub(crate) fn missing(path: &str) -> Failure {
    refuse(path, format!("Missing required parameter: '{path}'."))
}
