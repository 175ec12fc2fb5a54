//! The messages of a conversation, piece by piece.

use serde_json::Value;

use super::Calling;
use super::parts::{Allowed, Parts};
use crate::api::conversation::{self, At, Builder, CachePoints, Conversation, Dialect, Grain, ToolAnswer, ToolNames};
use crate::api::openai::wire;
use crate::converse::{ContentBlock, Object, ReasoningContent, ReasoningText, SystemBlock};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// What chat completions call things.
const DIALECT: Dialect = Dialect {
    conversation: "messages",
    grain: Grain::Messages,
    call_id: "id",
    result_id: "tool_call_id",
    result_content: "content",
    tools: "tools",
    tool_choice: "tool_choice",
    tool_choice_name: "tool_choice.function.name",
    parallel: "parallel_tool_calls",
};

/// The same in the words of 2023.
const OLD_DIALECT: Dialect =
    Dialect { tools: "functions", tool_choice: "function_call", tool_choice_name: "function_call.name", ..DIALECT };

/// What a request that speaks of tools in the words of `calling` calls things.
pub(super) fn dialect(calling: Calling) -> &'static Dialect {
    match calling {
        Calling::Tools => &DIALECT,
        Calling::Function => &OLD_DIALECT,
    }
}

/// The function calls of the assistant, which have no ids of their own.
#[derive(Default)]
struct FunctionCalls {
    made: usize,
    /// Name and id of the latest, until it is answered.
    open: Option<(String, String)>,
}

impl FunctionCalls {
    /// The id of a new call.
    fn call(&mut self, name: &str) -> String {
        self.made += 1;
        let id = format!("function_call_{}", self.made);
        self.open = Some((name.to_owned(), id.clone()));
        id
    }

    /// The id of the call that the `function` message at `at` answers.
    fn answer(&mut self, at: At, name: Option<&str>) -> Result<String, Error> {
        let at = at.dot("name");
        let Some(name) = name else {
            return Err(Error::invalid(at, "A `function` message has to name the function that it answers."));
        };
        let open = self.open.take_if(|(open, _)| open == name);
        open.map(|(_, id)| id).ok_or_else(|| Error::invalid(at, "This answers no function call made before it."))
    }
}

/// Puts `messages` into canonical form.
pub(super) fn conversation(
    messages: Vec<wire::Message>,
    names: &ToolNames,
    traits: &Traits,
    points: &mut CachePoints,
    report: &mut Report,
) -> Result<Conversation, Error> {
    if messages.is_empty() {
        return Err(Error::invalid("messages", "There has to be at least one message."));
    }
    let mut builder = Builder::new(&DIALECT, names, traits, report);
    let mut functions = FunctionCalls::default();
    for (i, mut message) in messages.into_iter().enumerate() {
        let at = At::item("messages", i);
        look_at_extra(at, &message, builder.report());
        if message.role == wire::Role::Function {
            message.tool_call_id = Some(functions.answer(at, message.name.as_deref())?);
        }
        add(&mut builder, points, traits, &mut functions, (at, message))?;
    }
    builder.finish()
}

fn add(
    builder: &mut Builder<'_>,
    points: &mut CachePoints,
    traits: &Traits,
    functions: &mut FunctionCalls,
    (at, mut message): (At, wire::Message),
) -> Result<(), Error> {
    let allowed = match message.role {
        wire::Role::User => Allowed::Everything,
        wire::Role::Tool | wire::Role::Function => Allowed::Results,
        _ => Allowed::Text,
    };
    if message.content.is_none()
        && matches!(message.role, wire::Role::User | wire::Role::System | wire::Role::Developer)
    {
        // An empty one may be meant; none at all is a slip that would be answered as if nothing had been said.
        return Err(Error::invalid(at.dot("content"), "A message of this role has to have content."));
    }
    let thinking = message.thinking_blocks.take().unwrap_or_default();
    let mut parts = Parts { builder, points, traits, allowed };
    let mut content = parts.read(at, message.content)?;
    match message.role {
        wire::Role::Tool | wire::Role::Function => {
            let Some(id) = message.tool_call_id else {
                let message = "A `tool` message has to name the call that it answers.";
                return Err(Error::invalid(at.dot("tool_call_id"), message));
            };
            let mark = message.cache_control.or_else(|| content.take_last_mark());
            let cache_point = parts.point(at, mark)?;
            let content = content.into_results(builder.report());
            builder.result(at, ToolAnswer { id, content, status: None, cache_point })?;
        }
        wire::Role::System | wire::Role::Developer => {
            let blocks = parts.mark(at, content, message.cache_control)?;
            builder.instruct(at, blocks.into_iter().filter_map(instruction).collect());
        }
        wire::Role::User => {
            let blocks = parts.mark(at, content, message.cache_control)?;
            builder.user(at, blocks);
        }
        wire::Role::Assistant => {
            let (calls, function) = (message.tool_calls.take().unwrap_or_default(), message.function_call.take());
            content.add_text(message.refusal.filter(|text| !text.trim().is_empty()));
            let said = parts.mark(at, content, message.cache_control)?;
            let mut blocks = thoughts(builder, at, thinking)?;
            blocks.extend(said);
            if !blocks.is_empty() || calls.is_empty() && function.is_none() {
                builder.assistant(at, blocks);
            }
            for (j, call) in calls.into_iter().enumerate() {
                add_call(builder, at.at("tool_calls", j), call)?;
            }
            if let Some(function) = function {
                let at = at.dot("function_call");
                let input = input(at, function.arguments.as_deref())?;
                builder.call(at, functions.call(&function.name), &function.name, input)?;
            }
        }
    }
    Ok(())
}

fn instruction(block: ContentBlock) -> Option<SystemBlock> {
    match block {
        ContentBlock::Text(text) => Some(SystemBlock::Text(text)),
        ContentBlock::CachePoint(point) => Some(SystemBlock::CachePoint(point)),
        _ => None,
    }
}

/// The reasoning that the assistant showed, as far as the model takes it back.
fn thoughts(builder: &mut Builder<'_>, at: At, thinking: Vec<wire::ThinkingBlock>) -> Result<Vec<ContentBlock>, Error> {
    let mut blocks = Vec::with_capacity(thinking.len());
    for (j, block) in thinking.into_iter().enumerate() {
        let at = at.at("thinking_blocks", j);
        let missing = |field: &'static str| Error::invalid(at.dot(field), format!("`{field}` is missing."));
        let thought = match block.kind.as_str() {
            "thinking" => ReasoningContent::ReasoningText(ReasoningText {
                text: block.thinking.ok_or_else(|| missing("thinking"))?,
                signature: block.signature,
            }),
            "redacted_thinking" => ReasoningContent::RedactedContent(block.data.ok_or_else(|| missing("data"))?),
            _ => return Err(Error::invalid(at.dot("type"), "`type` has to be `thinking` or `redacted_thinking`.")),
        };
        blocks.extend(builder.reasoning(at, thought));
    }
    Ok(blocks)
}

fn add_call(builder: &mut Builder<'_>, at: At, call: wire::ToolCall) -> Result<(), Error> {
    let missing = |field: &'static str| Error::invalid(at.dot(field), format!("`{field}` is missing."));
    match call.kind.as_deref() {
        None | Some("function") => {
            let function = call.function.ok_or_else(|| missing("function"))?;
            let input = input(at.dot("function"), function.arguments.as_deref())?;
            builder.call(at, call.id, &function.name, input)
        }
        Some("custom") => {
            let custom = call.custom.ok_or_else(|| missing("custom"))?;
            builder.call(at, call.id, &custom.name, conversation::custom_arguments(custom.input))
        }
        Some(_) => {
            let message = "Only tool calls of the types `function` and `custom` can be sent.";
            Err(Error::unsupported(at.dot("type"), message))
        }
    }
}

/// The arguments of the call at `at`.
fn input(at: At, arguments: Option<&str>) -> Result<Object, Error> {
    conversation::arguments(arguments.unwrap_or_default())
        .ok_or_else(|| Error::invalid(at.dot("arguments"), "`arguments` has to be the text of a JSON object."))
}

/// Notes what a message has and its role gives no meaning to.
fn look_at_extra(at: At, message: &wire::Message, report: &mut Report) {
    for (key, value) in &message.extra {
        let empty = match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if empty {
            continue;
        }
        // The same text as in the blocks, for those who cannot read these.
        if key == "reasoning_content" && message.thinking_blocks.is_some() {
            continue;
        }
        report.add(Action::Dropped, format!("{at}.{key}"));
    }
    let assistant = message.role == wire::Role::Assistant;
    let misplaced = [
        ("tool_calls", !assistant && message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())),
        ("thinking_blocks", !assistant && message.thinking_blocks.is_some()),
        ("refusal", !assistant && message.refusal.is_some()),
        ("function_call", !assistant && message.function_call.is_some()),
        ("name", message.role != wire::Role::Function && message.name.is_some()),
        ("tool_call_id", message.role != wire::Role::Tool && message.tool_call_id.is_some()),
    ];
    for (field, _) in misplaced.into_iter().filter(|(_, present)| *present) {
        report.add(Action::Dropped, at.dot(field));
    }
}
