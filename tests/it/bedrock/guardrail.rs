//! ApplyGuardrail: AWS's bytes in both directions, and the search for the Region that has the guardrail.

use std::net::Ipv4Addr;

use axum::Router;
use axum::http::StatusCode;
use bedrock_gateway::config::Endpoints;
use bedrock_gateway::tenancy::{NewKey, Scope};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::support::reply::Reply;
use crate::support::{FIRST, SECOND, TEAM, TestGateway};

const BODY: &str = r#" {"source":"INPUT" , "content":[{"text":{"text":"h\u00e9llo"}}]} "#;

fn arn(region: &str) -> String {
    format!("arn%3Aaws%3Abedrock%3A{region}%3A000000000000%3Aguardrail%2Fgr1")
}

async fn apply(t: &TestGateway, key: &str, guardrail: &str, body: &'static str) -> Reply {
    let path = format!("/guardrail/{guardrail}/version/1/apply");
    let request = t.request(Method::POST, &path).bearer_auth(key).body(body);
    Reply::to(request.header("content-type", "application/json")).await
}

/// A Region that has no guardrail.
async fn empty_region() -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let missing = async || {
        let message =
            r#"{"message":"The guardrail arn:aws:bedrock:us-east-1:000000000000:guardrail/gr1 is not here."}"#;
        (StatusCode::NOT_FOUND, [("x-amzn-errortype", "ResourceNotFoundException")], message)
    };
    let task = TaskTracker::new().spawn(async move {
        axum::serve(listener, Router::new().fallback(missing)).await.unwrap();
    });
    (url, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn a_guardrail_is_applied_byte_for_byte_and_booked_at_an_unknown_cost() {
    let t = TestGateway::tapped(|_| {}).await;
    let reply = apply(&t, t.key(), "gr1", BODY).await;
    let passed = t.tap.only_exchange();
    assert_eq!((reply.status(), reply.region(), passed.request), (200, FIRST, BODY.into()));
    assert_eq!(reply.bytes(), &passed.response);
    assert_eq!((&*passed.path, reply.json()["action"].as_str()), ("/guardrail/gr1/version/1/apply", Some("NONE")));
    assert_eq!((reply.header("x-gateway-model"), reply.header("x-gateway-cost-usd")), ("guardrail", "unknown"));
    let call = t.only_call().await;
    assert_eq!((&*call.operation, &*call.model, call.input_tokens), ("apply_guardrail", "guardrail", 0));
    assert_eq!(call.cost, None, "text units are charged, and not counted here");
    t.finish().await;
}

#[tokio::test]
async fn what_a_guardrail_blocks_is_an_answer() {
    let t = TestGateway::start().await;
    let body = r#"{"source":"INPUT","content":[{"text":{"text":"[[blocked]]"}}]}"#;
    let reply = apply(&t, t.key(), "gr1", body).await;
    assert_eq!((reply.status(), reply.json()["action"].clone()), (200, json!("GUARDRAIL_INTERVENED")));
    t.finish().await;
}

#[tokio::test]
async fn an_arn_names_its_region_and_travels_as_one_segment() {
    let t = TestGateway::tapped(|_| {}).await;
    let reply = apply(&t, t.key(), &arn(SECOND), BODY).await;
    assert_eq!((reply.status(), reply.region()), (200, SECOND));
    assert_eq!(t.tap.only_exchange().path, format!("/guardrail/{}/version/1/apply", arn(SECOND)));
    t.finish().await;
}

#[tokio::test]
async fn an_id_is_looked_for_in_the_next_region() {
    let (url, _server) = empty_region().await;
    let t = TestGateway::with(|config| {
        // Of one attempt alone, no second Region could be asked.
        config.aws.max_attempts = 1;
        config.aws.endpoints.insert(FIRST.into(), Endpoints { runtime: Some(url), ..Endpoints::default() });
    })
    .await;
    t.expect_lost_attempts(2);
    let reply = apply(&t, t.key(), "gr1", BODY).await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, SECOND, "2"));
    let reply = apply(&t, t.key(), "gr1", BODY).await;
    assert_eq!((reply.region(), reply.attempts()), (SECOND, "1"), "it is known now where it is not");

    let reply = apply(&t, t.key(), &arn(FIRST), BODY).await;
    let (name, message) = reply.exception();
    assert_eq!((reply.status(), name), (404, "ResourceNotFoundException"));
    assert!(message.contains("is not here") && !message.contains("000000000000"), "{message}");
    t.finish().await;
}

#[tokio::test]
async fn keys_without_the_scope_or_the_region_and_strange_names_are_refused_here() {
    let t = TestGateway::start().await;
    let mut elsewhere = NewKey::new(TEAM, "elsewhere");
    elsewhere.regions = Some(vec![SECOND.into()]);
    let (_, elsewhere) = t.make_key(elsewhere).await;
    let mut metrics = NewKey::new(TEAM, "metrics");
    metrics.scopes = vec![Scope::Metrics];
    let (_, metrics) = t.make_key(metrics).await;
    let table = [
        (elsewhere.as_str(), arn(FIRST), BODY, 403, "AccessDeniedException"),
        (&metrics, "gr1".to_owned(), BODY, 403, "AccessDeniedException"),
        (t.key(), arn("eu-west-3"), BODY, 404, "ResourceNotFoundException"),
        (t.key(), "UPPER".to_owned(), BODY, 400, "ValidationException"),
        (t.key(), "gr%2F1".to_owned(), BODY, 400, "ValidationException"),
        (t.key(), "gr1".to_owned(), "[]", 400, "ValidationException"),
    ];
    for (key, guardrail, body, status, exception) in table {
        let reply = apply(&t, key, &guardrail, body).await;
        assert_eq!((reply.status(), reply.exception().0), (status, exception), "{guardrail} {reply:?}");
    }
    assert!(t.sim.calls().is_empty());
    let reply = apply(&t, &elsewhere, "gr1", BODY).await;
    assert_eq!((reply.status(), reply.region()), (200, SECOND));
    let reply = apply(&t, t.key(), "gr1", r#"{"source":"INPUT"}"#).await;
    assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"), "AWS judges the body");
    t.finish().await;
}
