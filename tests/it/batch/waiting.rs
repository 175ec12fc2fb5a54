//! What a batch waits for, what its owner is told of it, and how long.

use std::time::Duration;

use bedrock_gateway::simulator::JobQuota;

use super::*;

/// What the batch waits for, once it says something with these words.
pub(super) async fn waits_for(t: &TestGateway, id: &str, words: &str) {
    eventually(&format!("it says {words}"), async || {
        t.batches().step().await;
        let standing = t.batches().standing(id).await.unwrap();
        standing.waiting_for.iter().any(|reason| reason.contains(words))
    })
    .await;
}

#[tokio::test]
async fn a_job_that_aws_denies_waits_for_the_permission_and_says_so() {
    let t = gateway(|_| {}).await;
    let control = t.sim.region("us-east-1").control();
    control.on("CreateModelInvocationJob").deny_until_lifted();
    let id = submit(&t, records(100)).await;
    waits_for(&t, &id, "AWS refuses the batch job").await;
    control.lift();
    until(&t, &id, "completed").await;
    assert_eq!(t.sim.jobs().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_job_that_aws_denies_for_long_fails_its_records_with_the_reason() {
    let t = gateway(|_| {}).await;
    t.sim.region("us-east-1").control().on("CreateModelInvocationJob").deny_until_lifted();
    let id = submit(&t, records(100)).await;
    waits_for(&t, &id, "AWS refuses the batch job").await;
    t.clock.advance(Duration::from_mins(11));
    let failed = until(&t, &id, "failed").await;
    assert!(failed["errors"]["data"][0]["message"].as_str().unwrap().contains("AWS refuses the batch job"), "{failed}");
    assert!(t.ledger().await.is_empty());
    t.finish().await;
}

#[tokio::test]
async fn a_control_plane_that_is_away_delays_a_batch_and_no_more() {
    let t = gateway(|_| {}).await;
    let control = t.sim.region("us-east-1").control();
    control.on("CreateModelInvocationJob").throttle_until_lifted();
    let id = submit(&t, records(100)).await;
    waits_for(&t, &id, "AWS cannot be asked for the batch job now").await;
    control.lift();
    until(&t, &id, "completed").await;
    assert_eq!(t.sim.jobs().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn where_aws_has_no_place_a_job_waits_for_one() {
    let t = gateway(|config| config.batch.limits.max_records_per_job = Some(100)).await;
    t.sim.set_job_quota("*", "*", JobQuota { max_jobs: Some(1), ..JobQuota::default() });
    let id = submit(&t, records(200)).await;
    until_jobs(&t, 1).await;
    waits_for(&t, &id, "Waiting for a job slot").await;
    eventually("the batch is completed", async || {
        t.clock.advance(Duration::from_mins(1));
        t.batches().step().await;
        t.sim.region("*").jobs().complete().await;
        batch(&t, &id).await["status"] == "completed"
    })
    .await;
    assert_eq!(lines(&t, &batch(&t, &id).await["output_file_id"]).await.len(), 200);
    assert_eq!(t.sim.jobs().len(), 2);
    t.finish().await;
}

#[tokio::test]
async fn a_window_that_ends_stops_the_job_and_each_record_ends_once() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(100)).await;
    until_jobs(&t, 1).await;
    t.clock.advance(Duration::from_hours(25));
    let done = until(&t, &id, "expired").await;
    let (answers, errors) = (lines(&t, &done["output_file_id"]).await, lines(&t, &done["error_file_id"]).await);
    assert_eq!(answers.len() + errors.len(), 100);
    assert!(errors.values().all(|line| line["error"]["code"] == "batch_expired"), "{errors:?}");
    t.finish().await;
}
