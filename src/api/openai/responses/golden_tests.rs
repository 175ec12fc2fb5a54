//! Translations as files, one folder per case in `tests/golden/responses`, as those of chat completions are:
//!
//! | there | becomes |
//! |---|---|
//! | `request.json`, after the items in `history.json`, for a model with `traits.json`, if these are there | `converse.json`, and `report.txt` if anything is reported |
//! | the same as a record of a batch | `batch.txt`: `job`, which then asks and answers as a call does, or why not |
//! | `answer.json`, Bedrock's | `response.json` |
//! | `events.jsonl`, a frame's type and payload per line | `stream.sse` |
//! | `bad_inputs.json` | each refused with the kind and field it says |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use serde_json::Value;
use serde_json::value::RawValue;

use super::translate::{self, Asked, Context, Events, Translated};
use super::{record, state, wire};
use crate::api::conversation::At;
use crate::api::golden::{self, Differences, events, pretty, read};
use crate::batch::codec::Prepared;
use crate::error::Error;
use crate::families::Traits;
use crate::report::Report;

const SURFACE: &str = "responses";

fn cases() -> Vec<PathBuf> {
    golden::cases(SURFACE, 8)
}

fn translate(body: &[u8], history: Vec<wire::Item>, traits: &Traits) -> Result<Translated, Error> {
    let mut wire = wire::parse(body)?;
    let own = state::items(wire.input.take());
    let before = history.into_iter().map(|item| (At::field("previous_response_id"), item));
    let asked = Asked {
        wire,
        items: before.chain(own).collect(),
        report: Report::default(),
        id: format!("resp_{}", "0".repeat(32)),
        created: 1_700_000_000,
        store: true,
        provider: "anthropic".to_owned(),
    };
    translate::request(asked, traits)
}

fn translated(case: &Path) -> Option<Translated> {
    let body = read(&case.join("request.json"))?;
    let traits = read(&case.join("traits.json")).map(|text| serde_json::from_str(&text).unwrap());
    let history = read(&case.join("history.json")).map(|text| serde_json::from_str(&text).unwrap());
    Some(translate(body.as_bytes(), history.unwrap_or_default(), &traits.unwrap_or_default()).unwrap())
}

fn context(case: &Path) -> Context {
    let plain = || translate(br#"{"model":"some-model","input":"hi"}"#, Vec::new(), &Traits::default()).unwrap();
    translated(case).unwrap_or_else(plain).context
}

/// The stream of a case, and the response at its end.
fn stream(case: &Path) -> Option<(String, Value)> {
    let text = read(&case.join("events.jsonl"))?;
    let mut writer = Events::new(context(case));
    let mut out = BytesMut::new();
    for event in events(&text) {
        writer.event(event, &mut out);
    }
    let response = serde_json::to_value(writer.conclude(1_700_000_001, &mut out)).unwrap();
    writer.complete(&mut out);
    Some((String::from_utf8(out.to_vec()).unwrap(), response))
}

/// The payloads of a stream, each with its name checked.
fn payloads(stream: &str) -> Vec<Value> {
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    assert!(stream.ends_with("\n\n"));
    stream.split_terminator("\n\n").map(event).collect()
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
fn answers_become_responses() {
    let mut differences = Differences::default();
    for case in cases() {
        let Some(answer) = read(&case.join("answer.json")) else { continue };
        let answer = serde_json::from_str(&answer).unwrap();
        differences.compare(&case.join("response.json"), &pretty(&translate::response(answer, context(&case))));
    }
    differences.report();
}

#[test]
fn a_record_of_a_job_asks_and_answers_as_a_call_does() {
    let mut differences = Differences::default();
    let mut jobs = 0;
    for case in cases().into_iter().filter(|case| !case.join("history.json").exists()) {
        let note = match read(&case.join("request.json")) {
            None => String::new(),
            Some(body) => {
                let mut body: Value = serde_json::from_str(&body).unwrap();
                body.as_object_mut().unwrap().shift_remove("stream");
                body.as_object_mut().unwrap().shift_remove("stream_options");
                let body = RawValue::from_string(body.to_string()).unwrap();
                let traits = read(&case.join("traits.json")).map(|text| serde_json::from_str(&text).unwrap());
                let prepared = record::prepare_for(&body, "anthropic".to_owned(), &traits.unwrap_or_default()).unwrap();
                differences.compare_record(&case, &prepared);
                let Prepared::Job { note, .. } = prepared else { continue };
                note
            }
        };
        let Some(answer) = read(&case.join("answer.json")) else { continue };
        jobs += 1;
        let context = context(&case);
        let rendered = golden::rendered(&record::CODEC, &answer, &note, &context.response.model);
        let mut expected: Value = serde_json::from_str(&read(&case.join("response.json")).unwrap()).unwrap();
        expected["store"] = false.into();
        if expected["status"] == "completed" {
            expected["completed_at"] = 1_700_000_000.into();
        }
        assert_eq!(rendered, expected, "{}", case.display());
    }
    assert!(jobs >= 2);
    differences.report();
}

#[test]
fn events_become_events_of_openai() {
    let mut differences = Differences::default();
    for case in cases() {
        let Some((stream, _)) = stream(&case) else { continue };
        differences.compare(&case.join("stream.sse"), &stream);
    }
    differences.report();
}

/// What a client makes of the deltas has to be what the last event tells: no matter how Bedrock cut it.
#[test]
fn what_the_events_of_a_stream_add_up_to_is_the_response() {
    let mut seen = 0;
    for case in cases() {
        let Some((stream, response)) = stream(&case) else { continue };
        seen += 1;
        let payloads = payloads(&stream);
        let mut items: BTreeMap<u64, Value> = BTreeMap::new();
        let mut texts: BTreeMap<String, String> = BTreeMap::new();
        for (number, event) in payloads.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{}", case.display());
            let kind = event["type"].as_str().unwrap();
            let index = event["output_index"].as_u64();
            let place = format!("{:?} {} {}", index, event["content_index"], event["summary_index"]);
            match kind {
                "response.output_item.added" => {
                    assert_eq!(index, Some(items.len() as u64), "{}", case.display());
                    items.insert(index.unwrap(), event["item"].clone());
                }
                "response.output_item.done" => {
                    let added = items.insert(index.unwrap(), event["item"].clone()).unwrap();
                    assert_eq!(added["id"], event["item"]["id"]);
                }
                _ if kind.rsplit('.').next() == Some("delta") => {
                    assert_eq!(event["item_id"], items[&index.unwrap()]["id"]);
                    texts.entry(place).or_default().push_str(event["delta"].as_str().unwrap());
                }
                _ if kind.ends_with("_text.done") => assert_eq!(event["text"], *texts[&place]),
                "response.function_call_arguments.done" => {
                    assert_eq!(event["arguments"], *texts[&place]);
                }
                _ => {}
            }
        }
        let (first, last) = (&payloads[0], payloads.last().unwrap());
        assert_eq!(
            (first["type"].as_str(), &first["response"]["status"]),
            (Some("response.created"), &"in_progress".into())
        );
        assert_eq!(last["response"], response);
        let items: Vec<Value> = items.into_values().collect();
        assert_eq!(response["output"], Value::Array(items), "{}", case.display());
    }
    assert!(seen >= 4);
}

#[test]
fn a_whole_answer_and_a_stream_of_it_say_the_same() {
    let mut seen = 0;
    for case in cases() {
        let (Some((_, streamed)), Some(answer)) = (stream(&case), read(&case.join("answer.json"))) else { continue };
        seen += 1;
        let whole = translate::response(serde_json::from_str(&answer).unwrap(), context(&case));
        let mut whole = serde_json::to_value(whole).unwrap();
        whole["completed_at"] = streamed["completed_at"].clone();
        assert_eq!(whole, streamed, "{}", case.display());
    }
    assert!(seen >= 2);
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
        let error = translate(body.as_bytes(), Vec::new(), &Traits::default()).expect_err(name);
        let kind: &str = error.kind().into();
        assert_eq!((kind, error.blamed()), (row["kind"].as_str().unwrap(), row["param"].as_str()), "{name}: {error}");
    }
}
