//! `/admin/v1/teams`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::config::Secret;
use bedrock_gateway::tenancy::NewKey;
use reqwest::Method;
use serde_json::json;

use super::{Administrator, blamed};
use crate::support::{FIRST, SECOND, TEAM, TestGateway, log};

const ROLE: &str = "arn:aws:iam::000000000000:role/tenant";

#[tokio::test]
async fn a_team_is_made_read_changed_and_told_with_its_version() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let whole = json!({
        "name": "search & rescue",
        "models": ["claude-*"],
        "regions": [FIRST],
        "geography": "us",
        "role_arn": ROLE,
        "guardrail": {"id": "gr1", "version": "1"},
        "request_metadata": {"cost centre": "4711"},
        "profiles": {"nova-lite": "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abc"},
        "unknown_price": "allow_unpriced",
    });
    let made = admin.post("/teams", &whole).await;
    assert_eq!((made.status(), made.header("cache-control")), (201, "no-store"), "{made:?}");
    let team = made.json();
    for (name, value) in whole.as_object().unwrap() {
        assert_eq!(&team[name], value, "{name}");
    }
    assert_eq!(made.header("etag"), format!("\"{}\"", team["version"]));
    assert_eq!((team.get("warnings"), &team["revoked_at"]), (None, &json!(null)));
    let id = team["id"].as_str().unwrap();
    for path in [format!("/teams/{id}"), "/teams/search%20&%20rescue".to_owned()] {
        let read = admin.get(&path).await;
        assert_eq!((read.json(), read.header("etag")), (team.clone(), made.header("etag")));
    }

    let changed = admin.patch(&format!("/teams/{id}"), &json!({"geography": null, "regions": [SECOND]})).await;
    let changed = changed.json();
    assert_eq!((&changed["geography"], &changed["regions"]), (&json!(null), &json!([SECOND])));
    assert_eq!((&changed["models"], &changed["guardrail"]), (&team["models"], &team["guardrail"]));
    assert!(changed["version"].as_i64() > team["version"].as_i64());
    let same = admin.patch(&format!("/teams/{id}"), &json!({"geography": null})).await;
    assert_eq!(same.json(), changed, "what changes nothing makes no version");
    t.finish().await;
}

#[tokio::test]
async fn a_change_counts_on_this_process_with_its_answer() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    admin.post("/teams", &json!({"name": "bounded"})).await;
    let (_, key) = t.make_key(NewKey::new("bounded", "k")).await;
    assert_eq!(t.openai().with_key(&key).chat("hello").await.status(), 200);
    admin.patch("/teams/bounded", &json!({"models": ["nova-*"]})).await;
    assert_eq!(t.openai().with_key(&key).chat("hello").await.status(), 404);
    admin.patch("/teams/bounded", &json!({"models": null, "regions": [SECOND]})).await;
    // Offered in the Region itself: no profile leads out of it.
    let hello = json!({"model": "nova-lite", "messages": [{"role": "user", "content": "hello"}]});
    assert_eq!(t.openai().with_key(&key).send(&hello).await.region(), SECOND);
    t.finish().await;
}

#[tokio::test]
async fn the_keys_of_a_revoked_team_are_refused_until_it_is_restored() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    admin.post("/teams", &json!({"name": "on leave"})).await;
    let (_, key) = t.make_key(NewKey::new("on leave", "k")).await;
    assert_eq!(t.openai().with_key(&key).models().await.status(), 200);
    let revoked = admin.delete("/teams/on%20leave").await;
    assert_eq!((revoked.status(), revoked.json()["revoked_at"].is_string()), (200, true));
    let refused = t.openai().with_key(&key).models().await;
    assert_eq!((refused.status(), &refused.openai_error()["code"]), (401, &json!("invalid_api_key")));
    let (_, later) = t.make_key(NewKey::new("on leave", "made later")).await;
    assert_eq!(t.openai().with_key(&later).models().await.status(), 401);
    assert_eq!(t.openai().models().await.status(), 200, "other teams go on");
    admin.patch("/teams/on%20leave", &json!({"revoked": false})).await;
    assert_eq!(t.openai().with_key(&key).models().await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn of_two_administrators_the_second_learns_that_he_is_late() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let team = admin.post("/teams", &json!({"name": "contended"})).await;
    let (path, body) = ("/teams/contended", json!({"models": ["nova-*"]}));
    let tag = team.header("etag");
    let first = admin.send(Method::PATCH, path, Some(&body), Some(tag)).await;
    assert_eq!(first.status(), 200);
    let late = admin.send(Method::PATCH, path, Some(&json!({"geography": "us"})), Some(tag)).await;
    assert_eq!((late.status(), &late.openai_error()["code"]), (412, &json!("precondition_failed")));
    let late = admin.send(Method::DELETE, path, None, Some(tag)).await;
    assert_eq!(late.status(), 412);
    let kept = admin.get(path).await;
    assert_eq!((kept.json(), kept.header("etag")), (first.json(), first.header("etag")));
    let informed = admin.send(Method::DELETE, path, None, Some(kept.header("etag"))).await;
    assert_eq!(informed.status(), 200);
    assert_eq!(admin.send(Method::PATCH, path, Some(&body), Some("*")).await.status(), 200);
    assert_eq!(admin.send(Method::PATCH, path, Some(&body), Some("W/\"1\"")).await.status(), 412);
    t.finish().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_path_and_what_may_come_is_a_warning() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    for (body, expected) in [
        (json!({}), "name"),
        (json!([]), ""),
        (json!({"name": 7}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a\u{0}b"}), "name"),
        (json!({"name": "x", "colour": "red"}), "colour"),
        (json!({"name": "x", "models": []}), "models"),
        (json!({"name": "x", "models": ["*x"]}), "models[0]"),
        (json!({"name": "x", "models": ["a", 7]}), "models[1]"),
        (json!({"name": "x", "regions": [FIRST, "us-est-1"]}), "regions[1]"),
        (json!({"name": "x", "geography": "mars"}), "geography"),
        (json!({"name": "x", "role_arn": "arn:aws:iam::000000000000:user/x"}), "role_arn"),
        (json!({"name": "x", "role_arn": "arn:aws-us-gov:iam::000000000000:role/x"}), "role_arn"),
        (json!({"name": "x", "guardrail": {"id": "gr1"}}), "guardrail.version"),
        (json!({"name": "x", "guardrail": {"id": "gr1", "version": "0"}}), "guardrail.version"),
        (json!({"name": "x", "guardrail": {"id": "gr1", "version": "1", "x": 1}}), "guardrail.x"),
        (json!({"name": "x", "request_metadata": {"a": "\u{e9}"}}), "request_metadata.a"),
        (json!({"name": "x", "profiles": {"nova-lite": "abc"}}), "profiles.nova-lite"),
        (json!({"name": "x", "unknown_price": "perhaps"}), "unknown_price"),
        (json!({"name": "x", "webhook_url": "http://example.com/"}), "webhook_url"),
        (json!({"name": "x", "webhook_url": "https://169.254.169.254/"}), "webhook_url"),
        (json!({"name": "x", "webhook_url": "https://localhost:8443/"}), "webhook_url"),
        (json!({"name": "x", "webhook_url": ""}), "webhook_url"),
    ] {
        let reply = admin.post("/teams", &body).await;
        assert_eq!(blamed(&reply), (400, expected.to_owned()), "{body}: {reply:?}");
        assert!(!reply.text().contains("000000000000"));
    }
    let not_json = t.request(Method::POST, "/admin/v1/teams").bearer_auth(&admin.key).body("{\"name\":");
    assert_eq!(crate::support::reply::Reply::to(not_json).await.status(), 400);
    let taken = admin.post("/teams", &json!({"name": TEAM})).await;
    assert_eq!(blamed(&taken), (409, "name".to_owned()));
    assert_eq!(blamed(&admin.get("/teams/nobody").await), (404, "team".to_owned()));
    assert_eq!(blamed(&admin.patch("/teams/nobody", &json!({})).await), (404, "team".to_owned()));
    assert_eq!(blamed(&admin.delete("/teams/a%00b").await), (404, "team".to_owned()));
    for (body, expected) in [(json!({"name": null}), "name"), (json!({"revoked": "yes"}), "revoked")] {
        assert_eq!(blamed(&admin.patch(&format!("/teams/{TEAM}"), &body).await), (400, expected.to_owned()));
    }
    let doubtful = admin.post("/teams", &json!({"name": "early", "models": ["nova-lite", "nova-litle"]})).await;
    assert_eq!(doubtful.status(), 201);
    let warnings = doubtful.json()["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 1);
    assert!(warnings[0].as_str().unwrap().contains("did you mean \"nova-lite\"?"), "{warnings}");
    t.finish().await;
}

#[tokio::test]
async fn the_secret_of_a_webhook_is_shown_when_it_is_made_and_when_it_is_rotated() {
    let sealing_key = Secret::new(STANDARD.encode([3; 32]));
    let t = TestGateway::with(|config| config.auth.sealing_key = sealing_key).await;
    let admin = Administrator::of(&t).await;
    let url = json!({"webhook_url": "https://hooks.example/batches"});
    let made = admin.patch(&format!("/teams/{TEAM}"), &url).await;
    let first = made.json()["webhook_secret"].as_str().unwrap().to_owned();
    assert_eq!((made.status(), &made.json()["webhook_url"]), (200, &url["webhook_url"]));
    assert!(first.starts_with("whsec_") && made.header("cache-control") == "no-store", "{made:?}");
    for shown in [
        admin.get(&format!("/teams/{TEAM}")).await,
        admin.patch(&format!("/teams/{TEAM}"), &url).await,
        admin.patch(&format!("/teams/{TEAM}"), &json!({"webhook_url": "https://other.example/"})).await,
        admin.get("/teams").await,
        admin.get("/audit").await,
    ] {
        assert!(shown.status() == 200 && !shown.text().contains("whsec_"), "{shown:?}");
    }
    let rotated = admin.post(&format!("/teams/{TEAM}/webhook/rotate"), &json!({"overlap_seconds": 60})).await;
    let second = rotated.json()["webhook_secret"].as_str().unwrap().to_owned();
    assert!(rotated.status() == 200 && second.starts_with("whsec_") && second != first, "{rotated:?}");
    assert!(rotated.json()["webhook_previous_until"].is_string());
    let long = admin.post(&format!("/teams/{TEAM}/webhook/rotate"), &json!({"overlap_seconds": 2_592_001})).await;
    assert_eq!(blamed(&long), (400, "overlap_seconds".to_owned()));
    let gone = admin.patch(&format!("/teams/{TEAM}"), &json!({"webhook_url": null})).await;
    assert_eq!((gone.status(), &gone.json()["webhook_url"]), (200, &json!(null)));
    let none = admin.post(&format!("/teams/{TEAM}/webhook/rotate"), &json!({})).await;
    assert_eq!(blamed(&none), (409, "team".to_owned()));
    let new = admin.post("/teams", &json!({"name": "told", "webhook_url": "https://hooks.example/"})).await;
    assert!(new.status() == 201 && new.json()["webhook_secret"].is_string(), "{new:?}");
    log::assert_without([&*first, &*second].into_iter());
    t.finish().await;
}

#[tokio::test]
async fn a_webhook_needs_what_its_secret_is_sealed_with() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    let refused = admin.patch(&format!("/teams/{TEAM}"), &json!({"webhook_url": "https://hooks.example/"})).await;
    assert_eq!(blamed(&refused), (400, "webhook_url".to_owned()));
    assert!(refused.text().contains("auth.sealing_key"), "{refused:?}");
    t.finish().await;
}

#[tokio::test]
async fn teams_are_listed_page_by_page_or_by_name() {
    let t = TestGateway::start().await;
    let admin = Administrator::of(&t).await;
    for name in ["e", "d", "c", "b", "a"] {
        admin.post("/teams", &json!({"name": name})).await;
    }
    assert_eq!(admin.list("/teams", "name").await, [TEAM, "e", "d", "c", "b", "a"], "the oldest first");
    assert_eq!(admin.list("/teams?name=c", "name").await, ["c"]);
    assert_eq!(admin.get("/teams?name=zz").await.json(), json!({"data": [], "next": null}));
    for (query, expected) in [("limit=0", "limit"), ("page=2", "page"), ("name=", "name"), ("limit=1&limit=2", "limit")]
    {
        assert_eq!(blamed(&admin.get(&format!("/teams?{query}")).await), (400, expected.to_owned()));
    }
    t.finish().await;
}
