//! The tools that a request offers and names.

use serde_json::Value;

use super::parts::ttl;
use crate::api::conversation::{self, At, CachePoints, Choice, Parallel, ToolNames, Tools};
use crate::api::openai::wire;
use crate::converse::{Tool, ToolSpec};
use crate::error::Error;
use crate::report::{Action, Report};

/// The names of all tools in `request`.
pub(super) fn names(request: &wire::ChatRequest, report: &mut Report) -> Result<ToolNames, Error> {
    let offered = request.tools.iter().flatten().enumerate().filter_map(|(i, tool)| {
        let function = tool.function.as_ref()?;
        Some((At::item("tools", i).dot("function.name"), function.name.as_str()))
    });
    let called = request.messages.iter().enumerate().flat_map(|(i, message)| {
        message.tool_calls.iter().flatten().enumerate().filter_map(move |(j, call)| {
            let function = call.function.as_ref()?;
            Some((At::item("messages", i).at("tool_calls", j).dot("function.name"), function.name.as_str()))
        })
    });
    ToolNames::collect(offered, called, report)
}

/// What a request says about tools, without those that its history used.
pub(super) fn tools(
    offered: Option<Vec<wire::Tool>>,
    choice: Option<&Value>,
    parallel: Option<bool>,
    names: &ToolNames,
    points: &mut CachePoints,
    report: &mut Report,
) -> Result<Tools, Error> {
    let (choice, allowed) = wanted(choice)?;
    let is_offered = |name: &String| {
        let mut functions = offered.iter().flatten().filter_map(|tool| tool.function.as_ref());
        functions.any(|function| function.name == *name)
    };
    if let Some(stranger) = allowed.iter().flatten().find(|name| !is_offered(name)) {
        let message = format!("`tool_choice` allows `{stranger}`, which is not in `tools`.");
        return Err(Error::invalid("tool_choice.allowed_tools.tools", message));
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
        (Some("allowed_tools"), _) => {
            let allowed = &choice["allowed_tools"];
            let mode =
                allowed["mode"].as_str().and_then(word).filter(|mode| *mode != Choice::None).ok_or_else(|| {
                    Error::invalid("tool_choice.allowed_tools.mode", "`mode` has to be `auto` or `required`.")
                })?;
            let names = allowed["tools"].as_array().into_iter().flatten();
            let names = names.map(|tool| tool["function"]["name"].as_str().map(str::to_owned));
            let names: Option<Vec<_>> = names.collect();
            let names = names
                .filter(|names| !names.is_empty())
                .ok_or_else(|| Error::invalid("tool_choice.allowed_tools.tools", "`tools` has to name functions."))?;
            Ok((mode, Some(names)))
        }
        (Some("custom"), _) => {
            Err(Error::unsupported("tool_choice", "Only tools of the type `function` can be chosen."))
        }
        _ => Err(invalid()),
    }
}

fn spec(at: At, tool: wire::Tool, names: &ToolNames, report: &mut Report) -> Result<ToolSpec, Error> {
    if tool.kind != "function" {
        return Err(Error::unsupported(at.dot("type"), "Only tools of the type `function` can be used."));
    }
    let Some(function) = tool.function else {
        return Err(Error::invalid(at.dot("function"), "`function` is missing."));
    };
    for (key, _) in tool.extra.iter().filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, format!("{at}.{key}"));
    }
    let name = (names.sent(&function.name), at.dot("function.parameters"));
    Ok(conversation::spec(name, function.description, function.parameters, function.strict, report))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Kind;
    use crate::families::Traits;

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
    fn only_tools_that_are_offered_can_be_allowed_and_not_for_no_use() {
        let choice = |mode: &str, name: &str| {
            let tools = format!(r#"[{{"type":"function","function":{{"name":"{name}"}}}}]"#);
            let allowed = format!(r#"{{"mode":"{mode}","tools":{tools}}}"#);
            let fields = format!(r#"{TOOLS},"tool_choice":{{"type":"allowed_tools","allowed_tools":{allowed}}}"#);
            translated("", &fields, &Traits::default())
        };
        assert_eq!(choice("required", "now").unwrap().0, json!([1, {"any": {}}, null]));
        assert_eq!(choice("auto", "then").unwrap_err().blamed(), Some("tool_choice.allowed_tools.tools"));
        assert_eq!(choice("none", "now").unwrap_err().blamed(), Some("tool_choice.allowed_tools.mode"));
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
