//! `POST /v1/rerank`.

use serde_json::{Value, json};

use crate::support::calls::with;
use crate::support::reply::Reply;
use crate::support::{MODEL, TestGateway};

const COHERE: &str = "rerank-v3-5";

async fn rerank(t: &TestGateway, body: &Value) -> Reply {
    t.openai().post("/v1/rerank", body).await
}

fn ask(model: &str) -> Value {
    let documents = json!(["the sky is blue", {"text": "capital of France is Paris", "page": 7}, "Paris"]);
    json!({"model": model, "query": "capital of France", "documents": documents})
}

#[tokio::test]
async fn documents_come_best_first_with_their_scores() {
    let t = TestGateway::start().await;
    for model in [COHERE, "amazon.rerank-v1:0"] {
        let reply = rerank(&t, &ask(model)).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        let body = reply.json();
        assert!(body["id"].as_str().unwrap().starts_with("rerank-"));
        assert_eq!(body["model"], model);
        let results = body["results"].as_array().unwrap();
        assert_eq!((results.len(), &results[0]["index"]), (3, &json!(1)));
        let scores: Vec<f64> = results.iter().map(|one| one["relevance_score"].as_f64().unwrap()).collect();
        assert!(scores.is_sorted_by(|one, other| one >= other), "{scores:?}");
        assert!(results.iter().all(|one| one.get("document").is_none()));
        assert!(body["usage"]["total_tokens"].as_u64().unwrap() > 0);
        // The price of a query, which has room for a hundred documents.
        let price = if model == COHERE { "0.002000" } else { "0.001000" };
        assert_eq!(reply.header("x-gateway-cost-usd"), price);
    }
    let many = with(ask(COHERE), json!({"documents": vec!["capital of France"; 101]}));
    assert_eq!(rerank(&t, &many).await.header("x-gateway-cost-usd"), "0.004000");
    let calls = t.booked_calls(3).await;
    let costs: Vec<_> = calls.iter().map(|call| call.cost.unwrap().0).collect();
    assert_eq!(costs.iter().sum::<i64>(), 7_000, "{costs:?}");
    assert!(calls.iter().all(|call| (&*call.surface, &*call.operation) == ("rerank", "rerank")));
    t.finish().await;
}

#[tokio::test]
async fn the_documents_come_back_when_asked_for_and_no_more_than_asked_for() {
    let t = TestGateway::start().await;
    let reply = rerank(&t, &with(ask(COHERE), json!({"top_n": 2, "return_documents": true}))).await;
    let results = reply.json()["results"].clone();
    assert_eq!(results.as_array().unwrap().len(), 2);
    assert_eq!(results[0]["document"], json!({"text": "capital of France is Paris", "page": 7}));
    assert!(results[1]["document"]["text"].is_string());
    let all = rerank(&t, &with(ask(COHERE), json!({"top_n": 50}))).await;
    assert_eq!(all.json()["results"].as_array().unwrap().len(), 3);
    t.finish().await;
}

#[tokio::test]
async fn cohere_is_asked_in_its_second_dialect() {
    let t = TestGateway::tapped(|_| {}).await;
    let more = json!({"top_n": 9, "max_tokens_per_doc": 128, "rank_fields": ["page", "text"]});
    let documents = json!(["a", {"text": "b", "page": 7}]);
    let reply = rerank(&t, &with(ask(COHERE), with(more, json!({"documents": documents})))).await;
    assert_eq!((reply.status(), reply.header("x-gateway-translation")), (200, "merged:documents[1]"), "{reply:?}");
    let sent: Value = serde_json::from_slice(&t.tap.only_exchange().request).unwrap();
    let expected = json!({
        "query": "capital of France", "documents": ["a", "page: 7\ntext: b"], "top_n": 2, "api_version": 2,
        "max_tokens_per_doc": 128,
    });
    assert_eq!(sent, expected);
    t.finish().await;
}

#[tokio::test]
async fn bad_input_names_the_field_and_costs_nothing() {
    let t = TestGateway::start().await;
    let many = vec!["a"; 1001];
    let cases = [
        (json!({"query": ""}), "query"),
        (json!({"query": null}), "query"),
        (json!({"documents": []}), "documents"),
        (json!({"documents": "a"}), "documents"),
        (json!({"documents": many}), "documents"),
        (json!({"documents": ["a", 7]}), "documents[1]"),
        (json!({"documents": ["a", {"title": "b"}]}), "documents[1]"),
        (json!({"rank_fields": []}), "rank_fields"),
        (json!({"top_n": 0}), "top_n"),
        (json!({"top_n": -1}), "top_n"),
        (json!({"api_version": 1}), "api_version"),
        (json!({"model": MODEL}), "model"),
        (json!({"model": "titan-embed-text-v2"}), "model"),
    ];
    for (more, param) in cases {
        let reply = rerank(&t, &with(ask(COHERE), more.clone())).await;
        let error = reply.openai_error();
        assert_eq!((reply.status(), &error["param"]), (400, &json!(param)), "{more}: {error}");
    }
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

#[tokio::test]
async fn a_refusal_of_bedrock_keeps_its_meaning() {
    let t = TestGateway::start().await;
    t.sim.region("*").reject(2, "AccessDeniedException", 403, "No access.");
    let reply = rerank(&t, &ask(COHERE)).await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (403, &json!("upstream_access_denied")));
    assert_eq!(t.only_call().await.status, 403);
    t.finish().await;
}
