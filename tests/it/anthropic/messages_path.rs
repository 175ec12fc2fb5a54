//! `POST /v1/messages` to the Claude models that only the runtime's own messages path serves.

use bedrock_gateway::tenancy::ledger::UsageSource;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::TestGateway;
use crate::support::calls::{message, with};
use crate::support::reply::Reply;

/// What is called here.
const OPUS: &str = "claude-opus-5-5";

fn to_opus(text: &str) -> Value {
    with(message(text), json!({"model": OPUS}))
}

#[tokio::test]
async fn the_body_passes_with_the_place_named_as_its_model() {
    let t = TestGateway::tapped(|_| {}).await;
    let request = t
        .anthropic()
        .request(Method::POST, "/v1/messages")
        .header("anthropic-beta", "effort-2025-11-24,unknown-2030-01-01");
    let reply = Reply::to(request.json(&to_opus("Say hello"))).await;
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, "filtered:anthropic-beta"), "{reply:?}");
    let passed = t.tap.only_exchange();
    assert_eq!(passed.path, "/anthropic/v1/messages");
    assert_eq!(passed.request_headers["anthropic-version"], "2023-06-01");
    assert_eq!(passed.request_headers["anthropic-beta"], "effort-2025-11-24");
    let sent: Value = serde_json::from_slice(&passed.request).unwrap();
    assert!(sent["model"].as_str().unwrap().ends_with("anthropic.claude-opus-5-5"), "{sent}");
    assert!(sent.get("anthropic_version").is_none());
    assert_eq!(reply.bytes(), &passed.response);
    let call = t.only_call().await;
    assert_eq!(reply.json()["usage"]["output_tokens"], json!(call.output_tokens));
    t.finish().await;
}

#[tokio::test]
async fn a_client_of_any_version_is_served() {
    let t = TestGateway::tapped(|_| {}).await;
    for version in ["2026-10-21", "2023-01-01"] {
        let path = format!("http://{}/v1/messages", t.address());
        let request =
            reqwest::Client::new().post(path).header("x-api-key", t.key()).header("anthropic-version", version);
        let reply = Reply::to(request.json(&to_opus("Say hello"))).await;
        assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, ""), "{reply:?}");
    }
    for passed in t.tap.exchanges() {
        assert_eq!(passed.request_headers["anthropic-version"], "2023-06-01");
    }
    t.finish().await;
}

#[tokio::test]
async fn its_stream_passes_as_it_is() {
    let t = TestGateway::tapped(|_| {}).await;
    let reply = t.anthropic().stream(to_opus("a story [[words:20]]")).await.rest().await;
    let passed = t.tap.only_exchange();
    assert_eq!(reply.text().as_bytes(), passed.response);
    let events = reply.events();
    assert_eq!(
        (&events[0]["type"], &events.last().unwrap()["type"]),
        (&json!("message_start"), &json!("message_stop"))
    );
    let sent: Value = serde_json::from_slice(&passed.request).unwrap();
    assert_eq!(sent["stream"], true);
    let call = t.only_call().await;
    assert_eq!((call.usage_source, call.streamed), (UsageSource::Final, true));
    t.finish().await;
}

#[tokio::test]
async fn its_stream_that_breaks_ends_with_an_error_event() {
    let t = TestGateway::start().await;
    t.sim.region("*").cut_stream_after(4);
    let events = t.anthropic().stream(to_opus("cut me short [[words:30]]")).await.rest().await.events();
    assert_eq!(events.last().unwrap()["error"]["type"], "overloaded_error");
    assert!(!events.iter().any(|event| event["type"] == "message_stop"));
    assert_eq!(t.only_call().await.usage_source, UsageSource::Partial);
    t.finish().await;
}

#[tokio::test]
async fn an_exception_within_its_stream_keeps_its_kind() {
    let t = TestGateway::start().await;
    t.sim.region("*").stream_exception("throttlingException", 3);
    let events = t.anthropic().stream(to_opus("too fast [[words:30]]")).await.rest().await.events();
    assert_eq!(events.last().unwrap()["error"]["type"], "rate_limit_error");
    assert_eq!(events.iter().filter(|event| event["type"] == "error").count(), 1);
    t.finish().await;
}
