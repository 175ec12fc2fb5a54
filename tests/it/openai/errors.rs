//! Failures of Bedrock, as an OpenAI client sees them.

use serde_json::json;

use crate::support::calls::{chat, with};
use crate::support::{MODEL, TestGateway};

#[tokio::test]
async fn what_bedrock_refuses_keeps_its_meaning() {
    // exception, its status; the answer's status, type and code.
    let table = [
        ("ValidationException", 400, 400, "invalid_request_error", "upstream_rejected"),
        ("AccessDeniedException", 403, 403, "permission_error", "upstream_access_denied"),
        ("ResourceNotFoundException", 404, 404, "invalid_request_error", "model_not_found"),
        ("ModelTimeoutException", 408, 504, "server_error", "upstream_timeout"),
        ("ModelErrorException", 424, 503, "server_error", "upstream_unavailable"),
        ("ThrottlingException", 429, 429, "rate_limit_error", "rate_limit_exceeded"),
        ("InternalServerException", 500, 503, "server_error", "upstream_unavailable"),
        ("ServiceUnavailableException", 503, 503, "server_error", "upstream_unavailable"),
    ];
    let t = TestGateway::with(|config| config.aws.max_attempts = 1).await;
    for (exception, upstream, status, kind, code) in table {
        t.sim.region("*").reject(1, exception, upstream, "Not this time.");
        let reply = t.openai().chat("hi").await;
        let error = reply.openai_error();
        assert_eq!(
            (reply.status(), &error["type"], &error["code"]),
            (status, &json!(kind), &json!(code)),
            "{exception}"
        );
        assert_eq!(error["message"], "Not this time.", "{exception}");
    }
    t.finish().await;
}

#[tokio::test]
async fn account_ids_and_arns_in_bedrocks_words_reach_no_client() {
    let t = TestGateway::start().await;
    let message = "User: arn:aws:sts::123456789012:assumed-role/gateway/session is not authorized to perform this.";
    t.sim.region("*").reject(2, "AccessDeniedException", 403, message);
    let error = t.openai().chat("hi").await.openai_error();
    let told = error["message"].as_str().unwrap();
    assert!(told.contains("is not authorized") && !told.contains("123456789012") && !told.contains("arn:"), "{told}");
    t.finish().await;
}

#[tokio::test]
async fn a_model_that_does_not_exist_is_named_with_what_may_have_been_meant() {
    let t = TestGateway::start().await;
    let reply = t.openai().send(&with(chat("hi"), json!({"model": "claude-haiku-4-6"}))).await;
    let error = reply.openai_error();
    assert_eq!((reply.status(), &error["code"], &error["param"]), (404, &json!("model_not_found"), &json!("model")));
    assert!(error["message"].as_str().unwrap().contains(MODEL), "{error}");
    assert!(t.ledger().await.is_empty(), "nothing was asked of Bedrock, so nothing is booked");
    t.finish().await;
}

#[tokio::test]
async fn a_model_that_the_route_is_not_for_is_refused_here_with_the_route_it_is_for() {
    let chat_route = "/v1/chat/completions";
    let table = [
        (chat_route, "amazon.titan-embed-text-v2:0", "POST /v1/embeddings"),
        (chat_route, "cohere.rerank-v3-5:0", "POST /v1/rerank"),
        (chat_route, "stability.sd3-5-large-v1:0", "POST /v1/images/generations"),
        (chat_route, "luma.ray-v2:0", "POST /async-invoke"),
        (chat_route, "amazon.nova-2-sonic-v1:0", "speech both ways"),
        (chat_route, "twelvelabs.pegasus-1-2-v1:0", "POST /model/{id}/invoke"),
        (chat_route, "gpt-5.4", "POST /v1/responses"),
        ("/v1/responses", "amazon.titan-embed-text-v2:0", "POST /v1/embeddings"),
        ("/v1/responses", "twelvelabs.pegasus-1-2-v1:0", "POST /model/{id}/invoke"),
    ];
    let t = TestGateway::start().await;
    for (route, model, advice) in table {
        let body = with(chat("hi"), json!({"model": model, "input": "hi"}));
        let error = t.openai().post(route, &body).await.openai_error();
        let message = error["message"].as_str().unwrap();
        assert!(error["param"] == "model" && message.contains(advice), "{route} {model}: {error}");
    }
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

#[tokio::test]
async fn a_field_of_chat_completions_is_refused_by_responses_with_the_one_that_took_its_place() {
    let t = TestGateway::start().await;
    for (field, value, successor) in [
        ("messages", json!([]), "`input`"),
        ("max_tokens", json!(5), "`max_output_tokens`"),
        ("max_completion_tokens", json!(5), "`max_output_tokens`"),
        ("response_format", json!({"type": "json_object"}), "`text.format`"),
        ("reasoning_effort", json!("low"), "`reasoning.effort`"),
    ] {
        let reply = t.openai().post("/v1/responses", &json!({"model": MODEL, "input": "hi", field: value})).await;
        let error = reply.openai_error();
        assert_eq!((reply.status(), &error["param"]), (400, &json!(field)));
        assert!(error["message"].as_str().unwrap().contains(successor), "{error}");
    }
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}
