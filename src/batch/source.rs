//! A line of a file of records, in each form: where its parts are, and what is wrong with it. Pure.
//!
//! The text between is walked over and not parsed. Members are found by their names as they are written, here and wherever
//! the line is read again, so that all who read it find the same.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::record::{Form, Problem};
use crate::families::MAX_TOKENS;
use crate::scan::members;

/// The most characters of a `custom_id`; AWS and OpenAI name none that is lower.
const MAX_ID: usize = 256;
/// The most characters of a `custom_id` of a message batch: <https://docs.anthropic.com/en/api/creating-message-batches>.
const MAX_MESSAGE_ID: usize = 64;
/// The most bytes of a model's name: what AWS takes as `modelId`.
const MAX_MODEL: usize = 2048;
/// The most bytes of a `url`.
const MAX_URL: usize = 256;

/// A record, as its line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// `custom_id` or `recordId`; AWS's kind of name where a native record has none.
    pub id: Cow<'a, str>,
    /// The model that it names; empty in a form that names none.
    pub model: Cow<'a, str>,
    /// Which endpoint it is for, where the form says it.
    pub url: Option<Cow<'a, str>>,
    /// The text of `body`, `params` or `modelInput`: an object.
    pub body: &'a str,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A word for programs, as at OpenAI.
    pub code: &'static str,
    /// The member, if it is one.
    pub param: Option<&'static str>,
    /// A sentence for people.
    pub message: String,
}

impl Fault {
    pub(super) fn new(code: &'static str, param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { code, param, message: message.into() }
    }

    pub(super) fn at(self, line: u64) -> Problem {
        Problem {
            line: Some(line),
            code: self.code.to_owned(),
            message: self.message,
            param: self.param.map(str::to_owned),
        }
    }
}

/// The form that a line is in, as far as it tells: that of OpenAI where nothing says otherwise.
pub fn form_of(line: &str) -> Form {
    let told = members(line.as_bytes()).find_map(|(name, _)| match name {
        b"modelInput" => Some(Form::Bedrock),
        b"params" => Some(Form::Anthropic),
        b"body" | b"url" | b"method" => Some(Form::OpenAi),
        _ => None,
    });
    told.unwrap_or(Form::OpenAi)
}

/// The record in a line that is JSON, or what is wrong with it. `number` is the line's.
pub fn read(line: &str, form: Form, number: u64) -> Result<Record<'_>, Fault> {
    let (id, body) = match form {
        Form::OpenAi => ("custom_id", "body"),
        Form::Anthropic => ("custom_id", "params"),
        Form::Bedrock => ("recordId", "modelInput"),
    };
    let [found_id, found_body, method, url] = find(line, [id, body, "method", "url"])?;
    let body_text = object(found_body, body)?;
    let (id, model, url) = match form {
        Form::OpenAi => {
            check_method(method)?;
            let url = string(url, "url", "invalid_url", MAX_URL)?;
            (custom_id(found_id, MAX_ID)?, model(body_text, "body.model")?, Some(url))
        }
        Form::Anthropic => (message_id(found_id)?, model(body_text, "params.model")?, None),
        Form::Bedrock => (record_id(found_id, number)?, Cow::Borrowed(""), None),
    };
    Ok(Record { id, model, url, body: body_text })
}

/// How much records ask for: what their worst case is worked out from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// How many records.
    pub records: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// The sum of the most tokens that they say their answers may have.
    pub max_output: u64,
    /// Answers for which none is said: each may be as long as the model lets it.
    pub unstated: u64,
}

impl Load {
    /// Of one record with this body.
    pub fn of(body: &str) -> Self {
        let (mut most, mut answers, mut is_hidden) = (None, 1, false);
        for (name, value) in members(body.as_bytes()) {
            match name {
                b"inferenceConfig" | b"textGenerationConfig" | b"additionalModelRequestFields" => {
                    for (_, value) in members(value).filter(|(name, _)| MAX_TOKENS.contains(name)) {
                        most = most.max(count(value));
                    }
                }
                b"n" => answers = count(value).unwrap_or(1).clamp(1, 1024),
                name if MAX_TOKENS.contains(&name) => most = most.max(count(value)),
                // A name that only a parser can read may be one of those.
                name => is_hidden |= name.contains(&b'\\'),
            }
        }
        let most = most.filter(|_| !is_hidden);
        Self {
            records: 1,
            bytes: body.len() as u64,
            max_output: most.map_or(0, |most| most.saturating_mul(answers)),
            unstated: if most.is_none() { answers } else { 0 },
        }
    }

    /// This and another.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            bytes: self.bytes + other.bytes,
            max_output: self.max_output.saturating_add(other.max_output),
            unstated: self.unstated.saturating_add(other.unstated),
        }
    }
}

fn count(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The values of the members with these names; one that is there twice could be read in two ways.
fn find<'a>(line: &'a str, names: [&'static str; 4]) -> Result<[Option<&'a str>; 4], Fault> {
    let mut found = [None; 4];
    for (name, value) in members(line.as_bytes()) {
        let Some(index) = names.iter().position(|known| known.as_bytes() == name) else { continue };
        // The text begins and ends at bytes that are characters by themselves.
        if found[index].replace(std::str::from_utf8(value).unwrap_or_default()).is_some() {
            let param = names[index];
            return Err(Fault::new("invalid_json_line", Some(param), format!("This line has `{param}` twice.")));
        }
    }
    Ok(found)
}

fn missing(param: &'static str) -> Fault {
    Fault::new("missing_required_parameter", Some(param), format!("This line has no `{param}`."))
}

fn object<'a>(value: Option<&'a str>, param: &'static str) -> Result<&'a str, Fault> {
    let text = value.ok_or_else(|| missing(param))?;
    if text.starts_with('{') {
        return Ok(text);
    }
    Err(Fault::new("invalid_value", Some(param), format!("`{param}` must be an object.")))
}

/// A string of 1 to `most` bytes.
fn string<'a>(
    value: Option<&'a str>,
    param: &'static str,
    code: &'static str,
    most: usize,
) -> Result<Cow<'a, str>, Fault> {
    let text = value.filter(|value| *value != "null").ok_or_else(|| missing(param))?;
    let wrong = |what: &str| Fault::new(code, Some(param), format!("`{param}` must be {what}."));
    let string = unescaped(text).ok_or_else(|| wrong("a string"))?;
    if string.is_empty() || string.len() > most {
        return Err(wrong(&format!("a string of 1 to {most} bytes")));
    }
    Ok(string)
}

fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inside));
    }
    serde_json::from_str(text).ok().map(Cow::Owned)
}

fn custom_id(value: Option<&str>, most: usize) -> Result<Cow<'_, str>, Fault> {
    let id = string(value, "custom_id", "invalid_custom_id", most * 4)?;
    if id.len() > most && id.chars().count() > most {
        let message = format!("`custom_id` must have 1 to {most} characters.");
        return Err(Fault::new("invalid_custom_id", Some("custom_id"), message));
    }
    Ok(id)
}

fn message_id(value: Option<&str>) -> Result<Cow<'_, str>, Fault> {
    let id = custom_id(value, MAX_MESSAGE_ID)?;
    if id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Ok(id);
    }
    let message = "`custom_id` must be letters, digits, `-` and `_`.";
    Err(Fault::new("invalid_custom_id", Some("custom_id"), message))
}

/// AWS makes one for a record that has none.
fn record_id(value: Option<&str>, number: u64) -> Result<Cow<'_, str>, Fault> {
    match value {
        None | Some("null") => Ok(Cow::Owned(format!("CALL{number:07}"))),
        some => string(some, "recordId", "invalid_record_id", MAX_ID),
    }
}

fn check_method(method: Option<&str>) -> Result<(), Fault> {
    match method {
        None => Err(missing("method")),
        Some(r#""POST""#) => Ok(()),
        Some(_) => Err(Fault::new("invalid_method", Some("method"), "`method` must be `POST`.")),
    }
}

fn model<'a>(body: &'a str, param: &'static str) -> Result<Cow<'a, str>, Fault> {
    let mut values = members(body.as_bytes()).filter(|(name, _)| *name == b"model").map(|(_, value)| value);
    let value = values.next().map(|value| std::str::from_utf8(value).unwrap_or_default());
    if values.next().is_some() {
        return Err(Fault::new("invalid_json_line", Some(param), format!("This line has `{param}` twice.")));
    }
    string(value, param, "invalid_model", MAX_MODEL)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chat() -> Value {
        json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": []}})
    }

    fn without(member: &str) -> Value {
        let mut line = chat();
        line.as_object_mut().unwrap().remove(member);
        line
    }

    fn with(member: &str, value: Value) -> Value {
        let mut line = chat();
        line[member] = value;
        line
    }

    #[test]
    fn the_parts_of_a_record_are_found_in_each_form() {
        let line = with("custom_id", json!("é\"\n")).to_string();
        let record = read(&line, Form::OpenAi, 1).unwrap();
        assert_eq!((&*record.id, &*record.model, record.url.as_deref()), ("é\"\n", "m", Some("/v1/chat/completions")));
        assert_eq!(record.body, r#"{"model":"m","messages":[]}"#);
        let line = json!({"params": {"max_tokens": 1, "model": "claude"}, "custom_id": "a-1_Z"}).to_string();
        let record = read(&line, Form::Anthropic, 1).unwrap();
        assert_eq!((&*record.id, &*record.model, record.url), ("a-1_Z", "claude", None));
        for (line, id) in [
            (json!({"recordId": "x", "modelInput": {"a": 1}}), "x"),
            (json!({"modelInput": {"a": 1}}), "CALL0000012"),
            (json!({"modelInput": {"a": 1}, "recordId": null, "more": 1}), "CALL0000012"),
        ] {
            let line = line.to_string();
            let record = read(&line, Form::Bedrock, 12).unwrap();
            assert_eq!((&*record.id, &*record.model, record.body), (id, "", r#"{"a":1}"#));
        }
    }

    #[test]
    fn the_form_is_told_by_the_members() {
        assert_eq!(form_of(&chat().to_string()), Form::OpenAi);
        assert_eq!(form_of(r#"{"custom_id":"a","params":{}}"#), Form::Anthropic);
        assert_eq!(form_of(r#"{"modelInput":{}}"#), Form::Bedrock);
        assert_eq!(form_of(r#"{"custom_id":"a"}"#), Form::OpenAi);
        assert_eq!(form_of("[]"), Form::OpenAi);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_member() {
        let long = "x".repeat(257);
        for (line, code, param) in [
            (without("custom_id"), "missing_required_parameter", "custom_id"),
            (with("custom_id", json!(null)), "missing_required_parameter", "custom_id"),
            (with("custom_id", json!(5)), "invalid_custom_id", "custom_id"),
            (with("custom_id", json!("")), "invalid_custom_id", "custom_id"),
            (with("custom_id", json!(long)), "invalid_custom_id", "custom_id"),
            (without("method"), "missing_required_parameter", "method"),
            (with("method", json!("GET")), "invalid_method", "method"),
            (without("url"), "missing_required_parameter", "url"),
            (with("url", json!({})), "invalid_url", "url"),
            (without("body"), "missing_required_parameter", "body"),
            (with("body", json!([])), "invalid_value", "body"),
            (with("body", json!({})), "missing_required_parameter", "body.model"),
            (with("body", json!({"model": 1})), "invalid_model", "body.model"),
            (with("body", json!({"model": ""})), "invalid_model", "body.model"),
        ] {
            let fault = read(&line.to_string(), Form::OpenAi, 1).unwrap_err();
            assert_eq!((fault.code, fault.param), (code, Some(param)), "{line}");
        }
        let exactly = with("custom_id", json!("é".repeat(256))).to_string();
        assert!(read(&exactly, Form::OpenAi, 1).is_ok());
        let twice = r#"{"custom_id":"a","custom_id":"b","method":"POST","url":"u","body":{"model":"m"}}"#;
        assert_eq!(read(twice, Form::OpenAi, 1).unwrap_err().code, "invalid_json_line");
        let twice = r#"{"custom_id":"a","method":"POST","url":"u","body":{"model":"m","model":"n"}}"#;
        assert_eq!(read(twice, Form::OpenAi, 1).unwrap_err().param, Some("body.model"));
        for id in ["a b", "é", &"x".repeat(65)] {
            let line = json!({"custom_id": id, "params": {"model": "m"}}).to_string();
            assert_eq!(read(&line, Form::Anthropic, 1).unwrap_err().code, "invalid_custom_id", "{id}");
        }
        assert_eq!(read(r#"{"recordId":7,"modelInput":{}}"#, Form::Bedrock, 1).unwrap_err().code, "invalid_record_id");
    }

    #[test]
    fn a_load_says_what_answers_may_have_in_every_dialect() {
        for (body, max_output, unstated) in [
            (json!({"messages": [{"max_tokens": 1}], "max_tokens": 7}), 7, 0),
            (json!({"max_completion_tokens": 7, "n": 3}), 21, 0),
            (json!({"max_output_tokens": 7}), 7, 0),
            (json!({"max_gen_len": 7}), 7, 0),
            (json!({"inferenceConfig": {"maxTokens": 7}}), 7, 0),
            (json!({"inferenceConfig": {"max_new_tokens": 7}}), 7, 0),
            (json!({"textGenerationConfig": {"maxTokenCount": 7}}), 7, 0),
            (json!({"max_tokens": 7, "max_completion_tokens": 9}), 9, 0),
            (json!({"max_tokens": null, "n": 2}), 0, 2),
            (json!({"max_tokens": "7"}), 0, 1),
            (json!({}), 0, 1),
        ] {
            let load = Load::of(&body.to_string());
            assert_eq!((load.max_output, load.unstated), (max_output, unstated), "{body}");
        }
        let hidden = Load::of(r#"{"max_tokens":1,"max_tok\u0065ns":9000}"#);
        assert_eq!((hidden.max_output, hidden.unstated), (0, 1));
        let both = Load::of(r#"{"max_tokens":1}"#).and(Load::of("{}"));
        assert_eq!(both, Load { records: 2, bytes: 18, max_output: 1, unstated: 1 });
    }
}
