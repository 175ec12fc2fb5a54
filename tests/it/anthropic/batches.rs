//! Message batches: made of a body that is read as it arrives, told in Anthropic's words, each team's own.

use std::collections::BTreeMap;
use std::time::Duration;

use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::{Bucket, Settings};
use bedrock_gateway::tenancy::{NewKey, NewTeam, Scope};
use futures_util::stream;
use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, TestGateway, eventually};

const BATCHES: &str = "/v1/messages/batches";
const NOVA: &str = "nova-lite";

fn configured(config: &mut Config) {
    config.batch.bucket = [(FIRST.to_owned(), "files-east".to_owned())].into();
    config.batch.role_arn = "arn:aws:iam::000000000000:role/bedrock-batch".into();
    config.batch.poll_seconds = 5;
    config.batch.max_inline_mb = 1;
}

fn with_bucket(settings: &mut Settings) {
    let bucket = Bucket { region: FIRST.to_owned(), ..Bucket::default() };
    settings.buckets = BTreeMap::from([("files-east".to_owned(), bucket)]);
}

async fn gateway() -> TestGateway {
    TestGateway::with_simulated(configured, with_bucket).await
}

fn request(id: &str, model: &str, text: &str) -> Value {
    let messages = json!([{"role": "user", "content": text}]);
    json!({"custom_id": id, "params": {"model": model, "max_tokens": 100, "messages": messages}})
}

async fn create(t: &TestGateway, body: impl Into<Body>) -> Reply {
    let request =
        t.request(Method::POST, BATCHES).header("x-api-key", t.key()).header("anthropic-version", "2023-06-01");
    Reply::to(request.header("content-type", "application/json").body(body)).await
}

async fn created(t: &TestGateway, requests: &[Value]) -> Value {
    let reply = create(t, json!({ "requests": requests }).to_string()).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()
}

async fn call(t: &TestGateway, method: Method, id: &str, rest: &str) -> Reply {
    Reply::to(t.request(method, &format!("{BATCHES}/{id}{rest}")).header("x-api-key", t.key())).await
}

/// The batch once it has ended.
async fn ended(t: &TestGateway, id: &str) -> Value {
    let mut batch = Value::Null;
    eventually("the message batch has ended", async || {
        t.batches().step().await;
        batch = call(t, Method::GET, id, "").await.json();
        batch["processing_status"] == "ended"
    })
    .await;
    batch
}

/// The results by `custom_id`.
async fn results(t: &TestGateway, id: &str) -> BTreeMap<String, Value> {
    let reply = call(t, Method::GET, id, "/results").await;
    assert_eq!((reply.status(), reply.header("content-type")), (200, "application/x-jsonl"), "{reply:?}");
    let lines: Vec<Value> = reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = lines.len();
    let results: BTreeMap<_, _> = lines
        .into_iter()
        .map(|line| (line["custom_id"].as_str().unwrap().to_owned(), line["result"].clone()))
        .collect();
    assert_eq!(results.len(), count, "a request has one result");
    results
}

#[tokio::test]
async fn requests_of_several_models_run_and_each_has_its_own_result() {
    let t = gateway().await;
    let mut streamed = request("streamed", NOVA, "hi");
    streamed["params"]["stream"] = json!(true);
    let requests = [request("claude", MODEL, "one"), request("nova", NOVA, "two"), streamed];
    let batch = created(&t, &requests).await;
    let id = batch["id"].as_str().unwrap();
    assert!(id.starts_with("msgbatch_"), "{batch}");
    let expected = json!({
        "id": id, "type": "message_batch", "processing_status": "in_progress",
        "request_counts": {"processing": 3, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": batch["created_at"], "expires_at": batch["expires_at"], "ended_at": null,
        "cancel_initiated_at": null, "archived_at": null, "results_url": null,
    });
    assert_eq!(batch, expected);
    let batch = ended(&t, id).await;
    let counts = json!({"processing": 0, "succeeded": 2, "errored": 1, "canceled": 0, "expired": 0});
    assert_eq!(batch["request_counts"], counts);
    assert_eq!(batch["results_url"], format!("http://{}{BATCHES}/{id}/results", t.address()));
    let results = results(&t, id).await;
    for name in ["claude", "nova"] {
        let result = &results[name];
        assert_eq!((&result["type"], &result["message"]["type"]), (&json!("succeeded"), &json!("message")), "{result}");
        assert!(result["message"]["usage"]["output_tokens"].as_u64().unwrap() > 0, "{result}");
    }
    let error = &results["streamed"]["error"];
    assert_eq!(
        (&error["type"], &error["error"]["type"]),
        (&json!("error"), &json!("invalid_request_error")),
        "{error}"
    );
    assert!(error["error"]["message"].as_str().unwrap().contains("stream"), "{error}");
    t.finish().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_named_and_nothing_of_it_is_kept() {
    let t = gateway().await;
    let good = request("a", MODEL, "hi");
    let mut without_model = request("b", MODEL, "hi");
    without_model["params"].as_object_mut().unwrap().remove("model");
    for (requests, field) in [
        (json!([]), "requests"),
        (json!([good, good]), "requests.1.custom_id"),
        (json!([good, without_model]), "requests.1.params.model"),
        (json!([request("a b", MODEL, "hi")]), "requests.0.custom_id"),
        (json!([good, {"custom_id": "c"}]), "requests.1.params"),
    ] {
        let reply = create(&t, json!({ "requests": requests }).to_string()).await;
        let error = reply.anthropic_error();
        assert_eq!((reply.status(), &error["type"]), (400, &json!("invalid_request_error")), "{reply:?}");
        assert!(error["message"].as_str().unwrap().contains(field), "{field}: {error}");
    }
    let unknown = create(&t, json!({"requests": [request("a", "no-such-model", "hi")]}).to_string()).await;
    assert_eq!((unknown.status(), &unknown.anthropic_error()["type"]), (404, &json!("not_found_error")));
    let list = Reply::to(t.request(Method::GET, BATCHES).header("x-api-key", t.key())).await.json();
    assert_eq!(list, json!({"data": [], "has_more": false, "first_id": null, "last_id": null}));
    t.finish().await;
}

#[tokio::test]
async fn a_body_is_read_as_it_arrives_and_no_further_than_it_may_be_long() {
    let t = gateway().await;
    let body = json!({"requests": [request("a", MODEL, "hi"), request("b", MODEL, "é")]}).to_string();
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
        body.as_bytes().chunks(7).map(|piece| Ok(piece.to_vec())).collect();
    let reply = create(&t, Body::wrap_stream(stream::iter(pieces))).await;
    assert_eq!((reply.status(), &reply.json()["request_counts"]["processing"]), (200, &json!(2)), "{reply:?}");
    ended(&t, reply.json()["id"].as_str().unwrap()).await;
    let long = json!({"requests": [request("a", MODEL, &"x".repeat(1_100_000))]}).to_string();
    let reply = create(&t, long).await;
    assert_eq!((reply.status(), &reply.anthropic_error()["type"]), (413, &json!("request_too_large")), "{reply:?}");
    t.finish().await;
}

#[tokio::test]
async fn batches_are_listed_in_pages_in_either_direction() {
    let t = gateway().await;
    let mut ids = Vec::new();
    for i in 0..3 {
        let batch = created(&t, &[request(&format!("r{i}"), MODEL, "hi")]).await;
        ids.push(batch["id"].as_str().unwrap().to_owned());
        t.clock.advance(Duration::from_secs(1));
    }
    ids.reverse();
    let list = async |query: &str| {
        let page =
            Reply::to(t.request(Method::GET, &format!("{BATCHES}?{query}")).header("x-api-key", t.key())).await.json();
        let found: Vec<String> =
            page["data"].as_array().unwrap().iter().map(|batch| batch["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(page["first_id"].as_str(), found.first().map(String::as_str));
        assert_eq!(page["last_id"].as_str(), found.last().map(String::as_str));
        (found, page["has_more"].as_bool().unwrap())
    };
    assert_eq!(list("").await, (ids.clone(), false));
    assert_eq!(list("limit=2").await, (ids[..2].to_vec(), true));
    assert_eq!(list(&format!("limit=2&after_id={}", ids[1])).await, (ids[2..].to_vec(), false));
    assert_eq!(list(&format!("limit=1&before_id={}", ids[2])).await, (ids[1..2].to_vec(), true));
    for id in &ids {
        ended(&t, id).await;
    }
    t.finish().await;
}

#[tokio::test]
async fn only_what_has_ended_has_results_and_can_be_deleted() {
    let t = gateway().await;
    let batch = created(&t, &[request("a", MODEL, "hi")]).await;
    let id = batch["id"].as_str().unwrap();
    // Either it has not ended, or it is deleted with what it made.
    ended(&t, id).await;
    assert_eq!(results(&t, id).await.len(), 1);
    let kept = call(&t, Method::POST, id, "/cancel").await;
    assert_eq!((kept.status(), &kept.json()["processing_status"]), (200, &json!("ended")));
    let deleted = call(&t, Method::DELETE, id, "").await;
    assert_eq!(deleted.json(), json!({"id": id, "type": "message_batch_deleted"}));
    for (method, rest) in
        [(Method::GET, ""), (Method::GET, "/results"), (Method::POST, "/cancel"), (Method::DELETE, "")]
    {
        let reply = call(&t, method, id, rest).await;
        assert_eq!((reply.status(), &reply.anthropic_error()["type"]), (404, &json!("not_found_error")), "{rest}");
    }
    t.finish().await;
}

#[tokio::test]
async fn another_team_and_a_key_without_the_scope_find_nothing() {
    let t = gateway().await;
    let batch = created(&t, &[request("a", MODEL, "hi")]).await;
    let id = batch["id"].as_str().unwrap();
    t.make_team(NewTeam::new("others")).await;
    let (_, other) = t.make_key(NewKey::new("others", "other")).await;
    let (_, unscoped) =
        t.make_key(NewKey { scopes: vec![Scope::Inference], ..NewKey::new(crate::support::TEAM, "unscoped") }).await;
    for (method, rest) in
        [(Method::GET, ""), (Method::GET, "/results"), (Method::POST, "/cancel"), (Method::DELETE, "")]
    {
        let path = format!("{BATCHES}/{id}{rest}");
        let reply = Reply::to(t.request(method.clone(), &path).header("x-api-key", &other)).await;
        assert_eq!(reply.status(), 404, "{method} {rest}: {reply:?}");
        let reply = Reply::to(t.request(method.clone(), &path).header("x-api-key", &unscoped)).await;
        assert_eq!(reply.status(), 403, "{method} {rest}: {reply:?}");
    }
    let list = Reply::to(t.request(Method::GET, BATCHES).header("x-api-key", &other)).await.json();
    assert_eq!(list["data"], json!([]));
    ended(&t, id).await;
    t.finish().await;
}

#[tokio::test]
async fn without_a_bucket_the_operator_is_told_what_to_set() {
    let t = TestGateway::start().await;
    let reply = create(&t, "{}").await;
    let error = reply.anthropic_error();
    assert!(reply.status() >= 500, "{reply:?}");
    assert!(error["message"].as_str().unwrap().contains("batch.bucket"), "{error}");
    t.finish().await;
}
