//! Service tiers and latency: what is asked for on each surface, what Bedrock says it served, and what that costs.

use bedrock_gateway::simulator::UnsupportedTier;
use bedrock_gateway::tenancy::ledger::{Entry, UsageSource};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::calls::{turn, with};
use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, TestGateway};

/// Has flex and priority, and can hurry.
const NOVA: &str = "nova-pro";
/// Speaks OpenAI's chat on Bedrock.
const GPT: &str = "gpt-oss-120b";
/// Speaks OpenAI's responses on Bedrock.
const GROK: &str = "grok-4.6";
const TIER: &str = "x-amzn-bedrock-service-tier";
const LATENCY: &str = "x-amzn-bedrock-performanceconfig-latency";

/// A way to ask for an answer: the request but for its tier, and what the tier is called in its body.
struct Way {
    name: &'static str,
    request: fn(&TestGateway) -> RequestBuilder,
    body: fn() -> Value,
    member: Option<fn(&str) -> Value>,
    /// Micro-dollars per million tokens, read and written: as usual, flex, priority.
    prices: [[u64; 2]; 3],
}

const NOVA_PRICES: [[u64; 2]; 3] = [[800_000, 3_200_000], [400_000, 1_600_000], [1_400_000, 5_600_000]];

fn named(tier: &str) -> Value {
    json!({ "service_tier": tier })
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello there"}]})
}

fn ways() -> Vec<Way> {
    vec![
        Way {
            name: "chat",
            request: |t| t.openai().request(),
            body: || chat(NOVA),
            member: Some(named),
            prices: NOVA_PRICES,
        },
        Way {
            name: "native chat",
            request: |t| t.openai().request(),
            body: || chat(GPT),
            member: Some(named),
            prices: [[150_000, 600_000], [75_000, 300_000], [262_500, 1_050_000]],
        },
        Way {
            name: "responses",
            request: |t| t.openai().request_to("/v1/responses"),
            body: || json!({"model": NOVA, "input": "hello there"}),
            member: Some(named),
            prices: NOVA_PRICES,
        },
        Way {
            name: "native responses",
            request: |t| t.openai().request_to("/v1/responses"),
            body: || json!({"model": GROK, "input": "hello there"}),
            member: Some(named),
            prices: [[2_200_000, 6_600_000], [1_100_000, 3_300_000], [3_850_000, 11_550_000]],
        },
        Way {
            name: "messages",
            request: |t| t.anthropic().request(Method::POST, "/v1/messages"),
            body: || with(chat(NOVA), json!({"max_tokens": 100})),
            member: Some(named),
            prices: NOVA_PRICES,
        },
        Way {
            name: "converse",
            request: |t| t.bedrock().model(NOVA).request("converse"),
            body: || turn("hello there"),
            member: Some(|tier| json!({"serviceTier": {"type": tier}})),
            prices: NOVA_PRICES,
        },
        Way {
            name: "converse stream",
            request: |t| t.bedrock().model(NOVA).request("converse-stream"),
            body: || turn("hello there"),
            member: Some(|tier| json!({"serviceTier": {"type": tier}})),
            prices: NOVA_PRICES,
        },
        Way {
            name: "invoke",
            request: |t| t.bedrock().model(NOVA).request("invoke"),
            body: || turn("hello there"),
            member: None,
            prices: NOVA_PRICES,
        },
        Way {
            name: "invoke stream",
            request: |t| t.bedrock().model(NOVA).request("invoke-with-response-stream"),
            body: || turn("hello there"),
            member: None,
            prices: NOVA_PRICES,
        },
    ]
}

/// What the tokens of a call cost at these prices, rounded up.
fn cost(call: &Entry, [input, output]: [u64; 2]) -> u64 {
    (call.input_tokens * input + call.output_tokens * output).div_ceil(1_000_000)
}

async fn good(request: RequestBuilder, body: &Value) -> Reply {
    let reply = Reply::to(request.json(body)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply
}

async fn newest(t: &TestGateway, calls: &mut usize) -> Entry {
    *calls += 1;
    t.booked_calls(*calls).await.pop().unwrap()
}

#[tokio::test]
async fn a_tier_is_priced_as_bedrock_says_it_served_on_every_way() {
    let t = TestGateway::start().await;
    let mut calls = 0;
    for Way { name, request, body, member, prices } in ways() {
        for (tier, price) in ["default", "flex", "priority"].into_iter().zip(prices) {
            // By a member of the body where there is one, and by header.
            let by_member = member.map(|member| (request(&t), with(body(), member(tier))));
            let by_header = Some((request(&t).header(TIER, tier), body())).filter(|_| !name.starts_with("converse"));
            for (request, body) in by_member.into_iter().chain(by_header) {
                good(request, &body).await;
                let call = newest(&t, &mut calls).await;
                assert_eq!(&*call.tier, tier, "{name}");
                assert_eq!(call.cost.map(|cost| cost.0.cast_unsigned()), Some(cost(&call, price)), "{name} {tier}");
            }
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn a_stream_is_priced_by_the_tier_that_it_tells() {
    let t = TestGateway::start().await;
    let mut calls = 0;
    for Way { name, request, body, prices, .. } in ways().into_iter().take(5) {
        for (tier, price) in ["flex", "priority"].into_iter().zip(&prices[1..]) {
            good(request(&t), &with(body(), json!({"stream": true, "service_tier": tier}))).await;
            let call = newest(&t, &mut calls).await;
            assert_eq!((&*call.tier, call.streamed), (tier, true), "{name}");
            assert_eq!(call.cost.map(|cost| cost.0.cast_unsigned()), Some(cost(&call, *price)), "{name} {tier}");
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn each_dialect_tells_the_tier_in_its_own_place_and_all_by_bedrock_s_header() {
    let t = TestGateway::start().await;
    for Way { name, request, body, .. } in ways() {
        if name.contains("converse") {
            continue;
        }
        let reply = good(request(&t).header(TIER, "flex"), &body()).await;
        assert_eq!(reply.header(TIER), "flex", "{name}");
        match name {
            "messages" => assert_eq!(reply.json()["usage"]["service_tier"], "flex"),
            "invoke" | "invoke stream" => {}
            _ => assert_eq!(reply.json()["service_tier"], "flex", "{name}"),
        }
    }
    let streamed =
        with(chat(NOVA), json!({"stream": true, "service_tier": "flex", "stream_options": {"include_usage": true}}));
    let chunks = t.openai().send(&streamed).await.sse();
    assert!(chunks.iter().any(|chunk| chunk["service_tier"] == "flex"), "{chunks:?}");
    let scale = good(t.openai().request(), &with(chat(NOVA), json!({"service_tier": "scale"}))).await;
    // Nothing is reserved, so that the call overflowed to the usual tier.
    assert_eq!(scale.json()["service_tier"], "default");
    t.finish().await;
}

#[tokio::test]
async fn header_and_body_that_do_not_agree_are_refused_by_the_header_s_name() {
    let t = TestGateway::start().await;
    for Way { name, request, body, member, .. } in ways().into_iter().take(5) {
        let body = with(body(), member.unwrap()("flex"));
        let refused = Reply::to(request(&t).header(TIER, "priority").json(&body)).await;
        assert_eq!(refused.status(), 400, "{name}");
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains(TIER), "{name}: {refused:?}");
        assert!(t.sim.calls().is_empty(), "{name}");
    }
    let bad = Reply::to(t.openai().request().header(TIER, "fastest").json(&chat(NOVA))).await;
    assert_eq!((bad.status(), &bad.openai_error()["param"]), (400, &json!(TIER)));
    // `auto` leaves it open, and the header says it.
    for model in [NOVA, GPT] {
        let open = with(chat(model), json!({"service_tier": "auto"}));
        assert_eq!(good(t.openai().request().header(TIER, "flex"), &open).await.json()["service_tier"], "flex");
        assert_eq!(good(t.openai().request(), &open).await.status(), 200);
    }
    t.finish().await;
}

#[tokio::test]
async fn what_was_served_otherwise_than_asked_is_priced_as_it_was_served() {
    let t = TestGateway::simulated(|settings| settings.unsupported_tier = UnsupportedTier::ServeDefault).await;
    let flex = with(chat(MODEL), json!({"service_tier": "flex"}));
    let reply = good(t.openai().request(), &flex).await;
    assert_eq!((&reply.json()["service_tier"], reply.header(TIER)), (&json!("default"), "default"));
    let call = t.only_call().await;
    assert_eq!(&*call.tier, "default");
    let usual = good(t.openai().request(), &chat(MODEL)).await;
    assert_eq!(usual.header("x-gateway-cost-usd"), reply.header("x-gateway-cost-usd"));
    t.finish().await;
}

#[tokio::test]
async fn a_tier_that_the_model_lacks_is_refused_in_bedrock_s_words() {
    let t = TestGateway::start().await;
    let refused = t.openai().send(&with(chat(MODEL), json!({"service_tier": "flex"}))).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.openai_error()["message"].as_str().unwrap().contains("service tier flex is not supported"));
    assert_eq!(t.only_call().await.attempts, 1);
    t.finish().await;
}

#[tokio::test]
async fn reserved_capacity_has_no_price_by_the_token() {
    let t = TestGateway::simulated(|settings| {
        settings.reserved_capacity.insert("amazon.nova-pro-v1:0".to_owned());
    })
    .await;
    let reply = good(t.openai().request(), &with(chat(NOVA), json!({"service_tier": "scale"}))).await;
    assert_eq!((&reply.json()["service_tier"], reply.header("x-gateway-cost-usd")), (&json!("scale"), "unknown"));
    let call = t.only_call().await;
    assert_eq!((&*call.tier, call.cost), ("reserved", None));
    t.finish().await;
}

#[tokio::test]
async fn what_hurries_is_told_and_its_price_is_not_known() {
    let t = TestGateway::start().await;
    let mut calls = 0;
    for Way { name, request, body, .. } in ways() {
        if name.contains("native") || name.starts_with("converse") {
            continue;
        }
        let reply = good(request(&t).header(LATENCY, "optimized"), &body()).await;
        let call = newest(&t, &mut calls).await;
        assert_eq!((reply.header(LATENCY), call.cost), ("optimized", None), "{name}");
        good(request(&t).header(LATENCY, "standard"), &body()).await;
        assert!(newest(&t, &mut calls).await.cost.is_some(), "{name}");
    }
    let hurried = json!({"performanceConfig": {"latency": "optimized"}});
    for (request, body) in [
        (t.openai().request(), chat(NOVA)),
        (t.bedrock().model(NOVA).request("converse"), turn("hello")),
        (t.bedrock().model(NOVA).request("converse-stream"), turn("hello")),
    ] {
        good(request, &with(body, hurried.clone())).await;
        assert_eq!(newest(&t, &mut calls).await.cost, None);
    }
    let both = t.openai().request().header(LATENCY, "standard").json(&with(chat(NOVA), hurried));
    assert_eq!(Reply::to(both).await.openai_error()["param"], LATENCY);
    t.finish().await;
}

#[tokio::test]
async fn metadata_and_guardrail_of_headers_count_on_translated_lanes() {
    let t = TestGateway::tapped(|_| {}).await;
    for Way { request, body, .. } in
        ways().into_iter().filter(|way| ["chat", "responses", "messages"].contains(&way.name))
    {
        let request = request(&t)
            .header("x-amzn-bedrock-request-metadata", r#"{"project":"x"}"#)
            .header("x-amzn-bedrock-guardrailidentifier", "grtest")
            .header("x-amzn-bedrock-guardrailversion", "1")
            .header("x-amzn-bedrock-trace", "ENABLED");
        good(request, &body()).await;
        let sent: Value = serde_json::from_slice(&t.tap.exchanges().last().unwrap().request).unwrap();
        assert_eq!(sent["requestMetadata"], json!({"project": "x"}));
        let guardrail = json!({"guardrailIdentifier": "grtest", "guardrailVersion": "1", "trace": "enabled"});
        assert_eq!(sent["guardrailConfig"], guardrail);
    }
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_broke_is_priced_by_the_tier_that_was_asked_for() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).cut_stream_after(4);
    let broken = with(chat(NOVA), json!({"stream": true, "service_tier": "flex"}));
    t.openai().send(&broken).await;
    let call = t.only_call().await;
    assert_eq!((&*call.tier, call.usage_source), ("flex", UsageSource::Partial));
    assert_eq!(call.cost.map(|cost| cost.0.cast_unsigned()), Some(cost(&call, NOVA_PRICES[1])));
    t.finish().await;
}
