//! `/admin/v1/limits`.

use reqwest::Method;
use serde_json::json;

use super::{Administrator, blamed};
use crate::support::{TEAM, TestGateway};

#[tokio::test]
async fn a_limit_is_set_replaced_listed_and_removed() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let set = admin.put("/limits", &json!({"team": TEAM, "requests_per_minute": 600, "concurrent_requests": 5})).await;
    assert_eq!(set.status(), 200, "{set:?}");
    let limit = set.json();
    assert_eq!((&limit["team_name"], &limit["tokens_per_minute"]), (&json!(TEAM), &json!(null)));
    assert_eq!(set.header("etag"), format!("\"{}\"", limit["version"]));
    let team = limit["team"].as_str().unwrap();
    let body = json!({"team": team, "tokens_per_minute": 100_000});
    let replaced = admin.send(Method::PUT, "/limits", Some(&body), Some(set.header("etag"))).await;
    let told = replaced.json();
    assert_eq!(
        (&told["id"], &told["requests_per_minute"], &told["tokens_per_minute"]),
        (&limit["id"], &json!(null), &json!(100_000))
    );
    let late = admin.send(Method::PUT, "/limits", Some(&body), Some(set.header("etag"))).await;
    assert_eq!(late.status(), 412);
    let absent = json!({"team": TEAM, "model": "nova-*", "requests_per_minute": 1});
    assert_eq!(admin.send(Method::PUT, "/limits", Some(&absent), Some("*")).await.status(), 412);

    let of_key = admin.put("/limits", &json!({"key": admin.id, "model": "nova-lite", "requests_per_minute": 7})).await;
    let everyone = admin.put("/limits", &json!({"model": "claude-*", "tokens_per_minute": 9})).await;
    let ids = [&limit["id"], &of_key.json()["id"], &everyone.json()["id"]].map(Clone::clone);
    assert_eq!(admin.list("/limits", "id").await, ids);
    assert_eq!(admin.list(&format!("/limits?team={TEAM}"), "id").await, ids[..1]);
    assert_eq!(admin.list(&format!("/limits?key={}", admin.id), "key_name").await, ["administrator"]);
    assert_eq!(admin.list("/limits?model=claude-*", "id").await, ids[2..]);

    let path = format!("/limits/{}", ids[0].as_str().unwrap());
    assert_eq!(admin.send(Method::DELETE, &path, None, Some(set.header("etag"))).await.status(), 412);
    let removed = admin.delete(&path).await;
    assert_eq!((removed.status(), removed.json()["removed_at"].is_string()), (200, true));
    assert_eq!(blamed(&admin.delete(&path).await), (404, "id".to_owned()));
    assert_eq!(admin.list("/limits", "id").await, ids[1..]);
    t.finish().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_path_and_an_unknown_model_is_a_warning() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    for (status, body, expected) in [
        (400, json!({"requests_per_minute": 1}), "team"),
        (400, json!({"team": TEAM}), "requests_per_minute"),
        (400, json!({"team": TEAM, "key": "k", "requests_per_minute": 1}), "key"),
        (404, json!({"team": "nobody", "requests_per_minute": 1}), "team"),
        (404, json!({"key": "nobody", "requests_per_minute": 1}), "key"),
        (400, json!({"team": TEAM, "requests_per_minute": 0}), "requests_per_minute"),
        (400, json!({"team": TEAM, "requests_per_minute": -1}), "requests_per_minute"),
        (400, json!({"team": TEAM, "tokens_per_minute": 1.5}), "tokens_per_minute"),
        (400, json!({"team": TEAM, "concurrent_requests": "5"}), "concurrent_requests"),
        (400, json!({"team": TEAM, "concurrent_requests": 5_000_000_000_u64}), "concurrent_requests"),
        (400, json!({"team": TEAM, "model": "a b", "requests_per_minute": 1}), "model"),
        (400, json!({"team": TEAM, "rpm": 1}), "rpm"),
    ] {
        let reply = admin.put("/limits", &body).await;
        assert_eq!(blamed(&reply), (status, expected.to_owned()), "{body}: {reply:?}");
    }
    assert_eq!(admin.list("/limits", "id").await, [""; 0]);
    let doubtful = admin.put("/limits", &json!({"model": "nova-litle", "requests_per_minute": 1})).await;
    assert_eq!(doubtful.json()["warnings"].as_array().unwrap().len(), 1);
    t.finish().await;
}
