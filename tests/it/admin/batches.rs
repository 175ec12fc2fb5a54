//! `GET /admin/v1/batches`.

use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::Bucket;
use bedrock_gateway::tenancy::{NewKey, NewTeam};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Administrator, blamed};
use crate::support::reply::Reply;
use crate::support::{FIRST, TEAM, TestGateway, eventually};

const BUCKET: &str = "files-east";

async fn gateway() -> TestGateway {
    let configured = |config: &mut Config| {
        config.batch.bucket = [(FIRST.to_owned(), BUCKET.to_owned())].into();
        "arn:aws:iam::000000000000:role/bedrock-batch".clone_into(&mut config.batch.role_arn);
    };
    TestGateway::with_simulated(configured, |settings| {
        settings.buckets.insert(BUCKET.to_owned(), Bucket::default());
    })
    .await
}

/// The id of a batch of one record for `model`.
async fn submitted(t: &TestGateway, key: &str, model: &str) -> String {
    let chat = json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]});
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat});
    let form = format!(
        "--X\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--X\r\nContent-Disposition: form-data; \
         name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{line}\n\r\n--X--\r\n"
    );
    let request = t.request(Method::POST, "/v1/files").bearer_auth(key);
    let file = Reply::to(request.header("content-type", "multipart/form-data; boundary=X").body(form)).await;
    assert_eq!(file.status(), 200, "{file:?}");
    let new =
        json!({"input_file_id": file.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let batch = Reply::to(t.request(Method::POST, "/v1/batches").bearer_auth(key).json(&new)).await;
    assert_eq!(batch.status(), 200, "{batch:?}");
    batch.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_administrator_sees_the_batches_of_all_teams_and_the_places_for_jobs() {
    let t = gateway().await;
    let admin = Administrator::of(&t).await;
    t.make_team(NewTeam::new("others")).await;
    let (_, others) = t.make_key(NewKey::new("others", "k")).await;
    let own = submitted(&t, t.key(), "nova-lite").await;
    t.clock.advance(std::time::Duration::from_secs(1));
    let of_others = submitted(&t, &others, "nova-micro").await;
    let all = admin.get("/batches").await;
    assert_eq!(all.status(), 200, "{all:?}");
    let all = all.json();
    let ids: Vec<_> = all["data"].as_array().unwrap().iter().map(|batch| batch["id"].clone()).collect();
    assert_eq!(ids, [json!(of_others), json!(own)], "the newest first");
    assert_eq!((&all["next"], all["slots"].is_array()), (&Value::Null, true));
    let batch = &all["data"][1];
    assert_eq!((&batch["endpoint"], &batch["surface"]), (&json!("/v1/chat/completions"), &json!("openai")));
    assert_eq!((&batch["total"], &batch["webhook"]), (&json!(1), &Value::Null));
    assert!(batch["cost_usd"].is_string() && batch["shards"].is_array(), "{batch}");
    assert_eq!(admin.list("/batches", "id").await, ids);
    assert_eq!(admin.list("/batches?team=others", "id").await, [json!(of_others)]);
    assert_eq!(admin.list(&format!("/batches?team={TEAM}"), "id").await, [json!(own)]);
    let first = admin.get("/batches?limit=1").await.json();
    let rest = admin.get(&format!("/batches?limit=1&cursor={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!((&rest["data"][0]["id"], &rest["next"]), (&json!(own), &Value::Null));
    assert_eq!(admin.get("/batches?state=expired").await.json()["data"], json!([]));
    for (query, expected) in
        [("state=done", (400, "state")), ("team=nobody", (404, "team")), ("colour=red", (400, "colour"))]
    {
        let (status, param) = expected;
        assert_eq!(blamed(&admin.get(&format!("/batches?{query}")).await), (status, param.to_owned()));
    }
    let refused = Reply::to(t.request(Method::GET, "/admin/v1/batches").bearer_auth(t.key())).await;
    assert_eq!(refused.status(), 403);
    for (key, id) in [(t.key(), &own), (&others, &of_others)] {
        Reply::to(t.request(Method::POST, &format!("/v1/batches/{id}/cancel")).bearer_auth(key)).await;
    }
    eventually("both are over", async || {
        let all = admin.get("/batches").await.json();
        all["data"].as_array().unwrap().iter().all(|batch| batch["ended_at"].is_string())
    })
    .await;
    t.finish().await;
}

#[tokio::test]
async fn without_a_bucket_there_are_no_batches_to_see() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let none = admin.get("/batches").await;
    assert!(none.status() == 503 && none.text().contains("batch.bucket"), "{none:?}");
    t.finish().await;
}
