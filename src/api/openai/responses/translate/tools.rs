//! The tools that a request offers and names.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::namespaces::{self, Namespaces};
use crate::api::conversation::{self, At, CallerTools, Choice, Grammar, Parallel, ToolNames, Tools};
use crate::api::openai::responses::wire::{Item, Request, Tool};
use crate::converse::{self, ToolSpec};
use crate::error::Error;
use crate::report::{Action, Report};

/// What a request says about tools.
pub(super) struct Offer {
    /// Under all their names.
    pub(super) caller: CallerTools,
    /// Those that are in groups.
    pub(super) namespaces: Namespaces,
    /// What Bedrock gets of them, without those that the history used.
    pub(super) tools: Tools,
}

impl Offer {
    /// Takes the tools out of `wire`; `items` name those that the history used.
    pub(super) fn read(wire: &mut Request, items: &[(At, Item)], report: &mut Report) -> Result<Self, Error> {
        let listed = wire.tools.take().unwrap_or_default();
        let listed = listed.into_iter().enumerate().map(|(i, tool)| (At::item("tools", i), tool)).collect();
        let mut namespaces = Namespaces::default();
        let mut offered = namespaces.flatten(listed, report)?;
        add_new(&mut offered, namespaces.flatten(found(items)?, report)?);
        let offered = own(offered, report)?;
        let (choice, allowed) = wanted(wire.tool_choice.as_ref())?;
        let names = names(&offered, items, report)?;
        if let Some(stranger) = allowed.iter().flatten().find(|name| !offers(&offered, name)) {
            let message = format!("`tool_choice` allows `{stranger}`, which is not in `tools`.");
            return Err(Error::invalid("tool_choice.tools", message));
        }

        let (mut specs, mut custom) = (Vec::with_capacity(offered.len()), HashSet::new());
        for (at, tool) in offered {
            let name = tool.name.clone().unwrap_or_default();
            let is_allowed = allowed.as_ref().is_none_or(|allowed| allowed.contains(&name));
            if tool.kind == "custom" {
                custom.insert(name);
            }
            let spec = spec(at, tool, &names, report);
            if is_allowed {
                specs.push(converse::Tool::ToolSpec(spec));
            }
        }
        let parallel = if wire.parallel_tool_calls == Some(false) { Parallel::Forbidden } else { Parallel::Allowed };
        let tools = Tools { offered: specs, choice, parallel, used: Vec::new() };
        Ok(Self { caller: CallerTools { names, custom }, namespaces, tools })
    }
}

/// The tools that a search of the client's has found: it is over, so they are offered as the others are.
fn found(items: &[(At, Item)]) -> Result<Vec<(At, Tool)>, Error> {
    let mut all = Vec::new();
    for (at, item) in items.iter().filter(|(_, item)| item.kind.as_deref() == Some("tool_search_output")) {
        let tools = item.extra.get("tools").filter(|tools| !tools.is_null()).cloned();
        let wrong = |_| Error::invalid(at.dot("tools"), "`tools` has to be a list of tools.");
        let tools: Vec<Tool> = tools.map(serde_json::from_value).transpose().map_err(wrong)?.unwrap_or_default();
        all.extend(tools.into_iter().enumerate().map(|(i, tool)| (at.at("tools", i), tool)));
    }
    Ok(all)
}

/// Adds those tools to the offer that are not in it: what is found may have been offered, to be loaded when it is needed.
fn add_new(offered: &mut Vec<(At, Tool)>, found: Vec<(At, Tool)>) {
    for (at, tool) in found {
        if tool.name.as_deref().is_none_or(|name| !offers(offered, name)) {
            offered.push((at, tool));
        }
    }
}

fn offers(offered: &[(At, Tool)], name: &str) -> bool {
    offered.iter().any(|(_, tool)| tool.name.as_deref() == Some(name))
}

/// The tools that the client runs. Agents such as Codex offer some that OpenAI runs beside their own, whatever the model:
/// those are left out, and named. A request for nothing else, or for what an answer would be another without, is refused.
fn own(offered: Vec<(At, Tool)>, report: &mut Report) -> Result<Vec<(At, Tool)>, Error> {
    let has_own = offered.iter().any(|(_, tool)| is_own(&tool.kind));
    let mut own = Vec::with_capacity(offered.len());
    for (at, tool) in offered {
        match tool.kind.as_str() {
            kind if is_own(kind) && tool.name.is_none() => {
                return Err(Error::invalid(at.dot("name"), "A tool needs a name."));
            }
            kind if is_own(kind) => own.push((at, tool)),
            kind if has_own && is_extra(kind) => report.add(Action::Dropped, at),
            _ => {
                let message = "Only tools of the types `function` and `custom` can be used, also in a `namespace`: there \
                               are none that this gateway runs itself.";
                return Err(Error::unsupported(at.dot("type"), message));
            }
        }
    }
    Ok(own)
}

/// Whether the client runs tools of this type.
fn is_own(kind: &str) -> bool {
    matches!(kind, "function" | "custom")
}

/// Whether a tool of this type, which OpenAI runs, is one that agents offer beside their own and do without.
pub fn is_extra(kind: &str) -> bool {
    kind.starts_with("web_search") || matches!(kind, "tool_search" | "image_generation")
}

/// The names of all tools.
fn names(offered: &[(At, Tool)], items: &[(At, Item)], report: &mut Report) -> Result<ToolNames, Error> {
    let offered = offered.iter().filter_map(|(at, tool)| Some((at.dot("name"), tool.name.as_deref()?)));
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
    match (choice["type"].as_str(), name_of(choice)) {
        (Some("function" | "custom"), Some(name)) => Ok((Choice::Named(name), None)),
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
                name_of(tool).ok_or_else(|| Error::invalid(path(), "Only tools with a name can be allowed."))
            };
            let own = tools.iter().enumerate().filter(|(_, tool)| !tool["type"].as_str().is_some_and(is_extra));
            Ok((mode, Some(own.map(name).collect::<Result<_, _>>()?)))
        }
        (Some(_), _) => {
            let message = "There are no tools that this gateway runs itself.";
            Err(Error::unsupported("tool_choice.type", message))
        }
        (None, _) => Err(Error::invalid("tool_choice", EXPECTED)),
    }
}

/// The name of the tool that `chosen` is about, as the offer has it.
fn name_of(chosen: &Value) -> Option<String> {
    let name = chosen["name"].as_str()?;
    Some(namespaces::joined(chosen["namespace"].as_str().unwrap_or_default(), name))
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
