//! The tools that a request offers and names.

use serde_json::Value;

use super::Calling;
use super::parts::ttl;
use crate::api::conversation::{self, At, CachePoints, CallerTools, Choice, Grammar, Parallel, ToolNames, Tools};
use crate::api::openai::wire;
use crate::converse::{Tool, ToolSpec};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// In which words a request speaks of tools. Those of 2023 do not go with the newer ones.
pub(super) fn calling(request: &wire::ChatRequest, report: &mut Report) -> Result<Calling, Error> {
    if request.functions.is_none() {
        if request.function_call.is_some() {
            return Err(Error::invalid("function_call", "`function_call` needs `functions`."));
        }
        let history = request.messages.iter().any(|message| message.function_call.is_some());
        return Ok(if history && request.tools.is_none() { Calling::Function } else { Calling::Tools });
    }
    if request.tools.is_some() || request.tool_choice.is_some() {
        let message = "`functions` goes with `function_call`: for `tools` and `tool_choice`, put the functions there.";
        return Err(Error::invalid("functions", message));
    }
    if request.parallel_tool_calls == Some(true) {
        report.add(Action::Dropped, "parallel_tool_calls");
    }
    Ok(Calling::Function)
}

/// All tools in `request`, under all their names.
pub(super) fn caller(request: &wire::ChatRequest, report: &mut Report) -> Result<CallerTools, Error> {
    let offered = request.tools.iter().flatten().enumerate().filter_map(|(i, tool)| {
        let (field, name) = tool.name()?;
        Some((At::item("tools", i).dot(field), name))
    });
    let functions = request.functions.iter().flatten().enumerate();
    let offered =
        offered.chain(functions.map(|(i, function)| (At::item("functions", i).dot("name"), function.name.as_str())));
    let called = request.messages.iter().enumerate().flat_map(|(i, message)| {
        let at = At::item("messages", i);
        let calls = message.tool_calls.iter().flatten().enumerate().filter_map(move |(j, call)| {
            let (field, name) = call.name()?;
            Some((at.at("tool_calls", j).dot(field), name))
        });
        let function = message.function_call.as_ref();
        calls.chain(function.map(|function| (at.dot("function_call.name"), function.name.as_str())))
    });
    let custom = request.tools.iter().flatten().filter(|tool| tool.kind == "custom");
    let custom = custom.filter_map(|tool| Some(tool.name()?.1.to_owned())).collect();
    Ok(CallerTools { names: ToolNames::collect(offered, called, report)?, custom })
}

/// What a request says about tools, without those that its history used.
pub(super) fn tools(
    offered: Option<Vec<wire::Tool>>,
    choice: Option<&Value>,
    parallel: Option<bool>,
    caller: &CallerTools,
    points: &mut CachePoints,
    report: &mut Report,
) -> Result<Tools, Error> {
    let names = &caller.names;
    let is_custom = choice.is_some_and(|choice| choice["type"] == "custom");
    let (choice, allowed) = wanted(choice)?;
    if let Choice::Named(name) = &choice
        && is_custom != caller.is_custom(name)
    {
        let field = if is_custom { "tool_choice.custom.name" } else { "tool_choice.function.name" };
        return Err(Error::invalid(field, "This names a tool that is not offered."));
    }
    let mut tools = Vec::new();
    for (i, mut tool) in offered.into_iter().flatten().enumerate() {
        let at = At::item("tools", i);
        let mark = tool.cache_control.take();
        let spec = spec(at, tool, names, report)?;
        if allowed.as_ref().is_some_and(|allowed| !allowed.iter().any(|name| names.sent(name) == spec.name)) {
            continue;
        }
        tools.push(Tool::ToolSpec(spec));
        if let Some(mark) = mark {
            let at = at.dot("cache_control");
            let point = points.point_after_tool(at, ttl(at, &mark)?, report);
            tools.extend(point.map(Tool::CachePoint));
        }
    }
    let parallel = if parallel == Some(false) { Parallel::Forbidden } else { Parallel::Allowed };
    Ok(Tools { offered: tools, choice, parallel, used: Vec::new() })
}

/// The same in the words of 2023: the answer has room for one call.
pub(super) fn functions(
    offered: Vec<wire::Function>,
    choice: Option<&Value>,
    names: &ToolNames,
    traits: &Traits,
    report: &mut Report,
) -> Result<Tools, Error> {
    let choice = match choice {
        None => Choice::Auto,
        Some(Value::String(word)) if word == "auto" => Choice::Auto,
        Some(Value::String(word)) if word == "none" => Choice::None,
        Some(choice) => {
            let Value::String(name) = &choice["name"] else {
                let message = "`function_call` has to be `none`, `auto` or {\"name\":...}.";
                return Err(Error::invalid("function_call", message));
            };
            Choice::Named(name.clone())
        }
    };
    let mut tools = Vec::with_capacity(offered.len());
    for (i, function) in offered.into_iter().enumerate() {
        let name = (names.sent(&function.name), At::item("functions", i).dot("parameters"));
        let spec = conversation::spec(name, function.description, function.parameters, function.strict, report);
        tools.push(Tool::ToolSpec(spec));
    }
    // Nobody asked for the switch, so where there is none that is not worth a word.
    let parallel = if traits.parallel_tool_switch { Parallel::Forbidden } else { Parallel::Allowed };
    Ok(Tools { offered: tools, choice, parallel, used: Vec::new() })
}

/// Which tool to use, and which of those offered may be used, if not all.
fn wanted(choice: Option<&Value>) -> Result<(Choice, Option<Vec<String>>), Error> {
    const EXPECTED: &str =
        "`tool_choice` has to be `none`, `auto`, `required` or {\"type\":\"function\",\"function\":{\"name\":...}}.";
    let word = |word: &str| match word {
        "auto" => Some(Choice::Auto),
        "none" => Some(Choice::None),
        "required" => Some(Choice::Required),
        _ => None,
    };
    let invalid = || Error::invalid("tool_choice", EXPECTED);
    let choice = match choice {
        None => return Ok((Choice::Auto, None)),
        Some(Value::String(choice)) => return Ok((word(choice).ok_or_else(invalid)?, None)),
        Some(choice) => choice,
    };
    match (choice["type"].as_str(), &choice["function"]["name"]) {
        (Some("function"), Value::String(name)) => Ok((Choice::Named(name.clone()), None)),
        (Some("custom"), _) => match &choice["custom"]["name"] {
            Value::String(name) => Ok((Choice::Named(name.clone()), None)),
            _ => Err(Error::invalid("tool_choice.custom.name", "Name the tool.")),
        },
        (Some("allowed_tools"), _) => {
            let allowed = &choice["allowed_tools"];
            let mode = allowed["mode"].as_str().and_then(word).ok_or_else(|| {
                Error::invalid("tool_choice.allowed_tools.mode", "`mode` has to be `auto` or `required`.")
            })?;
            let names = allowed["tools"].as_array().into_iter().flatten();
            let names = names.map(|tool| {
                let kind = if tool["type"] == "custom" { "custom" } else { "function" };
                tool[kind]["name"].as_str().map(str::to_owned)
            });
            let names: Option<Vec<_>> = names.collect();
            let names = names
                .filter(|names| !names.is_empty())
                .ok_or_else(|| Error::invalid("tool_choice.allowed_tools.tools", "`tools` has to name tools."))?;
            Ok((mode, Some(names)))
        }
        _ => Err(invalid()),
    }
}

fn spec(at: At, tool: wire::Tool, names: &ToolNames, report: &mut Report) -> Result<ToolSpec, Error> {
    if !matches!(tool.kind.as_str(), "function" | "custom") {
        return Err(Error::unsupported(at.dot("type"), "Only tools of the types `function` and `custom` can be used."));
    }
    for (key, _) in tool.extra.iter().filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, format!("{at}.{key}"));
    }
    if tool.kind == "custom" {
        return custom(at, tool, names, report);
    }
    let Some(function) = tool.function else {
        return Err(Error::invalid(at.dot("function"), "`function` is missing."));
    };
    let name = (names.sent(&function.name), at.dot("function.parameters"));
    Ok(conversation::spec(name, function.description, function.parameters, function.strict, report))
}

fn custom(at: At, tool: wire::Tool, names: &ToolNames, report: &mut Report) -> Result<ToolSpec, Error> {
    let at = at.dot("custom");
    let Some(custom) = tool.custom else {
        return Err(Error::invalid(at, "`custom` is missing."));
    };
    let at_format = at.dot("format");
    let grammar = match custom.format.as_ref().map(|format| (format.kind.as_str(), &format.grammar)) {
        None | Some(("text", _)) => None,
        Some(("grammar", Some(grammar))) => {
            report.add(Action::Clamped, at_format);
            Some(Grammar { syntax: &grammar.syntax, definition: &grammar.definition })
        }
        Some(("grammar", None)) => return Err(Error::invalid(at_format.dot("grammar"), "`grammar` is missing.")),
        Some(_) => return Err(Error::invalid(at_format.dot("type"), "`type` has to be `text` or `grammar`.")),
    };
    let schema = conversation::custom_schema(grammar);
    Ok(conversation::spec((names.sent(&custom.name), at), custom.description, Some(schema), None, report))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Kind;

    const TOOLS: &str = r#""tools":[{"type":"function","function":{"name":"now"}}]"#;
    const HISTORY: &str = r#",{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"now"}}]},
        {"role":"tool","tool_call_id":"c","content":"noon"}"#;

    fn translated(history: &str, fields: &str, traits: &Traits) -> Result<(Value, String), Error> {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}{history}],{fields}}}"#);
        let translated = crate::api::openai::translate::request(wire::parse(body.as_bytes()).unwrap(), traits)?;
        let body = serde_json::to_value(&translated.request).unwrap();
        let relevant = json!([body["toolConfig"]["toolChoice"], body["additionalModelRequestFields"]["tool_choice"]]);
        let tools = body["toolConfig"]["tools"].as_array().map_or(0, Vec::len);
        Ok((json!([tools, relevant[0], relevant[1]]), translated.report.to_string()))
    }

    #[test]
    fn each_choice_has_its_form() {
        let choice = |choice: &str| {
            translated("", &format!(r#"{TOOLS},"tool_choice":{choice}"#), &Traits::default()).map(|(body, _)| body)
        };
        assert_eq!(choice(r#""auto""#).unwrap(), json!([1, null, null]));
        assert_eq!(choice(r#""none""#).unwrap(), json!([0, null, null]));
        assert_eq!(choice(r#""required""#).unwrap(), json!([1, {"any": {}}, null]));
        let named = |name: &str| format!(r#"{{"type":"function","function":{{"name":"{name}"}}}}"#);
        assert_eq!(choice(&named("now")).unwrap(), json!([1, {"tool": {"name": "now"}}, null]));
        assert_eq!(choice(&named("then")).unwrap_err().blamed(), Some("tool_choice.function.name"));
        assert_eq!(choice("7").unwrap_err().blamed(), Some("tool_choice"));
    }

    #[test]
    fn a_history_with_tools_keeps_them_or_gets_them() {
        let none = format!(r#"{TOOLS},"tool_choice":"none""#);
        let kept = translated(HISTORY, &none, &Traits::default()).unwrap();
        assert_eq!(kept, (json!([1, null, null]), "dropped:tool_choice".into()));
        let made_up = translated(HISTORY, r#""tools":[]"#, &Traits::default()).unwrap();
        assert_eq!(made_up, (json!([1, null, null]), "inserted:tools".into()));
    }

    #[test]
    fn one_tool_at_a_time_is_switched_where_there_is_a_switch() {
        let claude = Traits { parallel_tool_switch: true, ..Traits::default() };
        let single = format!(r#"{TOOLS},"parallel_tool_calls":false"#);
        let (body, _) = translated("", &single, &claude).unwrap();
        assert_eq!(body, json!([1, null, {"type": "auto", "disable_parallel_tool_use": true}]));
        let (body, _) = translated("", &format!(r#"{single},"tool_choice":"required""#), &claude).unwrap();
        assert_eq!(body, json!([1, {"any": {}}, {"disable_parallel_tool_use": true}]));
        let other = translated("", &single, &Traits::default()).unwrap();
        assert_eq!(other, (json!([1, null, null]), "dropped:parallel_tool_calls".into()));
    }

    #[test]
    fn what_a_model_cannot_is_softened_or_refused() {
        let soft = Traits { forced_tool_choice: false, ..Traits::default() };
        let required = format!(r#"{TOOLS},"tool_choice":"required""#);
        let answer = translated("", &required, &soft).unwrap();
        assert_eq!(answer, (json!([1, null, null]), "clamped:tool_choice".into()));
        let without = Traits { tools: false, ..Traits::default() };
        let error = translated("", TOOLS, &without).unwrap_err();
        assert_eq!((error.kind(), error.blamed()), (Kind::Unsupported, Some("tools")));
    }
}
