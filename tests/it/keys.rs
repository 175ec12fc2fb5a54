//! Who may call, in both dialects.

use std::process::Command;
use std::time::Duration;

use bedrock_gateway::tenancy::admin::{self, Actor};
use bedrock_gateway::tenancy::{NewKey, NewTeam, Scope};
use serde_json::json;

use crate::support::log::access_lines;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
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

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
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

#[tokio::test]
async fn a_key_that_is_bound_to_networks_is_refused_elsewhere_and_told_where_it_came_from() {
    let t = TestGateway::start().await;
    let bound = |networks: &[&str]| NewKey {
        networks: Some(networks.iter().map(ToString::to_string).collect()),
        ..NewKey::new(TEAM, "bound")
    };
    let (_, elsewhere) = t.make_key(bound(&["10.0.0.0/8", "2001:db8::/32"])).await;
    for message in
        expect_refusal(&t, &elsewhere, (403, "insufficient_permissions"), (403, "AccessDeniedException")).await
    {
        assert!(message.contains("127.0.0.1"), "{message}");
    }
    assert_eq!(t.metrics().count("gateway_rejected_total", &[("reason", "key")]), 2);
    let pretending = t.request(reqwest::Method::GET, "/v1/models").header("x-forwarded-for", "10.0.0.1");
    assert_eq!(Reply::to(pretending.bearer_auth(&elsewhere)).await.status(), 403, "no proxy is trusted");
    let (_, here) = t.make_key(bound(&["192.0.2.1", "127.0.0.0/8"])).await;
    assert_eq!(t.openai().with_key(&here).chat("hello").await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_address_that_it_tells_counts_and_is_in_the_log() {
    let t = TestGateway::with(|config| config.server.trusted_proxies = vec!["127.0.0.0/8".into()]).await;
    let networks = Some(vec!["10.0.0.0/8".into()]);
    let (_, key) = t.make_key(NewKey { networks, ..NewKey::new(TEAM, "bound") }).await;
    for (told, status, client) in [
        ("10.1.2.3", 200, "10.1.2.3"),
        ("192.0.2.9, 10.1.2.3", 200, "10.1.2.3"),
        ("10.1.2.3, 192.0.2.9", 403, "192.0.2.9"),
        ("10.1.2.3, what?", 403, "127.0.0.1"),
    ] {
        let request = t.request(reqwest::Method::GET, "/v1/models").header("x-forwarded-for", told);
        let reply = Reply::to(request.bearer_auth(&key)).await;
        assert_eq!(reply.status(), status, "{told}");
        let id = reply.header("x-request-id");
        eventually("the line is written", async || !access_lines(id).is_empty()).await;
        assert_eq!(access_lines(id)[0]["client"], client, "{told}");
        assert!(status == 200 || reply.openai_error()["message"].as_str().unwrap().contains(client), "{reply:?}");
    }
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rotated_key_has_two_secrets_for_a_while() {
    let t = TestGateway::start().await;
    let (key, first) = t.make_key(NewKey::new(TEAM, "rotated")).await;
    let (_, admin) = t.make_key(NewKey { scopes: vec![Scope::Admin], ..NewKey::new(TEAM, "admin") }).await;
    let status = async |text: &str| t.openai().with_key(text).models().await.status();
    assert_eq!(status(&first).await, 200);

    let file = t.folder().join("gateway.toml");
    std::fs::write(&file, format!("[store]\nurl = \"{}\"\n", t.config.store.url)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
    command.args(["keys", "rotate", key.id.as_str(), "--overlap", "30m", "--config"]).arg(&file).env_clear();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let second = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    assert_eq!(second.split('_').nth(1), Some(key.id.as_str()), "the id stays");
    eventually("the new secret counts", async || status(&second).await == 200).await;
    assert_eq!(status(&first).await, 200);
    t.clock.advance(Duration::from_mins(31));
    assert_eq!((status(&first).await, status(&second).await), (401, 200));

    let rotate = async |body: serde_json::Value| {
        let path = format!("/admin/v1/keys/{}/rotate", key.id);
        Reply::to(t.request(reqwest::Method::POST, &path).bearer_auth(&admin).json(&body)).await
    };
    let too_long = rotate(json!({"overlap_seconds": 2_592_001})).await;
    assert_eq!((too_long.status(), &too_long.openai_error()["param"]), (400, &json!("overlap_seconds")));
    let reply = rotate(json!({"overlap_seconds": 0})).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let third = reply.json()["key"].as_str().unwrap().to_owned();
    assert_eq!((status(&second).await, status(&third).await), (401, 200), "at once, on the process that was asked");
    t.finish().await;
}

#[tokio::test]
async fn after_many_wrong_keys_an_address_has_to_wait_but_for_right_ones() {
    let t = TestGateway::start().await;
    for n in 0..20 {
        assert_eq!(t.openai().with_key(&format!("bgw_guess{n}_x")).models().await.status(), 401);
    }
    let wrong = format!("{}0", t.key());
    for key in ["bgw_guess_x", &wrong] {
        expect_refusal(&t, key, (429, "rate_limit_exceeded"), (429, "ThrottlingException")).await;
    }
    let refused = t.openai().with_key(&wrong).models().await;
    assert_eq!(refused.header("retry-after"), "3", "{refused:?}");
    assert_eq!(t.metrics().count("gateway_rejected_total", &[("reason", "key")]), 25);
    assert_eq!(t.openai().with_key("sk-elsewhere").models().await.status(), 401, "no guess at a key of the gateway");
    let (_, new) = t.make_key(NewKey::new(TEAM, "new")).await;
    for key in [t.key(), &new] {
        assert_eq!(t.openai().with_key(key).models().await.status(), 200);
    }
    t.clock.advance(Duration::from_secs(3));
    assert_eq!(t.openai().with_key(&wrong).models().await.status(), 401);
    t.finish().await;
}
