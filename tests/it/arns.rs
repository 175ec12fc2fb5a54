//! ARNs of what an account has of its own (provisioned, customised and imported models, routers, application profiles): the
//! way each can be called on every surface, and what is known of its cost.

use bedrock_gateway::config::{Alias, Config};
use bedrock_gateway::simulator::Settings;
use bedrock_gateway::tenancy::{NewKey, Scope};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::calls::{anthropic, turn, with};
use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, MODEL_ID, TEAM, TestGateway};

const NOVA: &str = "amazon.nova-lite-v1:0";
const LLAMA: &str = "meta.llama3-3-70b-instruct-v1:0";
const ID: &str = "abcdefghijkl";

fn arn(kind: &str) -> String {
    format!("arn:aws:bedrock:{FIRST}:000000000000:{kind}/{ID}")
}

/// As a path has it, in one segment.
fn segment(arn: &str) -> String {
    arn.replace(':', "%3A").replace('/', "%2F")
}

fn have(settings: &mut Settings, model: &str) {
    let one = || (ID.to_owned(), model.to_owned());
    settings.provisioned_models.extend([one()]);
    settings.custom_model_deployments.extend([one()]);
    settings.imported_models.extend([(ID.to_owned(), LLAMA.to_owned())]);
    settings.prompt_routers.insert(ID.to_owned(), vec![format!("us.{MODEL_ID}"), NOVA.to_owned()]);
}

fn tell(config: &mut Config, kind: &str, base: &str) {
    config.models.push(Alias { alias: "mine".into(), model: arn(kind), base: Some(base.into()), ..Alias::default() });
}

fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hello there"}]})
}

/// The requests of the surfaces that name the model in the body.
fn translated(t: &TestGateway, model: &str) -> [(RequestBuilder, Value); 3] {
    [
        (t.openai().request(), chat(model)),
        (t.openai().request_to("/v1/responses"), json!({"model": model, "input": "hello there"})),
        (t.anthropic().request(Method::POST, "/v1/messages"), with(chat(model), json!({"max_tokens": 100}))),
    ]
}

async fn good(request: RequestBuilder, body: &Value) -> Reply {
    let reply = Reply::to(request.json(body)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply
}

fn refusal(reply: &Reply) -> (u16, String) {
    (reply.status(), reply.json()["error"]["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn capacity_and_deployments_are_called_where_they_are_at_a_cost_that_is_not_known() {
    let t = TestGateway::simulated(|settings| have(settings, NOVA)).await;
    for kind in ["provisioned-model", "custom-model-deployment"] {
        let arn = arn(kind);
        for (request, body) in translated(&t, &arn).into_iter().take(if kind == "provisioned-model" { 2 } else { 3 }) {
            let reply = good(request, &body).await;
            assert_eq!((reply.region(), reply.attempts()), (FIRST, "1"));
            assert_eq!((reply.header("x-gateway-model"), reply.header("x-gateway-cost-usd")), (kind, "unknown"));
        }
        let bedrock = t.bedrock().model(&segment(&arn));
        for operation in ["converse", "invoke"] {
            good(bedrock.request(operation), &turn("hello")).await;
        }
        assert!(t.sim.calls().iter().any(|call| call.model_id == arn), "called by its ARN");
    }
    assert!(t.ledger().await.iter().all(|call| call.cost.is_none()));
    t.finish().await;
}

#[tokio::test]
async fn what_lives_in_one_region_is_not_looked_for_in_another() {
    let t = TestGateway::with_simulated(|config| config.aws.max_attempts = 2, |settings| have(settings, NOVA)).await;
    t.sim.region(FIRST).quota_exceeded(1);
    let reply = t.openai().send(&chat(&arn("provisioned-model"))).await;
    assert_eq!((reply.status(), t.sim.calls().len()), (429, 1));
    assert!(t.sim.calls().iter().all(|call| call.region == FIRST));
    t.finish().await;
}

#[tokio::test]
async fn an_imported_model_is_called_by_its_own_body_and_else_the_way_is_told() {
    let t = TestGateway::with_simulated(
        |config| tell(config, "imported-model", "llama3-3-70b-instruct"),
        |settings| have(settings, NOVA),
    )
    .await;
    for name in [arn("imported-model"), "mine".to_owned()] {
        for (request, body) in translated(&t, &name) {
            let (status, message) = refusal(&Reply::to(request.json(&body)).await);
            assert_eq!(status, 400);
            assert!(message.contains("POST /model/{arn}/invoke"), "{message}");
        }
    }
    assert!(t.sim.calls().is_empty());
    let bedrock = t.bedrock().model(&segment(&arn("imported-model")));
    good(bedrock.request("invoke"), &json!({"prompt": "hello"})).await;
    // Bedrock's own surface is Bedrock's to refuse.
    let refused = bedrock.send("converse", turn("hello").to_string()).await;
    assert_eq!((refused.status(), refused.exception().0), (400, "ValidationException"));
    t.finish().await;
}

#[tokio::test]
async fn a_model_that_is_loading_is_waited_for_in_its_region() {
    let t = TestGateway::simulated(|settings| have(settings, NOVA)).await;
    t.sim.region(FIRST).on_model("imported-model").model_not_ready(1);
    let bedrock = t.bedrock().model(&segment(&arn("imported-model")));
    let reply = good(bedrock.request("invoke"), &json!({"prompt": "hello"})).await;
    assert_eq!((reply.region(), reply.attempts()), (FIRST, "2"));
    t.finish().await;
}

#[tokio::test]
async fn a_model_that_is_not_ready_is_no_throttle() {
    let t = TestGateway::with_simulated(|config| config.aws.max_attempts = 1, |settings| have(settings, NOVA)).await;
    t.sim.region(FIRST).on_model("imported-model").model_not_ready(1);
    let bedrock = t.bedrock().model(&segment(&arn("imported-model")));
    let refused = bedrock.send("invoke", r#"{"prompt":"hello"}"#).await;
    assert_eq!((refused.status(), refused.exception().0), (429, "ModelNotReadyException"));
    let call = t.only_call().await;
    assert_eq!(call.outcome.as_str(), "upstream_unavailable");
    t.finish().await;
}

#[tokio::test]
async fn what_a_router_chose_is_named_and_priced() {
    let t = TestGateway::simulated(|settings| have(settings, NOVA)).await;
    let router = arn("default-prompt-router");
    let mut calls = 0;
    for (request, body) in translated(&t, &router) {
        let reply = good(request, &body).await;
        assert_eq!(reply.header("x-gateway-model"), MODEL_ID);
        calls += 1;
        let call = t.booked_calls(calls).await.pop().unwrap();
        assert_eq!(call.model, MODEL_ID);
        // By the profile that the router went through: a tenth more than the base price.
        let expected = (call.input_tokens * 1_100_000 + call.output_tokens * 5_500_000).div_ceil(1_000_000);
        assert_eq!(call.cost.map(|cost| cost.0.cast_unsigned()), Some(expected));
    }
    let second =
        json!({"model": router, "stream": true, "messages": [{"role": "user", "content": "hello [[route:1]]"}]});
    let streamed = t.openai().send(&second).await;
    assert_eq!((streamed.status(), streamed.header("x-gateway-model")), (200, "default-prompt-router"));
    let call = t.booked_calls(calls + 1).await.pop().unwrap();
    assert_eq!((call.model.as_str(), call.cost.is_some()), (NOVA, true));
    let bedrock = good(t.bedrock().model(&segment(&router)).request("converse"), &turn("hello")).await;
    assert_eq!(bedrock.header("x-gateway-model"), MODEL_ID);
    t.finish().await;
}

#[tokio::test]
async fn an_alias_that_tells_the_model_gives_the_arn_its_family() {
    let t = TestGateway::with_simulated(
        |config| tell(config, "custom-model-deployment", MODEL),
        |settings| have(settings, MODEL_ID),
    )
    .await;
    for (request, body) in translated(&t, "mine") {
        let reply = good(request, &body).await;
        assert_eq!((reply.header("x-gateway-model"), reply.header("x-gateway-cost-usd")), (MODEL_ID, "unknown"));
    }
    let operations: Vec<_> = t.sim.calls().iter().map(|call| call.operation).collect();
    // Claude's own bytes for who speaks to Claude.
    assert_eq!(operations, ["Converse", "Converse", "InvokeModel"]);
    good(t.bedrock().model("mine").request("invoke"), &anthropic("hello")).await;
    // What only Claude has is translated for Claude.
    let thinking = with(chat("mine"), json!({"reasoning_effort": "low", "max_tokens": 4000}));
    let reply = good(t.openai().request(), &thinking).await;
    assert!(reply.json()["choices"][0]["message"]["reasoning_content"].is_string(), "{reply:?}");
    t.finish().await;
}

#[tokio::test]
async fn tokens_are_counted_by_the_model_that_is_told_and_not_for_a_hidden_one() {
    let t = TestGateway::with_simulated(
        |config| tell(config, "custom-model-deployment", MODEL),
        |settings| have(settings, MODEL_ID),
    )
    .await;
    let body = |model: &str| with(chat(model), json!({"max_tokens": 10}));
    let (status, message) = refusal(&t.anthropic().count(&body(&arn("custom-model-deployment"))).await);
    assert_eq!(status, 400);
    assert!(message.contains("name the model"), "{message}");
    let counted = t.anthropic().count(&body("mine")).await;
    assert_eq!(counted.status(), 200, "{counted:?}");
    assert!(t.sim.calls().iter().all(|call| call.model_id == MODEL_ID));
    t.finish().await;
}

#[tokio::test]
async fn an_application_profile_takes_the_translation_where_responses_refuse_it() {
    let profile = arn("application-inference-profile");
    let t = TestGateway::simulated(|settings| {
        settings.application_profiles.insert(ID.to_owned(), "us.openai.gpt-5.6-sol".to_owned());
    })
    .await;
    let ask = |model: &str| json!({"model": model, "input": "hello there"});
    let operation = |t: &TestGateway| t.sim.calls().last().unwrap().operation;
    good(t.openai().request_to("/v1/responses"), &ask("gpt-5.6-sol")).await;
    assert_eq!(operation(&t), "Responses");
    let reply = good(t.openai().request_to("/v1/responses"), &ask(&profile)).await;
    assert_eq!((operation(&t), reply.header("x-gateway-model")), ("Converse", "openai.gpt-5.6-sol"));
    good(t.openai().request(), &chat(&profile)).await;
    t.finish().await;
}

#[tokio::test]
async fn nothing_is_asked_about_the_arn_of_a_key_that_may_not_infer() {
    let t = TestGateway::start().await;
    let key = t.make_key(NewKey { scopes: vec![Scope::Batch], ..NewKey::new(TEAM, "batch alone") }).await.1;
    let refused = t.openai().with_key(&key).send(&chat(&arn("application-inference-profile"))).await;
    assert_eq!(refused.status(), 403, "{refused:?}");
    assert!(t.sim.calls().is_empty(), "{:?}", t.sim.calls());
    t.finish().await;
}
