//! What is refused, and what others may not see.

use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::tenancy::{Guardrail, NewKey, NewTeam, Period, Scope};

use super::*;
use crate::support::TEAM;

#[tokio::test]
async fn a_budget_that_is_too_small_refuses_a_batch_and_tells_the_estimate() {
    let t = gateway(|_| {}).await;
    t.set_budget(Period::Day, MicroUsd(100)).await;
    let file = upload(&t, records(100)).await;
    let refused = create(&t, &file).await;
    assert_eq!((refused.status(), refused.header("x-should-retry")), (429, "false"), "{refused:?}");
    let error = refused.openai_error();
    assert_eq!(error["code"], "insufficient_quota");
    assert!(error["message"].as_str().unwrap().contains("USD at most"), "{error}");
    t.finish().await;
}

#[tokio::test]
async fn a_batch_holds_its_worst_case_and_gives_back_what_it_did_not_need() {
    let t = gateway(|_| {}).await;
    t.set_budget(Period::Day, MicroUsd(10_000_000)).await;
    let id = submit(&t, records(100)).await;
    until_jobs(&t, 1).await;
    let running = t.balance();
    assert!(running.held > MicroUsd(0) && running.spent == MicroUsd(0), "{running:?}");
    let admin = NewKey { scopes: vec![Scope::Admin], ..NewKey::new(TEAM, "administrator") };
    let (_, admin) = t.make_key(admin).await;
    let held = async || {
        let asked = t.request(Method::GET, "/admin/v1/budgets").bearer_auth(&admin);
        Reply::to(asked).await.json()["data"][0]["held_usd"].clone()
    };
    assert_eq!(held().await, running.held.to_string());
    until(&t, &id, "completed").await;
    eventually("nothing is held", async || t.balance().held == MicroUsd(0)).await;
    assert_eq!(held().await, "0.000000");
    assert_eq!(Some(t.balance().spent), t.only_call().await.cost);
    t.finish().await;
}

#[tokio::test]
async fn a_budget_that_is_set_while_a_batch_runs_holds_what_the_rest_of_it_may_cost() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(100)).await;
    until_jobs(&t, 1).await;
    t.set_budget(Period::Day, MicroUsd(10_000_000)).await;
    eventually("it is held", async || {
        t.batches().step().await;
        t.gateway().tenancy().accounts().iter().any(|account| account.balance.held > MicroUsd(0))
    })
    .await;
    until(&t, &id, "completed").await;
    eventually("nothing is held", async || t.balance().held == MicroUsd(0)).await;
    assert_eq!(Some(t.balance().spent), t.only_call().await.cost);
    t.finish().await;
}

#[tokio::test]
async fn a_bad_line_fails_the_batch_and_names_the_line() {
    let t = gateway(|_| {}).await;
    let text = format!("{}not json\n", records(3));
    let id = submit(&t, text).await;
    let failed = batch(&t, &id).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["errors"]["data"][0]["line"], 4);
    t.finish().await;
}

#[tokio::test]
async fn another_team_sees_nothing_of_a_batch() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(2)).await;
    until(&t, &id, "completed").await;
    t.make_team(NewTeam::new("others")).await;
    let (_, key) = t.make_key(NewKey::new("others", "k")).await;
    for (method, path) in
        [(Method::GET, format!("/v1/batches/{id}")), (Method::POST, format!("/v1/batches/{id}/cancel"))]
    {
        let reply = Reply::to(t.request(method, &path).bearer_auth(&key)).await;
        assert_eq!(reply.status(), 404, "{reply:?}");
    }
    let list = Reply::to(t.request(Method::GET, "/v1/batches").bearer_auth(&key)).await;
    assert_eq!(list.json()["data"], json!([]));
    t.finish().await;
}

#[tokio::test]
async fn lines_that_are_too_long_no_text_or_named_twice_are_told_each_with_its_number() {
    const LIMIT: usize = 25 << 20;
    let t = gateway(|config| config.batch.max_file_mb = 64).await;
    let mut file = records(1).into_bytes();
    file.extend_from_slice(b"{\"custom_id\":\"\xff\xfe\"}\n");
    file.extend(std::iter::repeat_n(b'x', LIMIT + 1));
    file.push(b'\n');
    file.extend_from_slice(records(2).as_bytes());
    let form = Form::new().text("purpose", "batch").part("file", Part::bytes(file).file_name("requests.jsonl"));
    let reply = Reply::to(t.request(Method::POST, "/v1/files").bearer_auth(t.key()).multipart(form)).await;
    assert_eq!(reply.status(), 200, "an upload is taken as it is: {reply:?}");
    let id = create(&t, reply.json()["id"].as_str().unwrap()).await.json()["id"].as_str().unwrap().to_owned();
    let failed = batch(&t, &id).await;
    assert_eq!(failed["status"], "failed");
    let told = failed["errors"]["data"].as_array().unwrap().iter();
    let told: Vec<_> = told.map(|error| (error["line"].as_u64().unwrap(), error["code"].as_str().unwrap())).collect();
    assert_eq!(told, [(2, "invalid_json_line"), (3, "line_too_large"), (4, "duplicate_custom_id")]);
    assert!(t.sim.jobs().is_empty() && t.ledger().await.is_empty());
    t.finish().await;
}

#[tokio::test]
async fn a_bucket_that_is_in_another_region_is_told_with_the_setting_that_is_wrong() {
    let t = gateway(|_| {}).await;
    t.sim.set_bucket(BUCKET, Bucket { region: "eu-central-1".into(), ..Bucket::default() });
    let form = Form::new().text("purpose", "batch").part("file", Part::text(records(1)).file_name("requests.jsonl"));
    let reply = Reply::to(t.request(Method::POST, "/v1/files").bearer_auth(t.key()).multipart(form)).await;
    let message = reply.openai_error()["message"].as_str().unwrap().to_owned();
    assert_eq!(reply.status(), 503, "{reply:?}");
    assert!(message.contains("eu-central-1") && message.contains("batch.bucket.us-east-1"), "{message}");
    t.finish().await;
}

#[tokio::test]
async fn a_team_with_a_guardrail_has_its_records_run_online_under_it() {
    let t = gateway(|_| {}).await;
    let guardrail = Guardrail { id: "own1".into(), version: "1".into() };
    t.make_team(NewTeam { guardrail: Some(guardrail), ..NewTeam::new("guarded") }).await;
    let (_, key) = t.make_key(NewKey::new("guarded", "k")).await;
    let form = Form::new().text("purpose", "batch").part("file", Part::text(records(100)).file_name("requests.jsonl"));
    let file = Reply::to(t.request(Method::POST, "/v1/files").bearer_auth(&key).multipart(form)).await;
    let body = json!({
        "input_file_id": file.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
    });
    let reply = Reply::to(t.request(Method::POST, "/v1/batches").bearer_auth(&key).json(&body)).await;
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    let told = async || {
        let asked = t.request(Method::GET, &format!("/v1/batches/{id}")).bearer_auth(&key);
        Reply::to(asked).await.json()
    };
    eventually("the batch is completed", async || {
        t.batches().step().await;
        told().await["status"] == "completed"
    })
    .await;
    let done = told().await;
    assert_eq!(done["request_counts"], json!({"total": 100, "completed": 100, "failed": 0}));
    assert_eq!(done["gateway"]["shards"][0]["why_online"], "the team's guardrail, which jobs do not take");
    assert!(t.sim.jobs().is_empty());
    let calls = t.sim.calls().into_iter().filter(|call| call.operation == "Converse").count();
    assert_eq!(calls, 100);
    t.finish().await;
}
