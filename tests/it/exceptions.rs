//! Every exception of AWS has its class in every dialect and on every lane, before the first byte and after it.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{MODEL, TestGateway};

/// A way to a model: route, model, and whose errors they are.
#[derive(Clone, Copy, Debug)]
struct Way(&'static str, &'static str, Dialect);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    OpenAi,
    Anthropic,
}

/// Translated and native chat, translated and native responses, messages by `InvokeModel`, by translation and by the
/// runtime's own path.
const WAYS: [Way; 7] = [
    Way("/v1/chat/completions", MODEL, Dialect::OpenAi),
    Way("/v1/chat/completions", "gpt-oss-120b", Dialect::OpenAi),
    Way("/v1/responses", MODEL, Dialect::OpenAi),
    Way("/v1/responses", "gpt-5.4", Dialect::OpenAi),
    Way("/v1/messages", MODEL, Dialect::Anthropic),
    Way("/v1/messages", "nova-lite", Dialect::Anthropic),
    Way("/v1/messages", "claude-opus-5-5", Dialect::Anthropic),
];

async fn call(t: &TestGateway, Way(path, model, _): Way, stream: bool) -> Reply {
    let mut body = json!({"model": model, "stream": stream});
    let text = "hello there [[words:60]]";
    if path == "/v1/responses" {
        body["input"] = text.into();
    } else {
        body["messages"] = json!([{"role": "user", "content": text}]);
    }
    if path == "/v1/messages" {
        body["max_tokens"] = 500.into();
    }
    Reply::to(t.request(Method::POST, path).bearer_auth(t.key()).json(&body)).await
}

#[tokio::test]
async fn an_answer_that_bedrock_refuses_has_the_class_of_its_dialect() {
    // Exception and status; OpenAI's status and code; Anthropic's status and type.
    let table = [
        ("ValidationException", 400, (400, "upstream_rejected"), (400, "invalid_request_error")),
        ("ServiceQuotaExceededException", 400, (429, "rate_limit_exceeded"), (429, "rate_limit_error")),
        ("AccessDeniedException", 403, (403, "upstream_access_denied"), (403, "permission_error")),
        ("ResourceNotFoundException", 404, (404, "model_not_found"), (404, "not_found_error")),
        ("ModelTimeoutException", 408, (504, "upstream_timeout"), (504, "timeout_error")),
        ("ModelErrorException", 424, (503, "upstream_unavailable"), (529, "overloaded_error")),
        ("ThrottlingException", 429, (429, "rate_limit_exceeded"), (429, "rate_limit_error")),
        ("ModelNotReadyException", 429, (503, "upstream_unavailable"), (529, "overloaded_error")),
        ("InternalServerException", 500, (503, "upstream_unavailable"), (529, "overloaded_error")),
        ("ServiceUnavailableException", 503, (503, "upstream_unavailable"), (529, "overloaded_error")),
    ];
    let t = TestGateway::with(|config| config.aws.max_attempts = 1).await;
    for (exception, status, openai, anthropic) in table {
        for way in WAYS {
            t.sim.region("*").reject(1, exception, status, "Not this time.");
            let reply = call(&t, way, false).await;
            let error = &reply.json()["error"];
            let (told, expected) = match way.2 {
                Dialect::OpenAi => (&error["code"], openai),
                Dialect::Anthropic => (&error["type"], anthropic),
            };
            assert_eq!((reply.status(), told), (expected.0, &json!(expected.1)), "{exception} by {way:?}: {reply:?}");
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_bedrock_breaks_off_has_an_error_of_its_class_and_no_regular_end() {
    let table = [
        ("throttlingException", "rate_limit_exceeded", "rate_limit_error"),
        ("internalServerException", "upstream_unavailable", "overloaded_error"),
        ("serviceUnavailableException", "upstream_unavailable", "overloaded_error"),
        ("modelStreamErrorException", "upstream_unavailable", "overloaded_error"),
        ("validationException", "upstream_rejected", "invalid_request_error"),
    ];
    let t = TestGateway::start().await;
    for (exception, openai, anthropic) in table {
        for way in WAYS {
            t.sim.region("*").stream_exception(exception, 5);
            let reply = call(&t, way, true).await;
            let data = reply.text().lines().filter_map(|line| line.strip_prefix("data: "));
            let events: Vec<Value> = data.map(|text| serde_json::from_str(text).unwrap_or_default()).collect();
            let error = events.iter().find(|event| event["error"].is_object() || event["type"] == "error");
            let error = &error.unwrap_or_else(|| panic!("{exception} by {way:?}: {}", reply.text()))["error"];
            let (told, expected) = match way.2 {
                Dialect::OpenAi => (&error["code"], openai),
                Dialect::Anthropic => (&error["type"], anthropic),
            };
            assert_eq!((reply.status(), told), (200, &json!(expected)), "{exception} by {way:?}");
            for end in ["[DONE]", "response.completed", "message_stop"] {
                assert!(!reply.text().contains(end), "{exception} by {way:?} ends with {end}");
            }
        }
    }
    assert_eq!(t.booked_calls(table.len() * WAYS.len()).await.len(), table.len() * WAYS.len());
    t.finish().await;
}
