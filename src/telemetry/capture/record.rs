//! One captured request as a line of JSON. Pure.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::redact::Redaction;
use super::{Facts, Pieces, answer};

/// What was taken note of.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) facts: Facts,
    pub(super) request: Pieces,
    pub(super) answer: Pieces,
}

/// The line.
#[derive(Serialize)]
struct Line<'a> {
    event: &'static str,
    time: String,
    request_id: &'a str,
    team: &'a str,
    key: &'a str,
    surface: &'a str,
    operation: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<&'a str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    complete: bool,
    /// Whether texts were cut because the line would have been too long.
    cut: bool,
    request: Value,
    answer: Value,
}

/// Bytes that a text keeps of which too much was there, at most: tried one after the other.
const KEPT: [usize; 5] = [64 * 1024, 8 * 1024, 1024, 128, 0];

impl Record {
    /// The line, at most so long, with its end.
    pub(super) fn line(&self, redaction: &Redaction, max: usize) -> Vec<u8> {
        let facts = &self.facts;
        let mut request = answer::json_or_text(&self.request.bytes);
        let mut answer = answer::read(&facts.media_type, &self.answer.bytes);
        redaction.value(&mut request);
        redaction.value(&mut answer);
        let time = jiff::Timestamp::from_millisecond(facts.at.millis()).unwrap_or_default().to_string();
        let mut line = Line {
            event: "call",
            time,
            request_id: &facts.request_id,
            team: &facts.team,
            key: &facts.key,
            surface: facts.surface,
            operation: facts.operation,
            model: &facts.model,
            region: facts.region.as_deref(),
            status: facts.status,
            outcome: facts.outcome.as_deref(),
            complete: facts.complete,
            cut: false,
            request,
            answer,
        };
        let mut text = written(&line);
        for keep in KEPT {
            if text.len() <= max {
                return text;
            }
            line.cut = true;
            cut(&mut line.request, keep);
            cut(&mut line.answer, keep);
            text = written(&line);
        }
        if text.len() > max {
            (line.request, line.answer) = (Value::Null, Value::Null);
            text = written(&line);
        }
        text
    }
}

fn written(line: &Line<'_>) -> Vec<u8> {
    // Only a map with keys that are no strings cannot be written, and no line has one.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Cuts the texts in a value. They are redacted by then, so nothing is laid open by losing its other half.
fn cut(value: &mut Value, keep: usize) {
    match value {
        Value::String(text) if text.len() > keep => {
            let end = text.floor_char_boundary(keep);
            let left = text.len() - end;
            text.truncate(end);
            write!(text, "[+{left} bytes]").ok();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, keep)),
        Value::Object(members) => members.values_mut().for_each(|member| cut(member, keep)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_cut_between_letters() {
        let mut value = json!({"a": ["ääää", "b"], "n": 7});
        cut(&mut value, 3);
        assert_eq!(value, json!({"a": ["ä[+6 bytes]", "b"], "n": 7}));
    }
}
