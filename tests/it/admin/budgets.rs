//! `/admin/v1/budgets`.

use reqwest::Method;
use serde_json::json;

use super::{Administrator, blamed};
use crate::support::reply::Reply;
use crate::support::{TEAM, TestGateway};

/// Sets a budget whose amount is written so in JSON.
async fn put(admin: &Administrator<'_>, limit_usd: &str) -> Reply {
    let body = format!("{{\"team\":\"{TEAM}\",\"period\":\"month\",\"limit_usd\":{limit_usd}}}");
    let request = admin.t.request(Method::PUT, "/admin/v1/budgets").bearer_auth(&admin.key).body(body);
    Reply::to(request).await
}

#[tokio::test]
async fn an_amount_is_text_or_a_number_and_exact_in_both() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    for (written, told) in [
        ("\"12.50\"", "12.500000"),
        ("12.5", "12.500000"),
        ("0.1", "0.100000"),
        ("123456789.123457", "123456789.123457"),
        ("1e-6", "0.000001"),
        ("0", "0.000000"),
        ("\"1000000000\"", "1000000000.000000"),
    ] {
        let reply = put(&admin, written).await;
        assert_eq!((reply.status(), reply.json()["limit_usd"].as_str()), (200, Some(told)), "{written}: {reply:?}");
    }
    for wrong in [
        "-1",
        "\"-0.01\"",
        "0.0000001",
        "\"12,50\"",
        "\"\"",
        "\"ten\"",
        "null",
        "true",
        "[1]",
        "{}",
        "1e10",
        "\"\\u0661\"",
    ] {
        let reply = put(&admin, wrong).await;
        assert_eq!(blamed(&reply), (400, "limit_usd".to_owned()), "{wrong}: {reply:?}");
    }
    assert_eq!(admin.list("/budgets", "limit_usd").await, ["1000000000.000000"]);
    t.finish().await;
}

#[tokio::test]
async fn a_budget_tells_what_was_spent_of_it() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    admin.put("/budgets", &json!({"team": TEAM, "period": "day", "limit_usd": "1"})).await;
    admin.put("/budgets", &json!({"key": admin.id, "period": "total", "limit_usd": "0"})).await;
    assert_eq!(t.openai().chat("hello").await.status(), 200);
    let cost = t.only_call().await.cost.unwrap();
    let budgets = admin.get("/budgets").await.json();
    assert_eq!(budgets["data"][0]["spent_usd"], cost.to_string());
    let left = bedrock_gateway::money::MicroUsd(1_000_000 - cost.0);
    assert_eq!(budgets["data"][0]["remaining_usd"], left.to_string());
    assert_eq!(budgets["data"][1]["spent_usd"], "0.000000", "the call was another key's");
    t.clock.advance(std::time::Duration::from_hours(24));
    assert_eq!(admin.list("/budgets?period=day", "spent_usd").await, ["0.000000"], "a new day");
    t.finish().await;
}

#[tokio::test]
async fn a_budget_is_set_replaced_listed_and_removed() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let month = admin.put("/budgets", &json!({"team": TEAM, "period": "month", "limit_usd": "12.50"})).await;
    let budget = month.json();
    assert_eq!((&budget["team_name"], &budget["period"]), (&json!(TEAM), &json!("month")), "{month:?}");
    assert!(budget["starts_at"].as_str() < budget["ends_at"].as_str());
    let total = admin.put("/budgets", &json!({"key": admin.id, "period": "total", "limit_usd": 3})).await;
    assert_eq!((&total.json()["ends_at"], &total.json()["key"]), (&json!(null), &json!(admin.id)));
    let body = json!({"team": TEAM, "period": "month", "limit_usd": "13"});
    let replaced = admin.send(Method::PUT, "/budgets", Some(&body), Some(month.header("etag"))).await;
    assert_eq!((&replaced.json()["id"], &replaced.json()["limit_usd"]), (&budget["id"], &json!("13.000000")));
    let late = admin
        .send(
            Method::PUT,
            "/budgets",
            Some(&json!({"team": TEAM, "period": "month", "limit_usd": 1})),
            Some(month.header("etag")),
        )
        .await;
    assert_eq!(late.status(), 412);
    assert_eq!(admin.list("/budgets", "limit_usd").await, ["13.000000", "3.000000"]);
    assert_eq!(admin.list(&format!("/budgets?team={TEAM}&period=month"), "id").await, [budget["id"].clone()]);
    assert_eq!(admin.list("/budgets?period=day", "id").await, [""; 0]);

    let path = format!("/budgets/{}", budget["id"].as_str().unwrap());
    assert_eq!(admin.send(Method::DELETE, &path, None, Some(month.header("etag"))).await.status(), 412);
    assert_eq!(admin.delete(&path).await.status(), 200);
    assert_eq!(blamed(&admin.delete(&path).await), (404, "id".to_owned()));
    assert_eq!(admin.list("/budgets", "period").await, ["total"]);

    for (status, body, expected) in [
        (400, json!({"period": "day", "limit_usd": 1}), "team"),
        (400, json!({"team": TEAM, "limit_usd": 1}), "period"),
        (400, json!({"team": TEAM, "period": "day"}), "limit_usd"),
        (400, json!({"team": TEAM, "period": "year", "limit_usd": 1}), "period"),
        (400, json!({"team": TEAM, "key": admin.id, "period": "day", "limit_usd": 1}), "key"),
        (404, json!({"key": "nobody", "period": "day", "limit_usd": 1}), "key"),
        (400, json!({"team": TEAM, "period": "day", "limit_usd": 1, "limit_eur": 1}), "limit_eur"),
    ] {
        assert_eq!(blamed(&admin.put("/budgets", &body).await), (status, expected.to_owned()), "{body}");
    }
    assert_eq!(blamed(&admin.get("/budgets?period=year").await), (400, "period".to_owned()));
    t.finish().await;
}
