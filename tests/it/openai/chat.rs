//! `POST /v1/chat/completions` answered in one piece.

use bedrock_gateway::tenancy::ledger::UsageSource;
use serde_json::{Value, json};

use crate::support::calls::{chat, with};
use crate::support::{FIRST, MODEL, MODEL_ID, TEAM, TestGateway};

#[tokio::test]
async fn a_completion_says_what_the_model_said_and_what_it_cost() {
    let t = TestGateway::start().await;
    let reply = t.openai().chat("hello there").await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "1"));
    assert_eq!(reply.header("x-gateway-model"), MODEL_ID);
    assert_eq!(reply.header("x-gateway-translation"), "");
    assert!(reply.header("x-gateway-cost-usd").parse::<f64>().unwrap() > 0.0);

    let body = reply.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!(MODEL)));
    let choice = &body["choices"][0];
    assert_eq!((&choice["message"]["role"], &choice["finish_reason"]), (&json!("assistant"), &json!("stop")));
    assert!(choice["message"]["content"].as_str().unwrap().contains("hello there"));
    t.finish().await;
}

#[tokio::test]
async fn a_completion_is_booked_with_the_tokens_that_the_caller_was_told() {
    let t = TestGateway::start().await;
    let reply = t.openai().send(&with(chat("count me"), json!({"user": "someone"}))).await;
    let usage = reply.json()["usage"].clone();
    let call = t.only_call().await;
    assert_eq!(
        (json!(call.input_tokens), json!(call.output_tokens)),
        (usage["prompt_tokens"].clone(), usage["completion_tokens"].clone())
    );
    assert_eq!((&*call.surface, &*call.operation, &*call.model), ("openai", "chat", MODEL_ID));
    assert_eq!((call.region.as_deref(), call.attempts, call.status), (Some(FIRST), 1, 200));
    assert_eq!((call.outcome.as_str(), call.usage_source, call.streamed), ("ok", UsageSource::Final, false));
    assert_eq!((call.end_user.as_deref(), call.request_id.as_str()), (Some("someone"), reply.header("x-request-id")));
    assert_eq!(call.cost.unwrap().to_string(), reply.header("x-gateway-cost-usd"));
    let labels = [("surface", "openai"), ("operation", "chat"), ("team", TEAM), ("model", MODEL_ID), ("status", "200")];
    assert_eq!(t.metrics().count("gateway_requests_total", &labels), 1);
    t.finish().await;
}

#[tokio::test]
async fn limits_and_stop_sequences_reach_the_model() {
    let t = TestGateway::start().await;
    let long = t.openai().send(&with(chat("much [[words:200]]"), json!({"max_tokens": 5}))).await.json();
    assert_eq!(
        (&long["choices"][0]["finish_reason"], &long["usage"]["completion_tokens"]),
        (&json!("length"), &json!(5))
    );
    let stopped = t.openai().send(&with(chat("alpha beta gamma"), json!({"stop": "beta"}))).await.json();
    assert!(!stopped["choices"][0]["message"]["content"].as_str().unwrap().contains("beta"));
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");
    t.finish().await;
}

#[tokio::test]
async fn a_picture_reaches_the_model() {
    let t = TestGateway::tapped(|_| {}).await;
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let content = json!([
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{png}")}},
    ]);
    let reply = t.openai().send(&json!({"model": MODEL, "messages": [{"role": "user", "content": content}]})).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let sent: Value = serde_json::from_slice(&t.tap.only_exchange().request).unwrap();
    assert_eq!(sent["messages"][0]["content"][1], json!({"image": {"format": "png", "source": {"bytes": png}}}));
    t.finish().await;
}

#[tokio::test]
async fn what_the_translation_changes_is_reported_and_refused_in_strict_mode() {
    let t = TestGateway::start().await;
    let body = with(chat("hi"), json!({"temperature": 1.7, "logit_bias": {"50256": -100}}));
    let reply = t.openai().send(&body).await;
    assert_eq!(
        (reply.status(), reply.header("x-gateway-translation")),
        (200, "clamped:temperature,dropped:logit_bias")
    );

    let request = || t.openai().request().json(&body);
    let strict = crate::support::reply::Reply::to(request().header("x-gateway-strict", "1")).await;
    let error = strict.openai_error();
    assert_eq!((strict.status(), &error["code"]), (400, &json!("unsupported_parameter")));
    assert!(error["message"].as_str().unwrap().contains("clamped:temperature"));
    t.finish().await;
}
