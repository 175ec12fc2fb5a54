//! Tools, and whether the model has to use one.

use serde_json::{Value, json};

use super::ToolNames;
use crate::api::openai::wire;
use crate::converse::{InputSchema, Object, Request, Tool, ToolChoice, ToolConfig, ToolSpec};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// What a request says about tools.
pub(super) struct Tools {
    /// The tools it offers.
    pub(super) offered: Vec<wire::Tool>,
    /// Which to use.
    pub(super) choice: Option<Value>,
    /// Whether several at once may be.
    pub(super) parallel: Option<bool>,
    /// The tools that its history used, by the names Bedrock gets.
    pub(super) used: Vec<String>,
}

/// Which tools the model may or must use.
#[derive(Clone, Copy, PartialEq)]
enum Wanted<'a> {
    Auto,
    None,
    Required,
    Named(&'a str),
}

impl Tools {
    /// Puts the tools into `request`. Bedrock has no choice of "none", and refuses a history with tool blocks unless
    /// tools are there as well: so they stay, or are made up from the history.
    pub(super) fn apply(
        self,
        names: &ToolNames,
        traits: &Traits,
        request: &mut Request,
        report: &mut Report,
    ) -> Result<(), Error> {
        let wanted = wanted(self.choice.as_ref())?;
        let offered = !self.offered.is_empty();
        if !traits.tools && (offered || !self.used.is_empty()) {
            let field = if offered { "tools" } else { "messages" };
            return Err(Error::unsupported(field, "This model takes no tools."));
        }
        let mut tools = Vec::with_capacity(self.offered.len());
        for (i, tool) in self.offered.into_iter().enumerate() {
            tools.push(spec(i, tool, names, report)?);
        }
        match wanted {
            Wanted::Required | Wanted::Named(_) if !offered => {
                return Err(Error::invalid("tool_choice", "`tool_choice` asks for a tool, but there are no `tools`."));
            }
            Wanted::Named(name) if !tools.iter().any(|tool| tool.name == names.sent(name)) => {
                return Err(Error::invalid("tool_choice.function.name", "`tool_choice` names a tool not in `tools`."));
            }
            Wanted::None if self.used.is_empty() => return Ok(()),
            Wanted::None if offered => report.add(Action::Dropped, "tool_choice"),
            _ => {}
        }
        if tools.is_empty() {
            if self.used.is_empty() {
                return Ok(());
            }
            report.add(Action::Inserted, "tools");
            tools = self.used.into_iter().map(made_up).collect();
        }

        let forced = match wanted {
            Wanted::Required => Some(ToolChoice::Any(Object::new())),
            Wanted::Named(name) => Some(ToolChoice::Tool { name: names.sent(name).to_owned() }),
            Wanted::Auto | Wanted::None => None,
        };
        let choice = forced.filter(|_| traits.forced_tool_choice);
        if choice.is_none() && matches!(wanted, Wanted::Required | Wanted::Named(_)) {
            report.add(Action::Clamped, "tool_choice");
        }
        if self.parallel == Some(false) && offered {
            forbid_parallel(choice.is_some(), traits, request, report);
        }
        let tools = tools.into_iter().map(Tool::ToolSpec).collect();
        request.tool_config = Some(ToolConfig { tools, tool_choice: choice });
        Ok(())
    }
}

fn wanted(choice: Option<&Value>) -> Result<Wanted<'_>, Error> {
    const EXPECTED: &str =
        "`tool_choice` has to be `none`, `auto`, `required` or {\"type\":\"function\",\"function\":{\"name\":...}}.";
    match choice {
        None => Ok(Wanted::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Wanted::Auto),
            "none" => Ok(Wanted::None),
            "required" => Ok(Wanted::Required),
            _ => Err(Error::invalid("tool_choice", EXPECTED)),
        },
        Some(choice) => match (&choice["type"], &choice["function"]["name"]) {
            (Value::String(kind), Value::String(name)) if kind == "function" => Ok(Wanted::Named(name)),
            (Value::String(kind), _) if kind == "allowed_tools" || kind == "custom" => {
                Err(Error::unsupported("tool_choice", "Send only the tools allowed, and choose one by its name."))
            }
            _ => Err(Error::invalid("tool_choice", EXPECTED)),
        },
    }
}

fn spec(i: usize, tool: wire::Tool, names: &ToolNames, report: &mut Report) -> Result<ToolSpec, Error> {
    if tool.kind != "function" {
        let message = "Only tools of the type `function` can be used.";
        return Err(Error::unsupported(format!("tools[{i}].type"), message));
    }
    let Some(function) = tool.function else {
        return Err(Error::invalid(format!("tools[{i}].function"), "`function` is missing."));
    };
    for (key, _) in tool.extra.iter().filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, format!("tools[{i}].{key}"));
    }
    // No parameters means no arguments; the type is what models insist on.
    let mut schema = function.parameters.unwrap_or_default();
    if schema.is_empty() {
        schema.insert("type".to_owned(), json!("object"));
        schema.insert("properties".to_owned(), json!({}));
    } else if !schema.contains_key("type") {
        report.add(Action::Inserted, format!("tools[{i}].function.parameters.type"));
        schema.insert("type".to_owned(), json!("object"));
    }
    Ok(ToolSpec {
        name: names.sent(&function.name).to_owned(),
        description: function.description.filter(|text| !text.trim().is_empty()),
        input_schema: InputSchema { json: Value::Object(schema) },
        strict: function.strict.filter(|strict| *strict),
    })
}

/// A tool of which only the name is known, because the history used it.
fn made_up(name: String) -> ToolSpec {
    ToolSpec { name, description: None, input_schema: InputSchema { json: json!({"type": "object"}) }, strict: None }
}

/// Only Claude has a switch, and only among its own fields. Its `type` there must not meet a choice made in Converse's.
fn forbid_parallel(chosen: bool, traits: &Traits, request: &mut Request, report: &mut Report) {
    if !traits.parallel_tool_switch {
        report.add(Action::Dropped, "parallel_tool_calls");
        return;
    }
    let mut switch = Object::new();
    if !chosen {
        switch.insert("type".to_owned(), json!("auto"));
    }
    switch.insert("disable_parallel_tool_use".to_owned(), json!(true));
    request.additional_model_request_fields.insert("tool_choice".to_owned(), Value::Object(switch));
}

#[cfg(test)]
mod tests {
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
