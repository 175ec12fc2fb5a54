//! Properties of the translation that hold for every input, and its edges.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::openai::responses::{state, wire};
use crate::converse::{BlockStart, Delta, Event, Role, ToolUseStart};
use crate::error::Kind;

fn translated(body: &Value, traits: &Traits) -> Result<Translated, Error> {
    let mut wire = wire::parse(body.to_string().as_bytes())?;
    let items = state::items(wire.input.take());
    let id = item_id(RESPONSE_PREFIX, "", 0).replace("0000", &"f".repeat(RESPONSE_DIGITS));
    let asked =
        Asked { wire, items, report: Report::default(), id, created: 7, store: true, provider: "anthropic".into() };
    request(asked, traits)
}

fn events() -> Events {
    Events::new(translated(&json!({"model": "a\"b", "input": "hi"}), &Traits::default()).unwrap().context)
}

fn payloads(out: &BytesMut) -> Vec<Value> {
    let data = |event: &str| serde_json::from_str(event.split_once("\ndata: ").unwrap().1).unwrap();
    std::str::from_utf8(out).unwrap().split_terminator("\n\n").map(data).collect()
}

#[test]
fn the_id_of_an_item_leads_back_to_its_response() {
    let response = format!("resp_{}", "0123456789abcdef".repeat(2));
    for position in [0, 17, 65_536] {
        let id = item_id("msg_", &response, position);
        assert_eq!(owner(&id).as_ref(), Some(&response), "{id}");
        assert_eq!(owner(&format!("{id}i")).as_ref(), Some(&response));
    }
    let of_bedrock = format!("resp_{}", "0123456789abcdef".repeat(3));
    assert_eq!(owner(&format!("{}i", item_id("msg_", &of_bedrock, 17))), Some(of_bedrock));
    for foreign in
        ["", "msg_", "msg_123", "msg", "msg_é123456789abcdef0123456789abcdef", "msg_zzzz6789abcdef0123456789abcdef01"]
    {
        assert_eq!(owner(foreign), None, "{foreign}");
    }
}

#[test]
fn a_stream_that_breaks_tells_the_error_and_the_failed_response() {
    let mut events = events();
    let mut out = BytesMut::new();
    events.event(Event::MessageStart(Role::Assistant), &mut out);
    events.event(Event::BlockDelta { index: 0, delta: Delta::Text("half".into()) }, &mut out);
    let before = payloads(&out).len();
    events.error(&Error::new(Kind::Internal, "It broke."), "req_1", &mut out);
    let told = payloads(&out);
    let [error, failed] = &told[before..] else { panic!("{told:?}") };
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("internal_error")));
    assert_eq!(error["message"], "It broke. Request id: req_1");
    assert_eq!((&error["error"]["message"], &error["sequence_number"]), (&error["message"], &json!(before)));
    let response = &failed["response"];
    assert_eq!((&failed["type"], &response["error"]["code"]), (&json!("response.failed"), &json!("server_error")));
    assert_eq!(response["output"][0]["status"], "incomplete");
    assert_eq!(response["output"][0]["content"][0]["text"], "half");
}

#[test]
fn a_stream_that_breaks_before_it_begins_is_told_from_its_beginning() {
    let mut out = BytesMut::new();
    events().error(&Error::new(Kind::UpstreamRejected, "No."), "req_1", &mut out);
    let kinds: Vec<Value> = payloads(&out).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["response.created", "response.in_progress", "error", "response.failed"]);
}

#[test]
fn effort_takes_the_form_that_the_family_has() {
    use crate::families::Reasoning;
    use crate::families::reasoning::Habit;
    let body = |effort: &str| json!({"model": "m", "input": "hi", "reasoning": {"effort": effort, "summary": "auto"}});
    let raw = Traits { reasoning: Reasoning::Raw(Habit::Always), ..Traits::default() };
    let fields = |effort: &str, traits: &Traits| {
        let translated = translated(&body(effort), traits).unwrap();
        (Value::Object(translated.request.additional_model_request_fields), translated.report.to_string())
    };
    assert_eq!(fields("high", &raw), (json!({"reasoning_effort": "high"}), String::new()));
    let budget = Traits { reasoning: Reasoning::Budget, ..Traits::default() };
    assert_eq!(fields("low", &budget).0["thinking"]["type"], "enabled");
    assert_eq!(fields("none", &budget), (json!({}), String::new()));
    assert_eq!(fields("low", &Traits::default()).1, "dropped:reasoning.effort");
    let error = translated(&body("hard"), &raw).unwrap_err();
    assert_eq!((error.kind(), error.blamed()), (Kind::Invalid, Some("reasoning.effort")));
}

#[test]
fn a_model_that_has_no_schemas_answers_by_a_call_that_the_client_sees_as_text() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "name": "x", "schema": schema});
    let body = json!({"model": "m", "input": "hi", "text": {"format": format}});
    let without = Traits { structured_output: false, ..Traits::default() };
    let Translated { request, report, context } = translated(&body, &without).unwrap();
    assert!(report.to_string().contains("renamed:text.format"), "{report}");
    let config = serde_json::to_value(request.tool_config.unwrap()).unwrap();
    let name = config["toolChoice"]["tool"]["name"].as_str().unwrap().to_owned();
    let start = BlockStart::ToolUse(ToolUseStart { tool_use_id: "t".into(), name, kind: None });
    let (mut events, mut out) = (Events::new(context), BytesMut::new());
    events.event(Event::BlockStart { index: 0, start }, &mut out);
    events.event(Event::BlockDelta { index: 0, delta: Delta::ToolInput("{\"a\":1}".into()) }, &mut out);
    events.event(Event::BlockStop { index: 0 }, &mut out);
    let response = serde_json::to_value(events.conclude(0, &mut out)).unwrap();
    assert_eq!(response["output"][0]["content"][0]["text"], "{\"a\":1}");
    assert_eq!(response["output"].as_array().unwrap().len(), 1);
}

#[test]
fn absurd_nesting_is_refused() {
    let deep = "[".repeat(100_000);
    for body in [format!(r#"{{"model":"m","input":{deep}"#), format!(r#"{{"model":"m","input":"x","y":{deep}"#)] {
        assert_eq!(wire::parse(body.as_bytes()).unwrap_err().kind(), Kind::Invalid);
    }
    let call = json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": format!("{{\"a\":{deep}")});
    let error = translated(&json!({"model": "m", "input": [call]}), &Traits::default()).unwrap_err();
    assert_eq!(error.blamed(), Some("input[0].arguments"));
}

#[test]
fn many_small_items_become_one_turn_and_a_short_report() {
    let items = vec![json!({"role": "user", "content": " "}); 50_000];
    let translated = translated(&json!({"model": "m", "input": items}), &Traits::default()).unwrap();
    assert_eq!(translated.request.messages.len(), 1);
    assert!(translated.report.to_string().len() < 5_000);
}

/// What Bedrock may send for one block, in any order and as broken as it likes.
fn event() -> impl Strategy<Value = Event> {
    let index = 0..3_u32;
    let delta = prop_oneof![
        ".{0,4}".prop_map(Delta::Text),
        ".{0,4}".prop_map(Delta::Reasoning),
        "[a-z]{0,4}".prop_map(Delta::Signature),
        "[a-z]{0,4}".prop_map(Delta::Redacted),
        "[{}\"a:1]{0,4}".prop_map(Delta::ToolInput),
    ];
    let tool = ("[a-z]{1,2}", "[fg]")
        .prop_map(|(tool_use_id, name)| BlockStart::ToolUse(ToolUseStart { tool_use_id, name, kind: None }));
    prop_oneof![
        4 => (index.clone(), delta).prop_map(|(index, delta)| Event::BlockDelta { index, delta }),
        1 => (index.clone(), tool).prop_map(|(index, start)| Event::BlockStart { index, start }),
        1 => index.prop_map(|index| Event::BlockStop { index }),
        1 => Just(Event::Unknown),
    ]
}

proptest! {
    /// Whatever comes, a client sees every item begin once, end once, and be what the whole response says.
    #[test]
    fn every_stream_is_one_that_the_official_client_can_follow(come in prop::collection::vec(event(), 0..40)) {
        let tools = json!([{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}]);
        let body = json!({"model": "m", "input": "hi", "tools": tools});
        let mut events = Events::new(translated(&body, &Traits::default()).unwrap().context);
        let mut out = BytesMut::new();
        for event in come {
            events.event(event, &mut out);
        }
        let response = serde_json::to_value(events.conclude(0, &mut out)).unwrap();
        events.complete(&mut out);
        let (mut added, mut done) = (Vec::new(), std::collections::BTreeMap::new());
        for (number, event) in payloads(&out).iter().enumerate() {
            prop_assert_eq!(&event["sequence_number"], number);
            match event["type"].as_str().unwrap() {
                "response.output_item.added" => {
                    prop_assert_eq!(&event["output_index"], added.len());
                    added.push(event["item"]["id"].clone());
                }
                "response.output_item.done" => {
                    let index = usize::try_from(event["output_index"].as_u64().unwrap()).unwrap();
                    prop_assert_eq!(&event["item"]["id"], &added[index]);
                    prop_assert!(done.insert(index, event["item"].clone()).is_none(), "done twice");
                }
                _ => if let Some(index) = event["output_index"].as_u64() {
                    let index = usize::try_from(index).unwrap();
                    prop_assert_eq!(&event["item_id"], &added[index]);
                    prop_assert!(!done.contains_key(&index), "more after the end of an item");
                }
            }
        }
        let done: Vec<Value> = done.into_values().collect();
        prop_assert_eq!(&response["output"], &Value::Array(done));
        prop_assert_eq!(response["output"].as_array().unwrap().len(), added.len());
    }

    #[test]
    fn every_text_arrives_as_it_was(texts in prop::collection::vec(".*", 1..4)) {
        let mut events = events();
        let mut out = BytesMut::new();
        for text in &texts {
            events.event(Event::BlockDelta { index: 0, delta: Delta::Text(text.clone()) }, &mut out);
        }
        let arrived: String = payloads(&out).iter().filter_map(|event| event["delta"].as_str()).collect();
        prop_assert_eq!(arrived, texts.concat());
    }
}
