//! Tools of the Responses API: flat functions alone on the runtime; everything that a server would run is refused.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{known_keys, list, missing, refuse, wrong_type};
use crate::simulator::catalog::Model;
use crate::simulator::errors::Failure;

/// Checks `tools` and `tool_choice`.
pub(super) fn check(body: &Value, model: &Model) -> Result<(), Failure> {
    if !body["tools"].is_null() && !body["tools"].is_array() {
        return Err(wrong_type("tools", "an array of objects", &body["tools"]));
    }
    let mut names = HashSet::new();
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        let path = format!("tools[{index}]");
        let name = function(tool, &path)?;
        if !names.insert(name) {
            return Err(refuse("tools", format!("Duplicate function name '{name}' in 'tools'.")));
        }
    }
    if !names.is_empty() && model.tools == Some(false) {
        return Err(refuse("tools", "Unsupported parameter: 'tools' is not supported with this model."));
    }
    choice(&body["tool_choice"], &names)
}

fn function<'a>(tool: &'a Value, path: &str) -> Result<&'a str, Failure> {
    let kind = tool["type"].as_str().ok_or_else(|| missing(&format!("{path}.type")))?;
    if kind != "function" {
        return Err(refuse(
            format!("{path}.type"),
            format!("Tool type '{kind}' is not supported with this model. Supported values are: 'function'."),
        ));
    }
    let name = tool["name"].as_str().ok_or_else(|| missing(&format!("{path}.name")))?;
    known_keys(tool, &["type", "name", "description", "parameters", "strict"], path)?;
    well_named(name, &format!("{path}.name"))?;
    let parameters = &tool["parameters"];
    if !parameters.is_null() && !parameters.is_object() {
        return Err(wrong_type(&format!("{path}.parameters"), "an object", parameters));
    }
    if parameters.is_object() && parameters["type"] != "object" {
        return Err(refuse(
            format!("{path}.parameters"),
            format!(
                "Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got 'type: {}'.",
                parameters["type"]
            ),
        ));
    }
    if tool["strict"] == true {
        strict(parameters).map_err(|message| {
            refuse(format!("{path}.parameters"), format!("Invalid schema for function '{name}': {message}"))
        })?;
    }
    Ok(name)
}

/// Names of functions and schemas: 1 to 64 of `[a-zA-Z0-9_-]`.
pub(crate) fn well_named(name: &str, path: &str) -> Result<(), Failure> {
    if name.is_empty() || name.len() > 64 {
        let (what, bound) = if name.is_empty() { ("short", "minimum length 1") } else { ("long", "maximum length 64") };
        return Err(refuse(
            path,
            format!(
                "Invalid '{path}': string too {what}. Expected a string with {bound}, but got a string with length {} instead.",
                name.len()
            ),
        ));
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
        return Err(refuse(
            path,
            format!(
                "Invalid '{path}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
            ),
        ));
    }
    Ok(())
}

/// The rules of a strict schema: every object closed, every property required.
pub(crate) fn strict(schema: &Value) -> Result<(), String> {
    walk(schema, &mut Vec::new())
}

fn walk<'a>(schema: &'a Value, path: &mut Vec<&'a str>) -> Result<(), String> {
    let context = |path: &[&str]| {
        let parts: Vec<String> = path.iter().map(|part| format!("'{part}'")).collect();
        format!("In context=({}), ", parts.join(", "))
    };
    if let Some(properties) = schema["properties"].as_object() {
        if schema["additionalProperties"] != false {
            return Err(format!("{}'additionalProperties' is required to be supplied and to be false.", context(path)));
        }
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(name) = properties.keys().find(|name| !required.contains(&name.as_str())) {
            return Err(format!(
                "{}'required' is required to be supplied and to be an array including every key in properties. Missing '{name}'.",
                context(path)
            ));
        }
        for (name, property) in properties {
            path.extend(["properties", name]);
            walk(property, path)?;
            path.truncate(path.len() - 2);
        }
    }
    for key in ["items", "not"] {
        if let Some(part) = schema.get(key) {
            path.push(key);
            walk(part, path)?;
            path.pop();
        }
    }
    for key in ["anyOf", "allOf", "oneOf"] {
        path.push(key);
        schema[key].as_array().into_iter().flatten().try_for_each(|part| walk(part, path))?;
        path.pop();
    }
    schema["$defs"].as_object().into_iter().flatten().try_for_each(|(_, part)| walk(part, path))
}

fn choice(choice: &Value, names: &HashSet<&str>) -> Result<(), Failure> {
    let modes = ["none", "auto", "required"];
    match choice {
        Value::String(mode) if !modes.contains(&mode.as_str()) => {
            Err(refuse("tool_choice", format!("Invalid value: '{mode}'. Supported values are: {}.", list(&modes))))
        }
        Value::String(mode) if mode == "required" && names.is_empty() => {
            Err(refuse("tool_choice", "Tool choice 'required' must be specified with 'tools' parameter."))
        }
        Value::Null | Value::String(_) => Ok(()),
        Value::Object(fields) => match fields.get("type").and_then(Value::as_str) {
            Some("function") => named(&choice["name"], names),
            Some("allowed_tools") => {
                choice["tools"].as_array().into_iter().flatten().try_for_each(|tool| named(&tool["name"], names))
            }
            Some(kind) => Err(refuse(
                "tool_choice.type",
                format!("Invalid value: '{kind}'. Supported values are: 'function' and 'allowed_tools'."),
            )),
            None => Err(missing("tool_choice.type")),
        },
        other => Err(wrong_type("tool_choice", "a string or an object", other)),
    }
}

fn named(name: &Value, names: &HashSet<&str>) -> Result<(), Failure> {
    let name = name.as_str().ok_or_else(|| missing("tool_choice.name"))?;
    if names.contains(name) {
        return Ok(());
    }
    Err(refuse("tool_choice", format!("Tool choice '{name}' not found in 'tools' parameter.")))
}
