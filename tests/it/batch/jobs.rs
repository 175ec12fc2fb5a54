//! Batches that run as jobs of AWS's.

use bedrock_gateway::simulator::Records;

use super::*;
use crate::support::MODEL_ID;

#[tokio::test]
async fn a_hundred_records_are_one_job_whose_answers_come_back_each_once_at_half_price() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(100)).await;
    let done = until(&t, &id, "completed").await;
    assert_eq!(done["request_counts"], json!({"total": 100, "completed": 100, "failed": 0}));
    let answers = lines(&t, &done["output_file_id"]).await;
    assert_eq!(answers.len(), 100);
    for (id, line) in &answers {
        let body = &line["response"]["body"];
        assert_eq!(
            (&line["response"]["status_code"], &body["object"]),
            (&json!(200), &json!("chat.completion")),
            "{id}"
        );
    }
    assert_eq!(done["error_file_id"], Value::Null);
    assert_eq!(t.sim.jobs().len(), 1);
    let entry = t.only_call().await;
    let tokens = t.sim.job_totals().tokens;
    assert_eq!((entry.input_tokens, entry.output_tokens), (tokens.input, tokens.output));
    assert_eq!((&*entry.operation, &*entry.tier, &*entry.model), ("batch", "batch", MODEL_ID));
    // 0.55 and 2.75 US dollars a million tokens by the profile of the US: half of what single calls cost.
    let micros = (tokens.input * 550_000 + tokens.output * 2_750_000).div_ceil(1_000_000);
    assert_eq!(entry.cost.map(|cost| cost.0), i64::try_from(micros).ok());
    t.finish().await;
}

#[tokio::test]
async fn more_records_than_a_job_takes_are_several_jobs_and_one_result() {
    let t = gateway(|config| config.batch.limits.max_records_per_job = Some(100)).await;
    let id = submit(&t, records(250)).await;
    until_jobs(&t, 2).await;
    let done = until(&t, &id, "completed").await;
    assert_eq!(done["request_counts"], json!({"total": 250, "completed": 250, "failed": 0}));
    assert_eq!(lines(&t, &done["output_file_id"]).await.len(), 250);
    t.finish().await;
}

#[tokio::test]
async fn a_record_that_fails_for_a_passing_reason_is_tried_again_and_one_that_is_wrong_is_not() {
    let t = gateway(|_| {}).await;
    let jobs = t.sim.region("us-east-1").jobs();
    jobs.record_errors(Records::Every(2), 503, 1);
    let id = submit(&t, records(200)).await;
    let done = until(&t, &id, "completed").await;
    assert_eq!(done["request_counts"], json!({"total": 200, "completed": 200, "failed": 0}));
    assert_eq!(t.sim.jobs().len(), 2, "a hundred of them are a job again");
    jobs.record_errors(Records::Every(50), 400, 9);
    let id = submit(&t, records(100)).await;
    let done = until(&t, &id, "completed").await;
    assert_eq!(done["request_counts"], json!({"total": 100, "completed": 98, "failed": 2}));
    assert_eq!(lines(&t, &done["error_file_id"]).await.len(), 2);
    t.finish().await;
}

#[tokio::test]
async fn a_job_that_was_made_though_the_answer_was_lost_is_found_and_not_made_again() {
    let t = gateway(|_| {}).await;
    t.sim.region("us-east-1").control().on("CreateModelInvocationJob").lose_answer(1);
    let id = submit(&t, records(100)).await;
    until(&t, &id, "completed").await;
    assert_eq!(t.sim.jobs().len(), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_cancelled_batch_stops_its_job_and_each_record_ends_once() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(120)).await;
    until_jobs(&t, 1).await;
    let cancelled = t.request(Method::POST, &format!("/v1/batches/{id}/cancel")).bearer_auth(t.key());
    assert_eq!(Reply::to(cancelled).await.json()["status"], "cancelling");
    let done = until(&t, &id, "cancelled").await;
    let (answers, errors) = (lines(&t, &done["output_file_id"]).await, lines(&t, &done["error_file_id"]).await);
    assert_eq!(answers.len() + errors.len(), 120);
    assert!(errors.values().all(|line| line["error"]["code"] == "batch_cancelled"), "{errors:?}");
    assert!(answers.keys().all(|id| !errors.contains_key(id)));
    t.finish().await;
}

#[tokio::test]
async fn a_failed_job_ends_its_records_as_such_and_says_why() {
    let t = gateway(|_| {}).await;
    t.sim.region("us-east-1").jobs().fail(1, "The role cannot read the bucket.");
    let id = submit(&t, records(100)).await;
    let done = until(&t, &id, "completed").await;
    let errors = lines(&t, &done["error_file_id"]).await;
    assert_eq!(errors.len(), 100);
    let message = errors["r7"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("The role cannot read the bucket."), "{message}");
    assert_eq!(errors["r7"]["error"]["code"], "job_failed");
    assert_eq!(t.only_call().await.outcome.as_str(), "upstream_rejected");
    t.finish().await;
}
