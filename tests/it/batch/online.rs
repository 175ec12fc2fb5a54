//! Batches whose records are no job.

use super::*;
use crate::support::collector::Collector;

#[tokio::test]
async fn a_few_records_run_online_and_each_call_is_booked() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(5)).await;
    let done = until(&t, &id, "completed").await;
    assert_eq!(done["request_counts"], json!({"total": 5, "completed": 5, "failed": 0}));
    let answers = lines(&t, &done["output_file_id"]).await;
    assert_eq!(answers.len(), 5);
    assert_eq!(answers["r3"]["response"]["body"]["object"], "chat.completion");
    assert_eq!(t.sim.jobs().len(), 0);
    let ledger = t.booked_calls(5).await;
    assert!(ledger.iter().all(|entry| entry.operation == "chat" && entry.tier == "default"), "{ledger:?}");
    t.finish().await;
}

#[tokio::test]
async fn a_record_that_runs_online_is_traced_as_one_of_a_batch() {
    let collector = Collector::start().await;
    let t = gateway(|config| collector.configure(config)).await;
    let id = submit(&t, records(1)).await;
    until(&t, &id, "completed").await;
    t.booked_calls(1).await;
    t.finish().await;
    let spans = collector.spans();
    let record = spans.iter().find(|span| !span.get("bedrock_gateway.batch").is_null());
    let record = record.unwrap_or_else(|| panic!("{spans:#?}"));
    assert_eq!(
        (record.name.as_str(), record.get("bedrock_gateway.outcome")),
        ("POST /v1/chat/completions", json!("ok"))
    );
    assert_eq!(collector.trace(&record.trace).len(), 3, "{spans:#?}");
    collector.stop().await;
}

#[tokio::test]
async fn online_records_wait_out_a_throttled_model() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, records(2)).await;
    t.sim.region("us-east-1").throttle(2);
    let done = until(&t, &id, "completed").await;
    assert_eq!(done["request_counts"], json!({"total": 2, "completed": 2, "failed": 0}));
    t.finish().await;
}
