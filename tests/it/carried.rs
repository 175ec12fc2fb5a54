//! What a team's calls carry to AWS, whatever their caller wrote: guardrail, request metadata, application inference
//! profiles.

use std::collections::BTreeMap;

use bedrock_gateway::config::Alias;
use bedrock_gateway::tenancy::{Guardrail, NewKey, NewTeam};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::calls::{anthropic, chat, message, turn, with};
use crate::support::reply::{Live, Reply};
use crate::support::tap::Exchange;
use crate::support::{FIRST, MODEL, MODEL_ID, SECOND, TestGateway};

const IDENTIFIER: &str = "x-amzn-bedrock-guardrailidentifier";
const VERSION: &str = "x-amzn-bedrock-guardrailversion";
const METADATA: &str = "x-amzn-bedrock-request-metadata";
/// The simulator's application inference profiles.
const PROFILE: &str = "abcdefghijkl";
const OTHER: &str = "mnopqrstuvwx";

fn guardrail(id: &str) -> Guardrail {
    Guardrail { id: id.to_owned(), version: "3".to_owned() }
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn arn(region: &str, profile: &str) -> String {
    format!("arn:aws:bedrock:{region}:000000000000:application-inference-profile/{profile}")
}

/// A key of a team whose calls carry something.
async fn key_of(t: &TestGateway, team: NewTeam) -> String {
    let name = team.name.clone();
    t.make_team(team).await;
    t.make_key(NewKey::new(name, "k")).await.1
}

async fn guarded_key(t: &TestGateway) -> String {
    let request_metadata = map(&[("team", "blue")]);
    key_of(t, NewTeam { guardrail: Some(guardrail("own1")), request_metadata, ..NewTeam::new("guarded") }).await
}

/// What the gateway sent, as JSON.
fn sent(exchange: &Exchange) -> Value {
    serde_json::from_slice(&exchange.request).unwrap()
}

fn header<'e>(exchange: &'e Exchange, name: &str) -> &'e str {
    exchange.request_headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// Fails unless the call carried the guardrail and the metadata of the team, and nothing else of the kind.
fn assert_carried(exchange: &Exchange) {
    if exchange.path.contains("/converse") {
        let body = sent(exchange);
        let config = &body["guardrailConfig"];
        assert_eq!((&config["guardrailIdentifier"], &config["guardrailVersion"]), (&json!("own1"), &json!("3")));
        assert_eq!(body["requestMetadata"]["team"], "blue");
        assert_eq!(header(exchange, IDENTIFIER), "");
    } else {
        assert_eq!((header(exchange, IDENTIFIER), header(exchange, VERSION)), ("own1", "3"), "{}", exchange.path);
        assert_eq!(serde_json::from_str::<Value>(header(exchange, METADATA)).unwrap()["team"], "blue");
        assert_eq!(exchange.request_headers.get_all(IDENTIFIER).iter().count(), 1);
    }
}

#[tokio::test]
async fn a_teams_guardrail_and_metadata_go_with_its_calls_on_every_surface_and_lane() {
    let t = TestGateway::tapped(|_| {}).await;
    let key = guarded_key(&t).await;
    let blocked = "say [[blocked]]";
    let body = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": blocked}]});
    let openai = || t.openai().with_key(&key);
    let claude = with(message(blocked), json!({}));
    let replies = vec![
        openai().send(&body(MODEL)).await,
        openai().send(&body("gpt-oss-120b")).await,
        openai().open(&with(body("gpt-oss-120b"), json!({"stream": true}))).await.rest().await,
        openai().open(&with(body("nova-lite"), json!({"stream": true}))).await.rest().await,
        openai().post("/v1/responses", &json!({"model": MODEL, "input": blocked})).await,
        t.anthropic().with_key(&key).send(&claude).await,
        t.anthropic().with_key(&key).stream(claude).await.rest().await,
        t.anthropic().with_key(&key).send(&with(body("nova-lite"), json!({"max_tokens": 100}))).await,
        t.bedrock().with_key(&key).converse(blocked).await,
        t.bedrock().with_key(&key).converse_stream(blocked).await.rest().await,
        t.bedrock().with_key(&key).send("invoke", anthropic(blocked).to_string()).await,
        t.bedrock().with_key(&key).send("invoke-with-response-stream", anthropic(blocked).to_string()).await,
    ];
    for reply in &replies {
        assert_eq!(reply.status(), 200, "{reply:?}");
        let changes = reply.header("x-gateway-translation");
        assert!(changes.ends_with("inserted:guardrailConfig,inserted:requestMetadata"), "{changes}");
        let text = String::from_utf8_lossy(reply.bytes());
        assert!(!text.contains("You said"), "the guardrail did not judge it: {text}");
    }
    let exchanges = t.tap.exchanges();
    assert_eq!(exchanges.len(), replies.len());
    exchanges.iter().for_each(assert_carried);
    for lane in ["/converse", "/converse-stream", "/invoke", "/invoke-with-response-stream", "/chat/completions"] {
        assert!(exchanges.iter().any(|exchange| exchange.path.ends_with(lane)), "{lane}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_caller_cannot_choose_another_guardrail_nor_have_its_stream_judged_late() {
    let t = TestGateway::tapped(|_| {}).await;
    let key = guarded_key(&t).await;
    let bedrock = || t.bedrock().with_key(&key);
    let other = json!({"guardrailIdentifier": "other", "guardrailVersion": "1", "trace": "enabled", "streamProcessingMode": "async"});
    let more = json!({"guardrailConfig": other, "requestMetadata": {"team": "red", "call": "7"}});
    let reply = bedrock().send("converse-stream", with(turn("[[blocked]]"), more).to_string()).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(
        reply.header("x-gateway-translation"),
        "dropped:guardrailConfig,inserted:guardrailConfig,filtered:guardrailConfig.streamProcessingMode,\
         merged:requestMetadata,filtered:requestMetadata"
    );
    let body = sent(&t.tap.only_exchange());
    let own = json!({"guardrailIdentifier": "own1", "guardrailVersion": "3", "trace": "enabled"});
    assert_eq!(body["guardrailConfig"], own);
    assert_eq!(body["requestMetadata"], json!({"team": "blue", "call": "7"}));

    let late = json!({"tagSuffix": "x", "streamProcessingMode": "ASYNCHRONOUS"});
    let body =
        json!({"messages": [{"role": "user", "content": "[[blocked]]"}], "amazon-bedrock-guardrailConfig": late});
    let request = bedrock().model("gpt-oss-120b").request("invoke-with-response-stream").json(&body);
    let request = request.header(IDENTIFIER, "other").header(VERSION, "1").header(METADATA, r#"{"team":"red"}"#);
    let reply = Live::to(request).await.rest().await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let last = t.tap.exchanges().pop().unwrap();
    assert_carried(&last);
    assert_eq!(sent(&last)["amazon-bedrock-guardrailConfig"], json!({"tagSuffix": "x"}));
    t.finish().await;
}

#[tokio::test]
async fn strictness_does_not_keep_the_guardrail_away() {
    let t = TestGateway::tapped(|_| {}).await;
    let key = guarded_key(&t).await;
    let strict = t.openai().with_key(&key).request().json(&chat("hello")).header("x-gateway-strict", "true");
    let reply = Reply::to(strict).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(reply.header("x-gateway-translation"), "inserted:guardrailConfig,inserted:requestMetadata");
    assert_carried(&t.tap.only_exchange());
    t.finish().await;
}

#[tokio::test]
async fn what_takes_no_guardrail_is_asked_another_way_or_not_at_all() {
    let t =
        TestGateway::tapped(|config| config.batch.bucket = [(FIRST.to_owned(), "files-east".to_owned())].into()).await;
    let key = guarded_key(&t).await;
    let openai = || t.openai().with_key(&key);
    let respond = async |model: &str| openai().post("/v1/responses", &json!({"model": model, "input": "hi"})).await;
    let ask = async |model: &str| {
        let body = json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
        t.anthropic().with_key(&key).send(&body).await
    };
    // Responses and messages of the runtime are not known to take a guardrail.
    assert_eq!(respond("gpt-5.6-sol").await.status(), 200);
    assert_eq!(ask("claude-opus-5-5").await.status(), 200);
    let paths: Vec<String> = t.tap.exchanges().iter().map(|exchange| exchange.path.clone()).collect();
    assert!(paths[0].ends_with("/converse") && paths[1].ends_with("/invoke"), "{paths:?}");
    t.tap.exchanges().iter().for_each(assert_carried);

    for (refused, text) in [(respond("gpt-5.5").await, "guardrail"), (ask("claude-mythos-5").await, "guardrail")] {
        assert_eq!(refused.status(), 403, "{refused:?}");
        assert!(refused.text().contains(text), "{refused:?}");
    }
    let start = json!({
        "modelId": "twelvelabs.marengo-embed-3-0-v1:0",
        "modelInput": {"inputType": "text", "text": {"inputText": "hi"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bedrock-gateway/out"}},
    });
    let refused = Reply::to(t.request(Method::POST, "/async-invoke").bearer_auth(&key).json(&start)).await;
    assert!(refused.status() == 403 && refused.text().contains("guardrail"), "{refused:?}");
    assert_eq!(t.tap.count(), 2, "none of them was sent");

    // Counting makes no model answer, and a guardrail by itself may be any.
    assert_eq!(t.anthropic().with_key(&key).count(&message("hi")).await.status(), 200);
    let apply = t.request(Method::POST, "/guardrail/other/version/1/apply").bearer_auth(&key);
    let body = json!({"source": "INPUT", "content": [{"text": {"text": "hi"}}]});
    assert_eq!(Reply::to(apply.json(&body)).await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn vectors_are_made_with_the_guardrail_as_well() {
    let t = TestGateway::tapped(|_| {}).await;
    let key = guarded_key(&t).await;
    let body = json!({"model": "titan-embed-text-v2", "input": ["a", "b"]});
    let reply = t.openai().with_key(&key).post("/v1/embeddings", &body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(t.tap.count(), 2);
    t.tap.exchanges().iter().for_each(assert_carried);
    t.finish().await;
}

#[tokio::test]
async fn a_guardrail_that_is_named_by_its_arn_keeps_calls_in_its_region() {
    let t = TestGateway::start().await;
    let team = |region: &str| NewTeam {
        guardrail: Some(guardrail(&format!("arn:aws:bedrock:{region}:000000000000:guardrail/own1"))),
        ..NewTeam::new(region)
    };
    let near = key_of(&t, team(SECOND)).await;
    let reply = t.openai().with_key(&near).chat("hello").await;
    assert_eq!((reply.status(), reply.region()), (200, SECOND), "{reply:?}");
    t.sim.region(SECOND).throttle(10);
    assert_eq!(t.openai().with_key(&near).chat("hello").await.status(), 429);
    assert!(t.sim.calls().iter().all(|call| call.region == SECOND), "another Region does not have it");

    let far = key_of(&t, team("eu-west-1")).await;
    let refused = t.openai().with_key(&far).chat("hello").await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().contains("eu-west-1") && !refused.text().contains("arn:"), "{refused:?}");
    t.finish().await;
}

/// A gateway in front of two application profiles, of [`MODEL`] and of another model, with an alias of the former.
async fn with_profiles() -> TestGateway {
    TestGateway::with_simulated(
        |config| config.models.push(Alias { alias: "ours".into(), model: MODEL.into(), ..Alias::default() }),
        |settings| {
            settings.application_profiles.insert(PROFILE.into(), format!("us.{MODEL_ID}"));
            settings.application_profiles.insert(OTHER.into(), "us.amazon.nova-lite-v1:0".into());
        },
    )
    .await
}

#[tokio::test]
async fn a_model_with_a_profile_is_called_through_it_by_every_name_and_surface() {
    let t = with_profiles().await;
    let own = arn(FIRST, PROFILE);
    let key = key_of(&t, NewTeam { profiles: map(&[(MODEL, &own)]), ..NewTeam::new("charged") }).await;
    let profile = format!("us.{MODEL_ID}");
    let plain = t.openai().chat("hello").await;
    let mut replies = Vec::new();
    for name in [MODEL, MODEL_ID, &profile, "ours"] {
        replies.push(t.openai().with_key(&key).send(&with(chat("hello"), json!({"model": name}))).await);
        replies.push(t.anthropic().with_key(&key).send(&with(message("hello"), json!({"model": name}))).await);
        replies.push(t.bedrock().with_key(&key).model(name).converse("hello").await);
        let body = anthropic("hello").to_string();
        replies
            .push(t.bedrock().with_key(&key).model(name).open("invoke-with-response-stream", body).await.rest().await);
    }
    for reply in &replies {
        assert_eq!((reply.status(), reply.region()), (200, FIRST), "{reply:?}");
        assert_eq!(
            (reply.header("x-gateway-model"), reply.header("x-gateway-translation")),
            (MODEL_ID, "renamed:model")
        );
    }
    assert_eq!(replies[0].header("x-gateway-cost-usd"), plain.header("x-gateway-cost-usd"), "the price of its model");
    // Which model it is AWS was asked once.
    let calls = t.sim.calls();
    let (asked, called): (Vec<_>, Vec<_>) = calls.iter().partition(|call| call.operation == "GetInferenceProfile");
    assert_eq!((asked.len(), called.len()), (1, replies.len() + 1));
    assert_eq!(called.iter().filter(|call| call.model_id == own).count(), replies.len());

    // Tokens are counted by the model itself, and what has no profile is called as ever.
    assert_eq!(t.anthropic().with_key(&key).count(&message("hi")).await.status(), 200);
    let nova = t.openai().with_key(&key).send(&with(chat("hello"), json!({"model": "nova-lite"}))).await;
    assert_eq!((nova.status(), nova.header("x-gateway-translation")), (200, ""), "{nova:?}");
    t.finish().await;
}

#[tokio::test]
async fn another_region_is_a_candidate_only_with_a_profile_there() {
    let t = with_profiles().await;
    let (first, second) = (arn(FIRST, PROFILE), arn(SECOND, PROFILE));
    let one = key_of(&t, NewTeam { profiles: map(&[(MODEL, &first)]), ..NewTeam::new("one") }).await;
    let name = format!("us.{MODEL_ID}");
    let two = NewTeam { profiles: map(&[(MODEL, &first), (&name, &second)]), ..NewTeam::new("two") };
    let two = key_of(&t, two).await;

    t.sim.region(FIRST).on_model("application").quota_exceeded(2);
    assert_eq!(t.openai().with_key(&one).chat("hello").await.status(), 429);
    let reply = t.openai().with_key(&two).chat("hello").await;
    assert_eq!((reply.status(), reply.region()), (200, SECOND), "{reply:?}");
    assert!(
        t.sim.calls().iter().filter(|call| call.operation == "Converse").all(|call| call.model_id.contains(PROFILE))
    );
    t.finish().await;
}

#[tokio::test]
async fn a_profile_does_not_lead_out_of_a_fence_nor_to_another_model() {
    let t = with_profiles().await;
    let team =
        |name: &str, profile: &str| NewTeam { profiles: map(&[(MODEL, &arn(FIRST, profile))]), ..NewTeam::new(name) };
    t.make_team(team("fenced", PROFILE)).await;
    let narrow = NewKey { regions: Some(vec![SECOND.into()]), ..NewKey::new("fenced", "narrow") };
    let narrow = t.make_key(narrow).await.1;
    let wrong = key_of(&t, team("wrong", OTHER)).await;
    for (key, words) in [(narrow, FIRST), (wrong, "not one of that model")] {
        let refused = t.openai().with_key(&key).chat("hello").await;
        assert_eq!(refused.status(), 403, "{refused:?}");
        assert!(refused.text().contains(words) && !refused.text().contains("arn:"), "{refused:?}");
    }
    assert!(t.sim.calls().iter().all(|call| call.operation == "GetInferenceProfile"), "{:?}", t.sim.calls());
    t.finish().await;
}
