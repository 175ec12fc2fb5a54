//! The messages of a conversation, block by block.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::document::Documents;
use crate::api::anthropic::native::NO_FILES;
use crate::api::anthropic::wire::{Block, CacheControl, InMessage, Role, Whereabouts};
use crate::api::conversation::{self, At, Builder, CachePoints, Conversation, Dialect, Grain, ToolAnswer, ToolNames};
use crate::api::openai::wire::TextOrList;
use crate::converse::{CachePoint, ContentBlock, Image, ReasoningContent, ReasoningText, SystemBlock, ToolResultBlock};
use crate::error::{Error, Result};
use crate::families::Traits;
use crate::report::{Action, Report};

/// What messages call things.
pub(super) const DIALECT: Dialect = Dialect {
    conversation: "messages",
    // That messages of one role in a row are one turn is Anthropic's own rule, and no news to a caller.
    grain: Grain::Items,
    call_id: "id",
    result_id: "tool_use_id",
    result_content: "content",
    tools: "tools",
    tool_choice: "tool_choice",
    tool_choice_name: "tool_choice.name",
    parallel: "tool_choice.disable_parallel_tool_use",
};

/// Puts instructions and messages into canonical form.
pub(super) fn conversation(
    (system, messages): (Option<TextOrList<Block>>, Vec<InMessage>),
    names: &ToolNames,
    traits: &Traits,
    points: &mut CachePoints,
    report: &mut Report,
) -> Result<Conversation> {
    if messages.is_empty() {
        return Err(Error::invalid("messages", "There has to be at least one message."));
    }
    let builder = Builder::new(&DIALECT, names, traits, report);
    let mut reader = Reader { builder, points, documents: Documents::default() };
    if let Some(system) = system {
        let blocks = reader.instructions(system, At::field("system"), |j| At::item("system", j))?;
        reader.builder.instruct(At::field("system"), blocks);
    }
    for (i, message) in messages.into_iter().enumerate() {
        reader.message(At::item("messages", i), message)?;
    }
    reader.builder.finish()
}

/// The cache point that a mark asks for.
pub(super) fn point(
    control: &CacheControl,
    at: At,
    points: &mut CachePoints,
    report: &mut Report,
) -> Option<CachePoint> {
    for key in control.extra.keys() {
        report.add(Action::Dropped, format!("{at}.{key}"));
    }
    points.point(at, control.ttl.as_deref(), report)
}

struct Reader<'a> {
    builder: Builder<'a>,
    points: &'a mut CachePoints,
    documents: Documents,
}

impl Reader<'_> {
    fn message(&mut self, at: At, message: InMessage) -> Result<()> {
        for (key, _) in message.extra.iter().filter(|(_, value)| !value.is_null()) {
            self.builder.report().add(Action::Dropped, format!("{at}.{key}"));
        }
        let blocks = match (message.role, message.content) {
            (Role::System, content) => {
                let blocks = self.instructions(content, at.dot("content"), |j| at.at("content", j))?;
                self.builder.instruct(at, blocks);
                return Ok(());
            }
            (_, TextOrList::List(blocks)) => blocks,
            (role, TextOrList::Text(text)) => {
                let text = if text.is_empty() { None } else { self.builder.text(at.dot("content"), text) };
                self.say(role, at, text.map(ContentBlock::Text).into_iter().collect());
                return Ok(());
            }
        };
        if blocks.is_empty() {
            self.say(message.role, at, Vec::new());
        }
        for (j, block) in blocks.into_iter().enumerate() {
            self.block((message.role, at), at.at("content", j), block)?;
        }
        Ok(())
    }

    /// Instructions: text, and where it may be cached.
    fn instructions(
        &mut self,
        content: TextOrList<Block>,
        whole: At,
        at: impl Fn(usize) -> At,
    ) -> Result<Vec<SystemBlock>> {
        let blocks = match content {
            TextOrList::Text(text) if text.is_empty() => return Ok(Vec::new()),
            TextOrList::Text(text) => {
                return Ok(self.builder.text(whole, text).map(SystemBlock::Text).into_iter().collect());
            }
            TextOrList::List(blocks) => blocks,
        };
        let mut instructions = Vec::with_capacity(blocks.len());
        for (j, mut block) in blocks.into_iter().enumerate() {
            let at = at(j);
            if block.kind != "text" {
                return Err(Error::invalid(at.dot("type"), "Instructions are of the type `text`."));
            }
            let control = block.cache_control.take();
            let text = self.text(at, block)?;
            let Some(text) = text else { continue };
            instructions.push(SystemBlock::Text(text));
            instructions.extend(self.mark(control, at).map(SystemBlock::CachePoint));
        }
        Ok(instructions)
    }

    fn say(&mut self, role: Role, at: At, blocks: Vec<ContentBlock>) {
        match role {
            Role::Assistant => self.builder.assistant(at, blocks),
            Role::User | Role::System => self.builder.user(at, blocks),
        }
    }

    /// Notes what a block has and nothing here gives a meaning to.
    fn look_at_extra(&mut self, at: At, block: &Block) {
        for (key, _) in block.extra.iter().filter(|(_, value)| !value.is_null()) {
            self.builder.report().add(Action::Dropped, format!("{at}.{key}"));
        }
    }

    /// One block of a message, which has this role and place.
    fn block(&mut self, (role, message): (Role, At), at: At, mut block: Block) -> Result<()> {
        self.look_at_extra(at, &block);
        let control = block.cache_control.take();
        let kind = std::mem::take(&mut block.kind);
        let said = match (kind.as_str(), role) {
            ("text", _) => self.text(at, block)?.map(ContentBlock::Text),
            ("image", Role::User) => Some(ContentBlock::Image(image(block, at)?)),
            ("document", Role::User) => {
                Some(ContentBlock::Document(self.documents.read(block, at, self.builder.report())?))
            }
            ("search_result", Role::User) => Some(ContentBlock::Other(search_result(block, at)?)),
            ("tool_result", Role::User) => return self.result(at, block, control),
            ("tool_use", Role::Assistant) => {
                let id = block.id.ok_or_else(|| missing(at, "id"))?;
                let name = block.name.ok_or_else(|| missing(at, "name"))?;
                self.builder.call(at, id, &name, block.input.ok_or_else(|| missing(at, "input"))?)?;
                None
            }
            ("thinking", Role::Assistant) => {
                let text = block.thinking.ok_or_else(|| missing(at, "thinking"))?;
                let thought = ReasoningText { text, signature: block.signature };
                self.builder.reasoning(at, ReasoningContent::ReasoningText(thought))
            }
            ("redacted_thinking", Role::Assistant) => {
                let data = block.data.ok_or_else(|| missing(at, "data"))?;
                self.builder.reasoning(at, ReasoningContent::RedactedContent(STANDARD.encode(data)))
            }
            (kind, Role::Assistant) if is_of_a_server_tool(kind) => {
                self.builder.report().add(Action::Dropped, at);
                return Ok(());
            }
            ("container_upload", _) => return Err(Error::unsupported(at.dot("type"), NO_FILES)),
            ("image" | "document" | "search_result" | "tool_result", _) => {
                return Err(Error::invalid(at.dot("type"), "This belongs in messages of the user."));
            }
            ("tool_use" | "thinking" | "redacted_thinking", _) => {
                return Err(Error::invalid(at.dot("type"), "This belongs in messages of the assistant."));
            }
            _ => return Err(Error::unsupported(at.dot("type"), "This model takes no content of this type.")),
        };
        let is_call = kind == "tool_use";
        if said.is_none() && !is_call {
            return Ok(());
        }
        let mark = self.mark(control, at).map(ContentBlock::CachePoint);
        let blocks: Vec<ContentBlock> = said.into_iter().chain(mark).collect();
        if !blocks.is_empty() {
            self.say(role, message, blocks);
        }
        Ok(())
    }

    fn text(&mut self, at: At, block: Block) -> Result<Option<String>> {
        let text = block.text.ok_or_else(|| missing(at, "text"))?;
        if block.citations.is_some_and(|citations| citations.as_array().is_some_and(|list| !list.is_empty())) {
            self.builder.report().add(Action::Dropped, at.dot("citations"));
        }
        Ok(self.builder.text(at, text))
    }

    fn mark(&mut self, control: Option<CacheControl>, at: At) -> Option<CachePoint> {
        point(&control?, at.dot("cache_control"), self.points, self.builder.report())
    }

    fn result(&mut self, at: At, block: Block, control: Option<CacheControl>) -> Result<()> {
        let id = block.tool_use_id.ok_or_else(|| missing(at, "tool_use_id"))?;
        let content = match block.content {
            None => Vec::new(),
            Some(TextOrList::Text(text)) if text.is_empty() => Vec::new(),
            Some(TextOrList::Text(text)) => {
                self.builder.text(at.dot("content"), text).map(ToolResultBlock::Text).into_iter().collect()
            }
            Some(TextOrList::List(parts)) => {
                let mut content = Vec::with_capacity(parts.len());
                for (k, part) in parts.into_iter().enumerate() {
                    content.extend(self.result_part(at.at("content", k), part)?);
                }
                content
            }
        };
        let status = (block.is_error == Some(true)).then_some("error");
        let cache_point = self.mark(control, at);
        self.builder.result(at, ToolAnswer { id, content, status, cache_point })
    }

    fn result_part(&mut self, at: At, mut part: Block) -> Result<Option<ToolResultBlock>> {
        self.look_at_extra(at, &part);
        if part.cache_control.take().is_some() {
            self.builder.report().add(Action::Dropped, at.dot("cache_control"));
        }
        Ok(match part.kind.as_str() {
            "text" => self.text(at, part)?.map(ToolResultBlock::Text),
            "image" => Some(ToolResultBlock::Image(image(part, at)?)),
            "document" => Some(ToolResultBlock::Document(self.documents.read(part, at, self.builder.report())?)),
            "search_result" => Some(ToolResultBlock::Other(search_result(part, at)?)),
            _ => {
                let message = "A tool's result may hold `text`, `image`, `document` and `search_result`.";
                return Err(Error::unsupported(at.dot("type"), message));
            }
        })
    }
}

/// What the assistant says about tools that Anthropic ran: a model that does not have them has no use for it.
fn is_of_a_server_tool(kind: &str) -> bool {
    kind == "server_tool_use" || kind.starts_with("mcp_tool_") || kind.ends_with("_tool_result")
}

fn missing(at: At, field: &'static str) -> Error {
    Error::invalid(at.dot(field), format!("`{field}` is missing."))
}

fn image(block: Block, at: At) -> Result<Image> {
    let Some(Whereabouts::Source(source)) = block.source else {
        return Err(Error::invalid(at.dot("source"), "`source` has to be an object."));
    };
    let at = at.dot("source");
    match (source.kind.as_str(), source.data) {
        // The bytes tell what they are; labels are often wrong.
        ("base64", Some(data)) => conversation::image(data, at.dot("data")),
        ("base64", None) => Err(missing(at, "data")),
        ("file", _) => Err(Error::unsupported(at.dot("type"), NO_FILES)),
        _ => Err(Error::invalid(at.dot("type"), "`type` has to be `base64` or `url`.")),
    }
}

fn search_result(block: Block, at: At) -> Result<Value> {
    let Some(Whereabouts::Name(source)) = block.source else {
        return Err(Error::invalid(at.dot("source"), "`source` has to be a string."));
    };
    let title = block.title.ok_or_else(|| missing(at, "title"))?;
    let Some(TextOrList::List(parts)) = block.content else {
        return Err(Error::invalid(at.dot("content"), "`content` has to be an array."));
    };
    let mut content = Vec::with_capacity(parts.len());
    for (k, part) in parts.into_iter().enumerate() {
        let text = part.text.filter(|text| !text.trim().is_empty());
        let text = text.ok_or_else(|| Error::invalid(at.at("content", k), "This has to be text, and not blank."))?;
        content.push(json!({ "text": text }));
    }
    let enabled = block.citations.is_some_and(|citations| citations["enabled"] == true);
    Ok(
        json!({"searchResult": {"source": source, "title": title, "content": content, "citations": {"enabled": enabled}}}),
    )
}
