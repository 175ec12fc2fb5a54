//! `POST /v1/images/generations`.

use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::tenancy::ledger::UsageSource;
use serde_json::{Value, json};

use crate::support::calls::with;
use crate::support::canned::Canned;
use crate::support::reply::Reply;
use crate::support::{MODEL, TestGateway};

const STABLE: &str = "sd3-5-large";

/// As Stability's models answer: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-diffusion-3-5-large.html>.
fn stability(body: &Value) -> Value {
    let prompt = body["prompt"].as_str().unwrap();
    match prompt {
        "unlucky" => json!({"finish_reasons": ["Inference error"]}),
        _ => json!({"seeds": [7], "finish_reasons": [null], "images": ["iVBORw0KGgo="]}),
    }
}

async fn start() -> (TestGateway, Canned) {
    let bedrock = Canned::start(stability).await;
    (TestGateway::with(|config| bedrock.configure(config)).await, bedrock)
}

async fn finish(t: TestGateway, bedrock: Canned) {
    t.expect_lost_attempts(bedrock.stop().await);
    t.finish().await;
}

async fn draw(t: &TestGateway, body: &Value) -> Reply {
    t.openai().post("/v1/images/generations", body).await
}

fn ask(prompt: &str) -> Value {
    json!({"model": STABLE, "prompt": prompt})
}

#[tokio::test]
async fn each_image_is_a_call_and_comes_as_it_was_made() {
    let (t, bedrock) = start().await;
    let body = with(ask("a cat"), json!({"n": 3, "size": "1024x1024", "negative_prompt": "rain", "user": "someone"}));
    let reply = draw(&t, &body).await;
    assert_eq!((reply.status(), reply.attempts()), (200, "3"), "{reply:?}");
    assert_eq!((reply.header("x-gateway-translation"), reply.header("x-gateway-cost-usd")), ("", "0.240000"));
    let told = reply.json();
    assert_eq!(told["data"], json!(vec![json!({"b64_json": "iVBORw0KGgo="}); 3]));
    assert_eq!(told["output_format"], "png");
    assert!(told["created"].as_i64().unwrap() > 0);
    let native = json!({"prompt": "a cat", "aspect_ratio": "1:1", "negative_prompt": "rain"});
    assert_eq!(bedrock.bodies(), vec![native; 3]);

    for call in t.booked_calls(3).await {
        assert_eq!((&*call.surface, &*call.operation, call.end_user.as_deref()), ("openai", "images", Some("someone")));
        // Nothing told tokens, and what a picture costs does not depend on them.
        assert_eq!((call.input_tokens, call.output_tokens, call.usage_source), (0, 0, UsageSource::Estimated));
        assert_eq!(call.cost, Some(MicroUsd(80_000)));
    }
    finish(t, bedrock).await;
}

#[tokio::test]
async fn what_has_no_equivalent_is_reported_and_refused_in_strict_mode() {
    let (t, bedrock) = start().await;
    let body = with(
        ask("a cat"),
        json!({"size": "1792x1024", "quality": "hd", "seed": 7, "output_format": "jpeg", "mode": null}),
    );
    let reply = draw(&t, &body).await;
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, "dropped:quality,clamped:size"));
    assert_eq!(reply.json()["output_format"], "jpeg");
    assert_eq!(
        bedrock.bodies(),
        [json!({"prompt": "a cat", "aspect_ratio": "16:9", "output_format": "jpeg", "seed": 7})]
    );
    let strict = t.openai().request_to("/v1/images/generations").header("x-gateway-strict", "1").json(&body);
    assert_eq!(Reply::to(strict).await.openai_error()["code"], "unsupported_parameter");
    finish(t, bedrock).await;
}

#[tokio::test]
async fn what_a_filter_stopped_is_the_callers_to_change_and_what_failed_is_not() {
    let t = TestGateway::start().await;
    let filtered = draw(&t, &ask("a cat [[blocked]]")).await;
    let error = filtered.openai_error();
    assert_eq!(
        (filtered.status(), &error["code"], &error["param"]),
        (400, &json!("content_policy_violation"), &json!("prompt"))
    );
    assert!(error["message"].as_str().unwrap().contains("Filter reason: prompt"), "{error}");
    t.finish().await;

    let (t, bedrock) = start().await;
    let failed = draw(&t, &ask("unlucky")).await;
    assert_eq!((failed.status(), &failed.openai_error()["code"]), (503, &json!("upstream_unavailable")));
    finish(t, bedrock).await;
}

#[tokio::test]
async fn every_model_draws_in_the_format_that_is_asked_for() {
    let t = TestGateway::start().await;
    for model in [STABLE, "stable-image-ultra-v1:1", "stable-image-core-v1:1"] {
        for (format, start) in [("png", "iVBORw0KGgo"), ("jpeg", "/9j/")] {
            let body =
                with(ask("a cat"), json!({"model": model, "output_format": format, "n": 2, "size": "1536x1536"}));
            let reply = draw(&t, &body).await;
            assert_eq!((reply.status(), reply.attempts()), (200, "2"), "{model}: {reply:?}");
            let exact = model.starts_with("stable-image-core");
            assert_eq!(reply.header("x-gateway-translation"), if exact { "" } else { "clamped:size" }, "{model}");
            assert!(reply.json()["data"][1]["b64_json"].as_str().unwrap().starts_with(start), "{model}");
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn bad_input_names_the_field_and_costs_nothing() {
    let (t, bedrock) = start().await;
    let cases = [
        (json!({"prompt": null}), "prompt"),
        (json!({"n": 11}), "n"),
        (json!({"n": 2, "seed": 3}), "seed"),
        (json!({"size": "huge"}), "size"),
        (json!({"response_format": "url"}), "response_format"),
        (json!({"stream": true}), "stream"),
        (json!({"model": MODEL}), "model"),
        (json!({"model": "titan-embed-text-v2"}), "model"),
        (json!({"model": "us.stability.stable-image-erase-object-v1:0"}), "model"),
    ];
    for (more, param) in cases {
        let reply = draw(&t, &with(ask("a cat"), more.clone())).await;
        let error = reply.openai_error();
        assert_eq!((reply.status(), &error["param"]), (400, &json!(param)), "{more}: {error}");
    }
    assert!(bedrock.bodies().is_empty());
    finish(t, bedrock).await;
}
