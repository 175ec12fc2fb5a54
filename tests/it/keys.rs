//! Who may call, in both dialects.

use std::process::Command;
use std::time::Duration;

use bedrock_gateway::tenancy::admin::{self, Actor};
use bedrock_gateway::tenancy::{NewKey, NewTeam, Scope};
use serde_json::json;

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, SECOND, TEAM, TestGateway, eventually};

/// Expects this key to be refused on both surfaces: status and code for OpenAI, status and exception for Bedrock.
async fn expect_refusal(t: &TestGateway, key: &str, openai: (u16, &str), bedrock: (u16, &str)) -> [String; 2] {
    let reply = t.openai().with_key(key).chat("hello").await;
    let error = reply.openai_error();
    assert_eq!((reply.status(), &error["code"]), (openai.0, &json!(openai.1)), "{key}");
    let native = t.bedrock().with_key(key).converse("hello").await;
    let (name, message) = native.exception();
    assert_eq!((native.status(), name), bedrock, "{key}");
    assert!(t.sim.calls().is_empty(), "nothing may reach Bedrock");
    [error["message"].as_str().unwrap().to_owned(), message]
}

const BAD_KEY: (u16, &str) = (401, "invalid_api_key");
const BAD_CLIENT: (u16, &str) = (403, "UnrecognizedClientException");

#[tokio::test]
async fn a_bad_key_is_refused_and_not_repeated() {
    let t = TestGateway::start().await;
    let wrong_secret = format!("{}0", t.key());
    let long = format!("bgw_{}_x", "a".repeat(5000));
    for key in ["bgw_unknown_secret", "sk-proj-abcdef", "bgw_", "bgw_x", "x", &wrong_secret, &long] {
        for message in expect_refusal(&t, key, BAD_KEY, BAD_CLIENT).await {
            assert!(key.len() < 6 || !message.contains(key), "{message}");
        }
    }
    assert_eq!(t.metrics().count("gateway_rejected_total", &[("reason", "key")]), 14);
    t.finish().await;
}

#[tokio::test]
async fn no_key_is_said_to_be_missing() {
    let t = TestGateway::start().await;
    let reply = Reply::to(t.request(reqwest::Method::POST, "/v1/chat/completions").body("{}")).await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (401, &json!("invalid_api_key")));
    let reply = Reply::to(t.request(reqwest::Method::POST, &format!("/model/{MODEL}/converse")).body("{}")).await;
    assert_eq!((reply.status(), reply.exception().0), (403, "MissingAuthenticationTokenException"));
    t.finish().await;
}

#[tokio::test]
async fn a_signature_of_aws_is_told_what_to_send_instead() {
    let t = TestGateway::start().await;
    let credential = "Credential=x/20260101/us-east-1/bedrock/aws4_request";
    let signature =
        format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature={}", "0".repeat(64));
    let path = format!("/model/{MODEL}/converse");
    let request = t.request(reqwest::Method::POST, &path).header("x-amz-date", "20260101T000000Z");
    let request = request.header("authorization", signature).body("{}");
    let reply = Reply::to(request).await;
    let (name, message) = reply.exception();
    assert_eq!((reply.status(), name), BAD_CLIENT);
    assert!(message.contains("AWS_BEARER_TOKEN_BEDROCK") && message.contains("https"), "{message}");
    t.finish().await;
}

#[tokio::test]
async fn the_key_may_come_in_either_header() {
    let t = TestGateway::start().await;
    let with = |name: &str, value: String| Reply::to(t.request(reqwest::Method::GET, "/v1/models").header(name, value));
    assert_eq!(with("x-api-key", t.key().to_owned()).await.status(), 200);
    assert_eq!(with("authorization", format!("bearer {}", t.key())).await.status(), 200);
    assert_eq!(with("authorization", format!("Basic {}", t.key())).await.status(), 401);
    t.finish().await;
}

#[tokio::test]
async fn a_key_works_at_once_when_the_command_line_has_made_it() {
    let t = TestGateway::start().await;
    let file = t.folder().join("gateway.toml");
    std::fs::write(&file, format!("[store]\nurl = \"{}\"\n", t.config.store.url)).unwrap();
    let arguments = ["keys", "create", "--team", TEAM, "--name", "fresh", "--config"];
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        let output = command.args(arguments).arg(&file).env_clear().output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let key = command(&arguments).lines().last().unwrap().to_owned();
    assert_eq!(t.openai().with_key(&key).chat("hello").await.status(), 200);
    assert_eq!(t.bedrock().with_key(&key).converse("hello").await.status(), 200);

    let id = key.split('_').nth(1).unwrap();
    command(&["keys", "revoke", id, "--config"]);
    eventually("the key is refused", async || t.openai().with_key(&key).models().await.status() == 401).await;
    t.finish().await;
}

#[tokio::test]
async fn the_command_line_looks_up_what_a_key_may_use_and_names_its_team() {
    let t = TestGateway::start().await;
    let file = t.folder().join("gateway.toml");
    std::fs::write(&file, format!("[store]\nurl = \"{}\"\n", t.config.store.url)).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        let output = command.args(arguments).arg("--config").arg(&file).env_clear().output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let create = ["keys", "create", "--team", TEAM, "--name", "fresh"];
    let (made, _, said) = command(&[&create[..], &["--regions", "us-est-1"]].concat());
    assert!(!made && said.contains("\"us-est-1\"") && said.contains("\"us-east-1\""), "{said}");
    let (made, _, said) = command(&[&create[..], &["--models", "nova-lite,nonsense"]].concat());
    assert!(made && said.contains("\"nonsense\"") && !said.contains("nova-lite"), "{said}");

    let (_, list, _) = command(&["keys", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let fresh = list["data"].as_array().unwrap().iter().find(|key| key["name"] == "fresh").unwrap();
    assert_eq!(fresh["team_name"], TEAM);
    assert!(fresh["team"].as_str().unwrap().starts_with("team_"));
    assert!(command(&["keys", "list"]).1.contains(TEAM));
    t.finish().await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_seconds_and_its_open_stream_ends_well() {
    let t = TestGateway::tapped(|_| {}).await;
    let (key, text) = t.make_key(NewKey::new(TEAM, "short-lived")).await;
    let released = t.tap.hold_after(4);
    let body = crate::support::calls::with(crate::support::calls::chat("slowly"), json!({"stream": true}));
    let mut live = t.openai().with_key(&text).open(&body).await;
    live.read_until("You").await;

    admin::revoke_key(&t.store, &t.clock, Actor::CommandLine, &key.id).await.unwrap();
    let refused = eventually("the key is refused", async || t.openai().with_key(&text).models().await.status() == 401);
    tokio::time::timeout(Duration::from_secs(5), refused).await.expect("a revocation counts within five seconds");
    let reply = t.bedrock().with_key(&text).converse("hello").await;
    assert_eq!((reply.status(), reply.exception().0), BAD_CLIENT);
    assert!(reply.exception().1.contains("revoked"));
    assert_eq!(t.openai().models().await.status(), 200, "other keys go on counting");

    released.cancel();
    assert_eq!(live.rest().await.sse().last().unwrap(), "[DONE]");
    assert_eq!(t.only_call().await.key, key.id);
    t.finish().await;
}

#[tokio::test]
async fn a_key_ends_when_it_was_made_to() {
    let t = TestGateway::start().await;
    let end = t.clock.now().plus(Duration::from_hours(1));
    let (_, key) = t.make_key(NewKey { expires_at: Some(end), ..NewKey::new(TEAM, "for an hour") }).await;
    assert_eq!(t.openai().with_key(&key).models().await.status(), 200);
    t.clock.advance(Duration::from_hours(1));
    let [message, _] = expect_refusal(&t, &key, BAD_KEY, BAD_CLIENT).await;
    assert!(message.contains("expired"), "{message}");
    t.finish().await;
}

#[tokio::test]
async fn a_key_without_the_scope_is_forbidden() {
    let t = TestGateway::start().await;
    let (_, key) = t.make_key(NewKey { scopes: vec![Scope::Batch], ..NewKey::new(TEAM, "batch only") }).await;
    let [message, _] =
        expect_refusal(&t, &key, (403, "insufficient_permissions"), (403, "AccessDeniedException")).await;
    assert!(message.contains("inference"), "{message}");
    for path in ["/v1/models", "/v1/models/nova-lite"] {
        let reply = Reply::to(t.request(reqwest::Method::GET, path).bearer_auth(&key)).await;
        assert_eq!(
            (reply.status(), &reply.openai_error()["code"]),
            (403, &json!("insufficient_permissions")),
            "{path}"
        );
    }
    t.finish().await;
}

#[tokio::test]
async fn a_model_that_key_or_team_may_not_use_looks_like_none() {
    let t = TestGateway::start().await;
    t.make_team(NewTeam { models: Some(vec!["nova-*".into()]), ..NewTeam::new("nova only") }).await;
    let (_, by_team) = t.make_key(NewKey::new("nova only", "k")).await;
    let (_, by_key) = t.make_key(NewKey { models: Some(vec!["nova-*".into()]), ..NewKey::new(TEAM, "k") }).await;
    for key in [&by_team, &by_key] {
        expect_refusal(&t, key, (404, "model_not_found"), (404, "ResourceNotFoundException")).await;
    }
    for key in [&by_team, &by_key] {
        assert_eq!(t.bedrock().with_key(key).model("nova-lite").converse("hello").await.status(), 200);
    }
    t.finish().await;
}

#[tokio::test]
async fn calls_stay_in_the_regions_of_team_and_key() {
    let t = TestGateway::start().await;
    t.make_team(NewTeam { regions: Some(vec![SECOND.into()]), ..NewTeam::new("westerners") }).await;
    let (_, western) = t.make_key(NewKey::new("westerners", "k")).await;
    let (_, nowhere) =
        t.make_key(NewKey { regions: Some(vec![FIRST.into()]), ..NewKey::new("westerners", "k2") }).await;
    expect_refusal(&t, &nowhere, (403, "insufficient_permissions"), (403, "AccessDeniedException")).await;
    let rejected = |reason| t.metrics().count("gateway_rejected_total", &[("reason", reason)]);
    assert_eq!((rejected("region"), rejected("scope")), (2, 0));

    // Offered in the Region itself: no profile leads out of it.
    let hello = json!({"model": "nova-lite", "messages": [{"role": "user", "content": "hello"}]});
    assert_eq!(t.openai().with_key(&western).send(&hello).await.region(), SECOND);
    t.sim.region(SECOND).quota_exceeded(1);
    let refused = t.openai().with_key(&western).send(&hello).await;
    assert_eq!(refused.status(), 429, "the first Region is no way out");
    let regions: Vec<String> = t.sim.calls().into_iter().map(|call| call.region).collect();
    assert_eq!(regions, [SECOND, SECOND]);
    t.finish().await;
}

#[tokio::test]
async fn keys_are_booked_apart() {
    let t = TestGateway::start().await;
    let (other, text) = t.make_key(NewKey::new(TEAM, "other")).await;
    t.openai().chat("hello").await;
    t.bedrock().with_key(&text).converse("hello").await;
    let calls = t.booked_calls(2).await;
    assert_eq!((calls[0].team == calls[1].team, &calls[1].key), (true, &other.id));
    assert_ne!(calls[0].key, calls[1].key);
    t.finish().await;
}
