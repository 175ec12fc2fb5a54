//! Calls held at gates, over the router.

use serde_json::{Value, json};

use super::probe::{Keys, send, signed};
use super::{Bucket, Settings, Simulator, When};

const CONVERSE: &str = "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse";

fn simulator() -> Simulator {
    let buckets = std::collections::BTreeMap::from([("files".to_owned(), Bucket::default())]);
    Simulator::new(Settings { buckets, ..Settings::default() })
}

async fn put(simulator: &Simulator, key: &str) -> u16 {
    let keys = Keys::of(simulator);
    let headers = [("content-length", "5")];
    signed(simulator, &keys, ("s3", "us-east-1"), ("PUT", &format!("/files/{key}"), b"hello"), &headers).await.0
}

#[tokio::test]
async fn a_call_is_held_before_its_effect_or_before_its_answer() {
    let simulator = simulator();
    for (key, when, is_there) in [("a", When::Before, false), ("b", When::After, true)] {
        let gate = simulator.gate("PutObject", when);
        let answer = async { put(&simulator, key).await };
        let test = async {
            let held = gate.reached().await;
            assert_eq!((held.operation, held.subject.as_str()), ("PutObject", format!("files/{key}").as_str()));
            assert_eq!(simulator.objects().open("files", key).is_some(), is_there);
            assert_eq!(put(&simulator, "another").await, 200, "a gate holds one call");
            gate.release();
        };
        assert_eq!(tokio::join!(answer, test).0, 200);
        assert!(simulator.objects().open("files", key).is_some());
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_a_held_call_with_it() {
    let simulator = simulator();
    let gate = simulator.gate("PutObject", When::Before);
    tokio::select! {
        _ = put(&simulator, "a") => panic!("it was not held"),
        _ = gate.reached() => {}
    }
    gate.release();
    assert!(simulator.objects().open("files", "a").is_none());
    assert_eq!(put(&simulator, "a").await, 200);
}

#[tokio::test]
async fn gates_are_made_awaited_and_opened_over_http() {
    let simulator = simulator();
    let ask = async |method: &str, path: &str, body: Value| {
        let (status, text) = send(&simulator, method, path, &body).await;
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    assert_eq!(ask("POST", "/_sim/gates", json!({"operation": "Converse", "when": "soon"})).await.0, 400);
    let (status, gate) = ask("POST", "/_sim/gates", json!({"operation": "Converse", "when": "before"})).await;
    assert_eq!((status, &gate["held"]), (201, &Value::Null));
    let path = format!("/_sim/gates/{}", gate["id"]);
    assert_eq!(ask("GET", &path, Value::Null).await.1["held"], Value::Null);
    let hello = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    let call = ask("POST", CONVERSE, hello);
    let test = async {
        let (_, gate) = ask("GET", &format!("{path}?milliseconds=60000"), Value::Null).await;
        assert_eq!(gate["held"]["operation"], "Converse");
        assert_eq!(simulator.calls().len(), 0);
        assert_eq!(ask("DELETE", &path, Value::Null).await.0, 204);
        assert_eq!(ask("DELETE", &path, Value::Null).await.0, 404);
    };
    assert_eq!(tokio::join!(call, test).0.0, 200);
}
