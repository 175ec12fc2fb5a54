//! What operators see: metrics, health, documents, request ids, the access log; and browsers' CORS.

use bedrock_gateway::config::Config;
use reqwest::Method;
use serde_json::json;

use crate::support::reply::Reply;
use crate::support::scrape::Scrape;
use crate::support::{MODEL_ID, TEAM, TestGateway, eventually, log};

#[tokio::test]
async fn families_are_announced_before_anything_happened() {
    let t = TestGateway::start().await;
    let reply = t.ops("/metrics").await;
    assert_eq!((reply.status(), reply.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let scrape = Scrape::parse(reply.text());
    for family in [
        "gateway_requests_total",
        "gateway_request_duration_seconds",
        "gateway_overhead_seconds",
        "gateway_requests_in_flight",
        "gateway_streams_open",
        "gateway_tokens_total",
        "gateway_cost_usd_total",
        "gateway_unpriced_requests_total",
        "gateway_rejected_total",
        "gateway_upstream_attempts_total",
        "gateway_upstream_cooling",
        "gateway_budget_remaining_usd",
        "gateway_batch_jobs",
        "gateway_batch_records_total",
        "gateway_ledger_lag_seconds",
        "gateway_config_reloads_total",
        "gateway_panics_total",
        "gen_ai_client_operation_duration_seconds",
        "gen_ai_client_token_usage",
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_time_per_output_token_seconds",
        "process_resident_memory_bytes",
    ] {
        assert!(scrape.has_family(family), "{family}");
    }
    t.finish().await;
}

#[tokio::test]
async fn calls_show_in_the_metrics_with_bounded_labels() {
    let t = TestGateway::start().await;
    t.openai().stream("hello").await.rest().await;
    t.bedrock().model("made-up-model").converse("hello").await;
    t.get("/made/up/path").await;
    let scrape = Scrape::parse(t.ops("/metrics").await.text());
    let labels = [("surface", "openai"), ("operation", "chat"), ("team", TEAM), ("model", MODEL_ID), ("status", "200")];
    assert_eq!(scrape.count("gateway_requests_total", &labels), 1);
    assert_eq!(
        scrape.count("gen_ai_server_time_to_first_token_seconds_count", &[("gen_ai_request_model", MODEL_ID)]),
        1
    );
    assert_eq!(
        scrape.count("gateway_request_duration_seconds_count", &[("surface", "openai"), ("operation", "chat")]),
        1
    );
    assert_eq!(scrape.count("gateway_rejected_total", &[("reason", "model")]), 1);
    assert_eq!(scrape.count("gateway_requests_total", &[("surface", "none"), ("status", "404")]), 1);
    assert!(!t.ops("/metrics").await.text().contains("made"), "callers make up no labels");
    t.finish().await;
}

#[tokio::test]
async fn health_is_told_without_a_key_and_only_on_the_ops_port() {
    let t = TestGateway::start().await;
    assert_eq!((t.ops("/livez").await.status(), t.ops("/readyz").await.status()), (200, 200));
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(t.get(path).await.status(), 404, "{path} is not public");
    }
    assert_eq!(t.ops("/v1/models").await.status(), 404);
    t.finish().await;
}

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let t = TestGateway::start().await;
    let with =
        |id: &str| Reply::to(t.request(Method::GET, "/v1/models").bearer_auth(t.key()).header("x-request-id", id));
    assert_eq!(with("my-own_id.1").await.header("x-request-id"), "my-own_id.1");
    for bad in ["two words", &"x".repeat(129), ""] {
        assert!(with(bad).await.header("x-request-id").starts_with("req_"), "{bad:?}");
    }
    let (one, other) = (t.get("/v1/models").await, t.get("/v1/models").await);
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
    let error = t.get("/nowhere").await;
    assert!(error.header("x-request-id").starts_with("req_"));
    let native = t.bedrock().model("no-such-model").converse("hi").await;
    assert_eq!(native.header("x-amzn-requestid"), native.header("x-request-id"));
    t.finish().await;
}

#[tokio::test]
async fn every_request_has_one_line_in_the_log_that_holds_neither_prompt_nor_key() {
    let t = TestGateway::start().await;
    let prompt = format!("{} [[words:5]]", log::PRIVATE);
    let good = t.openai().chat(&prompt).await;
    let bad = t.bedrock().send("converse", format!("{{\"messages\": \"{prompt}\"}}")).await;
    let streamed = t.openai().stream(&prompt).await.rest().await;
    for reply in [&good, &bad, &streamed] {
        let id = reply.header("x-request-id");
        eventually("the line is written", async || !log::access_lines(id).is_empty()).await;
        let lines = log::access_lines(id);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!((&lines[0]["status"], &lines[0]["complete"]), (&json!(reply.status()), &json!(true)));
        assert_eq!((&lines[0]["team"], &lines[0]["model"]), (&json!(TEAM), &json!(MODEL_ID)));
        let outcome = if reply.status() == 200 { "ok" } else { "upstream_rejected" };
        assert_eq!((&lines[0]["outcome"], &lines[0]["attempts"]), (&json!(outcome), &json!(1)));
    }
    // `finish` looks for prompt and key in everything that was logged.
    t.finish().await;
}

#[tokio::test]
async fn an_arn_that_a_refusal_names_is_not_in_the_log() {
    let t = TestGateway::start().await;
    let arn = "arn:aws:bedrock:us-east-1:123412341234:inference-profile/us.amazon.nova-lite-v1:0";
    let embedding = t.request(Method::POST, "/v1/embeddings").json(&json!({"model": arn, "input": "hello"}));
    let unquoted = t.request(Method::POST, &format!("/model/{arn}/converse")).json(&json!({"messages": []}));
    let nowhere = t.request(Method::POST, &format!("/model/{arn}/nothing")).json(&json!({"messages": []}));
    for (request, status) in [(embedding, 400), (unquoted, 400), (nowhere, 404)] {
        let reply = Reply::to(request.bearer_auth(t.key())).await;
        assert_eq!(reply.status(), status, "{reply:?}");
        let id = reply.header("x-request-id");
        eventually("the line is written", async || !log::access_lines(id).is_empty()).await;
        let line = log::access_lines(id).remove(0);
        let message = line["error_message"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains("arn:"), "{message}");
        assert!(!line.to_string().contains("123412341234"), "{line}");
    }
    t.finish().await;
}

#[tokio::test]
async fn browsers_may_call_only_from_the_origins_that_are_configured() {
    let preflight = |t: &TestGateway, origin: &str| {
        let request = t.request(Method::OPTIONS, "/v1/chat/completions").header("origin", origin);
        Reply::to(
            request
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,content-type"),
        )
    };
    let closed = TestGateway::start().await;
    assert_eq!(preflight(&closed, "https://app.example").await.header("access-control-allow-origin"), "");
    closed.finish().await;

    let open =
        TestGateway::with(|config: &mut Config| config.server.cors_origins = vec!["https://app.example".into()]).await;
    let allowed = preflight(&open, "https://app.example").await;
    assert_eq!((allowed.status(), allowed.header("access-control-allow-origin")), (200, "https://app.example"));
    assert!(allowed.header("access-control-allow-methods").contains("POST"));
    assert_eq!(allowed.header("access-control-max-age"), "7200");
    let headers = allowed.header("access-control-allow-headers");
    assert_eq!(headers, "authorization,content-type", "a wildcard does not cover Authorization");
    assert_eq!(preflight(&open, "https://evil.example").await.header("access-control-allow-origin"), "");
    let call = open.openai().request().json(&crate::support::calls::chat("hi")).header("origin", "https://app.example");
    let reply = Reply::to(call).await;
    assert_eq!((reply.status(), reply.header("access-control-allow-origin")), (200, "https://app.example"));
    for (path, status) in [("/v1/models/none", 404), ("/nowhere", 404), ("/v1/chat/completions", 405)] {
        let request = open.request(Method::GET, path).bearer_auth(open.key()).header("origin", "https://app.example");
        let error = Reply::to(request).await;
        assert_eq!((error.status(), error.header("access-control-allow-origin")), (status, "https://app.example"));
        assert_eq!(error.header("access-control-expose-headers"), "*", "{path}");
    }
    let keyless = open.request(Method::GET, "/v1/models").header("origin", "https://app.example");
    let refused = Reply::to(keyless).await;
    assert_eq!((refused.status(), refused.header("access-control-allow-origin")), (401, "https://app.example"));
    assert_eq!(refused.header("www-authenticate"), "Bearer realm=\"bedrock-gateway\"");
    open.finish().await;
}
