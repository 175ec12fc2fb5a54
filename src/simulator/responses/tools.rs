//! Tools of the Responses API: those that a client runs. OpenAI's models take functions, custom tools, groups of both, and
//! the search for tools; others functions alone. Everything that a server would run is refused.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::fields::{known_keys, list, missing, one_of, refuse, wrong_type};
use crate::simulator::catalog::Model;
use crate::simulator::errors::Failure;

/// The types of tools that OpenAI's models take; those of other makers take functions alone. What a server would run (web
/// search, code, files) is refused of all.
const OF_OPENAI: [&str; 4] = ["function", "custom", "namespace", "tool_search"];
/// Groups that are there already, so that nobody can offer another of the name.
const RESERVED: [&str; 5] = ["browser", "functions", "image_gen", "python", "web"];

/// A tool that the model may call.
pub(super) struct Offered<'a> {
    /// What the model calls it by: the name, after its group and a dot where it is in one.
    pub(super) called: String,
    pub(super) namespace: Option<&'a str>,
    pub(super) name: &'a str,
    /// `function`, `custom` or `tool_search`.
    pub(super) kind: &'a str,
    tool: &'a Value,
}

impl Offered<'_> {
    /// The schema of what it is called with.
    pub(super) fn schema(&self) -> Value {
        match self.kind {
            "custom" => {
                json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]})
            }
            _ => self.tool["parameters"].clone(),
        }
    }
}

/// Whether the model takes more than functions.
pub(super) fn is_openais(model: &Model) -> bool {
    model.id.starts_with("openai.")
}

/// The tools that the model sees: those of `tools` that are not to be searched for, and those that searches have found.
pub(super) fn seen<'a>(tools: &'a Value, items: &'a [Value]) -> Vec<Offered<'a>> {
    let mut seen = Vec::new();
    let list = |tools: &'a Value| tools.as_array().into_iter().flatten();
    for tool in list(tools) {
        add(tool, None, Deferred::Hidden, &mut seen);
    }
    for output in items.iter().filter(|item| item["type"] == "tool_search_output") {
        for tool in list(&output["tools"]) {
            add(tool, None, Deferred::Seen, &mut seen);
        }
    }
    seen
}

/// What becomes of a tool that is to be loaded when it is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deferred {
    Hidden,
    Seen,
}

fn add<'a>(tool: &'a Value, namespace: Option<&'a str>, deferred: Deferred, seen: &mut Vec<Offered<'a>>) {
    let kind = tool["type"].as_str().unwrap_or_default();
    match kind {
        "namespace" => {
            for member in tool["tools"].as_array().into_iter().flatten() {
                add(member, tool["name"].as_str(), deferred, seen);
            }
        }
        "tool_search" if tool["execution"] != "client" => {}
        _ if tool["defer_loading"] == true && deferred == Deferred::Hidden => {}
        _ => {
            let name = if kind == "tool_search" { kind } else { tool["name"].as_str().unwrap_or_default() };
            let called = namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}.{name}"));
            if !seen.iter().any(|other| other.called == called) {
                seen.push(Offered { called, namespace, name, kind, tool });
            }
        }
    }
}

/// Checks `tools` and `tool_choice`.
pub(super) fn check(body: &Value, model: &Model) -> Result<(), Failure> {
    if !body["tools"].is_null() && !body["tools"].is_array() {
        return Err(wrong_type("tools", "an array of objects", &body["tools"]));
    }
    let mut names = HashSet::new();
    for (index, tool) in body["tools"].as_array().into_iter().flatten().enumerate() {
        one(tool, model, &format!("tools[{index}]"), None, &mut names)?;
    }
    if !names.is_empty() && model.tools == Some(false) {
        return Err(refuse("tools", "Unsupported parameter: 'tools' is not supported with this model."));
    }
    choice(&body["tool_choice"], &names.into_iter().map(|(_, name)| name).collect())
}

/// Group and name of each tool.
type Names<'a> = HashSet<(Option<&'a str>, &'a str)>;

fn one<'a>(
    tool: &'a Value,
    model: &Model,
    path: &str,
    namespace: Option<&'a str>,
    names: &mut Names<'a>,
) -> Result<(), Failure> {
    let kind = tool["type"].as_str().ok_or_else(|| missing(&format!("{path}.type")))?;
    let taken: &[&str] = match namespace {
        Some(_) => &OF_OPENAI[..2],
        None if is_openais(model) => &OF_OPENAI,
        None => &OF_OPENAI[..1],
    };
    if !taken.contains(&kind) {
        return Err(refuse(
            format!("{path}.type"),
            format!("Tool type '{kind}' is not supported with this model. Supported values are: {}.", list(taken)),
        ));
    }
    let name = match kind {
        "tool_search" => return search(tool, path),
        "namespace" => return group(tool, model, path, names),
        "custom" => custom(tool, path)?,
        _ => function(tool, is_openais(model), path)?,
    };
    if !names.insert((namespace, name)) {
        return Err(refuse("tools", format!("Duplicate function name '{name}' in 'tools'.")));
    }
    Ok(())
}

fn search(tool: &Value, path: &str) -> Result<(), Failure> {
    known_keys(tool, &["type", "execution", "description", "parameters"], path)?;
    one_of(&tool["execution"], &["server", "client"], &format!("{path}.execution"))
}

fn group<'a>(tool: &'a Value, model: &Model, path: &str, names: &mut Names<'a>) -> Result<(), Failure> {
    known_keys(tool, &["type", "name", "description", "tools"], path)?;
    let name = tool["name"].as_str().ok_or_else(|| missing(&format!("{path}.name")))?;
    well_named(name, &format!("{path}.name"))?;
    if RESERVED.contains(&name) {
        return Err(refuse(
            "tools",
            format!(
                "Invalid Value: 'tools.namespace'. User-defined namespace '{name}' collides with an existing tool namespace."
            ),
        ));
    }
    let members = tool["tools"].as_array().ok_or_else(|| missing(&format!("{path}.tools")))?;
    for (index, member) in members.iter().enumerate() {
        one(member, model, &format!("{path}.tools[{index}]"), Some(name), names)?;
    }
    Ok(())
}

fn custom<'a>(tool: &'a Value, path: &str) -> Result<&'a str, Failure> {
    let name = tool["name"].as_str().ok_or_else(|| missing(&format!("{path}.name")))?;
    known_keys(tool, &["type", "name", "description", "format", "defer_loading"], path)?;
    well_named(name, &format!("{path}.name"))?;
    let format = &tool["format"];
    one_of(&format["type"], &["text", "grammar"], &format!("{path}.format.type"))?;
    if format["type"] == "grammar" {
        one_of(&format["syntax"], &["lark", "regex"], &format!("{path}.format.syntax"))?;
        for key in ["syntax", "definition"] {
            format[key].as_str().ok_or_else(|| missing(&format!("{path}.format.{key}")))?;
        }
    }
    Ok(name)
}

fn function<'a>(tool: &'a Value, may_defer: bool, path: &str) -> Result<&'a str, Failure> {
    let name = tool["name"].as_str().ok_or_else(|| missing(&format!("{path}.name")))?;
    let known = ["type", "name", "description", "parameters", "strict", "defer_loading"];
    known_keys(tool, if may_defer { &known } else { &known[..5] }, path)?;
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
            Some("function" | "custom") => named(&choice["name"], names),
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
