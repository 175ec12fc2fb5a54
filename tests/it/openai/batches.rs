//! `/v1/batches`: submitted, looked at, listed, cancelled as OpenAI's clients do it; what comes out is in OpenAI's dialect.

use std::collections::BTreeMap;

use bedrock_gateway::config::Config;
use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::simulator::{Bucket, JobQuota, Settings};
use bedrock_gateway::tenancy::{NewKey, NewTeam, Period, Scope};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, TestGateway, eventually};

const NOVA: &str = "nova-lite";
const CHAT: &str = "/v1/chat/completions";

fn configured(config: &mut Config) {
    config.batch.bucket = [(FIRST.to_owned(), "files-east".to_owned())].into();
    "arn:aws:iam::000000000000:role/bedrock-batch".clone_into(&mut config.batch.role_arn);
    config.batch.poll_seconds = 5;
}

fn with_bucket(settings: &mut Settings) {
    let bucket = Bucket { region: FIRST.to_owned(), ..Bucket::default() };
    settings.buckets = BTreeMap::from([("files-east".to_owned(), bucket)]);
}

async fn gateway() -> TestGateway {
    TestGateway::with_simulated(configured, with_bucket).await
}

fn line(id: &str, url: &str, body: &Value) -> String {
    format!("{}\n", json!({"custom_id": id, "method": "POST", "url": url, "body": body}))
}

fn chat(id: &str, model: &str, text: &str) -> String {
    line(id, CHAT, &json!({"model": model, "max_tokens": 20, "messages": [{"role": "user", "content": text}]}))
}

/// The id of a file of these lines.
async fn uploaded(t: &TestGateway, lines: &str) -> String {
    let part = |name: &str, text: &str| format!("--X\r\nContent-Disposition: form-data; {name}\r\n\r\n{text}\r\n");
    let purpose = part("name=\"purpose\"", "batch");
    let body = format!("{purpose}{}--X--\r\n", part("name=\"file\"; filename=\"a.jsonl\"", lines));
    let request = t.request(Method::POST, "/v1/files").bearer_auth(t.key());
    let reply = Reply::to(request.header("content-type", "multipart/form-data; boundary=X").body(body)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn creating(t: &TestGateway, body: &Value) -> RequestBuilder {
    t.request(Method::POST, "/v1/batches").bearer_auth(t.key()).json(body)
}

fn over(file: &str, endpoint: &str) -> Value {
    json!({"input_file_id": file, "endpoint": endpoint, "completion_window": "24h"})
}

async fn created(t: &TestGateway, file: &str, endpoint: &str) -> Value {
    let reply = Reply::to(creating(t, &over(file, endpoint))).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()
}

async fn get(t: &TestGateway, path: &str) -> Reply {
    Reply::to(t.request(Method::GET, path).bearer_auth(t.key())).await
}

/// The batch once nothing of it changes any more.
async fn ended(t: &TestGateway, batch: &Value) -> Value {
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    let mut last = Value::Null;
    eventually("the batch is over", async || {
        t.batches().step().await;
        last = get(t, &path).await.json();
        !["validating", "in_progress", "finalizing", "cancelling"].contains(&last["status"].as_str().unwrap())
    })
    .await;
    last
}

/// The lines of a result file by `custom_id`.
async fn results(t: &TestGateway, file: &Value) -> BTreeMap<String, Value> {
    let reply = get(t, &format!("/v1/files/{}/content", file.as_str().unwrap())).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let lines: Vec<Value> = reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = lines.len();
    let by_id: BTreeMap<_, _> =
        lines.into_iter().map(|line| (line["custom_id"].as_str().unwrap().to_owned(), line)).collect();
    assert_eq!(by_id.len(), count, "a record has one line");
    by_id
}

#[tokio::test]
async fn a_small_batch_runs_and_each_record_has_its_line() {
    let t = gateway().await;
    let bad = line("bad", CHAT, &json!({"model": NOVA, "messages": [], "stream": true}));
    let lines = [chat("claude", MODEL, "one"), chat("nova", NOVA, "two"), bad].concat();
    let file = uploaded(&t, &lines).await;
    let mut asked = over(&file, CHAT);
    asked["metadata"] = json!({"run": "7"});
    let reply = Reply::to(creating(&t, &asked)).await;
    let batch = reply.json();
    assert_eq!((reply.status(), &batch["object"], &batch["status"]), (200, &json!("batch"), &json!("validating")));
    assert_eq!((&batch["input_file_id"], &batch["metadata"]), (&json!(file), &json!({"run": "7"})));
    assert_eq!(batch["expires_at"].as_i64().unwrap() - batch["created_at"].as_i64().unwrap(), 24 * 3600);
    assert_eq!((&batch["output_file_id"], &batch["error_file_id"]), (&Value::Null, &Value::Null));
    assert!(batch["gateway"]["estimate_usd"].is_string(), "{batch}");

    let batch = ended(&t, &batch).await;
    assert_eq!(batch["status"], "completed", "{batch}");
    assert_eq!(batch["request_counts"], json!({"total": 3, "completed": 2, "failed": 1}));
    assert!(batch["completed_at"].is_i64() && batch["in_progress_at"].is_i64(), "{batch}");
    let good = results(&t, &batch["output_file_id"]).await;
    for name in ["claude", "nova"] {
        let told = &good[name];
        assert_eq!((&told["error"], &told["response"]["status_code"]), (&Value::Null, &json!(200)), "{told}");
        assert!(told["id"].as_str().unwrap().starts_with("batch_req_"), "{told}");
        let body = &told["response"]["body"];
        assert_eq!(body["object"], "chat.completion", "{told}");
        assert!(body["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{told}");
    }
    let errors = results(&t, &batch["error_file_id"]).await;
    let refused = &errors["bad"]["response"];
    assert_eq!((&refused["status_code"], &refused["body"]["error"]["param"]), (&json!(400), &json!("stream")));
    assert_eq!(errors.len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_batch_that_is_large_enough_is_a_job_at_the_batch_price() {
    let t = gateway().await;
    t.sim.set_job_quota("*", "*", JobQuota { min_records: Some(2), ..JobQuota::default() });
    let count = 100;
    let lines: String = (0..count).map(|n| chat(&format!("r{n}"), NOVA, &format!("number {n}"))).collect();
    let batch = created(&t, &uploaded(&t, &lines).await, CHAT).await;
    let batch = ended(&t, &batch).await;
    assert_eq!((&batch["status"], &batch["model"]), (&json!("completed"), &json!(NOVA)), "{batch}");
    assert_eq!(batch["request_counts"], json!({"total": count, "completed": count, "failed": 0}));
    assert_eq!(batch["gateway"]["shards"][0]["kind"], "job", "{batch}");
    assert_eq!((batch["gateway"]["shards"][0]["region"].as_str(), t.sim.jobs().len()), (Some(FIRST), 1));
    assert!(batch["gateway"]["cost_usd"].as_str().is_some_and(|cost| cost > "0.000000"), "{batch}");
    assert_eq!(batch["error_file_id"], Value::Null);
    let good = results(&t, &batch["output_file_id"]).await;
    assert_eq!(good.len(), count);
    let ids: std::collections::BTreeSet<_> =
        good.values().map(|told| told["response"]["body"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), count, "every answer has an id of its own");
    t.finish().await;
}

#[tokio::test]
async fn vectors_are_made_by_a_job_in_the_models_own_body() {
    let t = gateway().await;
    let body = |n: usize| json!({"model": "titan-embed-text-v2", "input": format!("text {n}"), "dimensions": 256});
    let lines: String = (0..100).map(|n| line(&format!("r{n}"), "/v1/embeddings", &body(n))).collect();
    let batch = ended(&t, &created(&t, &uploaded(&t, &lines).await, "/v1/embeddings").await).await;
    assert_eq!((&batch["status"], t.sim.jobs().len()), (&json!("completed"), 1), "{batch}");
    let good = results(&t, &batch["output_file_id"]).await;
    let answer = &good["r99"]["response"]["body"];
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("titan-embed-text-v2")));
    assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 256);
    assert!(answer["usage"]["prompt_tokens"].as_u64().unwrap() > 0);
    t.finish().await;
}

#[tokio::test]
async fn a_file_with_bad_lines_makes_a_batch_that_has_failed_and_names_them() {
    let t = gateway().await;
    t.set_budget(Period::Day, MicroUsd(1_000_000)).await;
    let lines = format!("{}no json\n{}", chat("a", NOVA, "hi"), chat("a", NOVA, "again"));
    let batch = created(&t, &uploaded(&t, &lines).await, CHAT).await;
    assert_eq!((&batch["status"], &batch["errors"]["object"]), (&json!("failed"), &json!("list")), "{batch}");
    assert!(batch["failed_at"].is_i64());
    let told: Vec<(u64, &str)> = batch["errors"]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["line"].as_u64().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    assert!(told.contains(&(2, "invalid_json_line")) && told.contains(&(3, "duplicate_custom_id")), "{batch}");
    assert_eq!(batch["output_file_id"], Value::Null);
    assert!(t.gateway().tenancy().accounts().is_empty(), "no budget was asked for anything");
    t.finish().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_names_what_is_wrong() {
    let t = gateway().await;
    let file = uploaded(&t, &chat("a", NOVA, "hi")).await;
    let with = |member: &str, value: Value| {
        let mut body = over(&file, CHAT);
        body[member] = value;
        body
    };
    let cases = [
        (with("input_file_id", json!("file-of-nobody")), 404, "input_file_id"),
        (with("endpoint", json!("/v1/messages")), 400, "endpoint"),
        (with("completion_window", json!("1h")), 400, "completion_window"),
        (with("metadata", json!({"a": 1})), 400, "metadata.a"),
        (with("webhook_url", json!("http://127.0.0.1/")), 400, "webhook_url"),
    ];
    for (body, status, param) in cases {
        let reply = Reply::to(creating(&t, &body)).await;
        assert_eq!((reply.status(), &reply.openai_error()["param"]), (status, &json!(param)), "{body}: {reply:?}");
    }
    let unknown = uploaded(&t, &chat("a", "no-such-model", "hi")).await;
    let reply = Reply::to(creating(&t, &over(&unknown, CHAT))).await;
    assert_eq!((reply.status(), &reply.openai_error()["code"]), (404, &json!("model_not_found")));
    let list = get(&t, "/v1/batches").await.json();
    assert_eq!(list, json!({"object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false}));
    t.finish().await;
}

#[tokio::test]
async fn a_budget_that_has_less_left_refuses_with_the_estimate() {
    let t = gateway().await;
    t.set_budget(Period::Day, MicroUsd(1)).await;
    let file = uploaded(&t, &chat("a", NOVA, "hi")).await;
    let reply = Reply::to(creating(&t, &over(&file, CHAT))).await;
    let error = reply.openai_error();
    assert_eq!((reply.status(), &error["code"]), (429, &json!("insufficient_quota")), "{reply:?}");
    assert_eq!(reply.header("x-should-retry"), "false");
    assert!(error["message"].as_str().unwrap().contains("USD at most"), "{error}");
    t.finish().await;
}

#[tokio::test]
async fn a_batch_is_made_once_under_a_name() {
    let t = gateway().await;
    let file = uploaded(&t, &chat("a", NOVA, "hi")).await;
    let named = || creating(&t, &over(&file, CHAT)).header("idempotency-key", "one");
    let (first, again) = (Reply::to(named()).await, Reply::to(named()).await);
    assert_eq!((first.status(), again.bytes()), (200, first.bytes()));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(get(&t, "/v1/batches").await.json()["data"].as_array().unwrap().len(), 1);
    ended(&t, &first.json()).await;
    t.finish().await;
}

#[tokio::test]
async fn batches_are_listed_page_by_page_and_shown_to_their_team_alone() {
    let t = gateway().await;
    let file = uploaded(&t, &chat("a", NOVA, "hi")).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        t.clock.advance(std::time::Duration::from_secs(1));
        let batch = created(&t, &file, CHAT).await;
        ids.push(batch["id"].as_str().unwrap().to_owned());
    }
    ids.reverse();
    let page = get(&t, "/v1/batches?limit=2").await.json();
    let listed = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|batch| batch["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((listed(&page), &page["has_more"]), (ids[..2].to_vec(), &json!(true)));
    assert_eq!((page["first_id"].as_str(), page["last_id"].as_str()), (Some(&*ids[0]), Some(&*ids[1])));
    let rest = get(&t, &format!("/v1/batches?limit=2&after={}", ids[1])).await.json();
    assert_eq!((listed(&rest), &rest["has_more"]), (ids[2..].to_vec(), &json!(false)));
    for (query, param) in [("limit=0", "limit"), ("after=batch_x", "after"), ("after=", "after")] {
        let refused = get(&t, &format!("/v1/batches?{query}")).await;
        assert_eq!((refused.status(), &refused.openai_error()["param"]), (400, &json!(param)), "{query}");
    }

    t.make_team(NewTeam::new("others")).await;
    let (_, other) = t.make_key(NewKey { scopes: vec![Scope::Batch], ..NewKey::new("others", "k") }).await;
    let path = format!("/v1/batches/{}", ids[0]);
    for (method, path) in [(Method::GET, path.clone()), (Method::POST, format!("{path}/cancel"))] {
        let reply = Reply::to(t.request(method, &path).bearer_auth(&other)).await;
        assert_eq!((reply.status(), &reply.openai_error()["code"]), (404, &json!("not_found")), "{reply:?}");
    }
    let theirs = Reply::to(t.request(Method::GET, "/v1/batches").bearer_auth(&other)).await.json();
    assert_eq!(listed(&theirs), Vec::<String>::new());
    for id in &ids {
        ended(&t, &json!({ "id": id })).await;
    }
    t.finish().await;
}

#[tokio::test]
async fn a_cancelled_batch_ends_as_cancelled_and_keeps_what_it_has() {
    let t = gateway().await;
    t.sim.region(FIRST).jobs().manual();
    let lines: String = (0..100).map(|n| chat(&format!("r{n}"), NOVA, &format!("number {n}"))).collect();
    let batch = created(&t, &uploaded(&t, &lines).await, CHAT).await;
    eventually("the job is there", async || {
        t.batches().step().await;
        !t.sim.jobs().is_empty()
    })
    .await;
    let path = format!("/v1/batches/{}/cancel", batch["id"].as_str().unwrap());
    let reply = Reply::to(t.request(Method::POST, &path).bearer_auth(t.key())).await;
    assert_eq!((reply.status(), &reply.json()["status"]), (200, &json!("cancelling")), "{reply:?}");
    t.sim.region(FIRST).jobs().automatic(std::time::Duration::from_millis(1));
    let batch = ended(&t, &batch).await;
    assert_eq!((&batch["status"], &batch["request_counts"]["total"]), (&json!("cancelled"), &json!(100)), "{batch}");
    assert!(batch["cancelling_at"].is_i64() && batch["cancelled_at"].is_i64(), "{batch}");
    let lost = results(&t, &batch["error_file_id"]).await;
    assert!(lost.values().all(|told| told["error"]["code"] == "batch_cancelled" && told["response"].is_null()));
    t.finish().await;
}

#[tokio::test]
async fn without_a_bucket_the_answer_says_what_to_set() {
    let t = TestGateway::start().await;
    for (method, path) in [(Method::GET, "/v1/batches"), (Method::POST, "/v1/batches")] {
        let reply = Reply::to(t.request(method, path).bearer_auth(t.key()).json(&over("file-1", CHAT))).await;
        let error = reply.openai_error();
        assert_eq!(reply.status(), 503, "{reply:?}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("batch.bucket") && message.contains("batch.role_arn"), "{message}");
    }
    t.finish().await;
}
