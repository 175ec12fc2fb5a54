//! What Anthropic's Messages API refuses of tools, their choice, and the turns in which they are called and answered.

use std::collections::HashSet;

use serde_json::Value;

use super::anthropic_blocks::{cache_control, keys, unknown_tag};
use crate::simulator::catalog::Model;
use crate::simulator::validate::betas;

/// Anthropic's own tools on Bedrock, each with the start of the beta flag that it needs. Those that a server of Anthropic's
/// runs (web search, code execution, ...) are not offered.
const PROVIDED: &[(&str, &str)] = &[
    ("bash_20241022", "computer-use-"),
    ("bash_20250124", ""),
    ("computer_20241022", "computer-use-"),
    ("computer_20250124", "computer-use-"),
    ("computer_20251124", "computer-use-"),
    ("custom", ""),
    ("memory_20250818", "context-management-"),
    ("text_editor_20241022", "computer-use-"),
    ("text_editor_20250124", ""),
    ("text_editor_20250429", ""),
    ("text_editor_20250728", ""),
    ("tool_search_tool_bm25_20251119", "tool-search-tool-"),
    ("tool_search_tool_regex_20251119", "tool-search-tool-"),
];

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Checks `tools` and `tool_choice`.
pub(super) fn check(body: &Value, model: &Model) -> Result<(), String> {
    let flags = &body["anthropic_beta"];
    let mut names = HashSet::new();
    for (index, tool) in items(&body["tools"]).enumerate() {
        let kind = tool["type"].as_str().unwrap_or("custom");
        let known = PROVIDED.iter().find(|(name, flag)| *name == kind && betas_allow(flags, flag));
        if known.is_none() {
            return Err(unknown_tag(&format!("tools.{index}"), kind, PROVIDED.iter().map(|(name, _)| *name)));
        }
        let path = format!("tools.{index}.{kind}");
        let name = tool["name"].as_str().ok_or_else(|| format!("{path}.name: Field required"))?;
        cache_control(tool, &path)?;
        if kind == "custom" {
            custom(tool, name, flags, &path)?;
        }
        if !names.insert(name) {
            return Err("tools: Tool names must be unique.".to_owned());
        }
    }
    choice(&body["tool_choice"], &names, model)
}

fn betas_allow(flags: &Value, needed: &str) -> bool {
    needed.is_empty() || betas::has(flags, needed)
}

fn custom(tool: &Value, name: &str, flags: &Value, path: &str) -> Result<(), String> {
    let gated = [
        ("defer_loading", "tool-search-tool-"),
        ("input_examples", "tool-examples-"),
        ("eager_input_streaming", "fine-grained-tool-streaming-"),
    ];
    let allowed = gated.into_iter().filter(|(_, flag)| betas::has(flags, flag)).map(|(key, _)| key);
    let known: Vec<&str> =
        ["name", "description", "input_schema", "cache_control", "strict"].into_iter().chain(allowed).collect();
    keys(tool, &known, path)?;
    let well_named = (1..=128).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if !well_named {
        return Err(format!("{path}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"));
    }
    if tool["input_schema"]["type"] == "object" {
        return Ok(());
    }
    Err(if tool["input_schema"].is_object() {
        format!("{path}.input_schema.type: Field required")
    } else {
        format!("{path}.input_schema: Field required")
    })
}

fn choice(choice: &Value, names: &HashSet<&str>, model: &Model) -> Result<(), String> {
    if choice.is_null() {
        return Ok(());
    }
    let kind = choice["type"].as_str().ok_or("tool_choice.type: Field required")?;
    let known: &[&str] = match kind {
        "auto" | "any" => &["disable_parallel_tool_use"],
        "tool" => &["name", "disable_parallel_tool_use"],
        "none" => &[],
        _ => return Err(unknown_tag("tool_choice", kind, ["any", "auto", "none", "tool"].into_iter())),
    };
    keys(choice, known, &format!("tool_choice.{kind}"))?;
    if kind != "none" && names.is_empty() {
        return Err("tool_choice: tools must be provided when tool_choice is set".to_owned());
    }
    if matches!(kind, "any" | "tool") && model.forced_tool_use == Some(false) {
        return Err(format!("tool_choice: type \"{kind}\" is not supported for this model. Use \"auto\" or \"none\"."));
    }
    if kind != "tool" {
        return Ok(());
    }
    let name = choice["name"].as_str().ok_or("tool_choice.tool.name: Field required")?;
    if names.contains(name) { Ok(()) } else { Err(format!("Tool '{name}' not found in provided tools")) }
}

/// Every call is answered in the next turn, first thing, and every answer has its call.
pub(super) fn turns(messages: &[Value]) -> Result<(), String> {
    let ids = |message: Option<&Value>, kind: &str, key: &str| -> Vec<String> {
        let blocks =
            message.into_iter().flat_map(|message| items(&message["content"])).filter(|block| block["type"] == kind);
        blocks.filter_map(|block| block[key].as_str()).map(str::to_owned).collect()
    };
    let first_answers = |message: Option<&Value>| -> Vec<String> {
        let blocks = message.into_iter().flat_map(|message| items(&message["content"]));
        let answers = blocks.take_while(|block| block["type"] == "tool_result");
        answers.filter_map(|block| block["tool_use_id"].as_str()).map(str::to_owned).collect()
    };
    for at in 0..messages.len() {
        let uses = ids(messages.get(at), "tool_use", "id");
        let mut seen = HashSet::new();
        if uses.iter().any(|id| !seen.insert(id)) {
            return Err("messages: `tool_use` ids must be unique".to_owned());
        }
        let answers = first_answers(messages.get(at + 1));
        let open: Vec<&str> = uses.iter().filter(|id| !answers.contains(id)).map(String::as_str).collect();
        if !open.is_empty() {
            return Err(format!(
                "messages.{at}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a \
                 corresponding `tool_result` block in the next message.",
                open.join(", ")
            ));
        }
        let asked = if at == 0 { Vec::new() } else { ids(messages.get(at - 1), "tool_use", "id") };
        for (index, id) in ids(messages.get(at), "tool_result", "tool_use_id").iter().enumerate() {
            if !asked.contains(id) {
                return Err(format!(
                    "messages.{at}.content.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must \
                     have a corresponding `tool_use` block in the previous message."
                ));
            }
        }
    }
    Ok(())
}
