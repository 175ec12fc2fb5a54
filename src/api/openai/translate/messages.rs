//! The conversation, put in the order Bedrock insists on: it begins with the user, roles alternate, no text is blank,
//! and the results of all tools that one assistant turn asked for open the user turn right after it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::image::image;
use super::names::{Namer, ToolNames, fits};
use crate::api::openai::wire::{self, Part, TextOrList};
use crate::converse::{ContentBlock, Image, Message, Object, Role, SystemBlock, ToolResult, ToolResultBlock, ToolUse};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// Stands where Bedrock wants text and the caller had none.
const NOTHING: &str = "(no content)";
/// Follows an assistant turn at the end, for models that do not go on from one.
const GO_ON: &str = "Continue.";

/// A conversation in canonical form.
pub(super) struct Conversation {
    pub(super) system: Vec<SystemBlock>,
    pub(super) messages: Vec<Message>,
    /// The tools that the assistant asked for, each once, by the names Bedrock gets.
    pub(super) tools_used: Vec<String>,
}

/// Puts `messages` into canonical form.
pub(super) fn conversation(
    messages: Vec<wire::Message>,
    names: &ToolNames,
    traits: &Traits,
    report: &mut Report,
) -> Result<Conversation, Error> {
    if messages.is_empty() {
        return Err(Error::invalid("messages", "There has to be at least one message."));
    }
    let mut builder = Builder {
        names,
        report,
        system: Vec::new(),
        turns: Vec::new(),
        calls: HashMap::new(),
        ids: Namer::default(),
        tools_used: Vec::new(),
        tools_seen: HashSet::new(),
    };
    for (i, message) in messages.into_iter().enumerate() {
        builder.add(i, message)?;
    }
    builder.finish(traits)
}

/// One turn while it grows. Results come first whatever the order they arrived in.
struct Turn {
    role: Role,
    results: Vec<ContentBlock>,
    blocks: Vec<ContentBlock>,
    /// The first message in it.
    index: usize,
}

/// A tool call of the latest assistant turn.
struct Call {
    sent_id: String,
    answered: bool,
    /// Message and place in it.
    at: (usize, usize),
}

struct Builder<'a> {
    names: &'a ToolNames,
    report: &'a mut Report,
    system: Vec<SystemBlock>,
    turns: Vec<Turn>,
    /// By the caller's ids.
    calls: HashMap<String, Call>,
    ids: Namer,
    tools_used: Vec<String>,
    tools_seen: HashSet<String>,
}

impl Builder<'_> {
    fn add(&mut self, i: usize, mut message: wire::Message) -> Result<(), Error> {
        self.look_at_extra(i, &message)?;
        match message.role {
            wire::Role::System | wire::Role::Developer => self.instruct(i, message.content),
            wire::Role::User => {
                let pieces = pieces(i, message.content, Allowed::TextAndImages, self.report)?;
                let blocks = pieces.into_iter().map(Piece::into_block);
                self.turn(Role::User, i).blocks.extend(blocks);
                Ok(())
            }
            wire::Role::Assistant => {
                let calls = message.tool_calls.take().unwrap_or_default();
                let content = pieces(i, message.content, Allowed::Text, self.report)?;
                let refusal = message.refusal.filter(|text| !text.trim().is_empty()).map(Piece::Text);
                self.answer(i, content.into_iter().chain(refusal).collect(), calls)
            }
            wire::Role::Tool => self.result(i, message.tool_call_id, message.content),
        }
    }

    /// Notes what a message has and its role gives no meaning to.
    fn look_at_extra(&mut self, i: usize, message: &wire::Message) -> Result<(), Error> {
        for (key, value) in &message.extra {
            let empty = match value {
                Value::Null => true,
                Value::Array(items) => items.is_empty(),
                _ => false,
            };
            if empty {
                continue;
            }
            if key == "function_call" {
                let message = "Use `tool_calls`, which replaced `function_call`.";
                return Err(Error::unsupported(format!("messages[{i}].function_call"), message));
            }
            self.report.add(Action::Dropped, format!("messages[{i}].{key}"));
        }
        let assistant = message.role == wire::Role::Assistant;
        let misplaced = [
            ("tool_calls", !assistant && message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())),
            ("refusal", !assistant && message.refusal.is_some()),
            ("tool_call_id", message.role != wire::Role::Tool && message.tool_call_id.is_some()),
        ];
        for (field, _) in misplaced.into_iter().filter(|(_, present)| *present) {
            self.report.add(Action::Dropped, format!("messages[{i}].{field}"));
        }
        Ok(())
    }

    /// Instructions at the start are the system prompt; later ones become text of the user, in their place.
    fn instruct(&mut self, i: usize, content: Option<TextOrList<Part>>) -> Result<(), Error> {
        let pieces = pieces(i, content, Allowed::Text, self.report)?;
        let texts = pieces.into_iter().filter_map(Piece::into_text);
        if self.turns.is_empty() {
            self.system.extend(texts.map(SystemBlock::Text));
            return Ok(());
        }
        let blocks: Vec<_> = texts.map(ContentBlock::Text).collect();
        if blocks.is_empty() {
            self.report.add(Action::Dropped, format!("messages[{i}]"));
            return Ok(());
        }
        self.report.add(Action::Renamed, format!("messages[{i}].role"));
        self.turn(Role::User, i).blocks.extend(blocks);
        Ok(())
    }

    fn answer(&mut self, i: usize, content: Vec<Piece>, calls: Vec<wire::ToolCall>) -> Result<(), Error> {
        if content.is_empty() && calls.is_empty() {
            self.report.add(Action::Dropped, format!("messages[{i}]"));
            return Ok(());
        }
        if self.turns.last().is_some_and(|turn| turn.role != Role::Assistant) {
            self.check_answered()?;
            self.calls.clear();
        }
        let mut blocks: Vec<_> = content.into_iter().map(Piece::into_block).collect();
        for (j, call) in calls.into_iter().enumerate() {
            blocks.push(ContentBlock::ToolUse(self.call(i, j, call)?));
        }
        self.turn(Role::Assistant, i).blocks.extend(blocks);
        Ok(())
    }

    fn call(&mut self, i: usize, j: usize, call: wire::ToolCall) -> Result<ToolUse, Error> {
        let path = |field: &str| format!("messages[{i}].tool_calls[{j}].{field}");
        if call.kind.as_deref().is_some_and(|kind| kind != "function") {
            return Err(Error::unsupported(path("type"), "Only tool calls of the type `function` can be sent."));
        }
        let Some(function) = call.function else {
            return Err(Error::invalid(path("function"), "`function` is missing."));
        };
        let Some(input) = arguments(function.arguments.as_deref().unwrap_or_default()) else {
            let message = "`arguments` has to be the text of a JSON object.";
            return Err(Error::invalid(path("function.arguments"), message));
        };
        if call.id.is_empty() || self.calls.contains_key(&call.id) {
            let message = "A tool call needs an id that no other call beside it has.";
            return Err(Error::invalid(path("id"), message));
        }
        let in_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
        let sent_id = if fits(&call.id, in_id) && self.ids.take(&call.id) {
            call.id.clone()
        } else {
            self.report.add(Action::Renamed, path("id"));
            self.ids.near(&call.id, in_id)
        };
        self.calls.insert(call.id, Call { sent_id: sent_id.clone(), answered: false, at: (i, j) });
        let name = self.names.sent(&function.name).to_owned();
        if self.tools_seen.insert(name.clone()) {
            self.tools_used.push(name.clone());
        }
        Ok(ToolUse { tool_use_id: sent_id, name, input: Value::Object(input), kind: None })
    }

    fn result(&mut self, i: usize, id: Option<String>, content: Option<TextOrList<Part>>) -> Result<(), Error> {
        let path = || format!("messages[{i}].tool_call_id");
        let Some(id) = id else {
            return Err(Error::invalid(path(), "A `tool` message has to name the call that it answers."));
        };
        let Some(call) = self.calls.get_mut(&id) else {
            let message = "A `tool` message has to answer one of the `tool_calls` of the assistant message before it.";
            return Err(Error::invalid(path(), message));
        };
        if call.answered {
            return Err(Error::invalid(path(), "This tool call has been answered already."));
        }
        call.answered = true;
        let tool_use_id = call.sent_id.clone();
        let pieces = pieces(i, content, Allowed::TextAndImages, self.report)?;
        let mut content: Vec<_> = pieces.into_iter().map(Piece::into_result).collect();
        if content.is_empty() {
            self.report.add(Action::Inserted, format!("messages[{i}].content"));
            content.push(ToolResultBlock::Text(NOTHING.to_owned()));
        }
        let result = ContentBlock::ToolResult(ToolResult { tool_use_id, content, status: None });
        self.turn(Role::User, i).results.push(result);
        Ok(())
    }

    /// The turn that message `i` of `role` belongs to: the last one, or a new one.
    fn turn(&mut self, role: Role, i: usize) -> &mut Turn {
        let same = self.turns.last().is_some_and(|turn| turn.role == role);
        if same {
            self.report.add(Action::Merged, format!("messages[{i}]"));
        } else {
            if role == Role::Assistant && self.turns.is_empty() {
                self.report.add(Action::Inserted, "messages");
                self.turns.push(Turn::saying(NOTHING, i));
            }
            self.turns.push(Turn { role, results: Vec::new(), blocks: Vec::new(), index: i });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    /// Every call has to have its result before the assistant speaks again, and in the end.
    fn check_answered(&self) -> Result<(), Error> {
        let open = self.calls.values().filter(|call| !call.answered).map(|call| call.at).min();
        let Some((i, j)) = open else { return Ok(()) };
        let message = "This tool call has no result: a `tool` message with its id has to follow.";
        Err(Error::invalid(format!("messages[{i}].tool_calls[{j}]"), message))
    }

    fn finish(mut self, traits: &Traits) -> Result<Conversation, Error> {
        self.check_answered()?;
        if self.turns.is_empty() {
            self.report.add(Action::Inserted, "messages");
            self.turns.push(Turn::saying(NOTHING, 0));
        }
        for turn in &mut self.turns {
            if turn.results.is_empty() && turn.blocks.is_empty() {
                self.report.add(Action::Inserted, format!("messages[{}].content", turn.index));
                turn.blocks.push(ContentBlock::text(NOTHING));
            }
        }
        self.end(traits);
        let messages = self.turns.into_iter().map(Turn::into_message).collect();
        Ok(Conversation { system: self.system, messages, tools_used: self.tools_used })
    }

    /// A conversation that ends with the assistant is to be gone on from, as far as the model does that.
    fn end(&mut self, traits: &Traits) {
        let Some(last) = self.turns.last_mut().filter(|turn| turn.role == Role::Assistant) else { return };
        let index = last.index;
        if !traits.prefill {
            self.report.add(Action::Inserted, "messages");
            self.turns.push(Turn::saying(GO_ON, index));
            return;
        }
        if let Some(ContentBlock::Text(text)) = last.blocks.last_mut().filter(|_| traits.anthropic) {
            let kept = text.trim_end().len();
            if kept < text.len() {
                self.report.add(Action::Filtered, format!("messages[{index}].content"));
                text.truncate(kept);
            }
        }
    }
}

impl Turn {
    fn saying(text: &str, index: usize) -> Self {
        Self { role: Role::User, results: Vec::new(), blocks: vec![ContentBlock::text(text)], index }
    }

    fn into_message(mut self) -> Message {
        self.results.append(&mut self.blocks);
        Message { role: self.role, content: self.results }
    }
}

/// What the text of a call's arguments says, if it is an object. A tool without arguments is called with no text.
fn arguments(text: &str) -> Option<Object> {
    if text.trim().is_empty() {
        return Some(Object::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Some(object),
        Ok(Value::Null) => Some(Object::new()),
        _ => None,
    }
}

/// What the content of a message may hold.
#[derive(Clone, Copy, PartialEq)]
enum Allowed {
    Text,
    TextAndImages,
}

/// A part of a message that is worth sending.
enum Piece {
    Text(String),
    Image(Image),
}

impl Piece {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Image(_) => None,
        }
    }

    fn into_block(self) -> ContentBlock {
        match self {
            Self::Text(text) => ContentBlock::Text(text),
            Self::Image(image) => ContentBlock::Image(image),
        }
    }

    fn into_result(self) -> ToolResultBlock {
        match self {
            Self::Text(text) => ToolResultBlock::Text(text),
            Self::Image(image) => ToolResultBlock::Image(image),
        }
    }
}

/// The content of message `i` without its blank texts. Content that is the empty string says the same as none, so
/// leaving that out is not worth a word.
fn pieces(
    i: usize,
    content: Option<TextOrList<Part>>,
    allowed: Allowed,
    report: &mut Report,
) -> Result<Vec<Piece>, Error> {
    match content {
        None => Ok(Vec::new()),
        Some(TextOrList::Text(text)) if text.trim().is_empty() => {
            if !text.is_empty() {
                report.add(Action::Dropped, format!("messages[{i}].content"));
            }
            Ok(Vec::new())
        }
        Some(TextOrList::Text(text)) => Ok(vec![Piece::Text(text)]),
        Some(TextOrList::List(parts)) => {
            let mut pieces = Vec::with_capacity(parts.len());
            for (j, part) in parts.into_iter().enumerate() {
                match piece(i, j, part, allowed, report)? {
                    Piece::Text(text) if text.trim().is_empty() => {
                        report.add(Action::Dropped, format!("messages[{i}].content[{j}]"));
                    }
                    piece => pieces.push(piece),
                }
            }
            Ok(pieces)
        }
    }
}

fn piece(i: usize, j: usize, part: Part, allowed: Allowed, report: &mut Report) -> Result<Piece, Error> {
    let path = |field: &str| format!("messages[{i}].content[{j}].{field}");
    let missing = |field: &str| Error::invalid(path(field), format!("`{field}` is missing."));
    let piece = match part.kind.as_str() {
        "text" => Piece::Text(part.text.ok_or_else(|| missing("text"))?),
        "refusal" => Piece::Text(part.refusal.ok_or_else(|| missing("refusal"))?),
        "image_url" if allowed == Allowed::TextAndImages => {
            let image_url = part.image_url.ok_or_else(|| missing("image_url"))?;
            if image_url.detail.is_some_and(|detail| detail != "auto") {
                report.add(Action::Dropped, path("image_url.detail"));
            }
            Piece::Image(image(image_url.url, || path("image_url.url"))?)
        }
        "image_url" => return Err(Error::invalid(path("type"), "Pictures belong in messages of the user.")),
        kind @ ("input_audio" | "file") => {
            return Err(Error::unsupported(path(kind), "Only text and pictures can be sent."));
        }
        _ => return Err(Error::invalid(path("type"), "`type` has to be `text` or `image_url`.")),
    };
    for (key, _) in part.extra.iter().filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, path(key));
    }
    Ok(piece)
}
