//! Outputs of jobs that are not as one would wish: each record ends once all the same.

use bedrock_gateway::simulator::Records;

use super::*;

/// Every record of a batch of a hundred, answered once.
async fn whole(t: &TestGateway) -> Value {
    let id = submit(t, records(100)).await;
    let done = until(t, &id, "completed").await;
    assert_eq!(done["request_counts"], json!({"total": 100, "completed": 100, "failed": 0}), "{done}");
    assert_eq!(lines(t, &done["output_file_id"]).await.len(), 100);
    done
}

#[tokio::test]
async fn records_that_an_output_lacks_are_tried_again() {
    let t = gateway(|_| {}).await;
    t.sim.region("us-east-1").jobs().lose_records(1, Records::Every(10));
    whole(&t).await;
    assert_eq!((t.sim.jobs().len(), t.ledger().await.len()), (1, 11), "the ten ran online");
    t.finish().await;
}

#[tokio::test]
async fn records_that_nobody_asked_for_and_repeated_ones_are_passed_over() {
    let t = gateway(|_| {}).await;
    t.sim.region("us-east-1").jobs().add_records(1, 5).repeat_records(1, Records::Every(7));
    whole(&t).await;
    assert_eq!(t.sim.jobs().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn an_output_without_a_manifest_is_as_good() {
    let t = gateway(|_| {}).await;
    t.sim.region("us-east-1").jobs().drop_manifest(1);
    whole(&t).await;
    t.finish().await;
}

#[tokio::test]
async fn what_a_job_left_undone_is_done_after_it() {
    let t = gateway(|_| {}).await;
    t.sim.region("us-east-1").jobs().partially_complete_after(1, 60);
    whole(&t).await;
    assert_eq!((t.sim.jobs().len(), t.ledger().await.len()), (1, 41), "forty ran online");
    t.finish().await;
}
