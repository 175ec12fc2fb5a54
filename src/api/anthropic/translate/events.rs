//! A stream, event by event. Anthropic's blocks come one after the other, numbered without gaps, and the usage comes
//! before the end; Bedrock's may overlap, and its usage comes last.

use bytes::{BufMut as _, BytesMut};
use serde::Serialize;
use serde_json::{Value, json};

use super::Context;
use super::citations::citation;
use super::response::{redacted, stop, stop_details, usage};
use crate::api::anthropic::native::PING;
use crate::api::anthropic::wire::{Message, StopDetails, Usage};
use crate::converse::{BlockStart, Delta, Event, StopReason, ToolUseStart};

/// Writes the server-sent events of one message: [`Events::event`] for every event, then [`Events::finish`].
#[derive(Debug)]
pub struct Events {
    context: Context,
    started: bool,
    /// The block that is being written.
    open: Option<Open>,
    /// Events of blocks that overlap the open one, which have to wait.
    waiting: Vec<Event>,
    /// The number of the next block.
    next: u32,
    /// Why the model stopped; what it used is still to come.
    stopped: Option<(StopReason, Option<Value>)>,
    ended: bool,
}

/// A block under way.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// Bedrock's number of it.
    block: u32,
    /// Ours.
    index: u32,
    kind: Kind,
    /// Whether anything was written of it.
    written: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Tool,
    /// One that is none of the caller's business.
    Hidden,
}

impl Events {
    /// The writer for the answer that `context` describes.
    pub fn new(context: Context) -> Self {
        Self { context, started: false, open: None, waiting: Vec::new(), next: 0, stopped: None, ended: false }
    }

    /// Appends what `event` says to a client: no event, one, or a few.
    pub fn event(&mut self, mut event: Event, out: &mut BytesMut) {
        if let Some(before) = self.context.form.event(&mut event) {
            self.event(before, out);
        }
        self.take(event, out);
    }

    /// Appends the end of a stream that came to its end, if Bedrock did not tell the usage, with which it is written.
    pub fn finish(&mut self, out: &mut BytesMut) {
        if self.stopped.is_some() {
            self.end(&Usage::default(), out);
        }
    }

    fn take(&mut self, event: Event, out: &mut BytesMut) {
        let block = match &event {
            Event::BlockStart { index, .. } | Event::BlockDelta { index, .. } | Event::BlockStop { index } => *index,
            _ => return self.outside(event, out),
        };
        if self.open.is_some_and(|open| open.block != block) {
            self.waiting.push(event);
            return;
        }
        match event {
            Event::BlockStart { start: BlockStart::ToolUse(tool), .. } if tool.kind.is_none() => {
                self.open_tool(block, &tool, out);
            }
            Event::BlockStart { start: BlockStart::ToolUse(_), .. } => {
                self.open = Some(Open { block, index: self.next, kind: Kind::Hidden, written: true });
            }
            Event::BlockDelta { delta, .. } => self.delta(block, delta, out),
            Event::BlockStop { .. } => self.close(out),
            _ => {}
        }
    }

    fn outside(&mut self, event: Event, out: &mut BytesMut) {
        match event {
            Event::MessageStart(_) => self.start(out),
            Event::MessageStop { stop_reason, additional } => {
                self.start(out);
                // A block that was not stopped ends here.
                while self.open.is_some() {
                    self.close(out);
                }
                self.stopped = Some((stop_reason, additional));
            }
            Event::Metadata { usage: tokens, service_tier, .. } => {
                self.start(out);
                let mut used = usage(&tokens, service_tier.as_ref());
                used.service_tier = None;
                self.end(&used, out);
            }
            _ => {}
        }
    }

    /// The event that begins the message, once and first.
    fn start(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let message = Message {
            id: self.context.id.clone(),
            kind: "message",
            role: "assistant",
            model: self.context.model.clone(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            stop_details: None,
            // Bedrock tells at the end.
            usage: Usage::default(),
        };
        write("message_start", &json!({"type": "message_start", "message": message}), out);
        out.extend_from_slice(PING);
    }

    fn end(&mut self, usage: &Usage, out: &mut BytesMut) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let (reason, additional) = self.stopped.take().unwrap_or((StopReason::EndTurn, None));
        let (stop_reason, stop_sequence) = stop(reason, additional.as_ref(), &self.context);
        let delta = Ending { stop_reason, stop_sequence, stop_details: stop_details(stop_reason) };
        write("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage}), out);
        write("message_stop", &json!({"type": "message_stop"}), out);
    }

    fn delta(&mut self, block: u32, delta: Delta, out: &mut BytesMut) {
        match delta {
            Delta::Text(text) if text.is_empty() => {}
            Delta::Text(text) => {
                let index = self.inside(block, Kind::Text, out);
                self.piece(index, "text_delta", "text", &text, out);
            }
            Delta::Reasoning(text) => {
                let index = self.inside(block, Kind::Thinking, out);
                self.piece(index, "thinking_delta", "thinking", &text, out);
            }
            Delta::Signature(text) => {
                let index = self.inside(block, Kind::Thinking, out);
                self.piece(index, "signature_delta", "signature", &text, out);
            }
            Delta::Redacted(data) => {
                self.close_only(out);
                let content = json!({"type": "redacted_thinking", "data": redacted(data)});
                self.begin(block, Kind::Hidden, &content, out);
                self.close_only(out);
                // What is left of Bedrock's block has nothing more to say.
                self.open = Some(Open { block, index: self.next, kind: Kind::Hidden, written: true });
            }
            Delta::ToolInput(piece) => {
                let Some(open) = self.open.filter(|open| open.kind == Kind::Tool && !piece.is_empty()) else { return };
                self.piece(open.index, "input_json_delta", "partial_json", &piece, out);
            }
            Delta::Other(value) => {
                let Some(citation) = value.get("citation").and_then(citation) else { return };
                let index = self.inside(block, Kind::Text, out);
                let delta = json!({"type": "citations_delta", "citation": citation});
                let event = json!({"type": "content_block_delta", "index": index, "delta": delta});
                write("content_block_delta", &event, out);
            }
        }
    }

    /// The number of the open block, which is opened if there is none of this kind.
    fn inside(&mut self, block: u32, kind: Kind, out: &mut BytesMut) -> u32 {
        if let Some(open) = self.open.filter(|open| open.kind == kind) {
            return open.index;
        }
        self.close_only(out);
        let content = match kind {
            Kind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            _ => json!({"type": "text", "text": ""}),
        };
        self.begin(block, kind, &content, out)
    }

    fn open_tool(&mut self, block: u32, tool: &ToolUseStart, out: &mut BytesMut) {
        self.close_only(out);
        let name = self.context.tool_names.original(&tool.name);
        let content = json!({"type": "tool_use", "id": tool.tool_use_id, "name": name, "input": {}});
        self.begin(block, Kind::Tool, &content, out);
    }

    fn begin(&mut self, block: u32, kind: Kind, content: &Value, out: &mut BytesMut) -> u32 {
        self.start(out);
        let index = self.next;
        self.next += 1;
        self.open = Some(Open { block, index, kind, written: kind == Kind::Hidden });
        let event = json!({"type": "content_block_start", "index": index, "content_block": content});
        write("content_block_start", &event, out);
        index
    }

    /// A piece of text of the open block: what a stream mostly consists of.
    fn piece(&mut self, index: u32, kind: &str, key: &str, text: &str, out: &mut BytesMut) {
        if let Some(open) = &mut self.open {
            open.written = true;
        }
        out.reserve(text.len() + 160);
        out.extend_from_slice(b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":");
        append(&index, out);
        for part in [",\"delta\":{\"type\":\"", kind, "\",\"", key, "\":"] {
            out.extend_from_slice(part.as_bytes());
        }
        append(text, out);
        out.extend_from_slice(b"}}\n\n");
    }

    /// Ends the open block, and takes up what waited for that.
    fn close(&mut self, out: &mut BytesMut) {
        self.close_only(out);
        for event in std::mem::take(&mut self.waiting) {
            self.take(event, out);
        }
    }

    fn close_only(&mut self, out: &mut BytesMut) {
        let Some(open) = self.open.take() else { return };
        if open.index == self.next {
            // It was never shown.
            return;
        }
        if open.kind == Kind::Tool && !open.written {
            // A tool without arguments may be called with no text at all; clients parse what they get as JSON.
            self.piece(open.index, "input_json_delta", "partial_json", "{}", out);
        }
        write("content_block_stop", &json!({"type": "content_block_stop", "index": open.index}), out);
    }
}

/// How a message ends.
#[expect(clippy::struct_field_names, reason = "the names are the wire's")]
#[derive(Serialize)]
struct Ending {
    stop_reason: &'static str,
    stop_sequence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_details: Option<StopDetails>,
}

/// Appends a whole event.
fn write(name: &str, event: &Value, out: &mut BytesMut) {
    for part in ["event: ", name, "\ndata: "] {
        out.extend_from_slice(part.as_bytes());
    }
    append(event, out);
    out.extend_from_slice(b"\n\n");
}

/// Appends `value` as JSON. Strings, numbers and our own structs always serialise, and the buffer grows as it must:
/// there is no failure to tell.
fn append<T: Serialize + ?Sized>(value: &T, out: &mut BytesMut) {
    let written = serde_json::to_writer(out.writer(), value);
    debug_assert!(written.is_ok());
}
