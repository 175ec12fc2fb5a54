//! `POST /v1/chat/completions` answered as server-sent events.

use std::time::Duration;

use bedrock_gateway::tenancy::ledger::UsageSource;
use serde_json::{Value, json};

use crate::support::calls::{chat, with};
use crate::support::{FIRST, MODEL, TestGateway};

#[tokio::test]
async fn a_stream_tells_role_text_and_finish_in_order_and_ends_with_done() {
    let t = TestGateway::start().await;
    let reply = t.openai().stream("a story [[words:40]]").await.rest().await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "1"));
    assert_eq!(reply.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!((reply.header("cache-control"), reply.header("x-gateway-cost-usd")), ("no-cache", ""));

    let mut chunks = reply.sse();
    assert_eq!(chunks.pop().unwrap(), "[DONE]");
    assert!(chunks.len() > 10);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["model"] == MODEL));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"] && chunk.get("usage").is_none_or(Value::is_null)));
    let choices: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
    assert_eq!(choices[0]["delta"]["role"], "assistant");
    let text: String = choices.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
    assert!(text.contains("a story") && text.split_whitespace().count() >= 40, "{text}");
    let (last, before) = choices.split_last().unwrap();
    assert_eq!(last["finish_reason"], "stop");
    assert!(before.iter().all(|choice| choice["finish_reason"].is_null()));
    t.finish().await;
}

#[tokio::test]
async fn the_usage_chunk_comes_when_asked_for_and_agrees_with_the_ledger() {
    let t = TestGateway::start().await;
    let body = with(chat("count"), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let chunks = t.openai().send(&body).await.sse();
    let [.., last, done] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!((&last["choices"], done), (&json!([]), &json!("[DONE]")));
    let call = t.only_call().await;
    let told = (&last["usage"]["prompt_tokens"], &last["usage"]["completion_tokens"]);
    assert_eq!(told, (&json!(call.input_tokens), &json!(call.output_tokens)));
    assert_eq!((call.usage_source, call.streamed, call.outcome.as_str()), (UsageSource::Final, true, "ok"));
    assert!(call.ttft_ms.is_some());
    t.finish().await;
}

#[tokio::test]
async fn a_chunk_arrives_while_the_model_is_still_at_work() {
    let t = TestGateway::tapped(|_| {}).await;
    let released = t.tap.hold_after(4);
    let mut live = t.openai().stream("slowly [[words:30]]").await;
    live.read_until("You").await;
    assert_eq!(t.metrics().count("gateway_streams_open", &[]), 1);
    released.cancel();
    assert_eq!(live.rest().await.sse().last().unwrap(), "[DONE]");
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_event_and_is_not_tried_again() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).cut_stream_after(3);
    let reply = t.openai().stream("cut me short [[words:30]]").await.rest().await;
    assert_eq!((reply.status(), reply.region()), (200, FIRST));
    let events = reply.sse();
    let (last, chunks) = events.split_last().unwrap();
    assert_eq!(
        (&last["error"]["type"], &last["error"]["code"]),
        (&json!("server_error"), &json!("upstream_unavailable"))
    );
    assert!(!chunks.is_empty() && chunks.iter().all(|chunk| chunk["choices"][0]["finish_reason"].is_null()));
    let call = t.only_call().await;
    assert_eq!((call.attempts, call.usage_source), (1, UsageSource::Partial));
    assert_eq!(call.outcome.as_str(), "upstream_unavailable");
    assert!(call.input_tokens > 0 && call.output_tokens > 0, "{call:?}");
    assert_eq!(t.sim.calls().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn an_exception_within_a_stream_is_an_error_event_of_its_kind() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).stream_exception("throttlingException", 3);
    let events = t.openai().stream("too fast [[words:30]]").await.rest().await.sse();
    let error = &events.last().unwrap()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("rate_limit_error"), &json!("rate_limit_exceeded")));
    assert!(error["message"].as_str().unwrap().contains("Too many requests"), "{error}");
    let call = t.only_call().await;
    assert_eq!((call.outcome.as_str(), call.attempts), ("upstream_throttled", 1));
    t.finish().await;
}

#[tokio::test]
async fn a_frame_whose_checksum_is_wrong_reaches_nobody() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).corrupt_frame_after(3);
    let events = t.openai().stream("broken [[words:30]]").await.rest().await.sse();
    assert_eq!(events.last().unwrap()["error"]["code"], "upstream_unavailable");
    assert_eq!(t.sim.calls().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_silence_longer_than_the_idle_timeout_ends_the_stream_with_an_error_event() {
    let t = TestGateway::with(|config| config.aws.idle_timeout_s = 1).await;
    t.sim.region(FIRST).stall_stream_after(3, Duration::from_mins(10));
    let events = t.openai().stream("sleepy [[words:30]]").await.rest().await.sse();
    assert_eq!(events.last().unwrap()["error"]["code"], "upstream_timeout");
    assert_eq!(t.only_call().await.outcome.as_str(), "timeout");
    t.finish().await;
}

#[tokio::test]
async fn an_error_before_the_first_event_is_a_plain_answer() {
    let t = TestGateway::start().await;
    t.sim.region("*").reject(1, "ValidationException", 400, "The model refuses.");
    let reply = t.openai().stream("no").await.rest().await;
    assert_eq!((reply.status(), &reply.openai_error()["message"]), (400, &json!("The model refuses.")));
    t.finish().await;
}
