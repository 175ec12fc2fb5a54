//! Translations as files, one folder per case in `tests/golden/openai`:
//!
//! | there | becomes |
//! |---|---|
//! | `request.json`, for a model with `traits.json` if there is one | `converse.json`, and `report.txt` if anything is reported |
//! | the same as a record of a batch | `batch.txt`: `job`, which then asks and answers as a call does, or why not |
//! | `answer.json`, Bedrock's | `response.json` |
//! | `events.jsonl`, a frame's type and payload per line | `stream.sse` |
//! | `bad_inputs.json` | each refused with the kind and field it says |
//!
//! Names of tools are mapped back, and usage is asked for, as the case's request says. After a wanted change, run the
//! tests with `UPDATE_GOLDEN=1` and read the difference. Such a run rewrites the files and then fails, so it can
//! never pass for a check; where `CI` is set it rewrites nothing.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use serde_json::Value;
use serde_json::value::RawValue;

use super::batches::chat::{Online, Way};
use super::translate::{self, Chunks, Context, Translated};
use super::{batches, wire};
use crate::api::golden::{self, Differences, events, pretty, read};
use crate::batch::codec::Prepared;
use crate::families::Traits;

const SURFACE: &str = "openai";
const AS_CONVERSE: Way = Way { online: Online::Likewise, native_tools: false };

fn cases() -> Vec<PathBuf> {
    golden::cases(SURFACE, 11)
}

fn translated(case: &Path) -> Option<Translated> {
    let body = read(&case.join("request.json"))?;
    Some(translate::request(wire::parse(body.as_bytes()).unwrap(), &traits(case)).unwrap())
}

fn traits(case: &Path) -> Traits {
    read(&case.join("traits.json")).map_or_else(Traits::default, |text| serde_json::from_str(&text).unwrap())
}

fn context(case: &Path) -> Context {
    let translated = translated(case);
    Context {
        id: "chatcmpl-0".into(),
        created: 1_700_000_000,
        model: translated.as_ref().map_or_else(|| "some-model".into(), |translated| translated.request.model.clone()),
        tools: translated.as_ref().map(|translated| translated.tools.clone()).unwrap_or_default(),
        calling: translated.as_ref().map(|translated| translated.calling).unwrap_or_default(),
        form: translated.as_ref().map(|translated| translated.form).unwrap_or_default(),
        include_usage: translated.is_some_and(|translated| translated.include_usage),
    }
}

#[test]
fn requests_become_what_converse_takes() {
    let mut differences = Differences::default();
    for case in cases() {
        let Some(translated) = translated(&case) else { continue };
        differences.compare_request(&case, &translated.request, &translated.report);
    }
    differences.report();
}

#[test]
fn answers_become_completions() {
    let mut differences = Differences::default();
    for case in cases() {
        let Some(answer) = read(&case.join("answer.json")) else { continue };
        let answer = serde_json::from_str(&answer).unwrap();
        differences.compare(&case.join("response.json"), &pretty(&translate::response(vec![answer], &context(&case))));
    }
    differences.report();
}

#[test]
fn a_record_of_a_job_asks_and_answers_as_a_call_does() {
    let mut differences = Differences::default();
    let mut jobs = 0;
    for case in cases() {
        let note = match read(&case.join("request.json")) {
            None => String::new(),
            Some(body) => {
                let body: &RawValue = serde_json::from_str(&body).unwrap();
                let body = &without_stream(body);
                let prepared = batches::chat::prepare_for(body, AS_CONVERSE, &traits(&case)).unwrap();
                if !differences.compare_record(&case, &prepared) {
                    continue;
                }
                let Prepared::Job { note, .. } = prepared else { continue };
                note
            }
        };
        let Some(answer) = read(&case.join("answer.json")) else { continue };
        jobs += 1;
        let context = context(&case);
        let rendered = golden::rendered(&batches::CHAT, &answer, &note, &context.model);
        let mut expected: Value = serde_json::from_str(&read(&case.join("response.json")).unwrap()).unwrap();
        expected["id"] = format!("chatcmpl-{}", "0".repeat(32)).into();
        assert_eq!(rendered, expected, "{}", case.display());
    }
    assert!(jobs >= 2);
    differences.report();
}

/// The same request for a whole answer: a record has no other.
fn without_stream(body: &RawValue) -> Box<RawValue> {
    let mut body: Value = serde_json::from_str(body.get()).unwrap();
    let members = body.as_object_mut().unwrap();
    members.shift_remove("stream");
    members.shift_remove("stream_options");
    RawValue::from_string(body.to_string()).unwrap()
}

#[test]
fn a_record_that_no_call_would_take_is_refused_likewise_and_so_is_a_stream() {
    let table: Vec<Value> =
        serde_json::from_str(&read(&golden::folder(SURFACE).join("bad_inputs.json")).unwrap()).unwrap();
    let prepare = |body: &Value| {
        let body = RawValue::from_string(body.to_string()).unwrap();
        batches::chat::prepare_for(&body, AS_CONVERSE, &Traits::default())
    };
    for row in table.iter().filter(|row| row["body"].is_object()) {
        let name = row["name"].as_str().unwrap();
        let error = match prepare(&row["body"]) {
            // What a URL leads to is for the call to refuse.
            Ok(Prepared::Online { why: "a file behind a URL" }) => continue,
            prepared => prepared.expect_err(name),
        };
        let is_stream = row["body"]["stream"] == true && error.blamed() == Some("stream");
        assert!(is_stream || error.blamed() == row["param"].as_str(), "{name}: {error}");
    }
}

#[test]
fn events_become_chunks() {
    let mut differences = Differences::default();
    for case in cases() {
        let Some(text) = read(&case.join("events.jsonl")) else { continue };
        let context = context(&case);
        let (mut chunks, mut form) = (Chunks::new(&context, 0), context.form);
        let mut out = BytesMut::new();
        for mut event in events(&text) {
            if let Some(before) = form.event(&mut event) {
                chunks.event(&before, &mut out);
            }
            chunks.event(&event, &mut out);
        }
        chunks.finish(&mut out);
        differences.compare(&case.join("stream.sse"), std::str::from_utf8(&out).unwrap());
    }
    differences.report();
}

/// What a client makes of the chunks has to be what it would have got in one piece: no matter how Bedrock cut it.
#[test]
fn streamed_tool_arguments_are_complete_json() {
    for case in cases() {
        let Some(text) = read(&case.join("stream.sse")) else { continue };
        let mut arguments: Vec<String> = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|line| *line != "[DONE]") {
            let chunk: Value = serde_json::from_str(line).unwrap();
            for call in chunk["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let index = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                if call["id"].is_string() {
                    assert_eq!(index, arguments.len(), "{}: indexes count the tools from 0", case.display());
                    arguments.push(String::new());
                }
                if call["custom"].is_object() {
                    "{}".clone_into(&mut arguments[index]);
                    continue;
                }
                arguments[index].push_str(call["function"]["arguments"].as_str().unwrap());
            }
        }
        for arguments in arguments {
            assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object(), "{}: {arguments}", case.display());
        }
    }
}

#[test]
fn bad_inputs_are_refused_with_the_field_named() {
    let table: Vec<Value> =
        serde_json::from_str(&read(&golden::folder(SURFACE).join("bad_inputs.json")).unwrap()).unwrap();
    assert!(table.len() > 40);
    for row in table {
        let name = row["name"].as_str().unwrap();
        let body = match &row["body"] {
            Value::String(text) => text.clone(),
            body => body.to_string(),
        };
        let answer = wire::parse(body.as_bytes()).and_then(|wire| translate::request(wire, &Traits::default()));
        let error = answer.expect_err(name);
        let kind: &str = error.kind().into();
        assert_eq!((kind, error.blamed()), (row["kind"].as_str().unwrap(), row["param"].as_str()), "{name}: {error}");
    }
}

#[test]
fn absurd_nesting_is_refused() {
    let deep = "[".repeat(100_000);
    for body in [format!(r#"{{"model":"m","messages":{deep}"#), format!(r#"{{"model":"m","messages":[],"x":{deep}"#)] {
        let error = wire::parse(body.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Invalid);
    }
    let call = serde_json::json!({"id": "c", "function": {"name": "f", "arguments": format!("{{\"a\":{deep}")}});
    let body = serde_json::json!({"model": "m", "messages": [{"role": "assistant", "tool_calls": [call]}]});
    let wire = wire::parse(body.to_string().as_bytes()).unwrap();
    let error = translate::request(wire, &Traits::default()).unwrap_err();
    assert_eq!(error.blamed(), Some("messages[0].tool_calls[0].function.arguments"));
}
