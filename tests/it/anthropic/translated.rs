//! `POST /v1/messages` to models that do not speak this dialect.

use bedrock_gateway::tenancy::ledger::UsageSource;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::calls::{message, with};
use crate::support::reply::Reply;
use crate::support::{FIRST, TestGateway};

/// What is called here.
const NOVA: &str = "nova-lite";

fn to_nova(text: &str) -> Value {
    with(message(text), json!({"model": NOVA}))
}

fn weather() -> Value {
    json!([{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}])
}

#[tokio::test]
async fn a_message_is_answered_by_any_model_and_booked() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = with(to_nova("Say hello"), json!({"system": "Be kind.", "metadata": {"user_id": "user-7"}}));
    let reply = t.anthropic().send(&body).await;
    let answer = reply.json();
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, ""), "{reply:?}");
    assert!(answer["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&answer["type"], &answer["role"], &answer["model"]),
        (&json!("message"), &json!("assistant"), &json!(NOVA))
    );
    assert!(answer["content"][0]["text"].as_str().unwrap().contains("Say hello"), "{answer}");
    assert_eq!(answer["stop_reason"], "end_turn");
    assert!(t.tap.only_exchange().path.ends_with("/converse"));
    let call = t.only_call().await;
    assert_eq!((&*call.surface, &*call.operation, call.end_user.as_deref()), ("anthropic", "messages", Some("user-7")));
    let told = (&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]);
    assert_eq!(told, (&json!(call.input_tokens), &json!(call.output_tokens)));
    t.finish().await;
}

#[tokio::test]
async fn a_stream_tells_the_usage_before_its_end() {
    let t = TestGateway::start().await;
    let events = t.anthropic().stream(to_nova("a story [[words:40]]")).await.rest().await.events();
    let mut types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    types.dedup();
    let expected = [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(types, expected);
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert!(text.contains("a story") && text.split_whitespace().count() >= 40, "{text}");
    let end = &events[events.len() - 2];
    let call = t.only_call().await;
    assert_eq!(end["usage"]["input_tokens"], json!(call.input_tokens));
    assert_eq!(end["usage"]["output_tokens"], json!(call.output_tokens));
    assert_eq!((call.usage_source, call.streamed), (UsageSource::Final, true));
    t.finish().await;
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_reaches_the_model() {
    let t = TestGateway::start().await;
    let mut body = with(to_nova("What is the weather? [[tool]]"), json!({"tools": weather()}));
    let answer = t.anthropic().send(&body).await.json();
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
    let call = answer["content"].as_array().unwrap().iter().find(|block| block["type"] == "tool_use").unwrap();
    assert_eq!(call["name"], "get_weather");
    assert!(call["input"]["city"].is_string());
    let result = json!({"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "sunny, 21 degrees"}]});
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": answer["content"]}),
        json!({"role": "user", "content": [result]}),
    ]);
    let reply = t.anthropic().send(&body).await;
    assert!(reply.text().contains("sunny, 21 degrees"), "{reply:?}");
    t.finish().await;
}

#[tokio::test]
async fn streamed_tools_have_blocks_of_their_own_and_whole_arguments() {
    let t = TestGateway::start().await;
    let body = with(to_nova("Both [[tools:2]]"), json!({"tools": weather()}));
    let events = t.anthropic().stream(body).await.rest().await.events();
    let tools: Vec<&Value> = events.iter().filter(|event| event["content_block"]["type"] == "tool_use").collect();
    assert_eq!(tools.len(), 2);
    for tool in tools {
        let pieces = events.iter().filter(|event| event["index"] == tool["index"]);
        let arguments: String = pieces.filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
        assert!(serde_json::from_str::<Value>(&arguments).unwrap()["city"].is_string(), "{arguments}");
    }
    t.finish().await;
}

#[tokio::test]
async fn what_is_changed_is_reported_and_strict_mode_refuses_it() {
    let t = TestGateway::start().await;
    let body = with(
        to_nova("hi"),
        json!({"tools": weather(), "tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}),
    );
    let request = || {
        t.anthropic()
            .request(Method::POST, "/v1/messages")
            .header("anthropic-beta", "context-1m-2025-08-07")
            .json(&body)
    };
    let reply = Reply::to(request()).await;
    let told = "filtered:anthropic-beta,dropped:tool_choice.disable_parallel_tool_use";
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, told));
    let refused = Reply::to(request().header("x-gateway-strict", "1")).await;
    assert_eq!((refused.status(), &refused.anthropic_error()["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(t.sim.calls().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn the_length_of_the_answer_has_to_be_given() {
    let t = TestGateway::start().await;
    let mut body = to_nova("hi");
    body.as_object_mut().unwrap().remove("max_tokens");
    let reply = t.anthropic().send(&body).await;
    assert_eq!(reply.status(), 400);
    assert!(reply.anthropic_error()["message"].as_str().unwrap().contains("max_tokens"));
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_one_error_event_of_its_kind() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).cut_stream_after(4);
    let cut = t.anthropic().stream(to_nova("cut me short [[words:30]]")).await.rest().await.events();
    assert_eq!(cut.last().unwrap()["error"]["type"], "overloaded_error");
    t.sim.region("*").stream_exception("throttlingException", 3);
    let thrown = t.anthropic().stream(to_nova("too fast [[words:30]]")).await.rest().await.events();
    assert_eq!(thrown.last().unwrap()["error"]["type"], "rate_limit_error");
    for events in [cut, thrown] {
        assert_eq!(events.iter().filter(|event| event["type"] == "error").count(), 1);
        assert!(!events.iter().any(|event| event["type"] == "message_stop"));
    }
    assert_eq!(t.booked_calls(2).await[0].usage_source, UsageSource::Partial);
    t.finish().await;
}

#[tokio::test]
async fn stop_sequences_and_length_are_told() {
    let t = TestGateway::start().await;
    let stopped =
        t.anthropic().send(&with(to_nova("alpha beta gamma"), json!({"stop_sequences": ["beta"]}))).await.json();
    assert_eq!((&stopped["stop_reason"], &stopped["stop_sequence"]), (&json!("stop_sequence"), &json!("beta")));
    let cut = t.anthropic().send(&with(to_nova("long [[words:200]]"), json!({"max_tokens": 5}))).await.json();
    assert_eq!((&cut["stop_reason"], &cut["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(5)));
    t.finish().await;
}

#[tokio::test]
async fn reasoning_comes_as_thinking_blocks() {
    let t = TestGateway::start().await;
    let body = with(
        message("think [[reason]]"),
        json!({"model": "openai.gpt-oss-120b-1:0", "output_config": {"effort": "high"}}),
    );
    let answer = t.anthropic().send(&body).await.json();
    let kinds: Vec<&str> =
        answer["content"].as_array().unwrap().iter().map(|block| block["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["thinking", "text"], "{answer}");
    let events = t.anthropic().stream(body).await.rest().await.events();
    let started: Vec<&str> = events.iter().filter_map(|event| event["content_block"]["type"].as_str()).collect();
    assert_eq!(started, ["thinking", "text"]);
    t.finish().await;
}
