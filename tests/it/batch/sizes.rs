//! How many records, of how many models, in what kind of file.

use super::*;

/// The fewest records of AWS's jobs are a hundred.
const MOST: u64 = 200;

#[tokio::test]
async fn a_batch_of_any_size_has_each_record_once_in_as_many_jobs_as_it_takes() {
    let t = gateway(|config| config.batch.limits.max_records_per_job = Some(MOST)).await;
    let mut made = 0;
    for (count, jobs) in [(1, 0), (99, 0), (100, 1), (101, 1), (200, 1), (201, 2)] {
        let id = submit(&t, records(count)).await;
        let done = until(&t, &id, "completed").await;
        assert_eq!(done["request_counts"], json!({"total": count, "completed": count, "failed": 0}));
        assert_eq!(lines(&t, &done["output_file_id"]).await.len(), count);
        assert_eq!(done["error_file_id"], Value::Null);
        made += jobs;
        assert_eq!(t.sim.jobs().len(), made, "after {count} records");
    }
    let mut sizes: Vec<_> = t.sim.jobs().iter().map(|job| job.records).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [100, 100, 101, 101, 200], "jobs of one batch are of about the same size");
    t.finish().await;
}

#[tokio::test]
async fn five_models_in_one_file_are_five_jobs_and_one_result() {
    const MODELS: [&str; 5] = [MODEL, "nova-lite", "nova-pro", "nova-micro", "llama3-3-70b-instruct"];
    let t = gateway(|_| {}).await;
    let record = |at: usize| {
        let (model, text) = (MODELS[at % 5], format!("say {at}"));
        let body = json!({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": text}]});
        json!({"custom_id": format!("r{at}"), "method": "POST", "url": "/v1/chat/completions", "body": body})
    };
    let text: Vec<String> = (0..500).map(|at| record(at).to_string() + "\n").collect();
    let id = submit(&t, text.concat()).await;
    let done = until(&t, &id, "completed").await;
    let answers = lines(&t, &done["output_file_id"]).await;
    assert_eq!(answers.len(), 500);
    for at in 0..500 {
        assert_eq!(answers[&format!("r{at}")]["response"]["body"]["model"], MODELS[at % 5]);
    }
    assert_eq!(t.sim.jobs().len(), 5);
    t.finish().await;
}

#[tokio::test]
async fn a_byte_order_mark_line_ends_of_windows_and_blank_lines_are_no_faults() {
    let t = gateway(|_| {}).await;
    let text = format!("\u{feff}{}\r\n\r\n", records(100).trim_end().replace('\n', "\r\n"));
    let id = submit(&t, text).await;
    let done = until(&t, &id, "completed").await;
    assert_eq!(lines(&t, &done["output_file_id"]).await.len(), 100);
    t.finish().await;
}

#[tokio::test]
async fn a_file_without_records_makes_a_batch_that_has_failed() {
    let t = gateway(|_| {}).await;
    let id = submit(&t, "\n\n".to_owned()).await;
    let failed = until(&t, &id, "failed").await;
    assert_eq!(failed["errors"]["data"][0]["code"], "empty_file", "{failed}");
    t.finish().await;
}
