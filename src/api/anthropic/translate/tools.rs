//! Tools, and which of them the model is to use.

use serde_json::Value;

use crate::api::anthropic::native::{is_run_by_anthropic, server_tool};
use crate::api::anthropic::wire::{self, MessagesRequest};
use crate::api::conversation::{self, At, CachePoints, Choice, Parallel, ToolNames, Tools};
use crate::api::openai::wire::TextOrList;
use crate::converse::Tool;
use crate::error::{Error, Result};
use crate::report::{Action, Report};

/// The names of all tools that a request offers, and of those that its history used.
pub(super) fn names(wire: &MessagesRequest, report: &mut Report) -> Result<ToolNames> {
    let tools = wire.tools.as_deref().unwrap_or_default();
    for (i, tool) in tools.iter().enumerate() {
        match tool.kind.as_deref() {
            None | Some("custom") => {}
            Some(kind) if is_run_by_anthropic(kind) => return Err(server_tool(i)),
            Some(_) => {
                let message = "Only Claude knows this tool: offer one of the type `custom`, with its schema.";
                return Err(Error::unsupported(format!("tools[{i}].type"), message));
            }
        }
    }
    let offered = tools.iter().enumerate();
    let offered = offered.map(|(i, tool)| (At::item("tools", i).dot("name"), tool.name.as_deref().unwrap_or_default()));
    let called = wire.messages.iter().enumerate().flat_map(|(i, message)| {
        let blocks: &[wire::Block] = match &message.content {
            TextOrList::List(blocks) => blocks,
            TextOrList::Text(_) => &[],
        };
        let calls = blocks.iter().enumerate().filter(|(_, block)| block.kind == "tool_use");
        calls.filter_map(move |(j, block)| {
            Some((At::item("messages", i).at("content", j).dot("name"), block.name.as_deref()?))
        })
    });
    ToolNames::collect(offered, called, report)
}

/// What a request says about tools; those of its history are still to be added.
pub(super) fn tools(
    offered: Option<Vec<wire::Tool>>,
    choice: Option<wire::ToolChoice>,
    names: &ToolNames,
    points: &mut CachePoints,
    report: &mut Report,
) -> Result<Tools> {
    let mut tools = Vec::new();
    for (i, tool) in offered.unwrap_or_default().into_iter().enumerate() {
        let at = At::item("tools", i);
        for (key, value) in &tool.extra {
            if !matches!(value, Value::Null | Value::Bool(false)) {
                report.add(Action::Dropped, format!("{at}.{key}"));
            }
        }
        let Some(schema) = tool.input_schema else {
            return Err(Error::invalid(at.dot("input_schema"), "`input_schema` is missing."));
        };
        let name = names.sent(tool.name.as_deref().unwrap_or_default());
        let spec =
            conversation::spec((name, at.dot("input_schema")), tool.description, Some(schema), tool.strict, report);
        tools.push(Tool::ToolSpec(spec));
        if let Some(control) = tool.cache_control {
            for key in control.extra.keys() {
                report.add(Action::Dropped, format!("{at}.cache_control.{key}"));
            }
            let point = points.point_after_tool(at.dot("cache_control"), control.ttl.as_deref(), report);
            tools.extend(point.map(Tool::CachePoint));
        }
    }
    let parallel = match choice.as_ref().and_then(|choice| choice.disable_parallel_tool_use) {
        Some(true) => Parallel::Forbidden,
        _ => Parallel::Allowed,
    };
    Ok(Tools { offered: tools, choice: chosen(choice)?, parallel, used: Vec::new() })
}

fn chosen(choice: Option<wire::ToolChoice>) -> Result<Choice> {
    let Some(choice) = choice else { return Ok(Choice::Auto) };
    match (choice.kind.as_str(), choice.name) {
        ("auto", _) => Ok(Choice::Auto),
        ("any", _) => Ok(Choice::Required),
        ("none", _) => Ok(Choice::None),
        ("tool", Some(name)) => Ok(Choice::Named(name)),
        ("tool", None) => Err(Error::invalid("tool_choice.name", "`name` is missing.")),
        _ => Err(Error::invalid("tool_choice.type", "`type` has to be one of `auto`, `any`, `tool`, `none`.")),
    }
}
