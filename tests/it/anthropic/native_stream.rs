//! `POST /v1/messages` with `stream` to Claude.

use bedrock_gateway::tenancy::ledger::UsageSource;
use serde_json::{Value, json};

use crate::support::calls::{message, with};
use crate::support::{FIRST, TestGateway};

/// The types of events in order, neighbours of one type once.
fn order(events: &[Value]) -> Vec<&str> {
    let mut types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    types.dedup();
    types
}

#[tokio::test]
async fn a_stream_has_anthropics_events_in_order_and_nothing_of_aws() {
    let t = TestGateway::start().await;
    let reply = t.anthropic().stream(message("a story [[words:40]]")).await.rest().await;
    assert_eq!((reply.status(), reply.region(), reply.header("cache-control")), (200, FIRST, "no-cache"));
    let events = reply.events();
    let expected = [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(order(&events), expected);
    assert_eq!(events.last().unwrap(), &json!({"type": "message_stop"}));
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert!(text.contains("a story") && text.split_whitespace().count() >= 40, "{text}");
    let call = t.only_call().await;
    let start = &events[0]["message"]["usage"];
    let end = &events[events.len() - 2]["usage"];
    assert_eq!(
        (&start["input_tokens"], &end["output_tokens"]),
        (&json!(call.input_tokens), &json!(call.output_tokens))
    );
    assert_eq!((call.usage_source, call.streamed, call.outcome.as_str()), (UsageSource::Final, true, "ok"));
    t.finish().await;
}

#[tokio::test]
async fn thinking_and_tools_are_streamed_with_signature_and_whole_arguments() {
    let t = TestGateway::start().await;
    let tools = json!([{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]);
    let more = json!({"tools": tools, "thinking": {"type": "enabled", "budget_tokens": 1024}});
    let events = t.anthropic().stream(with(message("Both [[tools:2]]"), more)).await.rest().await.events();
    let starts: Vec<&str> = events.iter().filter_map(|event| event["content_block"]["type"].as_str()).collect();
    assert_eq!(starts.iter().filter(|kind| **kind == "tool_use").count(), 2, "{starts:?}");
    assert_eq!(starts[0], "thinking");
    assert!(events.iter().any(|event| event["delta"]["signature"].as_str().is_some_and(|text| !text.is_empty())));
    for (index, kind) in starts.iter().enumerate() {
        let pieces = events.iter().filter(|event| event["index"] == index);
        let json: String = pieces.filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
        if *kind == "tool_use" {
            let input: Value = serde_json::from_str(&json).unwrap();
            assert!(input["city"].is_string(), "{input}");
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_event() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).cut_stream_after(4);
    let reply = t.anthropic().stream(message("cut me short [[words:30]]")).await.rest().await;
    let events = reply.events();
    let error = events.last().unwrap();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("overloaded_error")));
    assert_eq!(error["request_id"], reply.header("request-id"));
    assert!(!events.iter().any(|event| event["type"] == "message_stop"));
    let call = t.only_call().await;
    assert_eq!((call.usage_source, call.outcome.as_str()), (UsageSource::Partial, "upstream_unavailable"));
    t.finish().await;
}

#[tokio::test]
async fn an_exception_within_a_stream_is_an_error_event_of_its_kind() {
    let table = [
        ("throttlingException", "rate_limit_error"),
        ("internalServerException", "overloaded_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("modelStreamErrorException", "overloaded_error"),
        ("validationException", "invalid_request_error"),
    ];
    let t = TestGateway::start().await;
    for (exception, kind) in table {
        t.sim.region("*").stream_exception(exception, 3);
        let events = t.anthropic().stream(message("too fast [[words:30]]")).await.rest().await.events();
        let error = &events.last().unwrap()["error"];
        assert_eq!(error["type"], kind, "{exception}");
        assert_eq!(events.iter().filter(|event| event["type"] == "error").count(), 1, "{exception}");
    }
    assert_eq!(t.booked_calls(table.len()).await.len(), table.len());
    t.finish().await;
}

#[tokio::test]
async fn an_error_before_the_first_event_is_a_plain_answer() {
    let t = TestGateway::start().await;
    t.sim.region("*").reject(1, "ValidationException", 400, "The model refuses.");
    let reply = t.anthropic().stream(message("no")).await.rest().await;
    assert_eq!((reply.status(), &reply.anthropic_error()["message"]), (400, &json!("The model refuses.")));
    t.finish().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_is_booked_once() {
    let t = TestGateway::tapped(|_| {}).await;
    let _released = t.tap.hold_after(6);
    let mut live = t.anthropic().stream(message("never mind [[words:60]]")).await;
    live.read_until("content_block_delta").await;
    live.hang_up();
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.usage_source), ("cancelled", UsageSource::Partial));
    assert!(call.input_tokens > 0 && call.output_tokens > 0, "{call:?}");
    t.finish().await;
}
