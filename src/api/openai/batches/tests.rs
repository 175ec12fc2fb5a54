//! What is read of a request for a batch, and what is told of one.

use serde_json::{Value, json};

use super::*;
use crate::batch::record::{Counts, Problem};
use crate::batch::{Batch as Kept, State};
use crate::clock::Timestamp;
use crate::ids::{KeyId, TeamId};
use crate::money::MicroUsd;

fn asked(more: &Value) -> Result<NewBatch> {
    let mut body = json!({"input_file_id": "file-1", "endpoint": "/v1/responses", "completion_window": "24h"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    new_batch("batch_1".to_owned(), body::read(body.to_string().as_bytes())?)
}

#[test]
fn a_request_is_read_as_openai_has_it_and_for_up_to_a_week() {
    let new = asked(&json!({"metadata": null, "completion_window": "168h"})).unwrap();
    assert_eq!((new.endpoint, new.window), (Endpoint::Responses, Duration::from_hours(168)));
    let kept = json!({"output_expires_after": {"anchor": "created_at", "seconds": 3600}, "metadata": {"a": "b"}});
    let new = asked(&kept).unwrap();
    assert_eq!(new.metadata["a"], "b");
    let expected = json!({"completion_window": "24h", "output_expires_after": 3600});
    assert_eq!(serde_json::from_str::<Value>(&new.details.unwrap()).unwrap(), expected);
}

#[test]
fn what_cannot_be_names_its_field() {
    let long = "x".repeat(513);
    let many: BTreeMap<String, String> = (0..17).map(|n| (n.to_string(), String::new())).collect();
    let cases = [
        (json!({"endpoint": "/v1/messages"}), "endpoint"),
        (json!({"endpoint": "/v1/completions"}), "endpoint"),
        (json!({"endpoint": "native"}), "endpoint"),
        (json!({"completion_window": "23h"}), "completion_window"),
        (json!({"completion_window": "169h"}), "completion_window"),
        (json!({"completion_window": "+24h"}), "completion_window"),
        (json!({"completion_window": "1d"}), "completion_window"),
        (json!({"completion_window": 24}), "completion_window"),
        (json!({"metadata": {"a": long}}), "metadata"),
        (json!({"metadata": many}), "metadata"),
        (json!({"metadata": {"a": 1}}), "metadata.a"),
        (json!({"output_expires_after": {"anchor": "created_at", "seconds": 3599}}), "output_expires_after.seconds"),
        (json!({"output_expires_after": {"anchor": "now", "seconds": 3600}}), "output_expires_after.anchor"),
        (json!({"input_file_id": null}), "input_file_id"),
    ];
    for (more, param) in cases {
        let error = asked(&more).unwrap_err();
        assert_eq!((error.kind(), error.blamed()), (Kind::Invalid, Some(param)), "{more}: {error}");
    }
    assert_eq!(asked(&json!({"windw": 1})).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn a_page_is_read_from_the_query() {
    let read = |pairs: &[(&str, &str)]| {
        filter(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    };
    let page = read(&[("limit", "7"), ("after", "batch_1")]).unwrap();
    assert_eq!((page.limit, page.after.as_deref(), page.surface), (7, Some("batch_1"), Some("openai")));
    assert_eq!(read(&[]).unwrap().limit, 20);
    for (name, value) in [("limit", "0"), ("limit", "101"), ("limit", "x"), ("before", "batch_1")] {
        assert_eq!(read(&[(name, value)]).unwrap_err().blamed(), Some(name));
    }
}

fn kept(state: State) -> Kept {
    let at = |seconds: i64| Timestamp::from_millis(seconds * 1000 + 999);
    Kept {
        id: "batch_1".into(),
        team: TeamId::from("t"),
        key: KeyId::from("k"),
        surface: "openai".into(),
        endpoint: Endpoint::Chat,
        model: None,
        invocation: None,
        input_file: "file-1".into(),
        output_file: Some("file-2".into()),
        error_file: Some("file-3".into()),
        state,
        counts: Counts { total: 10, completed: 7, failed: 3, cancelled: 1, expired: 1 },
        estimate: Some(MicroUsd(1_500_000)),
        cost: MicroUsd(20),
        unpriced: 0,
        metadata: BTreeMap::new(),
        details: Some(r#"{"completion_window":"24h"}"#.into()),
        errors: Vec::new(),
        reason: None,
        webhook_url: None,
        created_at: at(1),
        in_progress_at: Some(at(2)),
        finalizing_at: None,
        cancelling_at: None,
        ended_at: state.is_over().then(|| at(9)),
        expires_at: at(99),
    }
}

fn told(batch: Kept) -> Value {
    serde_json::to_value(told::batch(batch)).unwrap()
}

#[test]
fn a_batch_has_every_member_that_clients_know() {
    let expected = json!({
        "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "model": null, "errors": null,
        "input_file_id": "file-1", "completion_window": "24h", "status": "completed", "output_file_id": "file-2",
        "error_file_id": "file-3", "created_at": 1, "in_progress_at": 2, "expires_at": 99, "finalizing_at": null,
        "completed_at": 9, "failed_at": null, "expired_at": null, "cancelling_at": null, "cancelled_at": null,
        "request_counts": {"total": 10, "completed": 7, "failed": 3}, "metadata": null,
        "gateway": {"estimate_usd": "1.500000", "cost_usd": "0.000020", "reason": null},
    });
    assert_eq!(told(kept(State::Completed)), expected);
}

#[test]
fn the_end_is_told_in_its_own_member_and_files_only_once_they_are_there() {
    let members = [
        (State::Completed, "completed_at"),
        (State::Failed, "failed_at"),
        (State::Expired, "expired_at"),
        (State::Cancelled, "cancelled_at"),
    ];
    for (state, member) in members {
        let told = told(kept(state));
        assert_eq!(told["status"], member.strip_suffix("_at").unwrap());
        for (_, other) in members {
            assert_eq!(told[other], if other == member { json!(9) } else { Value::Null }, "{state:?} {other}");
        }
        assert_eq!(told["output_file_id"], "file-2");
    }
    for state in [State::Validating, State::InProgress, State::Finalizing, State::Cancelling] {
        let told = told(kept(state));
        assert_eq!((&told["output_file_id"], &told["error_file_id"]), (&Value::Null, &Value::Null), "{state:?}");
    }
    let mut good = kept(State::Completed);
    good.counts = Counts { total: 10, completed: 10, ..Counts::default() };
    assert_eq!(told(good)["error_file_id"], Value::Null);
}

#[test]
fn what_has_no_price_is_unknown_and_what_is_wrong_with_lines_is_a_list() {
    let mut batch = kept(State::Failed);
    (batch.estimate, batch.unpriced) = (None, 2);
    let problem = Problem { line: Some(3), code: "invalid_json_line".into(), message: "No JSON.".into(), param: None };
    batch.errors = vec![problem];
    let told = told(batch);
    assert_eq!((&told["gateway"]["estimate_usd"], &told["gateway"]["cost_usd"]), (&Value::Null, &Value::Null));
    let line = json!({"code": "invalid_json_line", "message": "No JSON.", "param": null, "line": 3});
    assert_eq!(told["errors"], json!({"object": "list", "data": [line]}));
}
