//! `POST /v1/embeddings`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::money::MicroUsd;
use serde_json::{Value, json};

use crate::support::calls::with;
use crate::support::canned::Canned;
use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, TEAM, TestGateway, eventually};

const TITAN: &str = "titan-embed-text-v2";
const TITAN_ID: &str = "amazon.titan-embed-text-v2:0";

async fn embed(t: &TestGateway, body: &Value) -> Reply {
    t.openai().post("/v1/embeddings", body).await
}

fn ask(model: &str, input: impl Into<Value>) -> Value {
    json!({"model": model, "input": input.into()})
}

fn vector(reply: &Reply, index: usize) -> Vec<f64> {
    assert_eq!(reply.status(), 200, "{reply:?}");
    let one = reply.json()["data"][index].clone();
    assert_eq!((&one["object"], &one["index"]), (&json!("embedding"), &json!(index)));
    one["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[tokio::test]
async fn a_text_becomes_a_vector_that_says_what_it_cost() {
    let t = TestGateway::start().await;
    let reply = embed(&t, &with(ask(TITAN, "hello there"), json!({"user": "someone"}))).await;
    assert_eq!(vector(&reply, 0).len(), 1024);
    assert_eq!((reply.region(), reply.attempts(), reply.header("x-gateway-model")), (FIRST, "1", TITAN_ID));
    assert_eq!(reply.header("x-gateway-translation"), "");
    let body = reply.json();
    assert_eq!((&body["object"], &body["model"]), (&json!("list"), &json!(TITAN)));
    assert!(body["usage"]["prompt_tokens"].as_u64().unwrap() > 0);

    let call = t.only_call().await;
    assert_eq!((&*call.surface, &*call.operation, &*call.model), ("openai", "embeddings", TITAN_ID));
    assert_eq!(call.end_user.as_deref(), Some("someone"));
    assert_eq!((json!(call.input_tokens), call.output_tokens), (body["usage"]["total_tokens"].clone(), 0));
    assert_eq!(call.cost.unwrap().to_string(), reply.header("x-gateway-cost-usd"));
    let labels = [("surface", "openai"), ("operation", "embeddings"), ("team", TEAM), ("status", "200")];
    assert_eq!(t.metrics().count("gateway_requests_total", &labels), 1);
    t.finish().await;
}

#[tokio::test]
async fn many_texts_keep_their_order_and_their_calls_are_added_up() {
    let t = TestGateway::start().await;
    let texts: Vec<String> = (0..30).map(|n| format!("{} text number {n}", "word ".repeat(n))).collect();
    let reply = embed(&t, &ask(TITAN, texts.clone())).await;
    assert_eq!(reply.json()["data"].as_array().unwrap().len(), 30);
    for index in [0, 7, 8, 29] {
        let alone = embed(&t, &ask(TITAN, texts[index].clone())).await;
        assert_eq!(vector(&reply, index), vector(&alone, 0), "{index}");
    }

    let calls = t.booked_calls(34).await;
    let of_many = || calls.iter().filter(|call| call.request_id.as_str() == reply.header("x-request-id"));
    assert_eq!((of_many().count(), reply.attempts()), (30, "30"));
    let tokens: u64 = of_many().map(|call| call.input_tokens).sum();
    assert_eq!(reply.json()["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
    let cost: MicroUsd = of_many().map(|call| call.cost.unwrap()).sum();
    assert_eq!(reply.header("x-gateway-cost-usd"), cost.to_string());
    t.finish().await;
}

#[tokio::test]
async fn cohere_takes_ninety_six_texts_a_call() {
    let t = TestGateway::start().await;
    for (model, dimensions) in [("embed-english-v3", 1024), ("embed-v4", 1536)] {
        let texts: Vec<String> = (0..200).map(|n| format!("text number {n}")).collect();
        let reply = embed(&t, &ask(model, texts)).await;
        assert_eq!((reply.status(), reply.attempts()), (200, "3"), "{reply:?}");
        assert_eq!((vector(&reply, 199).len(), reply.header("x-gateway-translation")), (dimensions, ""));
        let alone = embed(&t, &ask(model, "text number 150")).await;
        assert_eq!(vector(&reply, 150), vector(&alone, 0));
    }
    t.finish().await;
}

#[tokio::test]
async fn base64_holds_the_same_numbers() {
    let t = TestGateway::start().await;
    let floats = vector(&embed(&t, &with(ask(TITAN, "hello"), json!({"encoding_format": "float"}))).await, 0);
    let reply = embed(&t, &with(ask(TITAN, "hello"), json!({"encoding_format": "base64"}))).await;
    let text = reply.json()["data"][0]["embedding"].as_str().unwrap().to_owned();
    let bytes = STANDARD.decode(text).unwrap();
    let read: Vec<f32> = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(read.len(), floats.len());
    assert!(read.iter().zip(&floats).all(|(one, other)| (f64::from(*one) - other).abs() < 1e-7));
    t.finish().await;
}

#[tokio::test]
async fn the_body_that_reaches_the_model_is_its_own() {
    // Model, the request's further fields, the body.
    let cases = [
        (
            TITAN,
            json!({"dimensions": 256, "normalize": false}),
            json!({"inputText": "hi", "dimensions": 256, "normalize": false}),
        ),
        ("titan-embed-text-v1", json!({}), json!({"inputText": "hi"})),
        (
            "embed-v4",
            json!({"dimensions": 512, "input_type": "search_query", "max_tokens": 9, "unknown": null}),
            json!({"texts": ["hi"], "input_type": "search_query", "output_dimension": 512, "max_tokens": 9}),
        ),
        (
            "nova-2-multimodal-embeddings",
            json!({"dimensions": 256, "input_type": "search_query"}),
            json!({
                "schemaVersion": "nova-multimodal-embed-v1",
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {
                    "embeddingPurpose": "GENERIC_RETRIEVAL",
                    "embeddingDimension": 256,
                    "text": {"truncationMode": "NONE", "value": "hi"},
                },
            }),
        ),
        (
            "titan-embed-image",
            json!({"dimensions": 384}),
            json!({"inputText": "hi", "embeddingConfig": {"outputEmbeddingLength": 384}}),
        ),
    ];
    for (model, more, native) in cases {
        let t = TestGateway::tapped(|_| {}).await;
        let reply = embed(&t, &with(ask(model, "hi"), more)).await;
        assert_eq!(reply.status(), 200, "{model}: {reply:?}");
        assert_eq!(serde_json::from_slice::<Value>(&t.tap.only_exchange().request).unwrap(), native);
        t.finish().await;
    }
}

#[tokio::test]
async fn what_the_model_cannot_do_is_reported_and_refused_in_strict_mode() {
    let t = TestGateway::start().await;
    let body = with(ask(TITAN, "hi"), json!({"input_type": "search_query"}));
    let reply = embed(&t, &body).await;
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, "dropped:input_type"));
    let strict = t.openai().request_to("/v1/embeddings").header("x-gateway-strict", "1").json(&body);
    assert_eq!(Reply::to(strict).await.openai_error()["code"], "unsupported_parameter");
    t.finish().await;
}

#[tokio::test]
async fn bad_input_names_the_field_and_costs_nothing() {
    let t = TestGateway::start().await;
    let cases = [
        (json!({"model": TITAN}), "input", "input"),
        (json!({"input": "hi"}), "model", "model"),
        (ask(TITAN, json!([1, 2])), "input", "not tokens"),
        (ask(TITAN, json!(["a", ""])), "input[1]", "empty"),
        (ask(TITAN, json!([{"image": "data:image/png;base64,AAAA"}])), "input[0]", "text only"),
        (with(ask(TITAN, "hi"), json!({"dimensions": 100})), "dimensions", "256, 512, 1024"),
        (
            with(ask("embed-v4", "hi"), json!({"dimensions": 1024, "output_dimension": 256})),
            "output_dimension",
            "say the same",
        ),
        (with(ask(TITAN, "hi"), json!({"encoding_format": "int8"})), "encoding_format", "base64"),
        (ask(MODEL, "hi"), "model", "/v1/chat/completions"),
        (ask("rerank-v3-5", "hi"), "model", "/v1/rerank"),
        (ask("stable-image-core-v1:1", "hi"), "model", "/v1/images/generations"),
        (
            ask("arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abcdefghijkl", "hi"),
            "model",
            "ARN",
        ),
    ];
    for (body, param, says) in cases {
        let reply = embed(&t, &body).await;
        let error = reply.openai_error();
        assert_eq!(
            (reply.status(), &error["type"], &error["param"]),
            (400, &json!("invalid_request_error"), &json!(param)),
            "{body}: {error}"
        );
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
    let unknown = embed(&t, &ask("no-such-model", "hi")).await;
    assert_eq!((unknown.status(), &unknown.openai_error()["code"]), (404, &json!("model_not_found")));
    // What the ARN hides was asked of the control plane, and nothing else.
    assert!(t.sim.calls().iter().all(|call| call.operation == "GetInferenceProfile") && t.ledger().await.is_empty());
    t.finish().await;
}

#[tokio::test]
async fn one_input_that_bedrock_refuses_ends_all_and_is_named() {
    let t = TestGateway::tapped(|_| {}).await;
    // As many as are sent at a time; none is answered before all have arrived.
    let released = t.tap.hold_after(0);
    let mut texts = vec!["short".to_owned(); 8];
    texts[5] = "far too long ".repeat(5_000);
    let (reply, ()) = tokio::join!(async { embed(&t, &ask(TITAN, texts)).await }, async {
        eventually("all calls are under way", async || t.tap.count() == 8).await;
        released.cancel();
    });
    let error = reply.openai_error();
    assert_eq!(
        (reply.status(), &error["param"], &error["code"]),
        (400, &json!("input[5]"), &json!("upstream_rejected"))
    );
    let calls = t.booked_calls(8).await;
    let count = |outcome: &str| calls.iter().filter(|call| call.outcome.as_str() == outcome).count();
    assert_eq!((count("upstream_rejected"), count("ok") + count("cancelled")), (1, 7), "{calls:#?}");
    t.finish().await;
}

#[tokio::test]
async fn a_field_of_its_own_that_the_model_refuses_is_named_itself() {
    let t = TestGateway::start().await;
    for (model, inputs) in [(TITAN, json!("hi")), (TITAN, json!(["hi", "ho"])), ("embed-v4", json!(["hi"]))] {
        let reply = embed(&t, &with(ask(model, inputs), json!({"normalize": true, "colour": "red"}))).await;
        let error = reply.openai_error();
        let named = if model == TITAN { "colour" } else { "normalize" };
        assert_eq!((reply.status(), &error["code"]), (400, &json!("upstream_rejected")), "{reply:?}");
        assert!([named, "colour"].contains(&error["param"].as_str().unwrap()), "{reply:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_throttled_call_among_many_is_answered_by_the_other_region() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).throttle(1);
    let reply = embed(&t, &ask(TITAN, vec!["a"; 4])).await;
    assert_eq!((reply.status(), reply.attempts()), (200, "5"), "{reply:?}");
    let mut regions: Vec<&str> = reply.region().split(',').collect();
    regions.sort_unstable();
    assert!(regions == ["us-east-1", "us-west-2"] || regions == ["us-west-2"], "{regions:?}");
    t.finish().await;
}

#[tokio::test]
async fn every_family_makes_a_vector_of_each_text_in_order() {
    let t = TestGateway::start().await;
    let models = [
        ("titan-embed-text-v1", 1536),
        ("titan-embed-image", 1024),
        ("nova-2-multimodal-embeddings", 3072),
        ("embed-multilingual-v3", 1024),
        ("marengo-embed-2-7", 1024),
        ("marengo-embed-3-0", 512),
    ];
    for (model, dimensions) in models {
        let reply = embed(&t, &ask(model, vec!["one", "two", "three"])).await;
        assert_eq!(vector(&reply, 2).len(), dimensions, "{model}");
        assert_eq!(vector(&reply, 2), vector(&embed(&t, &ask(model, "three")).await, 0), "{model}");
        assert_ne!(reply.header("x-gateway-cost-usd"), "unknown", "{model}");
        if model.starts_with("marengo") {
            assert_eq!(reply.header("x-gateway-cost-usd"), "0.000210", "a price for each text, not for its tokens");
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn a_picture_becomes_a_vector_where_the_model_takes_pictures() {
    let t = TestGateway::start().await;
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let url = format!("data:image/jpeg;base64,{png}");
    for model in
        ["titan-embed-image", "embed-english-v3", "embed-v4", "nova-2-multimodal-embeddings", "marengo-embed-3-0"]
    {
        let reply = embed(&t, &ask(model, json!(["a text", {"image": url}]))).await;
        assert_ne!(vector(&reply, 0), vector(&reply, 1), "{model}");
    }
    for model in ["titan-embed-image", "embed-v4", "marengo-embed-3-0"] {
        let reply = embed(&t, &ask(model, json!([{"text": "a pixel", "image": url}]))).await;
        assert!(!vector(&reply, 0).is_empty(), "{model}");
    }
    t.finish().await;
}

#[tokio::test]
async fn an_answer_that_does_not_hold_the_vectors_is_no_answer() {
    let bedrock = Canned::start(|_| json!({"embeddings": [[1, 2]]})).await;
    let t = TestGateway::with(|config| bedrock.configure(config)).await;
    for (model, input) in [("embed-v4", json!(["a", "b"])), (TITAN, json!("a"))] {
        let reply = embed(&t, &ask(model, input)).await;
        assert_eq!((reply.status(), &reply.openai_error()["code"]), (503, &json!("upstream_unavailable")), "{model}");
    }
    t.expect_lost_attempts(bedrock.stop().await);
    t.finish().await;
}
