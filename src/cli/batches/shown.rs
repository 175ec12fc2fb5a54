//! What people are shown of a batch.

use comfy_table::Table;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::tenancy::admin::moment;

/// How far a batch is.
pub(super) struct Counts {
    pub(super) total: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
}

impl Counts {
    pub(super) fn of(batch: &Value) -> Self {
        let count = |name: &str| batch["request_counts"][name].as_u64().unwrap_or_default();
        Self { total: count("total"), completed: count("completed"), failed: count("failed") }
    }

    pub(super) fn done(&self) -> u64 {
        self.completed + self.failed
    }
}

/// A text of a batch; `-` without it.
pub(super) fn text<'a>(batch: &'a Value, name: &str) -> &'a str {
    batch[name].as_str().unwrap_or("-")
}

/// One line about a batch.
pub(super) fn line(batch: &Value) -> String {
    let counts = Counts::of(batch);
    let errors = match counts.failed {
        0 => String::new(),
        failed => format!(", {failed} of them with errors"),
    };
    let cost = batch["gateway"]["cost_usd"].as_str();
    let cost = cost.map(|cost| format!(", cost ${}", dollars(cost))).unwrap_or_default();
    let (id, status, done, total) = (text(batch, "id"), text(batch, "status"), counts.done(), counts.total);
    format!("{id} is {status}: {done} of {total} records done{errors}{cost}")
}

/// What a batch waits for, in one line; empty when it waits for nothing.
pub(super) fn waiting(batch: &Value) -> String {
    let word = &batch["gateway"];
    let mut parts: Vec<String> = Vec::new();
    if let Some(position) = word["queue_position"].as_u64() {
        parts.push(format!("{position} before it in the queue"));
    }
    parts.extend(word["reason"].as_str().map(str::to_owned));
    for reason in word["waiting_for"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !parts.iter().any(|part| part == reason) {
            parts.push(reason.to_owned());
        }
    }
    parts.join("; ")
}

/// Faults of its file, one a line.
pub(super) fn faults(batch: &Value) -> Vec<String> {
    let faults = batch["errors"]["data"].as_array().into_iter().flatten().map(|fault| {
        let place = fault["line"].as_u64().map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{place}{} ({})", text(fault, "message"), text(fault, "code"))
    });
    faults.collect()
}

/// All there is to know of a batch.
pub(super) fn detail(batch: &Value) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    for name in ["id", "status", "endpoint", "model", "completion_window"] {
        table.add_row([name, text(batch, name)]);
    }
    let counts = Counts::of(batch);
    table.add_row(["records".into(), counts.total.to_string()]);
    table.add_row(["answered".into(), counts.completed.to_string()]);
    table.add_row(["with errors".into(), counts.failed.to_string()]);
    for name in ["estimate_usd", "cost_usd"] {
        table.add_row([name, batch["gateway"][name].as_str().map_or("-", dollars)]);
    }
    let waiting = waiting(batch);
    if !waiting.is_empty() {
        table.add_row(["reason", &waiting]);
    }
    for shard in batch["gateway"]["shards"].as_array().into_iter().flatten() {
        table.add_row(["part".into(), part(shard)]);
    }
    for name in ["input_file_id", "output_file_id", "error_file_id"] {
        table.add_row([name, text(batch, name)]);
    }
    for name in TIMES {
        if let Some(at) = batch[name].as_i64() {
            table.add_row([name.to_owned(), moment::tell(Timestamp::from_millis(at.saturating_mul(1000)))]);
        }
    }
    for fault in faults(batch) {
        table.add_row(["fault".into(), fault]);
    }
    table.to_string()
}

/// The moments of a batch, in seconds.
const TIMES: [&str; 9] = [
    "created_at",
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "expires_at",
];

/// Parts of a batch that run in the same way.
fn part(shard: &Value) -> String {
    let number = |name: &str| shard[name].as_u64().unwrap_or_default();
    let why = shard["why_online"].as_str().map(|why| format!(" ({why})")).unwrap_or_default();
    let how = format!("{} in {}{why}", text(shard, "kind"), text(shard, "region"));
    let state = format!("{} x {}", number("count"), text(shard, "state"));
    format!("{}: {how}: {state}, {} of {} records", text(shard, "model"), number("done"), number("records"))
}

/// Several batches.
pub(super) fn table(batches: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header([
        "id",
        "status",
        "endpoint",
        "done",
        "errors",
        "cost_usd",
        "created_at",
    ]);
    for batch in batches {
        let counts = Counts::of(batch);
        let created = batch["created_at"].as_i64().unwrap_or_default();
        table.add_row([
            text(batch, "id").to_owned(),
            text(batch, "status").to_owned(),
            text(batch, "endpoint").to_owned(),
            format!("{}/{}", counts.done(), counts.total),
            counts.failed.to_string(),
            batch["gateway"]["cost_usd"].as_str().map_or("-", dollars).to_owned(),
            moment::tell(Timestamp::from_millis(created.saturating_mul(1000))),
        ]);
    }
    table.to_string()
}

/// An amount without the zeros at its end that say nothing: at least cents.
fn dollars(amount: &str) -> &str {
    let Some(point) = amount.find('.') else { return amount };
    let end = amount.trim_end_matches('0').len().max(point + 3).min(amount.len());
    amount.get(..end).unwrap_or(amount)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_is_told_with_all_that_it_waits_for() {
        let batch = json!({
            "id": "batch_1", "status": "in_progress", "endpoint": "/v1/chat/completions",
            "request_counts": {"total": 250, "completed": 97, "failed": 3}, "created_at": 1_893_456_000,
            "gateway": {
                "cost_usd": "0.012300", "estimate_usd": null, "queue_position": 4, "reason": "no place",
                "waiting_for": ["no place", "AWS has 20 jobs"],
                "shards": [{"model": "nova-lite", "kind": "online", "state": "settled", "region": "us-east-1",
                            "why_online": "tools", "count": 2, "records": 100, "done": 100}],
            },
            "errors": {"data": [{"line": 7, "message": "It is no JSON.", "code": "invalid_json_line"}]},
        });
        let told = "batch_1 is in_progress: 100 of 250 records done, 3 of them with errors, cost $0.0123";
        assert_eq!(line(&batch), told);
        assert_eq!(waiting(&batch), "4 before it in the queue; no place; AWS has 20 jobs");
        assert_eq!(faults(&batch), ["line 7: It is no JSON. (invalid_json_line)"]);
        let detail = detail(&batch);
        for part in ["nova-lite: online in us-east-1 (tools): 2 x settled, 100 of 100 records", "2030-01-01", "line 7"]
        {
            assert!(detail.contains(part), "{detail}");
        }
        assert!(table(&[batch]).contains("100/250"));
        // What an older or another gateway does not tell.
        assert_eq!(line(&json!({"id": "batch_1", "status": "failed"})), "batch_1 is failed: 0 of 0 records done");
        assert_eq!(waiting(&json!({})), "");
    }

    #[test]
    fn an_amount_has_at_least_cents() {
        let told: Vec<_> = ["0.000000", "1.500000", "12.340000", "0.000001", "7", "7."].map(dollars).into();
        assert_eq!(told, ["0.00", "1.50", "12.34", "0.000001", "7", "7."]);
    }
}
