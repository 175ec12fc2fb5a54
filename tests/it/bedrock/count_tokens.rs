//! CountTokens: the model's own count, free of charge.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::tenancy::NewKey;
use serde_json::json;

use crate::support::calls::{anthropic, turn};
use crate::support::{FIRST, MODEL_ID, TEAM, TestGateway};

#[tokio::test]
async fn a_count_passes_byte_for_byte_and_is_booked_as_free() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = format!(" {{ \"input\" : {{\"converse\": {}}} }}", turn("How many tokens is this?"));
    let reply = t.bedrock().send("count-tokens", body.clone()).await;
    let passed = t.tap.only_exchange();
    assert_eq!((reply.status(), reply.region(), passed.request), (200, FIRST, body.into()));
    assert_eq!(reply.bytes(), &passed.response);
    assert!(reply.json()["inputTokens"].as_u64().is_some_and(|tokens| tokens > 0), "{reply:?}");
    assert_eq!(passed.path, format!("/model/{}/count-tokens", MODEL_ID.replace(':', "%3A")), "no profile counts");
    let call = t.only_call().await;
    assert_eq!((&*call.operation, call.input_tokens, call.cost), ("count_tokens", 0, Some(MicroUsd(0))));
    t.finish().await;
}

#[tokio::test]
async fn a_models_own_body_is_counted_as_it_will_be_billed() {
    let t = TestGateway::start().await;
    let body = anthropic("Say hello").to_string();
    let input = json!({"input": {"invokeModel": {"body": STANDARD.encode(&body)}}});
    let counted = t.bedrock().send("count-tokens", input.to_string()).await.json()["inputTokens"].clone();
    let billed = t.bedrock().send("invoke", body).await.json()["usage"]["input_tokens"].clone();
    assert_eq!(counted, billed);
    t.finish().await;
}

#[tokio::test]
async fn a_count_is_refused_as_an_inference_would_be() {
    let t = TestGateway::start().await;
    let mut new = NewKey::new(TEAM, "narrow");
    new.models = Some(vec!["nova-lite".into()]);
    let (_, narrow) = t.make_key(new).await;
    let body = json!({"input": {"converse": turn("hi")}}).to_string();
    let reply = t.bedrock().with_key(&narrow).send("count-tokens", body).await;
    assert_eq!((reply.status(), reply.exception().0), (404, "ResourceNotFoundException"));
    let reply = t.bedrock().send("count-tokens", "[]").await;
    assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"));
    assert!(t.sim.calls().is_empty());
    let reply = t.bedrock().send("count-tokens", r#"{"input": {}}"#).await;
    assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"), "{reply:?}");
    t.finish().await;
}
