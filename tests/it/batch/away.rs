//! S3 and credentials that fail in between, and batches that are cancelled before they run.

use std::time::Duration;

use super::waiting::waits_for;
use super::*;

#[tokio::test]
async fn an_s3_that_is_away_when_a_job_ends_delays_its_result_and_no_more() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(100)).await;
    until_jobs(&t, 1).await;
    let s3 = t.sim.region("us-east-1").s3();
    s3.outage_with_503();
    t.sim.region("*").jobs().complete().await;
    t.batches().step().await;
    assert_eq!(batch(&t, &id).await["status"], "in_progress");
    s3.end_outage();
    eventually("the batch is completed", async || {
        t.clock.advance(Duration::from_mins(1));
        t.batches().step().await;
        batch(&t, &id).await["status"] == "completed"
    })
    .await;
    assert_eq!(lines(&t, &batch(&t, &id).await["output_file_id"]).await.len(), 100);
    t.finish().await;
}

#[tokio::test]
async fn an_s3_that_stumbles_or_calls_the_credentials_expired_costs_a_batch_nothing() {
    let t = gateway(|_| {}).await;
    let s3 = t.sim.region("us-east-1").s3();
    s3.throttle(1).expired_credentials(1).reset_connection(1);
    let id = submit(&t, records(100)).await;
    s3.internal_error(1);
    until_jobs(&t, 1).await;
    s3.on("GetObject").cut_body_after(1, 200);
    let done = until(&t, &id, "completed").await;
    assert_eq!(lines(&t, &done["output_file_id"]).await.len(), 100);
    assert_eq!(t.sim.jobs().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_batch_that_is_cancelled_before_its_job_is_made_has_run_nothing() {
    let t = gateway(|_| {}).await;
    let control = t.sim.region("us-east-1").control();
    control.on("CreateModelInvocationJob").throttle_until_lifted();
    let id = submit(&t, records(100)).await;
    waits_for(&t, &id, "AWS cannot be asked").await;
    let cancelled = t.request(Method::POST, &format!("/v1/batches/{id}/cancel")).bearer_auth(t.key());
    assert_eq!(Reply::to(cancelled).await.json()["status"], "cancelling");
    control.lift();
    let done = until(&t, &id, "cancelled").await;
    let errors = lines(&t, &done["error_file_id"]).await;
    assert_eq!((errors.len(), t.sim.jobs().len(), t.ledger().await.len()), (100, 0, 0));
    assert!(errors.values().all(|line| line["error"]["code"] == "batch_cancelled"), "{errors:?}");
    t.finish().await;
}
