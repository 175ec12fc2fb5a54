//! `POST /v1/messages` to Claude: the caller's bytes there, Claude's bytes back.

use serde_json::{Value, json};

use crate::support::calls::{message, with};
use crate::support::{FIRST, MODEL, MODEL_ID, TestGateway};

#[tokio::test]
async fn a_message_goes_to_claude_and_comes_back_byte_for_byte() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = format!(
        r#"{{"model":"{MODEL}", "max_tokens" : 2000,"messages":[{{"role":"user","content":"caf\u00e9 \ud83d\ude00"}}],"stream":false}}"#
    );
    let reply = t.anthropic().send_bytes(body).await;
    let passed = t.tap.only_exchange();
    assert_eq!((reply.status(), reply.region(), reply.header("x-gateway-model")), (200, FIRST, MODEL_ID));
    assert_eq!(
        std::str::from_utf8(&passed.request).unwrap(),
        r#"{ "max_tokens" : 2000,"messages":[{"role":"user","content":"caf\u00e9 \ud83d\ude00"}],"anthropic_version":"bedrock-2023-05-31"}"#
    );
    assert!(passed.path.ends_with("/invoke"), "{}", passed.path);
    assert_eq!(reply.bytes(), &passed.response);
    assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
    assert_eq!(reply.header("x-gateway-translation"), "");

    let answer = reply.json();
    assert_eq!(
        (&answer["type"], &answer["role"], &answer["stop_reason"]),
        (&json!("message"), &json!("assistant"), &json!("end_turn"))
    );
    let call = t.only_call().await;
    assert_eq!((&*call.surface, &*call.operation), ("anthropic", "messages"));
    assert_eq!(
        (&answer["usage"]["input_tokens"], &answer["usage"]["output_tokens"]),
        (&json!(call.input_tokens), &json!(call.output_tokens))
    );
    assert_eq!(reply.header("x-gateway-cost-usd"), call.cost.unwrap().to_string());
    t.finish().await;
}

#[tokio::test]
async fn an_unknown_beta_is_left_out_with_a_report_instead_of_a_400() {
    let t = TestGateway::tapped(|_| {}).await;
    let request = t.anthropic().request(reqwest::Method::POST, "/v1/messages?beta=true");
    let request = request
        .header("anthropic-beta", "claude-code-20250219,context-1m-2025-08-07")
        .header("anthropic-beta", "fast-mode-2026-02-01");
    let reply = crate::support::reply::Reply::to(request.json(&message("hi"))).await;
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, "filtered:anthropic-beta"));
    let sent: Value = serde_json::from_slice(&t.tap.only_exchange().request).unwrap();
    assert_eq!(sent["anthropic_beta"], json!(["context-1m-2025-08-07"]));
    t.finish().await;
}

#[tokio::test]
async fn strict_mode_refuses_what_would_be_left_out() {
    let t = TestGateway::start().await;
    let body = with(message("hi"), json!({"speed": "fast"}));
    let request = t.anthropic().request(reqwest::Method::POST, "/v1/messages").header("x-gateway-strict", "1");
    let reply = crate::support::reply::Reply::to(request.json(&body)).await;
    assert_eq!(reply.status(), 400);
    assert!(reply.anthropic_error()["message"].as_str().unwrap().contains("dropped:speed"));
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

#[tokio::test]
async fn signatures_of_thinking_come_back_byte_true_through_a_tool_loop() {
    let t = TestGateway::tapped(|_| {}).await;
    let tools = json!([{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]);
    let thinking = json!({"type": "enabled", "budget_tokens": 1024});
    let mut body = with(message("What is the weather? [[tool]]"), json!({"tools": tools, "thinking": thinking}));
    let answer = t.anthropic().send(&body).await.json();
    assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
    let content = answer["content"].as_array().unwrap();
    assert_eq!(content[0]["type"], "thinking");
    assert!(!content[0]["signature"].as_str().unwrap().is_empty());
    let id = content.iter().find(|block| block["type"] == "tool_use").unwrap()["id"].clone();
    body["messages"].as_array_mut().unwrap().extend([
        json!({"role": "assistant", "content": content}),
        json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "sunny, 21 degrees"}]}),
    ]);
    let reply = t.anthropic().send(&body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert!(reply.text().contains("sunny, 21 degrees"), "{reply:?}");
    t.finish().await;
}

#[tokio::test]
async fn cached_tokens_are_told_and_booked_by_class() {
    let t = TestGateway::start().await;
    let long = "The rules of the house. ".repeat(1500);
    let system = json!([{"type": "text", "text": long, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let body = with(message("hi"), json!({"system": system}));
    let first = t.anthropic().send(&body).await.json()["usage"].clone();
    let second = t.anthropic().send(&body).await.json()["usage"].clone();
    assert!(first["cache_creation"]["ephemeral_1h_input_tokens"].as_u64().unwrap() > 4096, "{first}");
    assert_eq!(first["cache_creation_input_tokens"], second["cache_read_input_tokens"]);
    assert_eq!(first["input_tokens"], second["input_tokens"]);
    let calls = t.booked_calls(2).await;
    assert_eq!(json!(calls[0].cache_write_tokens), first["cache_creation_input_tokens"]);
    assert_eq!(json!(calls[1].cache_read_tokens), second["cache_read_input_tokens"]);
    t.finish().await;
}

#[tokio::test]
async fn an_hour_in_the_cache_costs_more_than_five_minutes_by_every_way_to_claude() {
    let t = TestGateway::start().await;
    let mut costs = Vec::new();
    for (place, ttl) in [(0, "5m"), (1, "1h")] {
        // As long as each other, and never seen before.
        let body = |call: char, more: Value| {
            let long = format!("The rules of {call} and {place}. ").repeat(1500);
            let control = json!({"type": "ephemeral", "ttl": ttl});
            with(
                with(message("hi"), json!({"system": [{"type": "text", "text": long, "cache_control": control}]})),
                more,
            )
        };
        assert_eq!(t.anthropic().send(&body('a', json!({}))).await.status(), 200);
        assert_eq!(t.anthropic().stream(body('b', json!({}))).await.rest().await.status(), 200);
        assert_eq!(t.anthropic().send(&body('c', json!({"model": "claude-opus-5-5"}))).await.status(), 200);
        let streamed = body('d', json!({"model": "claude-opus-5-5"}));
        assert_eq!(t.anthropic().stream(streamed).await.rest().await.status(), 200);
        let mut native = body('e', json!({"anthropic_version": "bedrock-2023-05-31"}));
        native.as_object_mut().unwrap().remove("model");
        assert_eq!(t.bedrock().send("invoke", native.to_string()).await.status(), 200);
        native["system"][0]["text"] = json!(native["system"][0]["text"].as_str().unwrap().replace(" e ", " f "));
        assert_eq!(t.bedrock().send("invoke-with-response-stream", native.to_string()).await.status(), 200);
        let calls = t.booked_calls(6 * (place + 1)).await.split_off(6 * place);
        assert!(calls.iter().all(|call| call.cache_write_tokens > 4096 && call.cache_read_tokens == 0), "{calls:?}");
        costs.push(calls.into_iter().map(|call| call.cost.unwrap().0).collect::<Vec<_>>());
    }
    // AWS charges 2 and 1.25 times the price of input for the two.
    for (short, long) in costs[0].iter().zip(&costs[1]) {
        assert!(long * 10 > short * 15, "{costs:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn the_users_id_is_in_the_ledger_and_in_the_body() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = with(message("hi"), json!({"metadata": {"user_id": "user-7"}}));
    assert_eq!(t.anthropic().send(&body).await.status(), 200);
    let sent: Value = serde_json::from_slice(&t.tap.only_exchange().request).unwrap();
    assert_eq!(sent["metadata"], json!({"user_id": "user-7"}));
    assert_eq!(t.only_call().await.end_user.as_deref(), Some("user-7"));
    t.finish().await;
}
