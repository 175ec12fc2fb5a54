//! The items of a conversation, one by one.

use serde_json::Value;

use super::{reasoning, tools};
use crate::api::conversation::{
    self, At, Builder, CachePoints, Conversation, Dialect, Grain, Label, ToolAnswer, ToolNames,
};
use crate::api::openai::found::Found;
use crate::api::openai::responses::wire::{Item, Part, Role};
use crate::api::openai::wire::{TextOrList, Url};
use crate::converse::{CachePoint, ContentBlock, Document, Image, Object, SystemBlock, ToolResultBlock};
use crate::error::Error;
use crate::families::Traits;
use crate::report::{Action, Report};

/// What Responses calls things.
pub(super) const DIALECT: Dialect = Dialect {
    conversation: "input",
    grain: Grain::Items,
    call_id: "call_id",
    result_id: "call_id",
    result_content: "output",
    tools: "tools",
    tool_choice: "tool_choice",
    tool_choice_name: "tool_choice.name",
    parallel: "parallel_tool_calls",
};

/// What the model is asked.
pub(super) struct Input<'a> {
    pub(super) instructions: Option<String>,
    pub(super) items: Vec<(At, Item)>,
    /// Who made the model that is asked.
    pub(super) provider: &'a str,
}

impl Input<'_> {
    /// Puts it into canonical form.
    pub(super) fn conversation(
        self,
        names: &ToolNames,
        traits: &Traits,
        report: &mut Report,
    ) -> Result<Conversation, Error> {
        let mut reader = Reader {
            builder: Builder::new(&DIALECT, names, traits, report),
            provider: self.provider,
            points: CachePoints::new(traits),
            thoughts: Vec::new(),
        };
        if let Some(text) = self.instructions.filter(|text| !text.is_empty()) {
            let at = At::field("instructions");
            let text = reader.builder.text(at, text);
            reader.builder.instruct(at, text.into_iter().map(SystemBlock::Text).collect());
        }
        for (at, item) in self.items {
            reader.add(at, item)?;
        }
        reader.forget_thoughts();
        reader.builder.finish()
    }
}

struct Reader<'a> {
    builder: Builder<'a>,
    provider: &'a str,
    points: CachePoints,
    /// Reasoning that waits for what the assistant did next: no turn may end with it.
    thoughts: Vec<(At, ContentBlock)>,
}

impl Reader<'_> {
    fn add(&mut self, at: At, item: Item) -> Result<(), Error> {
        if let Some(kind @ ("tool_search_call" | "tool_search_output")) = item.kind.as_deref() {
            // The tools that were found are offered with the others; that somebody searched for them says no more.
            let action = if kind == "tool_search_call" { Action::Dropped } else { Action::Merged };
            self.builder.report().add(action, at);
            return Ok(());
        }
        self.look_at_extra(at, &item.extra);
        match item.kind.as_deref() {
            None | Some("message") => self.message(at, item),
            Some("function_call") => {
                let arguments = item.arguments.as_ref().map_or(Some(""), Value::as_str);
                let Some(input) = arguments.and_then(conversation::arguments) else {
                    let message = "`arguments` has to be the text of a JSON object.";
                    return Err(Error::invalid(at.dot("arguments"), message));
                };
                self.call(at, item.call_id, item.name, input)
            }
            Some("custom_tool_call") => {
                let input = conversation::custom_arguments(item.input.unwrap_or_default());
                self.call(at, item.call_id, item.name, input)
            }
            Some("function_call_output" | "custom_tool_call_output") => {
                self.forget_thoughts();
                let id = item.call_id.ok_or_else(|| missing(at, "call_id"))?;
                let output = item.output.ok_or_else(|| missing(at, "output"))?;
                let content = self.pieces(at, "output", Some(output), Allowed::Everything)?;
                let content = self.results_of(content);
                self.builder.result(at, ToolAnswer { id, content, status: None, cache_point: None })
            }
            Some("reasoning") => {
                let opened = item.encrypted_content.as_deref();
                let opened = opened.and_then(|sealed| reasoning::open(sealed, self.provider));
                match opened {
                    Some(thought) => {
                        let thought = self.builder.reasoning(at, thought);
                        self.thoughts.extend(thought.map(|thought| (at, thought)));
                    }
                    None => self.builder.report().add(Action::Dropped, at),
                }
                Ok(())
            }
            // What came of it stands in what the model said next.
            Some(kind) if kind.ends_with("_call") && tools::is_extra(kind.trim_end_matches("_call")) => {
                self.builder.report().add(Action::Dropped, at);
                Ok(())
            }
            Some("item_reference") => Err(Error::invalid(at.dot("id"), "There is no such item.")),
            Some(_) => Err(Error::unsupported(at.dot("type"), "Items of this type cannot be sent to this model.")),
        }
    }

    fn message(&mut self, at: At, item: Item) -> Result<(), Error> {
        let role = item.role.ok_or_else(|| missing(at, "role"))?;
        let content = Some(item.content.ok_or_else(|| missing(at, "content"))?);
        match role {
            Role::User => {
                self.forget_thoughts();
                let pieces = self.pieces(at, "content", content, Allowed::Everything)?;
                let blocks = self.blocks_of(pieces);
                self.builder.user(at, blocks);
            }
            Role::Assistant => {
                let pieces = self.pieces(at, "content", content, Allowed::Text)?;
                let mut blocks = self.blocks_of(pieces);
                if !blocks.is_empty() {
                    blocks.splice(0..0, self.thoughts.drain(..).map(|(_, thought)| thought));
                }
                self.builder.assistant(at, blocks);
            }
            Role::System | Role::Developer => {
                let pieces = self.pieces(at, "content", content, Allowed::Text)?;
                let mut blocks = Vec::with_capacity(pieces.len());
                for (piece, mark) in pieces {
                    blocks.extend(piece.into_instruction());
                    blocks.extend(self.point(mark).map(SystemBlock::CachePoint));
                }
                self.builder.instruct(at, blocks);
            }
        }
        Ok(())
    }

    /// The cache point that a mark at `mark` asks for.
    fn point(&mut self, mark: Option<At>) -> Option<CachePoint> {
        self.points.point(mark?, None, self.builder.report())
    }

    /// Pieces of a turn, each followed by the cache point that it is marked for.
    fn blocks_of(&mut self, pieces: Vec<Marked>) -> Vec<ContentBlock> {
        let mut blocks = Vec::with_capacity(pieces.len());
        for (piece, mark) in pieces {
            blocks.push(piece.into_block());
            blocks.extend(self.point(mark).map(ContentBlock::CachePoint));
        }
        blocks
    }

    /// Pieces of a tool's answer, which cannot be cached in part.
    fn results_of(&mut self, pieces: Vec<Marked>) -> Vec<ToolResultBlock> {
        let mut results = Vec::with_capacity(pieces.len());
        for (piece, mark) in pieces {
            if let Some(mark) = mark {
                self.builder.report().add(Action::Dropped, mark);
            }
            results.push(piece.into_result());
        }
        results
    }

    fn call(&mut self, at: At, id: Option<String>, name: Option<String>, input: Object) -> Result<(), Error> {
        let id = id.ok_or_else(|| missing(at, "call_id"))?;
        let name = name.ok_or_else(|| missing(at, "name"))?;
        let thoughts: Vec<_> = self.thoughts.drain(..).map(|(_, thought)| thought).collect();
        if !thoughts.is_empty() {
            self.builder.assistant(at, thoughts);
        }
        self.builder.call(at, id, &name, input)
    }

    /// Reasoning after which the assistant did nothing does not count.
    fn forget_thoughts(&mut self) {
        for (at, _) in self.thoughts.drain(..) {
            self.builder.report().add(Action::Dropped, at);
        }
    }

    /// Notes what an item has and nobody here gives a meaning to.
    fn look_at_extra(&mut self, at: At, extra: &Object) {
        for (key, value) in extra {
            // What the answers of OpenAI's own models carry and their requests repeat.
            let is_known = matches!(key.as_str(), "phase" | "caller" | "created_by" | "async");
            let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !is_known && !is_empty {
                self.builder.report().add(Action::Dropped, format!("{at}.{key}"));
            }
        }
    }

    /// The content in the field `field` of the item at `at`, without its blank texts.
    fn pieces(
        &mut self,
        at: At,
        field: &'static str,
        content: Option<TextOrList<Part>>,
        allowed: Allowed,
    ) -> Result<Vec<Marked>, Error> {
        match content {
            None => Ok(Vec::new()),
            // Content that is the empty string says the same as none.
            Some(TextOrList::Text(text)) if text.is_empty() => Ok(Vec::new()),
            Some(TextOrList::Text(text)) => {
                Ok(self.builder.text(at.dot(field), text).into_iter().map(|text| (Piece::Text(text), None)).collect())
            }
            Some(TextOrList::List(parts)) => {
                let mut pieces = Vec::with_capacity(parts.len());
                for (j, part) in parts.into_iter().enumerate() {
                    let at = at.at(field, j);
                    self.look_at_part(at, &part.extra);
                    let mark = match &part.prompt_cache_breakpoint {
                        Some(breakpoint) => {
                            let at = at.dot("prompt_cache_breakpoint");
                            conversation::check_breakpoint(at, &breakpoint.mode)?;
                            Some(at)
                        }
                        None => None,
                    };
                    match self.piece(at, part, allowed)? {
                        Some(piece) => pieces.push((piece, mark)),
                        // There is nothing to mark.
                        None => mark.into_iter().for_each(|mark| self.builder.report().add(Action::Dropped, mark)),
                    }
                }
                Ok(pieces)
            }
        }
    }

    fn look_at_part(&mut self, at: At, extra: &Object) {
        for (key, value) in extra {
            let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            if !is_empty {
                self.builder.report().add(Action::Dropped, format!("{at}.{key}"));
            }
        }
    }

    fn piece(&mut self, at: At, part: Part, allowed: Allowed) -> Result<Option<Piece>, Error> {
        match part.kind.as_str() {
            "input_text" | "output_text" => {
                let text = part.text.ok_or_else(|| missing(at, "text"))?;
                Ok(self.builder.text(at, text).map(Piece::Text))
            }
            "refusal" => {
                let text = part.refusal.ok_or_else(|| missing(at, "refusal"))?;
                Ok(self.builder.text(at, text).map(Piece::Text))
            }
            "input_image" | "input_file" if allowed == Allowed::Text => {
                Err(Error::invalid(at.dot("type"), "Pictures and files belong in messages of the user."))
            }
            "input_image" | "input_file" if part.file_id.is_some() => {
                Err(Error::unsupported(at.dot("file_id"), "Uploads cannot be used here: send the content itself."))
            }
            "input_image" => {
                self.look_at_detail(at, part.detail.as_deref());
                let url = part.image_url.ok_or_else(|| missing(at, "image_url"))?;
                let at = at.dot("image_url");
                let found = Found::by(url, at, self.builder.report())?;
                Ok(Some(Piece::Image(conversation::image(found.payload, at)?)))
            }
            "input_file" => self.file(at, part).map(Some),
            _ => {
                let message =
                    "`type` has to be one of `input_text`, `input_image`, `input_file`, `output_text`, `refusal`.";
                Err(Error::invalid(at.dot("type"), message))
            }
        }
    }

    fn look_at_detail(&mut self, at: At, detail: Option<&str>) {
        if detail.is_some_and(|detail| detail != "auto") {
            self.builder.report().add(Action::Dropped, at.dot("detail"));
        }
    }

    fn file(&mut self, at: At, part: Part) -> Result<Piece, Error> {
        self.look_at_detail(at, part.detail.as_deref());
        let (field, url) = match (part.file_data, part.file_url) {
            (Some(data), _) => ("file_data", data),
            (None, Some(url)) => ("file_url", url),
            (None, None) => return Err(missing(at, "file_data")),
        };
        let found = match url {
            // OpenAI's own examples show a data URL, its clients send the bare base64 as well.
            Url::Other(payload) if field == "file_data" && !payload.contains("://") => {
                Found { media_type: None, payload }
            }
            url => Found::by(url, at.dot(field), self.builder.report())?,
        };
        if found.media_type.as_deref().is_some_and(|media_type| media_type.starts_with("image/")) {
            return conversation::image(found.payload, at.dot(field)).map(Piece::Image);
        }
        let label = Label { media_type: found.media_type.as_deref(), file_name: part.filename.as_deref() };
        let name = self.builder.document_name();
        if part.filename.is_some() {
            self.builder.report().add(Action::Renamed, at.dot("filename"));
        }
        conversation::document(found.payload, label, name, at.dot(field)).map(Piece::Document)
    }
}

/// What the content of an item may hold.
#[derive(Clone, Copy, PartialEq)]
enum Allowed {
    Text,
    Everything,
}

/// A part, and where the mark stands that it is worth caching.
type Marked = (Piece, Option<At>);

/// A part that is worth sending.
enum Piece {
    Text(String),
    Image(Image),
    Document(Document),
}

impl Piece {
    fn into_instruction(self) -> Option<SystemBlock> {
        match self {
            Self::Text(text) => Some(SystemBlock::Text(text)),
            Self::Image(_) | Self::Document(_) => None,
        }
    }

    fn into_block(self) -> ContentBlock {
        match self {
            Self::Text(text) => ContentBlock::Text(text),
            Self::Image(image) => ContentBlock::Image(image),
            Self::Document(document) => ContentBlock::Document(document),
        }
    }

    fn into_result(self) -> ToolResultBlock {
        match self {
            Self::Text(text) => ToolResultBlock::Text(text),
            Self::Image(image) => ToolResultBlock::Image(image),
            Self::Document(document) => ToolResultBlock::Document(document),
        }
    }
}

fn missing(at: At, field: &'static str) -> Error {
    Error::invalid(at.dot(field), format!("`{field}` is missing."))
}
