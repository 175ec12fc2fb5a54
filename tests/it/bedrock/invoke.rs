//! InvokeModel and InvokeModelWithResponseStream: the models' own bodies, byte for byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::tenancy::ledger::UsageSource;
use serde_json::{Value, json};

use crate::support::TestGateway;
use crate::support::calls::anthropic;

#[tokio::test]
async fn a_models_own_body_passes_byte_for_byte_and_is_booked() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = format!("  {}\n", anthropic("Say hello"));
    let reply = t.bedrock().send("invoke", body.clone()).await;
    let passed = t.tap.only_exchange();
    assert_eq!((reply.status(), passed.request), (200, body.into()));
    assert_eq!(reply.bytes(), &passed.response);
    let usage = reply.json()["usage"].clone();
    assert_eq!(reply.header("x-amzn-bedrock-output-token-count"), usage["output_tokens"].to_string());
    let call = t.only_call().await;
    assert_eq!((json!(call.output_tokens), &*call.operation), (usage["output_tokens"].clone(), "invoke_model"));
    assert_eq!(reply.header("x-gateway-cost-usd"), call.cost.unwrap().to_string());
    t.finish().await;
}

#[tokio::test]
async fn a_models_own_stream_passes_byte_for_byte_and_is_booked() {
    let t = TestGateway::tapped(|_| {}).await;
    let body = anthropic("Say hello [[words:20]]").to_string();
    let reply = t.bedrock().send("invoke-with-response-stream", body.clone()).await;
    let passed = t.tap.only_exchange();
    assert_eq!((reply.status(), passed.request), (200, body.into()));
    assert_eq!(reply.bytes(), &passed.response);
    let frames = reply.frames();
    assert!(frames.iter().all(|frame| frame.kind() == "chunk"));
    let event = |at: usize| -> Value {
        let bytes = frames[at].json()["bytes"].as_str().unwrap().to_owned();
        serde_json::from_slice(&STANDARD.decode(bytes).unwrap()).unwrap()
    };
    assert_eq!(event(0)["type"], "message_start");
    let told = event(frames.len() - 1)["amazon-bedrock-invocationMetrics"].clone();
    let call = t.only_call().await;
    assert_eq!(
        (json!(call.input_tokens), json!(call.output_tokens)),
        (told["inputTokenCount"].clone(), told["outputTokenCount"].clone())
    );
    assert_eq!((call.usage_source, call.streamed), (UsageSource::Final, true));
    t.finish().await;
}

#[tokio::test]
async fn every_family_of_bodies_is_booked_with_the_models_own_count() {
    let t = TestGateway::start().await;
    let turns = json!([{"role": "user", "content": [{"text": "hello"}]}]);
    let bodies = [
        ("nova-lite", json!({"messages": turns})),
        (
            "openai.gpt-oss-20b-1:0",
            json!({"messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 50}),
        ),
        ("amazon.titan-embed-text-v2:0", json!({"inputText": "hello world"})),
    ];
    for (model, body) in &bodies {
        let reply = t.bedrock().model(model).send("invoke", body.to_string()).await;
        assert_eq!(reply.status(), 200, "{model}: {reply:?}");
    }
    for call in t.booked_calls(bodies.len()).await {
        assert!(call.usage_source == UsageSource::Final && call.input_tokens > 0, "{call:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_body_that_the_model_does_not_know_is_refused_by_the_model_itself() {
    let t = TestGateway::start().await;
    let mut body = anthropic("hi");
    body["surprise"] = json!(true);
    let reply = t.bedrock().send("invoke", body.to_string()).await;
    let (name, message) = reply.exception();
    assert_eq!((reply.status(), name), (400, "ValidationException"));
    assert!(message.contains("surprise"), "{message}");
    t.finish().await;
}
