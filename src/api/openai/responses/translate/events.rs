//! A stream, event by event (<https://platform.openai.com/docs/api-reference/responses-streaming>). A delta of text is
//! what comes most often: all of its event but the text and the number is written once for each part, and it allocates
//! nothing but room in the caller's buffer and in the answer that is gathered for the end.

use bytes::BytesMut;

use super::told::{
    Part, Told, close_arguments, close_input, close_summary, close_text, delta_prefix, failure, tell, tell_error,
    tell_item_done, write_delta,
};
use super::{Context, answer};
use crate::api::openai::error::status_and_body;
use crate::api::openai::responses::wire::{OutputItem, OutputText, Response, Status, SummaryText};
use crate::converse::{BlockStart, Delta, Event, ReasoningContent, ReasoningText, StopReason, ToolUseStart};
use crate::error::Error;

/// Writes the server-sent events of one response.
///
/// For an ordinary stream: [`Events::event`] for every event, [`Events::conclude`], and [`Events::complete`] once it is
/// known whether the response is kept. For one that breaks: [`Events::error`] instead of the last two. Each call appends
/// whole server-sent events only.
#[derive(Debug)]
pub struct Events {
    /// Its response grows with every event.
    context: Context,
    /// The number of the next event.
    sequence: u64,
    /// Blocks that have not ended.
    open: Vec<Open>,
    /// Items that the client was not told to be done, by their positions. They wait for what follows, because only that
    /// tells whether a message goes on, and whether the last item is whole.
    undone: Vec<usize>,
    stop: Option<StopReason>,
}

/// A block that has not ended.
#[derive(Debug)]
struct Open {
    /// Bedrock's index, which counts all blocks.
    block: u32,
    /// Its item in the output.
    item: usize,
    piece: Piece,
}

/// What a block is to the client. A prefix is all of a delta's event that comes before the delta.
#[derive(Debug)]
enum Piece {
    Text { part: usize, prefix: String },
    Thought { prefix: String, thought: ReasoningText, redacted: String },
    Arguments { prefix: String },
    CustomInput { json: String },
}

impl Events {
    /// The writer for the response that `context` describes.
    pub fn new(context: Context) -> Self {
        Self { context, sequence: 0, open: Vec::new(), undone: Vec::new(), stop: None }
    }

    /// Appends what `event` says to a client: no event, one, or a few.
    pub fn event(&mut self, mut event: Event, out: &mut BytesMut) {
        self.start(out);
        if let Some(before) = self.context.form.event(&mut event) {
            self.event(before, out);
        }
        match event {
            Event::BlockDelta { index, delta } => self.delta(index, delta, out),
            Event::BlockStart { index, start: BlockStart::ToolUse(tool) } if tool.kind.is_none() => {
                self.open_tool(index, tool, out);
            }
            Event::BlockStop { index } => {
                if let Some(position) = self.open.iter().rposition(|open| open.block == index) {
                    let open = self.open.remove(position);
                    self.close(open, out);
                }
            }
            Event::MessageStop { stop_reason, .. } => self.stop = Some(stop_reason),
            Event::Metadata { usage, service_tier, .. } => {
                self.context.response.usage = Some(answer::usage(&usage));
                if let Some(tier) = service_tier.as_ref().and_then(answer::service_tier) {
                    self.context.response.service_tier = tier;
                }
            }
            Event::MessageStart(_) | Event::BlockStart { .. } | Event::Unknown => {}
        }
    }

    /// Appends the end of every item of an answer that came to its end at `now`, in seconds since the Unix epoch. What
    /// is returned is the whole response.
    pub fn conclude(&mut self, now: i64, out: &mut BytesMut) -> &mut Response {
        self.start(out);
        for open in std::mem::take(&mut self.open) {
            self.close(open, out);
        }
        answer::end(&mut self.context.response, self.stop.unwrap_or(StopReason::Unknown));
        self.tell_done(out);
        let response = &mut self.context.response;
        response.completed_at = (response.status == Status::Completed).then_some(now);
        response
    }

    /// The response as far as it is.
    pub fn response(&mut self) -> &mut Response {
        &mut self.context.response
    }

    /// Appends the last event, with the response as it is.
    pub fn complete(&mut self, out: &mut BytesMut) {
        let kind = match self.context.response.status {
            Status::Incomplete => "response.incomplete",
            Status::Failed => "response.failed",
            Status::Completed | Status::InProgress => "response.completed",
        };
        tell(Told { kind, response: Some(&self.context.response), ..Told::default() }, &mut self.sequence, out);
    }

    /// Appends the end of a stream that broke: the error, at which the official clients raise, and the response as far
    /// as it came.
    pub fn error(&mut self, error: &Error, request_id: &str, out: &mut BytesMut) {
        self.start(out);
        let said = status_and_body(error, request_id).1.error;
        let response = &mut self.context.response;
        response.status = Status::Failed;
        response.store = false;
        response.error = Some(failure(error.kind(), said.message.clone()));
        for position in self.undone.drain(..) {
            response.output[position].set_status(Status::Incomplete);
        }
        tell_error(&said, &mut self.sequence, out);
        self.complete(out);
    }

    /// The first two events, once.
    fn start(&mut self, out: &mut BytesMut) {
        if self.sequence == 0 {
            for kind in ["response.created", "response.in_progress"] {
                tell(Told { kind, response: Some(&self.context.response), ..Told::default() }, &mut self.sequence, out);
            }
        }
    }

    fn delta(&mut self, block: u32, delta: Delta, out: &mut BytesMut) {
        match delta {
            Delta::Text(text) => self.text(block, &text, out),
            Delta::ToolInput(piece) => self.argue(block, &piece, out),
            Delta::Reasoning(text) => self.think(block, &text, out),
            Delta::Signature(piece) => {
                let position = self.open_thought(block, out);
                if let Piece::Thought { thought, .. } = &mut self.open[position].piece {
                    thought.signature.get_or_insert_default().push_str(&piece);
                }
            }
            Delta::Redacted(piece) => {
                let position = self.open_thought(block, out);
                if let Piece::Thought { redacted, .. } = &mut self.open[position].piece {
                    redacted.push_str(&piece);
                }
            }
            Delta::Other(_) => {}
        }
    }

    fn text(&mut self, block: u32, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        let position = self.position(block).unwrap_or_else(|| self.open_text(block, out));
        let Open { item, piece: Piece::Text { part, prefix }, .. } = &self.open[position] else { return };
        if let OutputItem::Message { content, .. } = &mut self.context.response.output[*item] {
            content[*part].text.push_str(text);
        }
        write_delta(prefix, text, ",\"logprobs\":[],\"sequence_number\":", &mut self.sequence, out);
    }

    fn think(&mut self, block: u32, text: &str, out: &mut BytesMut) {
        if text.is_empty() {
            return;
        }
        let position = self.open_thought(block, out);
        let Open { item, piece: Piece::Thought { prefix, thought, .. }, .. } = &mut self.open[position] else { return };
        let item = *item;
        if thought.text.is_empty() {
            let id = self.context.response.output[item].id();
            *prefix = delta_prefix("response.reasoning_summary_text.delta", id, item, Some(("summary_index", 0)));
            let told = Told {
                kind: "response.reasoning_summary_part.added",
                item_id: Some(id),
                output_index: Some(item),
                summary_index: Some(0),
                part: Some(Part::Summary(&SummaryText::new(""))),
                ..Told::default()
            };
            tell(told, &mut self.sequence, out);
        }
        thought.text.push_str(text);
        write_delta(prefix, text, ",\"sequence_number\":", &mut self.sequence, out);
    }

    fn argue(&mut self, block: u32, text: &str, out: &mut BytesMut) {
        let Some(position) = self.position(block).filter(|_| !text.is_empty()) else { return };
        match &mut self.open[position] {
            Open { item, piece: Piece::Arguments { prefix }, .. } => {
                if let OutputItem::FunctionCall { arguments, .. } = &mut self.context.response.output[*item] {
                    arguments.push_str(text);
                }
                write_delta(prefix, text, ",\"sequence_number\":", &mut self.sequence, out);
            }
            Open { piece: Piece::CustomInput { json }, .. } => json.push_str(text),
            _ => {}
        }
    }

    /// The place among the open blocks of the one with this index.
    fn position(&self, block: u32) -> Option<usize> {
        self.open.iter().rposition(|open| open.block == block)
    }

    /// A new part, in the message that comes last if one does.
    fn open_text(&mut self, block: u32, out: &mut BytesMut) -> usize {
        let last = self.context.response.output.len().wrapping_sub(1);
        let goes_on = self.undone.contains(&last)
            && matches!(self.context.response.output.get(last), Some(OutputItem::Message { .. }));
        let item = if goes_on {
            last
        } else {
            let id = self.context.item_id("msg_", last.wrapping_add(1));
            let message =
                OutputItem::Message { id, status: Status::InProgress, role: "assistant", content: Vec::new() };
            self.add(message, out)
        };
        let OutputItem::Message { id, content, .. } = &mut self.context.response.output[item] else {
            return self.open.len(); // Never: it was made or found to be one just now.
        };
        let part = content.len();
        content.push(OutputText::new(""));
        let prefix = delta_prefix("response.output_text.delta", id, item, Some(("content_index", part)));
        let told = Told {
            kind: "response.content_part.added",
            item_id: Some(id),
            output_index: Some(item),
            content_index: Some(part),
            part: Some(Part::Text(&content[part])),
            ..Told::default()
        };
        tell(told, &mut self.sequence, out);
        self.open.push(Open { block, item, piece: Piece::Text { part, prefix } });
        self.open.len() - 1
    }

    /// The thought in this block, a new one if there is none yet.
    fn open_thought(&mut self, block: u32, out: &mut BytesMut) -> usize {
        if let Some(position) = self.position(block) {
            return position;
        }
        let id = self.context.item_id("rs_", self.context.response.output.len());
        let item = self.add(OutputItem::Reasoning { id, summary: Vec::new(), encrypted_content: None }, out);
        let thought = ReasoningText { text: String::new(), signature: None };
        self.open.push(Open {
            block,
            item,
            piece: Piece::Thought { prefix: String::new(), thought, redacted: String::new() },
        });
        self.open.len() - 1
    }

    fn open_tool(&mut self, block: u32, tool: ToolUseStart, out: &mut BytesMut) {
        let name = self.context.tools.original(&tool.name).to_owned();
        let is_custom = self.context.tools.is_custom(&name);
        let (namespace, name) = self.context.namespaces.apart(name);
        let (call_id, status) = (tool.tool_use_id, Status::InProgress);
        let next = self.context.response.output.len();
        let (item, piece) = if is_custom {
            let id = self.context.item_id("ctc_", next);
            let item = OutputItem::CustomToolCall { id, call_id, name, namespace, input: String::new(), status };
            (item, Piece::CustomInput { json: String::new() })
        } else {
            let id = self.context.item_id("fc_", next);
            let prefix = delta_prefix("response.function_call_arguments.delta", &id, next, None);
            let item = OutputItem::FunctionCall { id, call_id, name, namespace, arguments: String::new(), status };
            (item, Piece::Arguments { prefix })
        };
        let item = self.add(item, out);
        self.open.push(Open { block, item, piece });
    }

    /// Tells of a new item; those before it that have ended are told to be done.
    fn add(&mut self, item: OutputItem, out: &mut BytesMut) -> usize {
        let (open, output) = (&self.open, &mut self.context.response.output);
        let sequence = &mut self.sequence;
        self.undone.retain(|&position| {
            let is_open = open.iter().any(|open| open.item == position);
            if !is_open {
                tell_item_done(position, &mut output[position], sequence, out);
            }
            is_open
        });
        let position = output.len();
        output.push(item);
        self.undone.push(position);
        let told = Told {
            kind: "response.output_item.added",
            output_index: Some(position),
            item: Some(&output[position]),
            ..Told::default()
        };
        tell(told, sequence, out);
        position
    }

    /// The block has ended: its text is told once more, in one piece.
    fn close(&mut self, open: Open, out: &mut BytesMut) {
        let item = &mut self.context.response.output[open.item];
        match open.piece {
            Piece::Text { part, .. } => close_text(item, open.item, part, &mut self.sequence, out),
            Piece::Thought { thought, redacted, .. } => {
                close_summary(item.id(), open.item, &thought.text, &mut self.sequence, out);
                let thought = if redacted.is_empty() {
                    ReasoningContent::ReasoningText(thought)
                } else {
                    ReasoningContent::RedactedContent(redacted)
                };
                let id = item.id().to_owned();
                *item = answer::thinking(&thought, id, &self.context.provider);
            }
            Piece::Arguments { prefix } => close_arguments(item, open.item, &prefix, &mut self.sequence, out),
            Piece::CustomInput { json } => close_input(item, open.item, &json, &mut self.sequence, out),
        }
    }

    /// Tells of every item that is left that it is done.
    fn tell_done(&mut self, out: &mut BytesMut) {
        for position in std::mem::take(&mut self.undone) {
            tell_item_done(position, &mut self.context.response.output[position], &mut self.sequence, out);
        }
    }
}
