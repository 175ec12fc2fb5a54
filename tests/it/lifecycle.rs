//! Models that are on their way out say so, on every surface, whole and streamed.

use bedrock_gateway::config::Alias;
use bedrock_gateway::tenancy::NewKey;
use reqwest::Method;
use serde_json::json;

use crate::support::calls::{message, turn, with};
use crate::support::reply::Reply;
use crate::support::{MODEL_ID, TEAM, TestGateway};

/// Legacy since July 2026, until January 2027.
const OLD: &str = "anthropic.claude-opus-4-1-20250805-v1:0";
const DEPRECATION: &str = "@1783468800";
const SUNSET: &str = "Fri, 08 Jan 2027 00:00:00 GMT";

#[tokio::test]
async fn every_answer_of_a_model_that_ends_tells_since_when_and_when() {
    let t = TestGateway::start().await;
    let ask = json!({"model": OLD, "messages": [{"role": "user", "content": "hello"}]});
    let (streamed, old) = (json!({"stream": true}), json!({"model": OLD}));
    let anthropic = t.anthropic().stream(with(message("hello"), old.clone())).await.rest().await;
    let replies = [
        t.openai().send(&ask).await,
        t.openai().open(&with(ask.clone(), streamed)).await.rest().await,
        t.anthropic().send(&with(message("hello"), old)).await,
        anthropic,
        t.bedrock().model(OLD).converse("hello").await,
        t.bedrock().model(OLD).open("converse-stream", turn("hello").to_string()).await.rest().await,
    ];
    for reply in &replies {
        assert_eq!(reply.status(), 200, "{reply:?}");
        assert_eq!((reply.header("deprecation"), reply.header("sunset")), (DEPRECATION, SUNSET), "{reply:?}");
    }
    assert_eq!(t.metrics().count("gateway_legacy_requests_total", &[("model", OLD)]), replies.len() as u64);
    t.finish().await;
}

#[tokio::test]
async fn a_model_that_stays_and_a_call_that_failed_say_nothing() {
    let t = TestGateway::start().await;
    let stays = t.openai().chat("hello").await;
    assert_eq!((stays.status(), stays.header("x-gateway-model")), (200, MODEL_ID));
    let failed = t.openai().send(&json!({"model": OLD, "messages": []})).await;
    assert_eq!(failed.status(), 400, "{failed:?}");
    for reply in [stays, failed] {
        assert_eq!((reply.header("deprecation"), reply.header("sunset")), ("", ""));
    }
    assert_eq!(t.metrics().count("gateway_legacy_requests_total", &[]), 0);
    t.finish().await;
}

#[tokio::test]
async fn who_asks_for_what_is_not_there_learns_where_to_look() {
    let t = TestGateway::start().await;
    let ask = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    let text = |reply: Reply| {
        assert_eq!(reply.status(), 404, "{reply:?}");
        reply.openai_error()["message"].as_str().unwrap().to_owned()
    };
    let nothing = text(t.openai().send(&ask("gpt-4o")).await);
    assert!(nothing.contains("GET /v1/models") && nothing.contains("GET /catalog/models"), "{nothing}");
    let slip = text(t.openai().send(&ask("claude-haiku-4-6")).await);
    assert!(slip.ends_with("did you mean `claude-haiku-4-5`?"), "{slip}");
    t.finish().await;
}

#[tokio::test]
async fn a_key_is_told_only_of_models_that_it_may_use() {
    let alias = Alias { alias: "secret-plan".into(), model: "nova-lite".into(), ..Alias::default() };
    let t = TestGateway::with(|config| config.models = vec![alias]).await;
    let limited = NewKey { models: Some(vec!["claude-haiku-4-5".into()]), ..NewKey::new(TEAM, "limited") };
    let (_, limited) = t.make_key(limited).await;
    for (wrong, meant, is_told) in [
        ("secret-pla", "`secret-plan`", false),
        ("nova-lit", "`nova-lite`", false),
        ("claude-haiku-4-6", "`claude-haiku-4-5`", true),
    ] {
        for (key, is_told) in [(t.key(), true), (&*limited, is_told)] {
            let body = json!({"model": wrong, "messages": [{"role": "user", "content": "hello"}]});
            let request = t.request(Method::POST, "/v1/chat/completions").bearer_auth(key).json(&body);
            let reply = Reply::to(request).await;
            let message = reply.openai_error()["message"].as_str().unwrap().to_owned();
            assert_eq!((reply.status(), message.contains(meant)), (404, is_told), "{message}");
            let reply = Reply::to(t.request(Method::GET, &format!("/v1/models/{wrong}")).bearer_auth(key)).await;
            assert_eq!((reply.status(), reply.text().contains(meant)), (404, is_told), "{reply:?}");
        }
    }
    t.finish().await;
}
