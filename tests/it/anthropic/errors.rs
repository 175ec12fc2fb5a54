//! How the Anthropic surface fails.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::calls::{message, with};
use crate::support::reply::Reply;
use crate::support::{MODEL, TestGateway};

#[tokio::test]
async fn bedrocks_exceptions_become_anthropics_errors() {
    let table = [
        ("ValidationException", 400, 400, "invalid_request_error"),
        ("AccessDeniedException", 403, 403, "permission_error"),
        ("ResourceNotFoundException", 404, 404, "not_found_error"),
        ("ModelTimeoutException", 408, 504, "timeout_error"),
        ("ModelErrorException", 424, 529, "overloaded_error"),
        ("ThrottlingException", 429, 429, "rate_limit_error"),
        ("ServiceQuotaExceededException", 400, 429, "rate_limit_error"),
        ("InternalServerException", 500, 529, "overloaded_error"),
        ("ServiceUnavailableException", 503, 529, "overloaded_error"),
    ];
    let t = TestGateway::with(|config| config.aws.max_attempts = 1).await;
    for (exception, upstream, status, kind) in table {
        t.sim.region("*").reject(1, exception, upstream, "Not this time.");
        let reply = t.anthropic().send(&message("hi")).await;
        let error = reply.anthropic_error();
        assert_eq!((reply.status(), &error["type"]), (status, &json!(kind)), "{exception}");
        assert_eq!(error["message"], "Not this time.", "{exception}");
    }
    t.finish().await;
}

#[tokio::test]
async fn bad_bodies_are_400_and_name_the_field() {
    let t = TestGateway::start().await;
    let table: [(&str, &str); 9] = [
        ("", "not valid JSON"),
        ("[]", "expected an object"),
        ("{", "not valid JSON"),
        (r#"{"max_tokens":1}"#, "model"),
        (r#"{"model":7}"#, "`model` has to be a string"),
        (r#"{"model":"claude-haiku-4-5","model":"nova-lite"}"#, "`model` is given twice"),
        (r#"{"model":"claude-haiku-4-5","stream":"yes"}"#, "stream"),
        (r#"{"model":"claude-haiku-4-5","mcp_servers":[{}]}"#, "mcp_servers"),
        (r#"{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"hi"}]}"#, "max_tokens: Field required"),
    ];
    for (body, told) in table {
        let reply = t.anthropic().send_bytes(body.to_owned()).await;
        let error = reply.anthropic_error();
        assert_eq!((reply.status(), &error["type"]), (400, &json!("invalid_request_error")), "{body}");
        assert!(error["message"].as_str().unwrap().contains(told), "{body}: {error}");
    }
    t.finish().await;
}

#[tokio::test]
async fn keys_models_and_routes_fail_in_anthropics_shape() {
    let t = TestGateway::start().await;
    let unknown = t.anthropic().with_key("bgw_nobody_secret").send(&message("hi")).await;
    assert_eq!((unknown.status(), &unknown.anthropic_error()["type"]), (401, &json!("authentication_error")));
    let model = t.anthropic().send(&with(message("hi"), json!({"model": "claude-haiku-4-6"}))).await;
    let error = model.anthropic_error();
    assert_eq!((model.status(), &error["type"]), (404, &json!("not_found_error")));
    assert!(error["message"].as_str().unwrap().contains(MODEL), "{error}");
    let route = t.anthropic().get("/v1/messages/nothing").await;
    assert_eq!((route.status(), &route.anthropic_error()["type"]), (404, &json!("not_found_error")));
    let method = t.anthropic().get("/v1/messages").await;
    assert_eq!((method.status(), &method.anthropic_error()["type"]), (405, &json!("invalid_request_error")));
    t.finish().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_a_413() {
    let t = TestGateway::with(|config| config.server.max_body_mb = 1).await;
    let body = with(message("hi"), json!({"padding": "x".repeat(1024 * 1024)}));
    let reply = t.anthropic().send(&body).await;
    assert_eq!((reply.status(), &reply.anthropic_error()["type"]), (413, &json!("request_too_large")));
    t.finish().await;
}

#[tokio::test]
async fn a_server_tool_is_refused_by_its_place() {
    let t = TestGateway::start().await;
    for model in [MODEL, "nova-lite"] {
        let tools = json!([{"type": "web_search_20250305", "name": "web_search"}]);
        let body: Value = with(message("hi"), json!({"model": model, "tools": tools}));
        let reply = t.anthropic().send(&body).await;
        assert_eq!(reply.status(), 400, "{model}");
        assert!(reply.anthropic_error()["message"].as_str().unwrap().starts_with("tools[0].type: "), "{model}");
    }
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

/// The official client's tool runner asks for one, and does without when it is told so by this code.
#[tokio::test]
async fn a_conversation_kept_by_the_server_is_refused_with_the_code_that_clients_act_on() {
    let t = TestGateway::start().await;
    for model in [MODEL, "nova-lite"] {
        let body = with(message("hi"), json!({"model": model, "thread": {"type": "create"}}));
        let reply = t.anthropic().send(&body).await;
        assert_eq!(reply.status(), 400, "{model}");
        assert_eq!(reply.json()["error"]["details"], json!({"error_code": "thread_unsupported_request"}), "{model}");
    }
    t.finish().await;
}

#[tokio::test]
async fn the_key_may_come_as_a_bearer_token() {
    let t = TestGateway::start().await;
    let request = t.request(Method::POST, "/v1/messages").bearer_auth(t.key()).json(&message("hi"));
    assert_eq!(Reply::to(request).await.status(), 200);
    t.finish().await;
}
