//! Batches from the upload to the result: jobs of the simulator, its S3, and the books at the end.

mod away;
mod damage;
mod edges;
mod jobs;
mod midway;
mod online;
mod sizes;
mod waiting;

use std::collections::BTreeMap;

use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::{Bucket, JobPace};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{MODEL, TestGateway, eventually};

/// The bucket in the first Region.
const BUCKET: &str = "batches";

/// A gateway with a bucket, whose jobs move when they are told to.
async fn gateway(change: impl FnOnce(&mut Config)) -> TestGateway {
    let with_bucket = |config: &mut Config| {
        config.batch.bucket = BTreeMap::from([("us-east-1".to_owned(), BUCKET.to_owned())]);
        config.batch.role_arn = "arn:aws:iam::000000000000:role/batch".into();
        // The tests look when they want to.
        config.batch.poll_seconds = 3600;
        change(config);
    };
    let t = TestGateway::with_simulated(with_bucket, |settings| settings.job_pace = JobPace::Manual).await;
    t.sim.set_bucket(BUCKET, Bucket::default());
    t
}

/// Records `r0`, `r1`, ...: each a chat that says its own number.
fn records(count: usize) -> String {
    let record = |at: usize| {
        let body = json!({
            "model": MODEL, "max_tokens": 50,
            "messages": [{"role": "user", "content": format!("say {at}")}],
        });
        json!({"custom_id": format!("r{at}"), "method": "POST", "url": "/v1/chat/completions", "body": body})
    };
    let lines: Vec<String> = (0..count).map(|at| record(at).to_string() + "\n").collect();
    lines.concat()
}

async fn upload(t: &TestGateway, text: String) -> String {
    let form =
        Form::new().text("purpose", "batch").part("file", Part::bytes(text.into_bytes()).file_name("requests.jsonl"));
    let reply = Reply::to(t.request(Method::POST, "/v1/files").bearer_auth(t.key()).multipart(form)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn create(t: &TestGateway, file: &str) -> Reply {
    let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    Reply::to(t.request(Method::POST, "/v1/batches").bearer_auth(t.key()).json(&body)).await
}

/// The id of a batch over these lines.
async fn submit(t: &TestGateway, text: String) -> String {
    let file = upload(t, text).await;
    let reply = create(t, &file).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()["id"].as_str().unwrap().to_owned()
}

async fn batch(t: &TestGateway, id: &str) -> Value {
    t.get(&format!("/v1/batches/{id}")).await.json()
}

/// Has every look made until the batch is in this state, jobs going all their way.
async fn until(t: &TestGateway, id: &str, state: &str) -> Value {
    eventually(&format!("the batch is {state}"), async || {
        t.batches().step().await;
        t.sim.region("*").jobs().complete().await;
        batch(t, id).await["status"] == state
    })
    .await;
    batch(t, id).await
}

/// Has every look made until so many jobs were made.
async fn until_jobs(t: &TestGateway, count: usize) {
    eventually("the jobs are made", async || {
        t.batches().step().await;
        t.sim.jobs().len() >= count
    })
    .await;
    assert_eq!(t.sim.jobs().len(), count);
}

/// The lines of a result file by `custom_id`; fails when one is there twice.
async fn lines(t: &TestGateway, file: &Value) -> BTreeMap<String, Value> {
    let Some(id) = file.as_str() else { return BTreeMap::new() };
    let content = t.get(&format!("/v1/files/{id}/content")).await;
    assert_eq!(content.status(), 200, "{content:?}");
    let mut lines = BTreeMap::new();
    for line in content.text().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let id = line["custom_id"].as_str().unwrap().to_owned();
        assert_eq!(lines.insert(id, line), None);
    }
    lines
}
