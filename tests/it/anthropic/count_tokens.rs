//! `POST /v1/messages/count_tokens`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::TestGateway;
use crate::support::calls::{message, with};

#[tokio::test]
async fn the_count_is_what_the_message_then_uses_and_costs_nothing() {
    let t = TestGateway::tapped(|_| {}).await;
    let mut body = with(message("How long is this?"), json!({"system": "Be brief."}));
    body.as_object_mut().unwrap().remove("max_tokens");
    let reply = t.anthropic().count(&body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let fields: Vec<String> = reply.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["input_tokens"]);
    let passed = t.tap.only_exchange();
    assert!(passed.path.ends_with("/count-tokens"), "{}", passed.path);
    let sent: Value = serde_json::from_slice(&passed.request).unwrap();
    let inner = STANDARD.decode(sent["input"]["invokeModel"]["body"].as_str().unwrap()).unwrap();
    let inner: Value = serde_json::from_slice(&inner).unwrap();
    assert_eq!((&inner["max_tokens"], &inner["model"]), (&json!(1), &Value::Null));

    let answer = t.anthropic().send(&with(body, json!({"max_tokens": 100}))).await.json();
    assert_eq!(answer["usage"]["input_tokens"], reply.json()["input_tokens"]);
    let costs: Vec<i64> = t
        .ledger()
        .await
        .iter()
        .filter(|call| &*call.operation == "count_tokens")
        .map(|call| call.cost.map_or(0, |cost| cost.0))
        .collect();
    assert!(costs.iter().all(|cost| *cost == 0), "{costs:?}");
    t.finish().await;
}

#[tokio::test]
async fn a_model_that_bedrock_does_not_count_for_is_said_to_be_one() {
    let t = TestGateway::start().await;
    for model in ["nova-lite", "claude-opus-5"] {
        let reply = t.anthropic().count(&with(message("hi"), json!({"model": model}))).await;
        let error = reply.anthropic_error();
        assert_eq!((reply.status(), &error["type"]), (400, &json!("invalid_request_error")), "{model}");
        let told = error["message"].as_str().unwrap();
        assert!(told.contains("does not count tokens"), "{model}: {told}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_bad_body_is_refused_as_the_message_would_be() {
    let t = TestGateway::start().await;
    let missing = t.anthropic().count(&json!({"messages": []})).await;
    assert_eq!((missing.status(), &missing.anthropic_error()["type"]), (400, &json!("invalid_request_error")));
    let empty = t.anthropic().count(&with(message("hi"), json!({"messages": []}))).await;
    assert!(empty.anthropic_error()["message"].as_str().unwrap().contains("at least one message"));
    let unknown = t.anthropic().with_key("bgw_nobody_secret").count(&message("hi")).await;
    assert_eq!((unknown.status(), &unknown.anthropic_error()["type"]), (401, &json!("authentication_error")));
    t.finish().await;
}
