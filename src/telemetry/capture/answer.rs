//! An answer as it was sent, read back: JSON as it is; a stream as the texts that its events make together, because what
//! has to be redacted may be spread over several. Pure, and of no dialect: texts are told by the names that dialects have
//! for them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// Members whose texts are joined, in the words of all dialects.
const TEXTS: [&str; 16] = [
    "text",
    "content",
    "reasoning_content",
    "reasoning",
    "refusal",
    "thinking",
    "arguments",
    "partial_json",
    "delta",
    "input",
    "outputText",
    "generation",
    "completion",
    "name",
    "message",
    "error",
];
/// Members that say why it ended.
const ENDS: [&str; 4] = ["stop_reason", "stopReason", "finish_reason", "completionReason"];
/// Members that say which of several parts an event is about.
const INDEXES: [&str; 5] = ["index", "contentBlockIndex", "output_index", "content_index", "summary_index"];

/// The answer in `body`, which is of this media type.
pub(super) fn read(media_type: &str, body: &[u8]) -> Value {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "text/event-stream" => joined(&events(body)),
        "application/vnd.amazon.eventstream" => joined(&frames(body)),
        _ => json_or_text(body),
    }
}

/// JSON, or what else it is, as text.
pub(super) fn json_or_text(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

/// The JSON of server-sent events.
fn events(body: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(body);
    let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
}

/// The JSON in frames of AWS's event streams, and what is wrapped in it:
/// <https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream>.
fn frames(mut body: &[u8]) -> Vec<Value> {
    let mut values = Vec::new();
    let number = |bytes: &[u8], at: usize| {
        let bytes: Option<[u8; 4]> = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.and_then(|bytes| usize::try_from(u32::from_be_bytes(bytes)).ok())
    };
    while let (Some(total), Some(headers)) = (number(body, 0), number(body, 4)) {
        let Some(frame) = body.get(..total) else { break };
        let Some(payload) = frame.get(12 + headers..total.saturating_sub(4)) else { break };
        if let Ok(value) = serde_json::from_slice::<Value>(payload) {
            let wrapped = value.get("bytes").and_then(Value::as_str).and_then(|bytes| STANDARD.decode(bytes).ok());
            let inner = wrapped.and_then(|inner| serde_json::from_slice(&inner).ok());
            values.push(inner.unwrap_or(value));
        }
        body = &body[total..];
    }
    values
}

/// One text: where it is in its events, which of several it is, and what it says.
struct Part {
    at: String,
    index: String,
    text: String,
}

/// The texts that the events make together, in the order in which they began.
fn joined(events: &[Value]) -> Value {
    let mut parts: Vec<Part> = Vec::new();
    for event in events {
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default();
        // OpenAI's responses tell their texts piece by piece, and then again as a whole.
        if kind.starts_with("response.") {
            if let Some(delta) = event.get("delta").and_then(Value::as_str) {
                add(&mut parts, kind, &index_of(event), delta);
            }
            continue;
        }
        walk(event, &mut String::new(), &mut String::new(), &mut parts);
    }
    let parts: Vec<Value> = parts
        .into_iter()
        .map(|Part { at, index, text }| {
            let mut part = Map::new();
            part.insert("at".to_owned(), at.into());
            if !index.is_empty() {
                part.insert("index".to_owned(), index.into());
            }
            part.insert("text".to_owned(), text.into());
            Value::Object(part)
        })
        .collect();
    json!({"events": events.len(), "parts": parts})
}

/// Notes the texts in `value`, which is at that place in its event.
fn walk(value: &Value, at: &mut String, index: &mut String, parts: &mut Vec<Part>) {
    match value {
        Value::Object(members) => {
            let index_length = index.len();
            let own = index_of(value);
            if !index.is_empty() && !own.is_empty() {
                index.push('.');
            }
            index.push_str(&own);
            for (name, member) in members {
                let length = at.len();
                if length > 0 {
                    at.push('.');
                }
                at.push_str(name);
                match member {
                    Value::String(text) if TEXTS.contains(&name.as_str()) => add(parts, at, index, text),
                    Value::String(text) if ENDS.contains(&name.as_str()) => set(parts, at, index, text),
                    _ => walk(member, at, index, parts),
                }
                at.truncate(length);
            }
            index.truncate(index_length);
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, at, index, parts)),
        _ => {}
    }
}

/// The numbers by which an event, or a part of one, says which of several it is about.
fn index_of(value: &Value) -> String {
    let numbers = INDEXES.iter().filter_map(|name| value.get(*name)?.as_u64());
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(".")
}

fn add(parts: &mut Vec<Part>, at: &str, index: &str, text: &str) {
    match parts.iter_mut().find(|part| part.at == at && part.index == index) {
        Some(part) => part.text.push_str(text),
        None => parts.push(Part { at: at.to_owned(), index: index.to_owned(), text: text.to_owned() }),
    }
}

fn set(parts: &mut Vec<Part>, at: &str, index: &str, text: &str) {
    parts.retain(|part| part.at != at || part.index != index);
    add(parts, at, index, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sse(events: &[Value]) -> Value {
        let text = events.iter().map(|event| format!("event: x\ndata: {event}\n\n")).collect::<Vec<_>>().concat();
        read("text/event-stream; charset=utf-8", (text + ": keep-alive\n\ndata: [DONE]\n\n").as_bytes())
    }

    #[test]
    fn pieces_of_a_text_are_joined_in_every_dialect() {
        let chunk =
            |index: u64, text: &str| json!({"id": "x", "choices": [{"index": index, "delta": {"content": text}}]});
        let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        assert_eq!(
            sse(&[chunk(0, "AK"), chunk(1, "b"), chunk(0, "IA"), end]),
            json!({"events": 4, "parts": [
                {"at": "choices.delta.content", "index": "0", "text": "AKIA"},
                {"at": "choices.delta.content", "index": "1", "text": "b"},
                {"at": "choices.finish_reason", "index": "0", "text": "stop"},
            ]})
        );

        let delta = |text: &str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}});
        assert_eq!(
            sse(&[delta("a"), delta("b"), json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})]),
            json!({"events": 3, "parts": [
                {"at": "delta.text", "index": "0", "text": "ab"},
                {"at": "delta.stop_reason", "text": "end_turn"},
            ]})
        );

        let delta = |text: &str| json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": text});
        let done = json!({"type": "response.output_text.done", "output_index": 1, "text": "ab"});
        assert_eq!(
            sse(&[delta("a"), delta("b"), done]),
            json!({"events": 3, "parts": [{"at": "response.output_text.delta", "index": "1.0", "text": "ab"}]})
        );
    }

    #[test]
    fn frames_are_read_and_what_is_wrapped_in_them_too() {
        let frame = |payload: &str| {
            let mut bytes = Vec::new();
            let total = u32::try_from(12 + 3 + payload.len() + 4).unwrap();
            bytes.extend(total.to_be_bytes());
            bytes.extend(3_u32.to_be_bytes());
            bytes.extend([0; 4 + 3]);
            bytes.extend(payload.as_bytes());
            bytes.extend([0; 4]);
            bytes
        };
        let wrapped = STANDARD.encode(r#"{"type":"content_block_delta","index":2,"delta":{"text":"x"}}"#);
        let body = [
            frame(r#"{"contentBlockIndex":0,"delta":{"text":"a"},"p":"abc"}"#),
            frame(r#"{"contentBlockIndex":0,"delta":{"text":"b"}}"#),
            frame(&format!(r#"{{"bytes":"{wrapped}","p":"abc"}}"#)),
        ]
        .concat();
        let expected = json!({"events": 3, "parts": [
            {"at": "delta.text", "index": "0", "text": "ab"},
            {"at": "delta.text", "index": "2", "text": "x"},
        ]});
        let media_type = "application/vnd.amazon.eventstream";
        assert_eq!(read(media_type, &body), expected);
        // One that was cut, and what is no frame.
        assert_eq!(read(media_type, &body[..body.len() - 1])["events"], 2);
        assert_eq!(read(media_type, &[0xff; 40])["events"], 0);
        assert_eq!(read(media_type, &[0; 40])["events"], 0);
    }

    #[test]
    fn what_is_no_json_is_text() {
        assert_eq!(read("application/json", b"{\"a\":1}"), json!({"a": 1}));
        assert_eq!(read("application/json", b"{\"a\""), json!("{\"a\""));
        assert_eq!(read("", b""), Value::Null);
    }
}
