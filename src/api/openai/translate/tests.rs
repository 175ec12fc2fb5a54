//! What holds for every conversation and every text, not only for those in the golden files.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Calling, Chunks, Context, request};
use crate::api::conversation::{CallerTools, Form};
use crate::api::openai::wire;
use crate::converse::{ContentBlock, Delta, Event, Message, Role, ToolResultBlock};
use crate::error::{Error, Kind};
use crate::families::Traits;

fn context() -> Context {
    Context {
        id: "chatcmpl-\"quoted\"".into(),
        created: 1,
        model: "a\\b".into(),
        tools: CallerTools::default(),
        calling: Calling::Tools,
        form: Form::Plain,
        include_usage: false,
    }
}

fn content() -> impl Strategy<Value = Value> {
    let text = prop::sample::select(vec!["", " ", "\n", "a", "b c"]).prop_map(|text| json!(text));
    let part = text.clone().prop_map(|text| json!({"type": "text", "text": text}));
    prop_oneof![text, prop::collection::vec(part, 0..3).prop_map(Value::from)]
}

/// The assistant and its tools may say nothing at all.
fn content_if_any() -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 2 => content()]
}

/// A message of any role; one of the assistant may call tools, and then all results follow, perhaps with more between.
fn messages() -> impl Strategy<Value = Vec<Value>> {
    let id = prop::sample::select(vec!["1", "2", "a b", "a_b"]);
    let plain = (prop::sample::select(vec!["system", "developer", "user", "assistant"]), content())
        .prop_map(|(role, content)| vec![json!({"role": role, "content": content})]);
    let silent = Just(vec![json!({"role": "assistant", "content": null})]);
    let calls = (prop::collection::hash_set(id, 1..4), content_if_any(), content_if_any(), any::<bool>()).prop_map(
        |(ids, said, answer, interrupted)| {
            let call = |id: &&str| json!({"id": id, "type": "function", "function": {"name": "f.g", "arguments": ""}});
            let calls: Vec<_> = ids.iter().map(call).collect();
            let mut messages = vec![json!({"role": "assistant", "content": said, "tool_calls": calls})];
            for id in ids {
                if interrupted {
                    messages.push(json!({"role": "user", "content": "wait"}));
                }
                messages.push(json!({"role": "tool", "tool_call_id": id, "content": answer}));
            }
            messages
        },
    );
    prop::collection::vec(prop_oneof![4 => plain, 1 => silent, 4 => calls], 1..8).prop_map(|groups| groups.concat())
}

fn check_turn(turn: &Message, asked: &mut Vec<String>) {
    let mut results = Vec::new();
    let mut after_results = false;
    for block in &turn.content {
        match block {
            ContentBlock::Text(text) => {
                assert!(!text.trim().is_empty(), "no text is blank");
                after_results = true;
            }
            ContentBlock::ToolResult(result) => {
                assert!(!after_results, "results come first");
                assert!(!result.content.contains(&ToolResultBlock::Text(String::new())));
                results.push(result.tool_use_id.clone());
            }
            _ => {}
        }
    }
    results.sort();
    asked.sort();
    assert_eq!(&results, asked, "each call of the turn before has its result");
    asked.clear();
    for block in &turn.content {
        if let ContentBlock::ToolUse(tool) = block {
            asked.push(tool.tool_use_id.clone());
        }
    }
}

proptest! {
    #[test]
    fn every_conversation_comes_out_as_bedrock_takes_it(messages in messages(), prefill in any::<bool>()) {
        let body = json!({"model": "m", "messages": messages}).to_string();
        let traits = Traits { prefill, ..Traits::default() };
        let request = match request(wire::parse(body.as_bytes()).unwrap(), &traits) {
            Ok(translated) => translated.request,
            // Two neighbouring assistant messages with one id between them: rightly refused.
            Err(error) => {
                prop_assert_eq!(error.blamed().unwrap().rsplit('.').next(), Some("id"));
                return Ok(());
            }
        };
        prop_assert_eq!(request.messages[0].role, Role::User);
        let mut asked = Vec::new();
        let mut ids = std::collections::HashSet::new();
        for pair in request.messages.windows(2) {
            prop_assert_ne!(pair[0].role, pair[1].role);
        }
        for turn in &request.messages {
            prop_assert!(!turn.content.is_empty());
            check_turn(turn, &mut asked);
            prop_assert!(asked.iter().all(|id| ids.insert(id.clone())), "no id comes twice");
        }
        prop_assert!(asked.is_empty());
        prop_assert_eq!(request.tool_config.is_some(), !ids.is_empty());
        prop_assert!(prefill || request.messages.last().unwrap().role == Role::User);
    }

    #[test]
    fn every_text_arrives_as_it_was(texts in prop::collection::vec(".*", 1..4)) {
        let mut chunks = Chunks::new(&context(), 0);
        let mut out = BytesMut::new();
        for text in &texts {
            chunks.event(&Event::BlockDelta { index: 0, delta: Delta::Text(text.clone()) }, &mut out);
        }
        let mut arrived = String::new();
        for event in std::str::from_utf8(&out).unwrap().split_terminator("\n\n") {
            let chunk: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            prop_assert_eq!(&chunk["model"], "a\\b");
            arrived.push_str(chunk["choices"][0]["delta"]["content"].as_str().unwrap());
        }
        prop_assert_eq!(arrived, texts.concat());
    }
}

#[test]
fn a_broken_stream_ends_with_the_error_and_is_not_done() {
    let mut chunks = Chunks::new(&context(), 0);
    let mut out = BytesMut::new();
    chunks.event(&Event::MessageStart(Role::Assistant), &mut out);
    let before = out.len();
    let error = Error::new(Kind::UpstreamThrottled, "The model is busy.");
    chunks.error(&error, "req_1", &mut out);
    let end = std::str::from_utf8(&out[before..]).unwrap();
    let payload: Value = serde_json::from_str(end.trim_end().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(payload["error"]["code"], "rate_limit_exceeded");
    assert!(!end.contains("[DONE]"));
}

#[test]
fn many_small_messages_become_one_turn_and_a_short_report() {
    let mut body = String::from(r#"{"model":"m","messages":["#);
    body.push_str(&r#"{"role":"user","content":" "},"#.repeat(200_000));
    body.push_str(r#"{"role":"user","content":"x"}]}"#);
    let translated = request(wire::parse(body.as_bytes()).unwrap(), &Traits::default()).unwrap();
    assert_eq!(translated.request.messages.len(), 1);
    assert!(translated.report.to_string().len() < 5_000);
}

/// The report of a request with these messages and further fields.
fn reported(messages: &str, fields: &str) -> String {
    let body = format!(r#"{{"model":"m","messages":[{messages}]{fields}}}"#);
    request(wire::parse(body.as_bytes()).unwrap(), &Traits::default()).unwrap().report.to_string()
}

#[test]
fn a_field_that_nobody_knows_is_reported_however_deep_it_stands() {
    let history = r#"{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral","scope":"x"}}]},
        {"role":"assistant","tool_calls":[{"index":0,"id":"c","type":"function","extra":1,
            "function":{"name":"f","arguments":"{}","signature":"s"}}]},
        {"role":"tool","tool_call_id":"c","content":"x"}"#;
    let fields = r#","stream":true,"stream_options":{"shape":1},
        "tools":[{"type":"function","function":{"name":"f","examples":[]}}],
        "response_format":{"type":"json_schema","json_schema":{"name":"x","strict":true,"depth":1,"schema":{}}}"#;
    let expected = "dropped:messages[0].content[0].cache_control.scope,dropped:messages[1].tool_calls[0].extra,\
        dropped:messages[1].tool_calls[0].function.signature,dropped:stream_options.shape,\
        dropped:tools[0].function.examples,dropped:response_format.json_schema.depth";
    assert_eq!(reported(history, fields), expected);
}

#[test]
fn a_cache_mark_on_nothing_or_beside_another_is_reported() {
    let mark = r#""cache_control":{"type":"ephemeral"}"#;
    let call = r#"{"role":"user","content":"hi"},{"role":"assistant",MARK,
        "tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},
        {"role":"tool","tool_call_id":"c","content":"x"}"#;
    let tools = r#","tools":[{"type":"function","function":{"name":"f"}}]"#;
    assert_eq!(reported(&call.replace("MARK", mark), tools), "dropped:messages[1].cache_control");
    let twice = r#"{"role":"user",MARK,"content":[{"type":"text","text":"hi",MARK}]}"#;
    assert_eq!(reported(&twice.replace("MARK", mark), ""), "dropped:messages[0].cache_control");
}

#[test]
fn a_breakpoint_of_openais_is_a_cache_point_behind_its_part() {
    let body = br#"{"model":"m","prompt_cache_options":{"mode":"explicit"},"messages":[
        {"role":"system","content":[{"type":"text","text":"be kind","prompt_cache_breakpoint":{"mode":"explicit"}}]},
        {"role":"user","content":[{"type":"text","text":"a","prompt_cache_breakpoint":{"mode":"explicit"}},
            {"type":"text","text":"b"}]}]}"#;
    let translated = request(wire::parse(body).unwrap(), &Traits::default()).unwrap();
    assert_eq!(translated.report.to_string(), "");
    let sent = serde_json::to_value(&translated.request).unwrap();
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(sent["system"], json!([{"text": "be kind"}, point]));
    assert_eq!(sent["messages"][0]["content"], json!([{"text": "a"}, point, {"text": "b"}]));
    let marked = |mode: &str| {
        format!(
            r#"{{"role":"user","content":[{{"type":"text","text":"a","prompt_cache_breakpoint":{{"mode":"{mode}"}}}}]}}"#
        )
    };
    let refused = format!(r#"{{"model":"m","messages":[{}]}}"#, marked("implicit"));
    let error = request(wire::parse(refused.as_bytes()).unwrap(), &Traits::default()).unwrap_err();
    assert_eq!(error.blamed(), Some("messages[0].content[0].prompt_cache_breakpoint.mode"));
    let body = format!(r#"{{"model":"m","messages":[{}]}}"#, marked("explicit"));
    let none = Traits { caching: None, ..Traits::default() };
    let translated = request(wire::parse(body.as_bytes()).unwrap(), &none).unwrap();
    assert_eq!(translated.report.to_string(), "dropped:messages[0].content[0].prompt_cache_breakpoint");
}
