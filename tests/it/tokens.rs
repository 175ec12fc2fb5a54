//! Who calls without a key of the store: bearers of an issuer's tokens, and bootstrap administrators.

use std::time::Duration;

use bedrock_gateway::tenancy::NewTeam;
use reqwest::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::issuer::Issuer;
use crate::support::reply::Reply;
use crate::support::{TEAM, TestGateway};

async fn gateway(issuer: &Issuer) -> TestGateway {
    TestGateway::with(|config| issuer.configure(config)).await
}

#[tokio::test]
async fn a_token_calls_for_its_team_on_every_surface_and_is_booked_under_one_id() {
    let issuer = Issuer::start().await;
    let t = gateway(&issuer).await;
    let now = t.clock.now().seconds();
    let token = issuer.token("somebody@example.com", TEAM, "openid inference", now);
    assert_eq!(t.openai().with_key(&token).chat("hello").await.status(), 200);
    assert_eq!(t.bedrock().with_key(&token).converse("hello").await.status(), 200);
    let message = crate::support::calls::message("hello");
    assert_eq!(t.anthropic().with_key(&token).send(&message).await.status(), 200);
    let next = issuer.token("somebody@example.com", TEAM, "inference", now + 1);
    assert_eq!(t.openai().with_key(&next).chat("hello").await.status(), 200);

    let calls = t.booked_calls(4).await;
    assert!(calls.iter().all(|call| call.key == calls[0].key && call.key.as_str().starts_with("jwt")), "{calls:#?}");
    t.openai().chat("hello").await;
    assert_eq!(t.booked_calls(5).await[4].team, calls[0].team, "it is the team of the store");
    crate::support::log::assert_without([token.as_str(), "somebody@example.com"].into_iter());
    t.finish().await;
    issuer.stop().await;
}

#[tokio::test]
async fn a_token_that_does_not_count_is_told_why_in_each_dialect() {
    let issuer = Issuer::start().await;
    let t = gateway(&issuer).await;
    let now = t.clock.now().seconds();
    for (token, why) in [
        (issuer.token("a", "nobody's team", "inference", now), "team that this token names does not exist"),
        (issuer.token("a", TEAM, "inference", now - 661), "expired"),
        (issuer.token("a", TEAM, "inference", now + 61), "does not count yet"),
    ] {
        let reply = t.openai().with_key(&token).chat("hello").await;
        let error = reply.openai_error();
        assert_eq!((reply.status(), &error["code"]), (401, &json!("invalid_api_key")));
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
        let reply = t.bedrock().with_key(&token).converse("hello").await;
        assert_eq!((reply.status(), reply.exception().0), (403, "UnrecognizedClientException"));
        let reply = t.anthropic().with_key(&token).send(&crate::support::calls::message("hello")).await;
        assert_eq!((reply.status(), &reply.anthropic_error()["type"]), (401, &json!("authentication_error")));
    }
    let unscoped = issuer.token("a", TEAM, "openid", now);
    assert_eq!(t.openai().with_key(&unscoped).chat("hello").await.status(), 403);
    t.finish().await;
    issuer.stop().await;
}

#[tokio::test]
async fn a_team_that_is_made_later_and_keys_that_are_rotated_count_without_a_restart() {
    let issuer = Issuer::start().await;
    let t = gateway(&issuer).await;
    let now = t.clock.now().seconds();
    let old = issuer.token("a", TEAM, "inference", now);
    assert_eq!(t.openai().with_key(&old).models().await.status(), 200);
    t.make_team(NewTeam { models: Some(vec!["nova-*".into()]), ..NewTeam::new("later") }).await;
    issuer.rotate();
    let new = issuer.token("b", "later", "inference", now);
    assert_eq!(t.openai().with_key(&new).chat("hello").await.status(), 404, "the team may not use the model");
    assert_eq!(t.bedrock().with_key(&new).model("nova-lite").converse("hello").await.status(), 200);
    let reply = t.openai().with_key(&old).models().await;
    assert_eq!(reply.status(), 401, "its key is published no more");
    t.finish().await;
    issuer.stop().await;
}

#[tokio::test]
async fn an_issuer_that_is_away_is_no_fault_of_the_caller() {
    let issuer = Issuer::start().await;
    issuer.fail();
    let t = gateway(&issuer).await;
    let token = issuer.token("a", TEAM, "inference", t.clock.now().seconds());
    let reply = t.openai().with_key(&token).models().await;
    assert_eq!((reply.status(), reply.header("retry-after")), (503, "5"));
    assert_eq!(t.openai().models().await.status(), 200);
    t.finish().await;
    issuer.stop().await;
}

#[tokio::test]
async fn a_listed_key_administers_and_calls_no_model() {
    let key = "bgw_first_only-for-tests";
    let hash = Sha256::digest(key).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let t = TestGateway::with(|config| config.auth.admin_key_sha256 = vec![hash]).await;
    let ask = |key: &str| Reply::to(t.request(Method::GET, "/admin/v1/upstreams").bearer_auth(key));
    assert_eq!(ask(key).await.status(), 200);
    assert_eq!(ask("bgw_first_only-for-test").await.status(), 401);
    assert_eq!(ask(t.key()).await.status(), 403);
    t.clock.advance(Duration::from_hours(24 * 365));
    assert_eq!(ask(key).await.status(), 200);
    let made = t.request(Method::POST, "/admin/v1/teams").bearer_auth(key).json(&json!({"name": "first team"}));
    assert_eq!(Reply::to(made).await.status(), 201);
    let acts = Reply::to(t.request(Method::GET, "/admin/v1/audit").bearer_auth(key)).await.json();
    let act = acts["data"].as_array().unwrap().iter().find(|act| act["actor"] == "bootstrap:first").unwrap();
    assert_eq!(act["action"], "team.create");
    let reply = t.openai().with_key(key).chat("hello").await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (403, &json!("insufficient_permissions")));
    t.finish().await;
}
