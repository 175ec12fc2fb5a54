//! `/admin/v1/keys`.

use std::time::Duration;

use bedrock_gateway::tenancy::{NewKey, NewTeam};
use reqwest::Method;
use serde_json::json;

use super::{Administrator, blamed};
use crate::support::{FIRST, TEAM, TestGateway};

#[tokio::test]
async fn a_key_is_shown_once_and_works_at_once() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let made = admin.post("/keys", &json!({"team": TEAM, "name": "fresh"})).await;
    assert_eq!(made.status(), 201, "{made:?}");
    let mut shown = made.json();
    let text = shown.as_object_mut().unwrap().remove("key").unwrap();
    let text = text.as_str().unwrap();
    t.watch(text);
    let id = shown["id"].as_str().unwrap();
    assert!(text.starts_with(&format!("bgw_{id}_")), "{shown}");
    assert_eq!((&shown["scopes"], &shown["team_name"]), (&json!(["inference", "batch"]), &json!(TEAM)));
    assert_eq!((&shown["on_disconnect"], &shown["sigv4"]), (&json!("cancel"), &json!(false)));
    assert_eq!(t.openai().with_key(text).chat("hello").await.status(), 200);

    let read = admin.get(&format!("/keys/{id}")).await;
    assert_eq!((read.json()["version"].clone(), read.header("etag")), (shown["version"].clone(), made.header("etag")));
    let secret = text.rsplit('_').next().unwrap();
    for path in [format!("/keys/{id}"), "/keys".to_owned(), "/audit".to_owned(), format!("/teams/{TEAM}")] {
        assert!(!admin.get(&path).await.text().contains(secret), "{path}");
    }
    t.finish().await;
}

#[tokio::test]
async fn every_setting_of_a_key_can_be_changed_and_counts_with_the_answer() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let whole = json!({
        "team": TEAM,
        "name": "whole",
        "scopes": ["inference"],
        "expires_at": "2099-01-01T00:00:00Z",
        "models": ["nova-*"],
        "regions": [FIRST],
        "networks": ["127.0.0.1", "::1/128"],
        "on_disconnect": "drain",
    });
    let made = admin.post("/keys", &whole).await;
    let shown = made.json();
    let text = shown["key"].as_str().unwrap();
    t.watch(text);
    let path = format!("/keys/{}", shown["id"].as_str().unwrap());
    for name in ["name", "scopes", "expires_at", "models", "regions", "on_disconnect"] {
        assert_eq!(shown[name], whole[name], "{name}");
    }
    assert_eq!(shown["networks"], json!(["127.0.0.1/32", "::1/128"]));
    assert_eq!(t.openai().with_key(text).chat("hello").await.status(), 404);
    let changed = admin.patch(&path, &json!({"models": null, "regions": null, "name": "wider"})).await;
    assert_eq!(
        (changed.status(), &changed.json()["models"], changed.json()["name"].as_str()),
        (200, &json!(null), Some("wider"))
    );
    assert_eq!(changed.json().get("key"), None);
    assert_eq!(t.openai().with_key(text).chat("hello").await.status(), 200);
    admin.patch(&path, &json!({"scopes": ["metrics"]})).await;
    assert_eq!(t.openai().with_key(text).chat("hello").await.status(), 403);
    let soon = t.clock.now().plus(Duration::from_mins(1));
    let soon = bedrock_gateway::tenancy::admin::moment::tell(soon);
    admin.patch(&path, &json!({"scopes": ["inference"], "expires_at": soon})).await;
    assert_eq!(t.openai().with_key(text).chat("hello").await.status(), 200);
    t.clock.advance(Duration::from_mins(2));
    assert_eq!(t.openai().with_key(text).chat("hello").await.status(), 401);
    admin.patch(&path, &json!({"expires_at": null})).await;
    assert_eq!(t.openai().with_key(text).chat("hello").await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_with_the_answer_and_for_good() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let (key, text) = t.make_key(NewKey::new(TEAM, "k")).await;
    let path = format!("/keys/{}", key.id);
    assert_eq!(t.openai().with_key(&text).models().await.status(), 200);
    let late = admin.send(Method::DELETE, &path, None, Some("\"1\"")).await;
    assert_eq!(late.status(), 412);
    assert_eq!(t.openai().with_key(&text).models().await.status(), 200);
    let read = admin.get(&path).await;
    let revoked = admin.send(Method::DELETE, &path, None, Some(read.header("etag"))).await;
    assert_eq!((revoked.status(), revoked.json()["revoked_at"].is_string()), (200, true));
    assert_eq!(t.openai().with_key(&text).models().await.status(), 401);
    assert_eq!(admin.delete(&path).await.json(), revoked.json());
    let dead = admin.patch(&path, &json!({"name": "x"})).await;
    assert_eq!(blamed(&dead), (409, "id".to_owned()));
    t.finish().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_path() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let (key, _) = t.make_key(NewKey::new(TEAM, "k")).await;
    for (status, body, expected) in [
        (400, json!({"name": "x"}), "team"),
        (400, json!({"team": TEAM}), "name"),
        (404, json!({"team": "nobody", "name": "x"}), "team"),
        (400, json!({"team": TEAM, "name": "x", "scopes": []}), "scopes"),
        (400, json!({"team": TEAM, "name": "x", "scopes": ["root"]}), "scopes"),
        (400, json!({"team": TEAM, "name": "x", "expires_at": "30d"}), "expires_at"),
        (400, json!({"team": TEAM, "name": "x", "expires_at": "2001-01-01T00:00:00Z"}), "expires_at"),
        (400, json!({"team": TEAM, "name": "x", "regions": ["us-moon-1"]}), "regions[0]"),
        (400, json!({"team": TEAM, "name": "x", "networks": ["10.0.0.0/8", "home"]}), "networks[1]"),
        (400, json!({"team": TEAM, "name": "x", "on_disconnect": "wait"}), "on_disconnect"),
        (400, json!({"team": TEAM, "name": "x", "secret": "mine"}), "secret"),
    ] {
        let reply = admin.post("/keys", &body).await;
        assert_eq!(blamed(&reply), (status, expected.to_owned()), "{body}: {reply:?}");
    }
    for body in [json!({"name": null}), json!({"scopes": null}), json!({"team": TEAM})] {
        let expected = body.as_object().unwrap().keys().next().unwrap().clone();
        assert_eq!(blamed(&admin.patch(&format!("/keys/{}", key.id), &body).await), (400, expected));
    }
    assert_eq!(blamed(&admin.get("/keys/nobody").await), (404, "id".to_owned()));
    assert_eq!(blamed(&admin.delete("/keys/nobody").await), (404, "id".to_owned()));
    assert_eq!(blamed(&admin.get("/keys?team=nobody").await), (404, "team".to_owned()));
    assert_eq!(blamed(&admin.get("/keys?cursor=x").await), (400, "cursor".to_owned()));
    t.finish().await;
}

#[tokio::test]
async fn keys_are_listed_page_by_page_and_by_team() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    t.make_team(NewTeam::new("others")).await;
    for number in 0..3 {
        t.clock.advance(Duration::from_millis(1));
        t.make_key(NewKey::new("others", format!("k{number}"))).await;
    }
    assert_eq!(admin.list("/keys?team=others", "name").await, ["k0", "k1", "k2"]);
    let mut all = admin.list("/keys", "name").await;
    assert_eq!((all.len(), all.split_off(2)), (5, vec![json!("k0"), json!("k1"), json!("k2")]));
    assert_eq!(admin.list(&format!("/keys?team={TEAM}"), "team_name").await, [TEAM, TEAM]);
    t.finish().await;
}
