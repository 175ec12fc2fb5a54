//! The events of a stream as they are written: one function for each thing that is told.

use bytes::{BufMut, BytesMut};
use serde::Serialize;

use crate::api::conversation::custom_text_of;
use crate::api::openai::error::ErrorObject;
use crate::api::openai::responses::wire::{OutputItem, OutputText, Response, SummaryText};

/// Tells that an item is done.
pub(super) fn tell_item_done(position: usize, item: &mut OutputItem, sequence: &mut u64, out: &mut BytesMut) {
    item.set_done();
    let told =
        Told { kind: "response.output_item.done", output_index: Some(position), item: Some(item), ..Told::default() };
    tell(told, sequence, out);
}

/// Tells the whole text of a part.
pub(super) fn close_text(item: &OutputItem, position: usize, part: usize, sequence: &mut u64, out: &mut BytesMut) {
    let OutputItem::Message { id, content, .. } = item else { return };
    let place =
        || Told { item_id: Some(id), output_index: Some(position), content_index: Some(part), ..Told::default() };
    let text = &*content[part].text;
    tell(Told { kind: "response.output_text.done", text: Some(text), logprobs: Some([]), ..place() }, sequence, out);
    let done = Part::Text(&content[part]);
    tell(Told { kind: "response.content_part.done", part: Some(done), ..place() }, sequence, out);
}

/// Tells the whole of what is readable of a thought.
pub(super) fn close_summary(id: &str, position: usize, text: &str, sequence: &mut u64, out: &mut BytesMut) {
    if text.is_empty() {
        return;
    }
    let place = || Told { item_id: Some(id), output_index: Some(position), summary_index: Some(0), ..Told::default() };
    tell(Told { kind: "response.reasoning_summary_text.done", text: Some(text), ..place() }, sequence, out);
    let part = SummaryText::new(text);
    let done = Part::Summary(&part);
    tell(Told { kind: "response.reasoning_summary_part.done", part: Some(done), ..place() }, sequence, out);
}

/// A function that takes no arguments may be called with no text at all; clients parse what they get as JSON.
pub(super) fn close_arguments(
    item: &mut OutputItem,
    position: usize,
    prefix: &str,
    sequence: &mut u64,
    out: &mut BytesMut,
) {
    let OutputItem::FunctionCall { id, arguments, .. } = item else { return };
    if arguments.is_empty() {
        arguments.push_str("{}");
        write_delta(prefix, arguments, ",\"sequence_number\":", sequence, out);
    }
    let told = Told {
        kind: "response.function_call_arguments.done",
        item_id: Some(id),
        output_index: Some(position),
        arguments: Some(arguments),
        ..Told::default()
    };
    tell(told, sequence, out);
}

/// The text for a custom tool stands in an object, so it is told when that is whole.
pub(super) fn close_input(item: &mut OutputItem, position: usize, json: &str, sequence: &mut u64, out: &mut BytesMut) {
    let OutputItem::CustomToolCall { id, input, .. } = item else { return };
    *input = custom_text_of(json);
    let place = || Told { item_id: Some(id), output_index: Some(position), ..Told::default() };
    if !input.is_empty() {
        tell(Told { kind: "response.custom_tool_call_input.delta", delta: Some(input), ..place() }, sequence, out);
    }
    tell(Told { kind: "response.custom_tool_call_input.done", input: Some(input), ..place() }, sequence, out);
}

/// Any event but the frequent ones.
#[derive(Default, Serialize)]
pub(super) struct Told<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary_index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) item: Option<&'a OutputItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<Part<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprobs: Option<[(); 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<&'a Response>,
    pub(super) sequence_number: u64,
}

/// A part, of either kind.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Part<'a> {
    Text(&'a OutputText),
    Summary(&'a SummaryText),
}

/// Appends the event of a stream that broke. OpenAI documents the error's fields on top and sends them one level down
/// (<https://github.com/openai/openai-dotnet/issues/881>); here they are in both places.
pub(super) fn tell_error(error: &ErrorObject, sequence: &mut u64, out: &mut BytesMut) {
    #[derive(Serialize)]
    struct Broken<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        code: Option<&'static str>,
        message: &'a str,
        param: Option<&'a str>,
        error: &'a ErrorObject,
        sequence_number: u64,
    }
    let broken = Broken {
        kind: "error",
        code: error.code,
        message: &error.message,
        param: error.param.as_deref(),
        error,
        sequence_number: *sequence,
    };
    out.extend_from_slice(b"event: error\ndata: ");
    json(&broken, out);
    out.extend_from_slice(b"\n\n");
    *sequence += 1;
}

/// Appends an event, and counts it.
pub(super) fn tell(told: Told<'_>, sequence: &mut u64, out: &mut BytesMut) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(told.kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    json(&Told { sequence_number: *sequence, ..told }, out);
    out.extend_from_slice(b"\n\n");
    *sequence += 1;
}

/// All of a delta's event that comes before the delta; `index` is the name and value of the index within the item.
pub(super) fn delta_prefix(kind: &str, id: &str, item: usize, index: Option<(&str, usize)>) -> String {
    let index = index.map_or(String::new(), |(name, value)| format!(",\"{name}\":{value}"));
    // An id is made of letters and digits.
    format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"item_id\":\"{id}\",\"output_index\":{item}{index},\"delta\":")
}

/// Appends a delta's event: what comes before the delta, the delta, what comes after it but the number.
pub(super) fn write_delta(prefix: &str, delta: &str, tail: &str, sequence: &mut u64, out: &mut BytesMut) {
    out.reserve(prefix.len() + delta.len() + tail.len() + 32);
    out.extend_from_slice(prefix.as_bytes());
    json(delta, out);
    out.extend_from_slice(tail.as_bytes());
    json(sequence, out);
    out.extend_from_slice(b"}\n\n");
    *sequence += 1;
}

/// Appends `value` as JSON. Strings, numbers and our own structs always serialise, and the buffer grows as it must:
/// there is no failure to tell.
fn json<T: Serialize + ?Sized>(value: &T, out: &mut BytesMut) {
    let written = serde_json::to_writer(out.writer(), value);
    debug_assert!(written.is_ok());
}
