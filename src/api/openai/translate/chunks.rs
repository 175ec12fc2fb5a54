//! A stream, event by event. This is the code that runs most often of all: what all chunks share is rendered once,
//! and a delta of text allocates nothing but room in the caller's buffer.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use super::response::{finish_reason, service_tier, usage};
use super::{Calling, Context};
use crate::api::conversation::{CallerTools, custom_text_of};
use crate::api::openai::error;
use crate::api::openai::wire::{AnswerThinking, Usage};
use crate::converse::{BlockStart, Delta, Event};
use crate::error::Error;

/// Writes the server-sent events of one completion.
///
/// For an ordinary stream: [`Chunks::event`] for every event, then [`Chunks::finish`]. For one that breaks:
/// [`Chunks::error`] instead of the latter, and nothing after it. Each call appends whole server-sent events only.
#[derive(Debug)]
pub struct Chunks {
    /// From `data: ` to the key `choices`.
    head: String,
    /// All of a chunk that comes before the fields of its delta.
    prefix: String,
    /// All of a chunk that comes after its choices.
    tail: &'static str,
    caller: CallerTools,
    calling: Calling,
    include_usage: bool,
    usage: Option<Usage>,
    service_tier: Option<String>,
    /// The reasoning of the block under way: it is told once more, whole, with its signature.
    thought: String,
    started: bool,
    reasoned: bool,
    /// The tool calls so far, in the order that OpenAI counts them by.
    tools: Vec<Tool>,
}

/// A tool call under way.
#[derive(Debug)]
struct Tool {
    /// Bedrock's index, which counts all blocks.
    block: u32,
    progress: Progress,
    /// Of a custom tool: its arguments so far. Its text stands in them, so it is told when they are whole.
    custom: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Progress {
    /// Named, but without arguments yet.
    Named,
    /// Some arguments were sent.
    Arguing,
    /// All were sent.
    Complete,
}

/// After the delta of every chunk but the one that finishes.
const OPEN: &str = "},\"logprobs\":null,\"finish_reason\":null}]";

impl Chunks {
    /// The writer for choice `index` of the answer that `context` describes.
    pub fn new(context: &Context, index: usize) -> Self {
        let mut head = BytesMut::from("data: {\"id\":");
        json(&context.id, &mut head);
        head.extend_from_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        json(&context.created, &mut head);
        head.extend_from_slice(b",\"model\":");
        json(&context.model, &mut head);
        let head = String::from_utf8_lossy(&head).into_owned();
        Self {
            prefix: format!("{head},\"choices\":[{{\"index\":{index},\"delta\":{{"),
            head,
            tail: if context.include_usage { ",\"usage\":null}\n\n" } else { "}\n\n" },
            caller: context.tools.clone(),
            calling: context.calling,
            include_usage: context.include_usage,
            usage: None,
            service_tier: None,
            thought: String::new(),
            started: false,
            reasoned: false,
            tools: Vec::new(),
        }
    }

    /// Appends what `event` says to a client: no chunk, one, or a few.
    pub fn event(&mut self, event: &Event, out: &mut BytesMut) {
        match event {
            Event::BlockDelta { index, delta } => self.delta(*index, delta, out),
            Event::MessageStart(_) => self.start(out),
            Event::BlockStart { index, start: BlockStart::ToolUse(tool) } if tool.kind.is_none() => {
                self.start(out);
                self.name_tool(*index, &tool.tool_use_id, &tool.name, out);
            }
            Event::BlockStop { index } => {
                self.thought.clear();
                if let Some(position) = self.position(*index) {
                    self.complete(position, out);
                }
            }
            Event::MessageStop { stop_reason, .. } => {
                self.start(out);
                for position in 0..self.tools.len() {
                    self.complete(position, out);
                }
                out.extend_from_slice(self.prefix.as_bytes());
                out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
                json(finish_reason(*stop_reason, self.calling), out);
                out.extend_from_slice(b"}]");
                out.extend_from_slice(self.tail.as_bytes());
            }
            Event::Metadata { usage: tokens, service_tier: tier, .. } => {
                self.usage = Some(usage(tokens, self.reasoned));
                self.service_tier = tier.as_ref().and_then(service_tier);
            }
            Event::BlockStart { .. } | Event::Unknown => {}
        }
    }

    /// Counts the usage of another choice, which came to its end, with that of this one.
    pub fn absorb(&mut self, other: &mut Self) {
        match (&mut self.usage, other.usage.take()) {
            (Some(usage), Some(more)) => usage.add(&more),
            (usage @ None, more) => *usage = more,
            (Some(_), None) => {}
        }
    }

    /// Appends the end of a stream that came to its end: the usage, if asked for and known, and `[DONE]`.
    pub fn finish(&mut self, out: &mut BytesMut) {
        if let Some(usage) = self.usage.take().filter(|_| self.include_usage) {
            out.extend_from_slice(self.head.as_bytes());
            out.extend_from_slice(b",\"choices\":[],\"usage\":");
            json(&usage, out);
            if let Some(tier) = &self.service_tier {
                out.extend_from_slice(b",\"service_tier\":");
                json(tier, out);
            }
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    /// Appends the end of a stream that broke: the error, at which the official clients raise, and no `[DONE]`.
    pub fn error(&mut self, broken: &Error, request_id: &str, out: &mut BytesMut) {
        error::event(broken, request_id, out);
    }

    fn delta(&mut self, block: u32, delta: &Delta, out: &mut BytesMut) {
        match delta {
            Delta::Text(text) => self.text("\"content\":", text, out),
            Delta::Reasoning(text) => {
                self.reasoned = true;
                self.thought.push_str(text);
                self.text("\"reasoning_content\":", text, out);
            }
            Delta::ToolInput(piece) if !piece.is_empty() => {
                if let Some(position) = self.position(block) {
                    let tool = &mut self.tools[position];
                    tool.progress = Progress::Arguing;
                    match &mut tool.custom {
                        Some(arguments) => arguments.push_str(piece),
                        None => self.argue(position, piece, out),
                    }
                }
            }
            Delta::Signature(signature) if !signature.is_empty() => {
                let (thinking, signature) = (std::mem::take(&mut self.thought), signature.clone());
                self.thinking(&AnswerThinking::Thinking { thinking, signature }, out);
            }
            Delta::Redacted(data) => {
                self.reasoned = true;
                self.thinking(&AnswerThinking::RedactedThinking { data: data.clone() }, out);
            }
            Delta::ToolInput(_) | Delta::Signature(_) | Delta::Other(_) => {}
        }
    }

    /// The chunk that tells the role, once and first.
    fn start(&mut self, out: &mut BytesMut) {
        if !self.started {
            self.started = true;
            out.extend_from_slice(self.prefix.as_bytes());
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":\"\",\"refusal\":null");
            self.close(out);
        }
    }

    fn text(&mut self, key: &str, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        self.start(out);
        out.reserve(self.prefix.len() + text.len() + 96);
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(key.as_bytes());
        json(text, out);
        self.close(out);
    }

    /// Reasoning as it has to come back.
    fn thinking(&mut self, block: &AnswerThinking, out: &mut BytesMut) {
        self.start(out);
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(b"\"thinking_blocks\":[");
        json(block, out);
        out.extend_from_slice(b"]");
        self.close(out);
    }

    fn name_tool(&mut self, block: u32, id: &str, name: &str, out: &mut BytesMut) {
        let position = self.tools.len();
        if self.calling == Calling::Function {
            self.name_function(block, name, out);
            return;
        }
        let name = self.caller.original(name);
        let custom = self.caller.is_custom(name);
        self.open_tool(position, out);
        out.extend_from_slice(b",\"id\":");
        json(id, out);
        let (before, after): (&[u8], &[u8]) = if custom {
            (b",\"type\":\"custom\",\"custom\":{\"name\":", b",\"input\":\"\"}}]")
        } else {
            (b",\"type\":\"function\",\"function\":{\"name\":", b",\"arguments\":\"\"}}]")
        };
        out.extend_from_slice(before);
        json(name, out);
        out.extend_from_slice(after);
        self.close(out);
        self.tools.push(Tool { block, progress: Progress::Named, custom: custom.then(String::new) });
    }

    /// There is room for one call; of others nothing is told.
    fn name_function(&mut self, block: u32, name: &str, out: &mut BytesMut) {
        if !self.tools.is_empty() {
            return;
        }
        self.tools.push(Tool { block, progress: Progress::Named, custom: None });
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(b"\"function_call\":{\"name\":");
        json(self.caller.original(name), out);
        out.extend_from_slice(b",\"arguments\":\"\"}");
        self.close(out);
    }

    fn argue(&self, position: usize, piece: &str, out: &mut BytesMut) {
        out.reserve(self.prefix.len() + piece.len() + 128);
        if self.calling == Calling::Function {
            out.extend_from_slice(self.prefix.as_bytes());
            out.extend_from_slice(b"\"function_call\":{\"arguments\":");
            json(piece, out);
            out.extend_from_slice(b"}");
            self.close(out);
            return;
        }
        self.open_tool(position, out);
        out.extend_from_slice(b",\"function\":{\"arguments\":");
        json(piece, out);
        out.extend_from_slice(b"}}]");
        self.close(out);
    }

    /// A tool that takes no arguments may be called with no text at all; clients parse what they get as JSON.
    fn complete(&mut self, position: usize, out: &mut BytesMut) {
        let tool = &mut self.tools[position];
        let progress = std::mem::replace(&mut tool.progress, Progress::Complete);
        if let Some(arguments) = tool.custom.take() {
            self.open_tool(position, out);
            out.extend_from_slice(b",\"custom\":{\"input\":");
            json(&custom_text_of(&arguments), out);
            out.extend_from_slice(b"}}]");
            self.close(out);
        } else if progress == Progress::Named {
            self.argue(position, "{}", out);
        }
    }

    fn open_tool(&self, position: usize, out: &mut BytesMut) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(b"\"tool_calls\":[{\"index\":");
        json(&position, out);
    }

    fn close(&self, out: &mut BytesMut) {
        out.extend_from_slice(OPEN.as_bytes());
        out.extend_from_slice(self.tail.as_bytes());
    }

    /// The place among the tool calls of the one in `block`; tools that are not the caller's have none.
    fn position(&self, block: u32) -> Option<usize> {
        self.tools.iter().rposition(|tool| tool.block == block)
    }
}

/// Appends `value` as JSON. Strings, numbers and our own structs always serialise, and the buffer grows as it must:
/// there is no failure to tell.
fn json<T: Serialize + ?Sized>(value: &T, out: &mut BytesMut) {
    let written = serde_json::to_writer(out.writer(), value);
    debug_assert!(written.is_ok());
}
