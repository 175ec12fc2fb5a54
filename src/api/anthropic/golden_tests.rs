//! Translations as files, one folder per case in `tests/golden/anthropic`, named and rewritten as those of OpenAI's
//! dialect (`src/api/openai/golden_tests.rs`): `request.json` becomes `converse.json` and `report.txt`, `answer.json`
//! becomes `response.json`, `events.jsonl` becomes `stream.sse`.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use serde_json::{Value, json};

use super::translate::{self, Context, Events, Translated};
use super::wire;
use crate::api::golden::{self, Differences, events, pretty, read};
use crate::api::remote::Payload;
use crate::error::Result;
use crate::families::Traits;
use crate::report::Report;

const SURFACE: &str = "anthropic";

fn cases() -> Vec<PathBuf> {
    golden::cases(SURFACE, 11)
}

/// One white pixel: what every URL leads to.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAG7buVgAAAABJRU5ErkJggg==";

fn translate(body: &str, traits: &Traits) -> Result<(Translated, Report)> {
    let mut report = Report::default();
    let mut wire = wire::parse(body.as_bytes())?;
    let fetched = translate::remotes(&mut wire);
    let fetched = fetched.iter().map(|_| Payload { base64: PNG.to_owned(), media_type: None }).collect();
    translate::inline(&mut wire, fetched, &mut report);
    let translated = translate::request(wire, traits, &mut report)?;
    Ok((translated, report))
}

fn translated(case: &Path) -> Option<(Translated, Report)> {
    let body = read(&case.join("request.json"))?;
    let traits =
        read(&case.join("traits.json")).map_or_else(Traits::default, |text| serde_json::from_str(&text).unwrap());
    Some(translate(&body, &traits).unwrap())
}

fn context(case: &Path) -> Context {
    let translated = translated(case).map(|(translated, _)| translated);
    Context {
        id: "msg_0".into(),
        model: translated.as_ref().map_or_else(|| "some-model".into(), |translated| translated.request.model.clone()),
        tool_names: translated.as_ref().map(|translated| translated.tool_names.clone()).unwrap_or_default(),
        form: translated.as_ref().map(|translated| translated.form).unwrap_or_default(),
        stop_sequences: translated.map(|it| it.request.inference_config.stop_sequences).unwrap_or_default(),
    }
}

#[test]
fn requests_become_what_converse_takes() {
    let mut differences = Differences::default();
    for case in cases() {
        let Some((translated, report)) = translated(&case) else { continue };
        differences.compare_request(&case, &translated.request, &report);
    }
    differences.report();
}

#[test]
fn answers_become_messages() {
    let mut differences = Differences::default();
    for case in cases() {
        let Some(answer) = read(&case.join("answer.json")) else { continue };
        let answer = serde_json::from_str(&answer).unwrap();
        differences.compare(&case.join("response.json"), &pretty(&translate::response(answer, &context(&case))));
    }
    differences.report();
}

fn streamed(case: &Path) -> Option<String> {
    let text = read(&case.join("events.jsonl"))?;
    let mut writer = Events::new(context(case));
    let mut out = BytesMut::new();
    for event in events(&text) {
        writer.event(event, &mut out);
    }
    writer.finish(&mut out);
    Some(String::from_utf8(out.to_vec()).unwrap())
}

#[test]
fn events_become_anthropics_events() {
    let mut differences = Differences::default();
    for case in cases() {
        let Some(stream) = streamed(&case) else { continue };
        differences.compare(&case.join("stream.sse"), &stream);
    }
    differences.report();
}

/// The order that Anthropic promises, however Bedrock's blocks overlap: a start, blocks one after the other and numbered
/// from 0, the delta with reason and usage, the stop. What a tool is called with is complete JSON.
#[test]
fn streams_keep_to_anthropics_order() {
    for case in cases() {
        let Some(stream) = streamed(&case) else { continue };
        let name = case.display();
        let mut open: Option<(u64, String, String)> = None;
        let (mut next, mut types) = (0, Vec::new());
        for event in stream.split_terminator("\n\n") {
            let (kind, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(kind.strip_prefix("event: "), data["type"].as_str(), "{name}");
            let index = data["index"].as_u64();
            match data["type"].as_str().unwrap() {
                "content_block_start" => {
                    assert_eq!((open.is_none(), index), (true, Some(next)), "{name}: {data}");
                    let kind = data["content_block"]["type"].as_str().unwrap().to_owned();
                    open = Some((next, kind, String::new()));
                    next += 1;
                }
                "content_block_delta" => {
                    let (at, _, arguments) = open.as_mut().unwrap();
                    assert_eq!(index, Some(*at), "{name}: {data}");
                    arguments.push_str(data["delta"]["partial_json"].as_str().unwrap_or_default());
                }
                "content_block_stop" => {
                    let (at, kind, arguments) = open.take().unwrap();
                    assert_eq!(index, Some(at), "{name}: {data}");
                    if kind == "tool_use" {
                        assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object(), "{name}: {arguments}");
                    }
                }
                other => types.push(other.to_owned()),
            }
        }
        assert!(open.is_none(), "{name}");
        assert_eq!(types, ["message_start", "ping", "message_delta", "message_stop"], "{name}");
    }
}

#[test]
fn bad_inputs_are_refused_with_the_field_named() {
    let table: Vec<Value> =
        serde_json::from_str(&read(&golden::folder(SURFACE).join("bad_inputs.json")).unwrap()).unwrap();
    assert!(table.len() > 30);
    for row in table {
        let name = row["name"].as_str().unwrap();
        let mut body = json!({"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(row["body"].as_object().unwrap().clone());
        let error = translate(&body.to_string(), &Traits::default()).err().unwrap_or_else(|| panic!("{name} is taken"));
        let kind: &str = error.kind().into();
        assert_eq!((kind, error.blamed()), (row["kind"].as_str().unwrap(), row["param"].as_str()), "{name}: {error}");
    }
}
