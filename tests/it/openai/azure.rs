//! The paths of Azure's clients: the surface's own answers, bookings and repeats.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{MODEL, TestGateway};

fn post(t: &TestGateway, path: &str) -> RequestBuilder {
    t.request(Method::POST, path).header("api-key", t.key())
}

fn messages() -> Value {
    json!({"messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn a_deployment_is_a_model_and_its_calls_are_booked_as_those_of_the_surface() {
    let t = TestGateway::start().await;
    let path = format!("/openai/deployments/{MODEL}/chat/completions?api-version=2024-10-21");
    let reply = Reply::to(post(&t, &path).json(&messages())).await;
    assert_eq!((reply.status(), &reply.json()["model"]), (200, &json!(MODEL)), "{reply:?}");
    let other = json!({"model": "gpt-4o", "input": "hi"});
    let path = "/openai/deployments/titan-embed-text-v2/embeddings?api-version=2024-10-21";
    assert_eq!(Reply::to(post(&t, path).json(&other)).await.status(), 200);
    let path = "/openai/v1/responses?api-version=preview";
    let response = Reply::to(post(&t, path).json(&json!({"model": MODEL, "input": "hi"}))).await;
    assert_eq!(response.status(), 200, "{response:?}");
    let path = format!("/openai/responses/{}?api-version=preview", response.json()["id"].as_str().unwrap());
    let kept = Reply::to(t.request(Method::GET, &path).header("api-key", t.key())).await;
    assert_eq!(kept.json(), response.json());
    let models = Reply::to(t.request(Method::GET, "/openai/models").header("api-key", t.key())).await;
    assert_eq!(models.json()["object"], "list");

    let mut operations: Vec<String> = t.booked_calls(3).await.iter().map(|call| call.operation.to_string()).collect();
    operations.sort();
    assert_eq!(operations, ["chat", "embeddings", "responses"]);
    t.finish().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_as_everywhere_and_a_repeat_costs_nothing() {
    let t = TestGateway::start().await;
    let path = "/openai/deployments/no-such-model/chat/completions";
    let reply = Reply::to(post(&t, path).json(&messages())).await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (404, &json!("model_not_found")));
    let path = format!("/openai/deployments/{MODEL}/chat/completions");
    assert_eq!(Reply::to(t.request(Method::POST, &path).json(&messages())).await.status(), 401);
    let reply = Reply::to(post(&t, &path).body("{\"messages\":[{\"role\":")).await;
    assert_eq!((reply.status(), &reply.openai_error()["param"]), (400, &Value::Null), "{reply:?}");
    assert_eq!(Reply::to(post(&t, "/openai/nothing").json(&messages())).await.status(), 404);

    let named = || post(&t, &path).header("idempotency-key", "once").json(&messages());
    let (first, again) = (Reply::to(named()).await, Reply::to(named()).await);
    assert_eq!((first.status(), again.bytes()), (200, first.bytes()));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(t.booked_calls(1).await.len(), 1);
    t.finish().await;
}
