//! Quotas, service tiers and models behind ARNs, over the router.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::probe::{post, send_with};
use super::{Quota, Settings, Simulator, UnsupportedTier};

const HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";
const GPT: &str = "openai.gpt-oss-120b-1:0";
const FROZEN: &str = "2026-11-22T12:00:00Z";

fn path(id: &str, operation: &str) -> String {
    format!("/model/{}/{operation}", id.replace(':', "%3A").replace('/', "%2F"))
}

async fn converse(simulator: &Simulator, id: &str, fields: &Value) -> (u16, Value) {
    let base = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    post(simulator, &path(id, "converse"), &super::probe::with(base, fields)).await
}

fn arn(resource: &str) -> String {
    format!("arn:aws:bedrock:us-east-1:000000000000:{resource}")
}

#[tokio::test]
async fn a_quota_reserves_max_tokens_settles_at_the_rate_and_refills() {
    let simulator = Simulator::new(Settings::default());
    simulator.set_clock(FROZEN.parse().unwrap());
    simulator.set_quota("us-east-1", HAIKU, Quota { tokens_per_minute: Some(10_000), requests_per_minute: None });
    let ask = |limit: u64| json!({"inferenceConfig": {"maxTokens": limit}});
    let (status, body) = converse(&simulator, HAIKU, &ask(10_000)).await;
    assert_eq!((status, &body["message"]), (429, &json!("Too many tokens, please wait before trying again.")));
    let (_, body) = converse(&simulator, HAIKU, &ask(100)).await;
    let (input, output) =
        (body["usage"]["inputTokens"].as_u64().unwrap(), body["usage"]["outputTokens"].as_u64().unwrap());
    assert_eq!(simulator.quotas()[0].tokens_taken, input + 5 * output, "Claude 4.5 burns five for one");
    assert_eq!(converse(&simulator, HAIKU, &json!({})).await.0, 429, "the model's own limit is reserved without one");
    assert_eq!(converse(&simulator, &format!("global.{}", &HAIKU[3..]), &json!({})).await.0, 200, "a quota of its own");
    simulator.advance_clock(Duration::from_mins(1));
    assert_eq!(simulator.quotas()[0].tokens_taken, 0);
}

#[tokio::test]
async fn a_stream_holds_its_reservation_until_it_ends() {
    let simulator = Simulator::new(Settings::default());
    simulator.set_clock(FROZEN.parse().unwrap());
    simulator.set_quota("us-east-1", NOVA, Quota { tokens_per_minute: Some(1000), requests_per_minute: Some(3) });
    let body =
        json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}], "inferenceConfig": {"maxTokens": 900}});
    let request = axum::http::Request::post(path(NOVA, "converse-stream"))
        .header("authorization", "Bearer sim-bearer-token")
        .body(axum::body::Body::from(body.to_string()))
        .unwrap();
    let response = tower::ServiceExt::oneshot(simulator.router(), request).await.unwrap();
    assert!(simulator.quotas()[0].tokens_taken >= 900);
    drop(http_body_util::BodyExt::collect(response.into_body()).await.unwrap());
    assert!(simulator.quotas()[0].tokens_taken < 50);
    for (status, message) in
        [(200, Value::Null), (200, Value::Null), (429, json!("Too many requests, please wait before trying again."))]
    {
        let (got, body) = converse(&simulator, NOVA, &json!({"inferenceConfig": {"maxTokens": 10}})).await;
        assert_eq!((got, &body["message"]), (status, &message));
    }
}

#[tokio::test]
async fn what_is_throttled_writes_nothing_to_the_prompt_cache() {
    let simulator = Simulator::new(Settings::default());
    let system = json!([{"text": "word ".repeat(5000)}, {"cachePoint": {"type": "default"}}]);
    let fields = json!({"system": system, "inferenceConfig": {"maxTokens": 10}});
    simulator.set_quota("us-east-1", HAIKU, Quota { tokens_per_minute: Some(10), requests_per_minute: None });
    assert_eq!(converse(&simulator, HAIKU, &fields).await.0, 429);
    simulator.clear_quotas();
    assert!(converse(&simulator, HAIKU, &fields).await.1["usage"]["cacheWriteInputTokens"].as_u64().unwrap() > 4000);
}

#[tokio::test]
async fn a_tier_is_served_only_by_models_that_have_it() {
    let simulator =
        Simulator::new(Settings { reserved_capacity: BTreeSet::from([NOVA.to_owned()]), ..Settings::default() });
    let ask = |tier: &str| json!({"serviceTier": {"type": tier}});
    assert_eq!(converse(&simulator, GPT, &ask("flex")).await.1["serviceTier"], json!({"type": "flex"}));
    let (status, body) = converse(&simulator, HAIKU, &ask("flex")).await;
    assert!(
        status == 400 && body["message"].as_str().unwrap().contains("service tier flex is not supported"),
        "{body}"
    );
    assert_eq!(converse(&simulator, GPT, &ask("reserved")).await.1["serviceTier"], json!({"type": "default"}));
    assert_eq!(converse(&simulator, NOVA, &ask("reserved")).await.1["serviceTier"], json!({"type": "reserved"}));
    let lenient = Simulator::new(Settings { unsupported_tier: UnsupportedTier::ServeDefault, ..Settings::default() });
    assert_eq!(converse(&lenient, HAIKU, &ask("flex")).await.1["serviceTier"], json!({"type": "default"}));
    let chat = json!({"model": GPT, "messages": [{"role": "user", "content": "hello"}], "service_tier": "flex"});
    assert_eq!(post(&simulator, "/openai/v1/chat/completions", &chat).await.1["service_tier"], "flex");
    let native = json!({"messages": [{"role": "user", "content": "hello"}]});
    let header = [("x-amzn-bedrock-service-tier", "priority")];
    assert_eq!(send_with(&simulator, "POST", &path(GPT, "invoke"), &native, &header).await.0, 200);
    let claude = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, "messages": [{"role": "user", "content": "hello"}]});
    assert_eq!(send_with(&simulator, "POST", &path(HAIKU, "invoke"), &claude, &header).await.0, 400);
}

#[tokio::test]
async fn models_behind_arns_serve_as_what_they_are() {
    let named = |id: &str, model: &str| BTreeMap::from([(id.to_owned(), model.to_owned())]);
    let simulator = Simulator::new(Settings {
        provisioned_models: named("provisioned1", NOVA),
        custom_model_deployments: named("deployment12", NOVA),
        imported_models: named("importimport", "meta.llama3-3-70b-instruct-v1:0"),
        prompt_routers: BTreeMap::from([("anthropic.claude:1".to_owned(), vec![HAIKU.to_owned(), NOVA.to_owned()])]),
        ..Settings::default()
    });
    for resource in ["provisioned-model/provisioned1", "custom-model-deployment/deployment12"] {
        assert_eq!(converse(&simulator, &arn(resource), &json!({})).await.0, 200, "{resource}");
    }
    let imported = arn("imported-model/importimport");
    assert_eq!(converse(&simulator, &imported, &json!({})).await.0, 400);
    let native = json!({"prompt": "hello"});
    assert_eq!(post(&simulator, &path(&imported, "invoke"), &native).await.0, 200);
    simulator.region("us-east-1").on_model("imported-model").model_not_ready(1);
    assert_eq!(post(&simulator, &path(&imported, "invoke"), &native).await.0, 429);

    let router = arn("default-prompt-router/anthropic.claude:1");
    let (_, body) = converse(&simulator, &router, &json!({})).await;
    let served = body["trace"]["promptRouter"]["invokedModelId"].as_str().unwrap();
    assert_eq!(served, arn(&format!("inference-profile/{HAIKU}")));
    let second = json!({"messages": [{"role": "user", "content": [{"text": "hello [[route:1]]"}]}]});
    let (_, body) = post(&simulator, &path(&router, "converse"), &second).await;
    let served = body["trace"]["promptRouter"]["invokedModelId"].as_str().unwrap();
    assert_eq!(served, format!("arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"));

    simulator.set_quota("us-east-1", NOVA, Quota { tokens_per_minute: Some(0), requests_per_minute: None });
    assert_eq!(converse(&simulator, NOVA, &json!({})).await.0, 429);
    assert_eq!(
        converse(&simulator, &arn("provisioned-model/provisioned1"), &json!({})).await.0,
        200,
        "bought capacity"
    );
    assert_eq!(
        converse(&simulator, &arn("custom-model-deployment/deployment12"), &json!({})).await.0,
        200,
        "its own quota"
    );
}
