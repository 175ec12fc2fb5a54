//! What befalls a batch while it is under way: its owner changes their mind, its key or its team is revoked.

use bedrock_gateway::simulator::{JobState, When};
use bedrock_gateway::tenancy::admin::{self, Actor, Precondition};
use bedrock_gateway::tenancy::{NewKey, NewTeam, Scope};

use super::*;
use crate::support::{TEAM, within};

#[tokio::test]
async fn a_batch_that_is_cancelled_while_it_is_planned_has_run_nothing() {
    let t = gateway(|_| {}).await;
    let file = upload(&t, records(100)).await;
    let gate = t.sim.gate("GetObject", When::Before);
    let id = create(&t, &file).await.json()["id"].as_str().unwrap().to_owned();
    within(gate.reached()).await;
    assert_eq!(batch(&t, &id).await["status"], "validating");
    let cancelled = t.request(Method::POST, &format!("/v1/batches/{id}/cancel")).bearer_auth(t.key());
    assert_eq!(Reply::to(cancelled).await.json()["status"], "cancelling");
    drop(gate);
    let done = until(&t, &id, "cancelled").await;
    let errors = lines(&t, &done["error_file_id"]).await;
    assert!(errors.values().all(|line| line["error"]["code"] == "batch_cancelled"), "{errors:?}");
    assert_eq!((errors.len(), t.sim.jobs().len(), t.ledger().await.len()), (100, 0, 0));
    t.finish().await;
}

#[tokio::test]
async fn a_batch_outlives_the_key_that_submitted_it() {
    let t = gateway(|_| {}).await;
    let (key, secret) = t.make_key(NewKey::new(TEAM, "short-lived")).await;
    let file = upload(&t, records(100)).await;
    let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let reply = Reply::to(t.request(Method::POST, "/v1/batches").bearer_auth(&secret).json(&body)).await;
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    until_jobs(&t, 1).await;
    admin::revoke_key(&t.store, &t.clock, Actor::CommandLine, &key.id).await.unwrap();
    let done = until(&t, &id, "completed").await;
    assert_eq!(done["request_counts"], json!({"total": 100, "completed": 100, "failed": 0}));
    let entry = t.only_call().await;
    assert_eq!((&entry.key, &*entry.tier), (&key.id, "batch"));
    t.finish().await;
}

#[tokio::test]
async fn the_batches_of_a_team_that_is_revoked_are_stopped_and_charged_for_what_was_done() {
    let t = gateway(|_| {}).await;
    let admin = NewKey { scopes: vec![Scope::Admin], ..NewKey::new(TEAM, "administrator") };
    let (_, admin) = t.make_key(admin).await;
    t.make_team(NewTeam::new("leavers")).await;
    let (_, secret) = t.make_key(NewKey::new("leavers", "only")).await;
    let form = Form::new().text("purpose", "batch").part("file", Part::text(records(120)).file_name("requests.jsonl"));
    let file = Reply::to(t.request(Method::POST, "/v1/files").bearer_auth(&secret).multipart(form)).await;
    let body = json!({
        "input_file_id": file.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h",
    });
    let reply = Reply::to(t.request(Method::POST, "/v1/batches").bearer_auth(&secret).json(&body)).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    until_jobs(&t, 1).await;
    admin::revoke_team_if(&t.store, &t.clock, Actor::CommandLine, ("leavers", &Precondition::Any)).await.unwrap();
    let told = async || {
        let asked = t.request(Method::GET, "/admin/v1/batches?team=leavers").bearer_auth(&admin);
        Reply::to(asked).await.json()["data"][0].clone()
    };
    for state in ["cancelling", "cancelled"] {
        eventually("its batch is stopped", async || {
            t.batches().step().await;
            if state == "cancelled" {
                t.sim.region("*").jobs().complete().await;
            }
            told().await["state"] == state
        })
        .await;
    }
    assert!(told().await["reason"].as_str().is_some_and(|reason| reason.contains("revoked")), "{}", told().await);
    assert!(t.sim.jobs().iter().all(|job| job.state == JobState::Stopped), "{:?}", t.sim.jobs());
    t.finish().await;
}
