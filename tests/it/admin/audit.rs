//! `/admin/v1/audit`.

use std::time::Duration;

use bedrock_gateway::tenancy::admin::moment;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Administrator, blamed};
use crate::support::{TEAM, TestGateway};

#[tokio::test]
async fn every_act_is_told_with_who_did_it_and_what_changed() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    t.clock.advance(Duration::from_secs(1));
    let from = moment::tell(t.clock.now());
    let team = admin.post("/teams", &json!({"name": "fresh"})).await.json();
    admin.patch("/teams/fresh", &json!({"name": "ripe"})).await;
    admin.patch("/teams/ripe", &json!({"name": "ripe"})).await;
    t.clock.advance(Duration::from_secs(1));
    let to = moment::tell(t.clock.now());
    admin.put("/limits", &json!({"team": TEAM, "requests_per_minute": 5})).await;
    admin.put("/budgets", &json!({"team": TEAM, "period": "day", "limit_usd": 5})).await;
    admin.delete("/teams/ripe").await;

    let of_admin = format!("/audit?actor=key%3A{}", admin.id);
    let acts = ["team.revoke", "budget.set", "limit.set", "team.update", "team.create"];
    assert_eq!(admin.list(&of_admin, "action").await, acts);
    let id = team["id"].as_str().unwrap();
    assert_eq!(
        admin.list(&format!("/audit?subject={id}"), "action").await,
        ["team.revoke", "team.update", "team.create"]
    );
    let between = format!("/audit?from={from}&to={to}");
    assert_eq!(admin.list(&between, "action").await, ["team.update", "team.create"]);
    let update = admin.get("/audit?action=team.update").await.json();
    assert_eq!(update["data"][0]["detail"], json!({"name": {"from": "fresh", "to": "ripe"}}));
    assert_eq!(admin.list("/audit?actor=command_line", "action").await, ["key.create", "key.create", "team.create"]);
    for (query, expected) in [("from=yesterday", "from"), ("cursor=x", "cursor"), ("actro=x", "actro")] {
        assert_eq!(blamed(&admin.get(&format!("/audit?{query}")).await), (400, expected.to_owned()));
    }
    t.finish().await;
}

#[tokio::test]
async fn an_administrator_of_the_settings_makes_the_first_one_of_the_store() {
    let boot = "bgw_boot_obviously-fake";
    let hash = Sha256::digest(boot.as_bytes()).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let t = TestGateway::with(|config| config.auth.admin_key_sha256 = vec![hash]).await;
    let admin = Administrator::with(&t, boot);
    assert_eq!(admin.post("/teams", &json!({"name": "operators"})).await.status(), 201);
    let body = json!({"team": "operators", "name": "first", "scopes": ["admin"]});
    let key = admin.post("/keys", &body).await.json()["key"].as_str().unwrap().to_owned();
    t.watch(&key);
    let first = Administrator::with(&t, &key);
    assert_eq!(first.list("/audit?actor=bootstrap%3Aboot", "action").await, ["key.create", "team.create"]);
    t.finish().await;
}
