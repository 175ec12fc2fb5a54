//! The messages of a conversation, piece by piece.

use serde_json::Value;

use crate::api::conversation::{self, At, Builder, Conversation, Dialect, Grain, ToolAnswer, ToolNames};
use crate::api::openai::wire::{self, Part, TextOrList, Url};
use crate::converse::{ContentBlock, Image, SystemBlock, ToolResultBlock};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// What chat completions call things.
pub(super) const DIALECT: Dialect = Dialect {
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
    let mut builder = Builder::new(&DIALECT, names, traits, report);
    for (i, message) in messages.into_iter().enumerate() {
        add(&mut builder, At::item("messages", i), message)?;
    }
    builder.finish()
}

fn add(builder: &mut Builder<'_>, at: At, mut message: wire::Message) -> Result<(), Error> {
    look_at_extra(at, &message, builder.report())?;
    match message.role {
        wire::Role::System | wire::Role::Developer => {
            let pieces = pieces(at, message.content, Allowed::Text, builder.report())?;
            builder.instruct(at, pieces.into_iter().filter_map(Piece::into_instruction).collect());
        }
        wire::Role::User => {
            let pieces = pieces(at, message.content, Allowed::TextAndImages, builder.report())?;
            builder.user(at, pieces.into_iter().map(Piece::into_block));
        }
        wire::Role::Assistant => {
            let calls = message.tool_calls.take().unwrap_or_default();
            let pieces = pieces(at, message.content, Allowed::Text, builder.report())?;
            let refusal = message.refusal.filter(|text| !text.trim().is_empty()).map(ContentBlock::Text);
            let blocks: Vec<_> = pieces.into_iter().map(Piece::into_block).chain(refusal).collect();
            if !blocks.is_empty() || calls.is_empty() {
                builder.assistant(at, blocks);
            }
            for (j, call) in calls.into_iter().enumerate() {
                add_call(builder, at.at("tool_calls", j), call)?;
            }
        }
        wire::Role::Tool => {
            let Some(id) = message.tool_call_id else {
                let message = "A `tool` message has to name the call that it answers.";
                return Err(Error::invalid(at.dot("tool_call_id"), message));
            };
            let pieces = pieces(at, message.content, Allowed::TextAndImages, builder.report())?;
            let content = pieces.into_iter().map(Piece::into_result).collect();
            builder.result(at, ToolAnswer { id, content, status: None, cache_point: None })?;
        }
    }
    Ok(())
}

fn add_call(builder: &mut Builder<'_>, at: At, call: wire::ToolCall) -> Result<(), Error> {
    if call.kind.as_deref().is_some_and(|kind| kind != "function") {
        return Err(Error::unsupported(at.dot("type"), "Only tool calls of the type `function` can be sent."));
    }
    let Some(function) = call.function else {
        return Err(Error::invalid(at.dot("function"), "`function` is missing."));
    };
    let Some(input) = conversation::arguments(function.arguments.as_deref().unwrap_or_default()) else {
        let message = "`arguments` has to be the text of a JSON object.";
        return Err(Error::invalid(at.dot("function.arguments"), message));
    };
    builder.call(at, call.id, &function.name, input)
}

/// Notes what a message has and its role gives no meaning to.
fn look_at_extra(at: At, message: &wire::Message, report: &mut Report) -> Result<(), Error> {
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
            return Err(Error::unsupported(at.dot("function_call"), message));
        }
        report.add(Action::Dropped, format!("{at}.{key}"));
    }
    let assistant = message.role == wire::Role::Assistant;
    let misplaced = [
        ("tool_calls", !assistant && message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())),
        ("refusal", !assistant && message.refusal.is_some()),
        ("tool_call_id", message.role != wire::Role::Tool && message.tool_call_id.is_some()),
    ];
    for (field, _) in misplaced.into_iter().filter(|(_, present)| *present) {
        report.add(Action::Dropped, at.dot(field));
    }
    Ok(())
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
    fn into_instruction(self) -> Option<SystemBlock> {
        match self {
            Self::Text(text) => Some(SystemBlock::Text(text)),
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

/// The content of the message at `at` without its blank texts. Content that is the empty string says the same as none, so
/// leaving that out is not worth a word.
fn pieces(
    at: At,
    content: Option<TextOrList<Part>>,
    allowed: Allowed,
    report: &mut Report,
) -> Result<Vec<Piece>, Error> {
    match content {
        None => Ok(Vec::new()),
        Some(TextOrList::Text(text)) if text.trim().is_empty() => {
            if !text.is_empty() {
                report.add(Action::Dropped, at.dot("content"));
            }
            Ok(Vec::new())
        }
        Some(TextOrList::Text(text)) => Ok(vec![Piece::Text(text)]),
        Some(TextOrList::List(parts)) => {
            let mut pieces = Vec::with_capacity(parts.len());
            for (j, part) in parts.into_iter().enumerate() {
                match piece(at.at("content", j), part, allowed, report)? {
                    Piece::Text(text) if text.trim().is_empty() => {
                        report.add(Action::Dropped, at.at("content", j));
                    }
                    piece => pieces.push(piece),
                }
            }
            Ok(pieces)
        }
    }
}

fn piece(at: At, part: Part, allowed: Allowed, report: &mut Report) -> Result<Piece, Error> {
    let missing = |field: &'static str| Error::invalid(at.dot(field), format!("`{field}` is missing."));
    let piece = match part.kind.as_str() {
        "text" => Piece::Text(part.text.ok_or_else(|| missing("text"))?),
        "refusal" => Piece::Text(part.refusal.ok_or_else(|| missing("refusal"))?),
        "image_url" if allowed == Allowed::TextAndImages => {
            let image_url = part.image_url.ok_or_else(|| missing("image_url"))?;
            if image_url.detail.is_some_and(|detail| detail != "auto") {
                report.add(Action::Dropped, at.dot("image_url.detail"));
            }
            Piece::Image(picture(image_url.url, at.dot("image_url.url"))?)
        }
        "image_url" => return Err(Error::invalid(at.dot("type"), "Pictures belong in messages of the user.")),
        "input_audio" => return Err(Error::unsupported(at.dot("input_audio"), "Only text and pictures can be sent.")),
        "file" => return Err(Error::unsupported(at.dot("file"), "Only text and pictures can be sent.")),
        _ => return Err(Error::invalid(at.dot("type"), "`type` has to be `text` or `image_url`.")),
    };
    for (key, _) in part.extra.iter().filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, format!("{at}.{key}"));
    }
    Ok(piece)
}

/// The picture at `url`, which stands at `at`. Nothing is fetched.
fn picture(url: Url, at: At) -> Result<Image, Error> {
    let (head, payload) = match url {
        Url::Data { head, payload } => (head, payload),
        Url::Other(url) if url.contains("://") => {
            let message =
                "Pictures are taken as data URLs only (data:image/png;base64,...), not fetched from elsewhere.";
            return Err(Error::unsupported(at, message));
        }
        Url::Other(_) => return Err(Error::invalid(at, "This is not a URL: use data:image/png;base64,...")),
    };
    if !head.rsplit(';').next().is_some_and(|last| last.trim().eq_ignore_ascii_case("base64")) {
        return Err(Error::invalid(at, "A data URL of a picture has to be in base64: data:image/png;base64,..."));
    }
    conversation::image(payload, at)
}
