//! The tools that a request offers and names.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::api::conversation::{self, At, CallerTools, Choice, Grammar, Parallel, ToolNames, Tools};
use crate::api::openai::responses::wire::{Item, Request, Tool};
use crate::converse::{self, ToolSpec};
use crate::error::Error;
use crate::report::{Action, Report};

/// What a request says about tools.
pub(super) struct Offer {
    /// Under all their names.
    pub(super) caller: CallerTools,
    /// What Bedrock gets of them, without those that the history used.
    pub(super) tools: Tools,
}

impl Offer {
    /// Takes the tools out of `wire`; `items` name those that the history used.
    pub(super) fn read(wire: &mut Request, items: &[(At, Item)], report: &mut Report) -> Result<Self, Error> {
        let offered = wire.tools.take().unwrap_or_default();
        for (i, tool) in offered.iter().enumerate() {
            check(At::item("tools", i), tool)?;
        }
        let (choice, allowed) = wanted(wire.tool_choice.as_ref())?;
        let names = names(&offered, items, report)?;
        if let Some(stranger) = allowed.iter().flatten().find(|name| !offers(&offered, name)) {
            let message = format!("`tool_choice` allows `{stranger}`, which is not in `tools`.");
            return Err(Error::invalid("tool_choice.tools", message));
        }

        let (mut specs, mut custom) = (Vec::with_capacity(offered.len()), HashSet::new());
        for (i, tool) in offered.into_iter().enumerate() {
            let name = tool.name.clone().unwrap_or_default();
            let is_allowed = allowed.as_ref().is_none_or(|allowed| allowed.contains(&name));
            if tool.kind == "custom" {
                custom.insert(name);
            }
            let spec = spec(At::item("tools", i), tool, &names, report);
            if is_allowed {
                specs.push(converse::Tool::ToolSpec(spec));
            }
        }
        let parallel = if wire.parallel_tool_calls == Some(false) { Parallel::Forbidden } else { Parallel::Allowed };
        let tools = Tools { offered: specs, choice, parallel, used: Vec::new() };
        Ok(Self { caller: CallerTools { names, custom }, tools })
    }
}

fn offers(offered: &[Tool], name: &str) -> bool {
    offered.iter().any(|tool| tool.name.as_deref() == Some(name))
}

/// Refuses tools that OpenAI would run itself.
fn check(at: At, tool: &Tool) -> Result<(), Error> {
    match tool.kind.as_str() {
        "function" | "custom" if tool.name.is_none() => Err(Error::invalid(at.dot("name"), "A tool needs a name.")),
        "function" | "custom" => Ok(()),
        _ => {
            let message = "Only tools of the types `function` and `custom` can be used: there are none that this gateway \
                           runs itself.";
            Err(Error::unsupported(at.dot("type"), message))
        }
    }
}

/// The names of all tools.
fn names(offered: &[Tool], items: &[(At, Item)], report: &mut Report) -> Result<ToolNames, Error> {
    let offered = offered.iter().enumerate().filter_map(|(i, tool)| {
        let name = tool.name.as_deref()?;
        Some((At::item("tools", i).dot("name"), name))
    });
    let called = items.iter().filter_map(|(at, item)| {
        let is_call = matches!(item.kind.as_deref(), Some("function_call" | "custom_tool_call"));
        let name = item.name.as_deref().filter(|_| is_call)?;
        Some((at.dot("name"), name))
    });
    ToolNames::collect(offered, called, report)
}

/// Which tool to use, and which are allowed if not all are.
fn wanted(choice: Option<&Value>) -> Result<(Choice, Option<HashSet<String>>), Error> {
    const EXPECTED: &str =
        "`tool_choice` has to be `none`, `auto`, `required`, {\"type\":\"function\",\"name\":...} or `allowed_tools`.";
    let choice = match choice {
        None => return Ok((Choice::Auto, None)),
        Some(Value::String(word)) => {
            return Ok((mode(word).ok_or_else(|| Error::invalid("tool_choice", EXPECTED))?, None));
        }
        Some(choice) => choice,
    };
    match (choice["type"].as_str(), choice["name"].as_str()) {
        (Some("function" | "custom"), Some(name)) => Ok((Choice::Named(name.to_owned()), None)),
        (Some("function" | "custom"), None) => Err(Error::invalid("tool_choice.name", "Name the tool.")),
        (Some("allowed_tools"), _) => {
            let mode = choice["mode"].as_str().and_then(mode).filter(|mode| *mode != Choice::None);
            let Some(mode) = mode else {
                return Err(Error::invalid("tool_choice.mode", "`mode` has to be `auto` or `required`."));
            };
            let Some(tools) = choice["tools"].as_array() else {
                return Err(Error::invalid("tool_choice.tools", "`tools` has to be a list of tools."));
            };
            let name = |(i, tool): (usize, &Value)| {
                let path = || At::field("tool_choice").at("tools", i).dot("name");
                let name = tool["name"].as_str().map(str::to_owned);
                name.ok_or_else(|| Error::invalid(path(), "Only tools with a name can be allowed."))
            };
            Ok((mode, Some(tools.iter().enumerate().map(name).collect::<Result<_, _>>()?)))
        }
        (Some(_), _) => {
            let message = "There are no tools that this gateway runs itself.";
            Err(Error::unsupported("tool_choice.type", message))
        }
        (None, _) => Err(Error::invalid("tool_choice", EXPECTED)),
    }
}

fn mode(word: &str) -> Option<Choice> {
    match word {
        "auto" => Some(Choice::Auto),
        "none" => Some(Choice::None),
        "required" => Some(Choice::Required),
        _ => None,
    }
}

fn spec(at: At, tool: Tool, names: &ToolNames, report: &mut Report) -> ToolSpec {
    for (key, value) in tool.extra.iter().filter(|(_, value)| !value.is_null()) {
        // Calls come from the model itself here, and every tool is loaded from the start.
        let says_nothing = key == "defer_loading" && *value == json!(false)
            || key == "allowed_callers" && *value == json!(["direct"])
            || key == "async" && *value == json!(false);
        if !says_nothing {
            report.add(Action::Dropped, format!("{at}.{key}"));
        }
    }
    let name = tool.name.unwrap_or_default();
    let name = names.sent(&name);
    if tool.kind == "custom" {
        let format = tool.format.as_ref().filter(|format| format["type"] == "grammar");
        if format.is_some() {
            report.add(Action::Clamped, at.dot("format"));
        }
        let grammar = format.map(|format| Grammar {
            syntax: format["syntax"].as_str().unwrap_or("regex"),
            definition: format["definition"].as_str().unwrap_or_default(),
        });
        let schema = conversation::custom_schema(grammar);
        return conversation::spec((name, at), tool.description, Some(schema), None, report);
    }
    conversation::spec((name, at.dot("parameters")), tool.description, tool.parameters, tool.strict, report)
}
