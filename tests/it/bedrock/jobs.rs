//! AWS's own job API: each team sees its own jobs, under the gateway's own names, over files that were uploaded.

use std::collections::BTreeMap;
use std::time::Duration;

use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::{Bucket, Settings};
use bedrock_gateway::tenancy::{NewKey, NewTeam};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, TestGateway, eventually};

const NOVA: &str = "amazon.nova-lite-v1:0";

fn configured(config: &mut Config) {
    config.batch.bucket = [(FIRST.to_owned(), "files-east".to_owned())].into();
    config.batch.role_arn = "arn:aws:iam::000000000000:role/bedrock-batch".into();
    config.batch.poll_seconds = 5;
}

fn with_bucket(settings: &mut Settings) {
    let bucket = Bucket { region: FIRST.to_owned(), ..Bucket::default() };
    settings.buckets = BTreeMap::from([("files-east".to_owned(), bucket)]);
}

async fn gateway() -> TestGateway {
    TestGateway::with_simulated(configured, with_bucket).await
}

fn record(id: &str, text: &str) -> String {
    let messages = json!([{"role": "user", "content": [{"text": text}]}]);
    json!({"recordId": id, "modelInput": {"messages": messages, "inferenceConfig": {"maxTokens": 50}}}).to_string()
}

/// Uploads lines; the id of the file.
async fn upload(t: &TestGateway, lines: &[String]) -> String {
    let part = |name: &str, text: &str| format!("--X\r\nContent-Disposition: form-data; {name}\r\n\r\n{text}\r\n");
    let file = part("name=\"file\"; filename=\"in.jsonl\"", &lines.join("\n"));
    let body = format!("{}{file}--X--\r\n", part("name=\"purpose\"", "batch"));
    let request = t.request(Method::POST, "/v1/files").bearer_auth(t.key());
    let reply = Reply::to(request.header("content-type", "multipart/form-data; boundary=X").body(body)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()["id"].as_str().unwrap().to_owned()
}

fn job(name: &str, file: &str) -> Value {
    json!({
        "jobName": name,
        "roleArn": "arn:aws:iam::000000000000:role/of-the-caller",
        "modelId": NOVA,
        "modelInvocationType": "Converse",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": format!("s3://bedrock-gateway/files/{file}")}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bedrock-gateway/files/"}},
    })
}

async fn create(t: &TestGateway, body: &Value) -> Reply {
    Reply::to(t.request(Method::POST, "/model-invocation-job").bearer_auth(t.key()).json(body)).await
}

async fn created(t: &TestGateway, body: &Value) -> String {
    let reply = create(t, body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()["jobArn"].as_str().unwrap().to_owned()
}

fn path(arn: &str) -> String {
    format!("/model-invocation-job/{}", arn.replace(':', "%3A").replace('/', "%2F"))
}

/// The job once it has ended.
async fn ended(t: &TestGateway, arn: &str) -> Value {
    let mut job = Value::Null;
    eventually("the job has ended", async || {
        t.batches().step().await;
        let reply = t.get(&path(arn)).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        job = reply.json();
        job.get("endTime").is_some()
    })
    .await;
    job
}

#[tokio::test]
async fn a_job_runs_and_its_result_is_a_file_of_lines_as_aws_writes_them() {
    let t = gateway().await;
    let located = json!({"recordId": "located", "modelInput": {"messages": [{"role": "user", "content": [
        {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://files-east/secret"}}}}]}]}});
    let lines = [record("a", "one"), record("b", "two"), located.to_string()];
    let file = upload(&t, &lines).await;
    let mut body = job("first-job", &file);
    body["tags"] = json!([{"key": "project", "value": "x"}]);
    let arn = created(&t, &body).await;
    assert!(arn.starts_with(&format!("arn:aws:bedrock:{FIRST}:000000000000:model-invocation-job/")), "{arn}");

    let told = ended(&t, &arn).await;
    assert_eq!((&told["jobArn"], &told["jobName"], &told["modelId"]), (&json!(arn), &json!("first-job"), &json!(NOVA)));
    assert_eq!((&told["status"], &told["modelInvocationType"]), (&json!("Completed"), &json!("Converse")), "{told}");
    let counts = ["totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount"];
    assert_eq!(counts.map(|name| told[name].as_u64().unwrap()), [3, 3, 2, 1]);
    assert_ne!(told["roleArn"], body["roleArn"], "the caller's role is not used");
    let input = &told["inputDataConfig"]["s3InputDataConfig"]["s3Uri"];
    assert_eq!(input, &body["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]);

    let output = told["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].as_str().unwrap();
    let id = output.strip_prefix("s3://bedrock-gateway/files/").unwrap();
    let content = t.get(&format!("/v1/files/{id}/content")).await;
    assert_eq!(content.status(), 200, "{content:?}");
    let mut found = BTreeMap::new();
    for line in content.text().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        found.insert(line["recordId"].as_str().unwrap().to_owned(), line);
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b", "located"]);
    for (id, line) in lines.iter().zip(["a", "b"]).map(|(line, id)| (id, line)) {
        let sent: Value = serde_json::from_str(line).unwrap();
        assert_eq!(found[id]["modelInput"], sent["modelInput"]);
        assert!(found[id]["modelOutput"]["usage"]["outputTokens"].as_u64().unwrap() > 0, "{}", found[id]);
    }
    let error = &found["located"]["error"];
    assert_eq!(error["errorCode"], 400);
    assert!(error["errorMessage"].as_str().unwrap().contains("s3Location.uri"), "{error}");
    t.finish().await;
}

#[tokio::test]
async fn the_same_token_is_the_same_job_and_another_teams_is_its_own() {
    let t = gateway().await;
    let file = upload(&t, &[record("a", "one")]).await;
    let mut body = job("job", &file);
    body["clientRequestToken"] = json!("token-1");
    let (first, second) = tokio::join!(created(&t, &body), created(&t, &body));
    assert_eq!(first, second);
    body["jobName"] = json!("another-name");
    assert_eq!(created(&t, &body).await, first, "AWS passes over a request that has a token of before");
    body["clientRequestToken"] = json!("token-2");
    assert_ne!(created(&t, &body).await, first);
    let told = ended(&t, &first).await;
    assert_eq!((&told["clientRequestToken"], &told["jobName"]), (&json!("token-1"), &json!("job")));

    t.make_team(NewTeam::new("others")).await;
    let (_, other) = t.make_key(NewKey::new("others", "other")).await;
    let id = first.rsplit('/').next().unwrap();
    for (method, path) in [
        (Method::GET, path(&first)),
        (Method::GET, format!("/model-invocation-job/{id}")),
        (Method::POST, format!("{}/stop", path(&first))),
    ] {
        let reply = Reply::to(t.request(method, &path).bearer_auth(&other)).await;
        assert_eq!((reply.status(), reply.exception().0), (404, "ResourceNotFoundException"), "{path}");
    }
    let list = Reply::to(t.request(Method::GET, "/model-invocation-jobs").bearer_auth(&other)).await.json();
    assert_eq!(list, json!({"invocationJobSummaries": []}));
    let theirs = Reply::to(t.request(Method::POST, "/model-invocation-job").bearer_auth(&other).json(&body)).await;
    assert_eq!((theirs.status(), theirs.exception().0), (400, "ValidationException"), "the file is not theirs");
    t.finish().await;
}

#[tokio::test]
async fn what_aws_or_the_gateway_does_not_take_is_a_validation_exception_that_says_why() {
    let t = gateway().await;
    let file = upload(&t, &[record("a", "one")]).await;
    let with = |member: &str, value: Value| {
        let mut body = job("job", &file);
        body[member] = value;
        body
    };
    let output = |uri: &str| json!({"s3OutputDataConfig": {"s3Uri": uri}});
    for (body, words) in [
        (with("jobName", json!("a_b")), "'jobName' failed to satisfy constraint"),
        (with("timeoutDurationInHours", json!(1)), "between 24 and 168"),
        (with("modelInvocationType", json!("Chat")), "modelInvocationType"),
        (with("outputDataConfig", output("s3://mine/out/")), "s3://bedrock-gateway/files/"),
        (job("job", "file-00000000000000000000000000000000"), "does not exist"),
    ] {
        let reply = create(&t, &body).await;
        let (name, message) = reply.exception();
        assert_eq!((reply.status(), name), (400, "ValidationException"), "{body}");
        assert!(message.contains(words), "{message}");
    }
    let unknown = create(&t, &with("modelId", json!("no.such-model"))).await;
    assert_eq!(unknown.status(), 404, "{unknown:?}");
    t.finish().await;
}

#[tokio::test]
async fn jobs_are_listed_by_name_state_and_page_and_one_that_is_over_is_not_stopped() {
    let t = gateway().await;
    let file = upload(&t, &[record("a", "one")]).await;
    let mut arns = Vec::new();
    for name in ["red-1", "red-2", "blue-1"] {
        arns.push(created(&t, &job(name, &file)).await);
        t.clock.advance(Duration::from_secs(1));
    }
    for arn in &arns {
        ended(&t, arn).await;
    }
    let list = async |query: &str| {
        let reply = t.get(&format!("/model-invocation-jobs?{query}")).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        let page = reply.json();
        let names = page["invocationJobSummaries"].as_array().unwrap().iter();
        let names: Vec<String> = names.map(|job| job["jobName"].as_str().unwrap().to_owned()).collect();
        (names, page["nextToken"].as_str().map(str::to_owned))
    };
    assert_eq!(list("").await, (vec!["blue-1".into(), "red-2".into(), "red-1".into()], None));
    assert_eq!(list("sortBy=CreationTime&sortOrder=Ascending&nameContains=red").await.0, ["red-1", "red-2"]);
    let (names, next) = list("maxResults=1&nameContains=red").await;
    assert_eq!(names, ["red-2"]);
    let (names, next) = list(&format!("maxResults=1&nameContains=red&nextToken={}", next.unwrap())).await;
    assert_eq!((names, next), (vec!["red-1".to_owned()], None));
    assert_eq!(list("statusEquals=Completed").await.0.len(), 3);
    for status in ["InProgress", "Scheduled", "Stopped"] {
        assert_eq!(list(&format!("statusEquals={status}")).await, (vec![], None), "{status}");
    }
    let stopped = Reply::to(t.request(Method::POST, &format!("{}/stop", path(&arns[0]))).bearer_auth(t.key())).await;
    assert_eq!((stopped.status(), stopped.exception().0), (400, "ConflictException"));
    t.finish().await;
}
