//! The lists of the catalog: what they hold for this gateway and this key, filters, pages, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bedrock_gateway::config::{Alias, Quota};
use bedrock_gateway::tenancy::{NewKey, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL_ID, SECOND, TEAM, TestGateway};

/// What people asked for by name.
const NAMED: [&str; 16] = [
    "us-east-1",
    "us-east-2",
    "us-west-2",
    "us-gov-west-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ca-central-1",
    "eu-central-1",
    "eu-central-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "sa-east-1",
];

async fn get(t: &TestGateway, key: &str, path: &str) -> Reply {
    Reply::to(t.request(Method::GET, path).bearer_auth(key)).await
}

async fn list(t: &TestGateway, path: &str) -> Vec<Value> {
    list_for(t, t.key(), path).await
}

async fn list_for(t: &TestGateway, key: &str, path: &str) -> Vec<Value> {
    let reply = get(t, key, path).await;
    assert_eq!(reply.status(), 200, "{path}: {}", reply.text());
    reply.json()["data"].as_array().unwrap().clone()
}

fn ids(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

/// The ways in which a model is called from a Region.
fn offers<'a>(model: &'a Value, region: &str) -> Vec<&'a Value> {
    model["offers"].as_array().unwrap().iter().filter(|offer| offer["region"] == region).collect()
}

fn alias(alias: &str, model: &str) -> Alias {
    Alias { alias: alias.into(), model: model.into(), ..Alias::default() }
}

async fn haiku(t: &TestGateway, key: &str, query: &str) -> Value {
    let models = list_for(t, key, &format!("/catalog/models?q={MODEL_ID}{query}")).await;
    assert_eq!(ids(&models), [MODEL_ID]);
    models[0].clone()
}

#[tokio::test]
async fn a_model_is_told_with_every_way_to_call_it_from_here_and_its_price() {
    let alias = Alias { alias: "fast".into(), model: MODEL_ID.into(), ..Alias::default() };
    let t = TestGateway::with(|config| config.models = vec![alias]).await;
    let model = haiku(&t, t.key(), "").await;
    assert_eq!((&model["short_id"], &model["aliases"]), (&json!("claude-haiku-4-5"), &json!(["fast"])));
    assert_eq!((&model["kind"], &model["context_window"]), (&json!("chat"), &json!(200_000)));
    assert_eq!(model["abilities"]["tools"], true);
    assert_eq!(model["abilities"].get("sampling_params"), None, "what is not known is absent");
    assert_eq!(model["routes"]["POST /v1/messages"], "native");
    assert_eq!(model["routes"]["POST /v1/chat/completions"], "translated");
    assert_eq!(model["lifecycle"]["launched_at"], "2025-10-16T00:00:00Z");
    assert!(model["batch"]["via_profile"].as_array().unwrap().contains(&json!("eu-west-1")));

    let first = offers(&model, FIRST);
    assert_eq!(first.len(), 2);
    let us = first[0];
    assert_eq!((&us["id"], &us["scope"]), (&json!(format!("us.{MODEL_ID}")), &json!("us")));
    assert_eq!(us["destinations"], json!(["us-east-1", "us-east-2", "us-west-2"]));
    assert_eq!((&us["batch"], &us["configured"], &us["callable"]), (&json!(true), &json!(true), &json!(true)));
    let standard = &us["price"]["standard"];
    assert_eq!((&standard["input"], &standard["output"]), (&json!("1.10"), &json!("5.50")));
    assert_eq!((&first[1]["scope"], &first[1]["destinations"]), (&json!("global"), &json!("any")));
    let regions: BTreeSet<&str> =
        model["offers"].as_array().unwrap().iter().map(|offer| offer["region"].as_str().unwrap()).collect();
    assert_eq!(regions, BTreeSet::from([FIRST, SECOND]));

    // Where it could be had.
    let everywhere = haiku(&t, t.key(), "&all_regions=true").await;
    let europe = offers(&everywhere, "eu-west-1");
    assert_eq!((&europe[0]["configured"], &europe[0]["callable"]), (&json!(false), &json!(false)));
    assert!(europe[0]["reason"].as_str().unwrap().contains("does not call eu-west-1"));
    let named = haiku(&t, t.key(), "&region=eu-west-1").await;
    assert!(named["offers"].as_array().unwrap().iter().all(|offer| offer["region"] == "eu-west-1"));
    t.finish().await;
}

#[tokio::test]
async fn a_fence_and_an_allow_list_show_in_every_list() {
    let alias = Alias { alias: "fast".into(), model: "nova-lite".into(), ..Alias::default() };
    let t = TestGateway::with(|config| config.models = vec![alias]).await;
    let fenced = NewKey { regions: Some(vec![FIRST.into()]), ..NewKey::new(TEAM, "fenced") };
    let (_, fenced) = t.make_key(fenced).await;
    let model = haiku(&t, &fenced, "").await;
    for (region, told) in [(FIRST, "may be sent on to us-east-2"), (SECOND, "us-west-2 is outside of us-east-1")] {
        let offer = offers(&model, region)[0];
        assert_eq!(offer["callable"], false);
        assert!(offer["reason"].as_str().unwrap().contains(told), "{offer}");
    }
    let profiles = list_for(&t, &fenced, &format!("/catalog/profiles?q=us.{MODEL_ID}")).await;
    assert_eq!((&profiles[0]["callable"], profiles[0]["sources"].as_array().unwrap().len()), (&json!(false), 2));
    let regions = list_for(&t, &fenced, "/catalog/regions?region=us-west-2").await;
    assert_eq!((&regions[0]["configured"], &regions[0]["allowed"]), (&json!(true), &json!(false)));
    assert_eq!(regions[0]["models"]["callable"], 0);

    let by_alias = NewKey { models: Some(vec!["fast".into()]), ..NewKey::new(TEAM, "by alias") };
    let (_, by_alias) = t.make_key(by_alias).await;
    let models = list_for(&t, &by_alias, "/catalog/models").await;
    assert_eq!(ids(&models), ["amazon.nova-lite-v1:0"]);
    assert_eq!((&models[0]["aliases"], &offers(&models[0], FIRST)[0]["callable"]), (&json!(["fast"]), &json!(true)));

    let by_profile = NewKey { models: Some(vec![format!("us.{MODEL_ID}")]), ..NewKey::new(TEAM, "by profile") };
    let (_, by_profile) = t.make_key(by_profile).await;
    let model = haiku(&t, &by_profile, "").await;
    let callable: Vec<bool> = offers(&model, FIRST).iter().map(|offer| offer["callable"].as_bool().unwrap()).collect();
    assert_eq!(callable, [true, false]);
    assert_eq!(list_for(&t, &by_profile, "/catalog/models").await.len(), 1);
    let profiles = list_for(&t, &by_profile, "/catalog/profiles").await;
    assert_eq!(ids(&profiles), [format!("us.{MODEL_ID}")]);
    t.finish().await;
}

#[tokio::test]
async fn a_key_for_an_alias_may_call_only_where_the_alias_leads() {
    let limited = Alias { regions: Some(vec![SECOND.into()]), ..alias("limited", "titan-embed-text-v2") };
    let profile = alias("profile", &format!("us.{MODEL_ID}"));
    let t = TestGateway::with(|config| config.models = vec![limited, profile]).await;
    let key = NewKey { models: Some(vec!["limited".into(), "profile".into()]), ..NewKey::new(TEAM, "by alias") };
    let (_, key) = t.make_key(key).await;

    let models = list_for(&t, &key, "/catalog/models?modality=embedding").await;
    for (region, callable) in [(FIRST, false), (SECOND, true)] {
        assert_eq!(offers(&models[0], region)[0]["callable"], callable, "{region}");
        let regions = list_for(&t, &key, &format!("/catalog/regions?region={region}&modality=embedding")).await;
        assert_eq!(regions[0]["models"]["callable"], usize::from(callable), "{region}");
    }
    let model = haiku(&t, &key, "").await;
    let callable: Vec<bool> = offers(&model, FIRST).iter().map(|offer| offer["callable"].as_bool().unwrap()).collect();
    assert_eq!(callable, [true, false]);
    t.finish().await;
}

#[tokio::test]
async fn every_region_that_was_named_is_there_with_what_works_in_it() {
    let t = TestGateway::start().await;
    let regions = list(&t, "/catalog/regions").await;
    let codes: Vec<&str> = regions.iter().map(|region| region["code"].as_str().unwrap()).collect();
    assert!(codes.is_sorted() && codes.len() >= 40, "{codes:?}");
    for code in NAMED {
        let region = &regions[codes.binary_search(&code).unwrap_or_else(|_| panic!("{code} is not there"))];
        let count = |what: &str| region["models"][what].as_u64().unwrap();
        assert!(count("offered") > 0 && count("batch") > 0, "{region}");
        assert!(count("offered") <= count("in_region") + count("by_profile"), "{region}");
        for plane in ["runtime", "control"] {
            assert!(region["endpoints"][plane].as_str().unwrap().contains(code), "{region}");
        }
        assert_eq!(region["configured"], [FIRST, SECOND].contains(&code), "{region}");
        assert!(!region["geographies"].as_array().unwrap().is_empty(), "{region}");
    }
    let newer = ["ap-southeast-7", "mx-central-1", "ca-west-1", "eu-south-2", "il-central-1", "us-west-1"];
    assert!(newer.iter().all(|code| codes.contains(code)));
    let japan = list(&t, "/catalog/regions?q=jp").await;
    assert_eq!(japan.len(), 2);
    let stability = list(&t, "/catalog/regions?provider=stability").await;
    assert!(!stability.is_empty() && stability.len() < codes.len());
    t.finish().await;
}

#[tokio::test]
async fn a_quota_is_what_the_configuration_says_else_aws_s_default() {
    let own = Quota { requests_per_minute: Some(7), tokens_per_minute: None };
    let quotas = BTreeMap::from([(FIRST.to_owned(), BTreeMap::from([("claude-haiku-4-5".to_owned(), own)]))]);
    let t = TestGateway::with(|config| config.aws.quotas = quotas).await;
    let rows = list(&t, &format!("/catalog/quotas?q={MODEL_ID}")).await;
    let told = |row: &Value| (row["region"].clone(), row["online"].as_array().unwrap().clone());
    let (region, ways) = told(&rows[0]);
    assert_eq!((rows.len(), region, &rows[0]["model"]), (2, json!(FIRST), &json!(MODEL_ID)));
    let us = json!({"id": format!("us.{MODEL_ID}"), "scope": "us", "tokens_per_minute": 5_000_000,
        "requests_per_minute": 7, "output_burndown": 5, "source": "config"});
    assert_eq!(ways[0], us);
    let (region, ways) = told(&rows[1]);
    assert_eq!((region, &ways[0]["source"]), (json!(SECOND), &json!("catalog")));
    assert_eq!((&ways[0]["requests_per_minute"], &ways[1]["scope"]), (&Value::Null, &json!("global")));
    assert_eq!((&ways[1]["tokens_per_minute"], &ways[1]["source"]), (&Value::Null, &Value::Null));
    let batch = json!({"min_records": 100, "max_records": 100_000, "max_file_records": 100_000,
        "max_file_bytes": 1_000_000_000_u64, "max_job_bytes": 5_000_000_000_u64, "max_jobs": 100, "source": "catalog"});
    assert_eq!(rows[0]["batch"], batch);
    let online = list(&t, "/catalog/quotas?q=opus-4-8&batch=false").await;
    assert!(!online.is_empty() && online.iter().all(|row| row["batch"].is_null()));
    t.finish().await;
}

#[tokio::test]
async fn how_old_a_region_s_facts_are_is_told_where_it_is_called() {
    let t = TestGateway::start().await;
    let refresh =
        async |region: &str| list(&t, &format!("/catalog/regions?region={region}")).await[0]["refresh"].clone();
    assert_eq!(refresh("eu-west-1").await, Value::Null);
    assert_eq!(refresh(FIRST).await["last_success"], Value::Null);
    t.refresh().await;
    let after = refresh(FIRST).await;
    assert_eq!((&after["age_seconds"], &after["stale"], &after["problem"]), (&json!(0), &json!(false), &Value::Null));
    assert_eq!(after["last_success"], after["last_attempt"]);
    let model = haiku(&t, t.key(), "").await;
    assert_eq!(offers(&model, FIRST)[0]["source"], "aws");
    t.finish().await;
}

#[tokio::test]
async fn filters_leave_what_they_say() {
    let t = TestGateway::start().await;
    let all = list(&t, "/catalog/models?limit=1000").await;
    let batch = list(&t, "/catalog/models?limit=1000&batch=true").await;
    let online = list(&t, "/catalog/models?limit=1000&batch=false").await;
    assert!(!batch.is_empty() && !online.is_empty() && batch.len() + online.len() == all.len());
    let by = list(&t, "/catalog/models?provider=AMAZON&modality=embedding").await;
    assert!(!by.is_empty());
    for model in &by {
        assert_eq!((&model["provider"], &model["kind"]), (&json!("Amazon"), &json!("embedding")));
    }
    let words = list(&t, "/catalog/models?q=anthropic+HAIKU").await;
    assert!(ids(&words).contains(&MODEL_ID) && ids(&words).iter().all(|id| id.contains("haiku")));
    assert_eq!(list(&t, "/catalog/models?q=no+such+model").await, Vec::<Value>::new());
    let profiles = list(&t, "/catalog/profiles?region=eu-west-1&provider=anthropic").await;
    assert!(!profiles.is_empty());
    for profile in &profiles {
        let sources = profile["sources"].as_array().unwrap();
        assert_eq!((sources.len(), &sources[0]["region"]), (1, &json!("eu-west-1")));
        assert_eq!((&sources[0]["configured"], &profile["callable"]), (&json!(false), &json!(false)));
    }
    t.finish().await;
}

#[tokio::test]
async fn pages_lead_to_the_end_and_hold_each_entry_once() {
    let t = TestGateway::start().await;
    for path in ["/catalog/models", "/catalog/profiles", "/catalog/regions", "/catalog/quotas"] {
        let id: &[&str] = match path {
            "/catalog/regions" => &["code"],
            "/catalog/quotas" => &["model", "region"],
            _ => &["id"],
        };
        let id = |entry: &Value| -> Vec<String> { id.iter().map(|part| entry[part].to_string()).collect() };
        let all = list(&t, &format!("{path}?limit=1000")).await;
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = get(&t, t.key(), &format!("{path}?limit=7{cursor}")).await.json();
            let entries = page["data"].as_array().unwrap();
            assert!((1..=7).contains(&entries.len()));
            walked.extend(entries.clone());
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(walked, all, "{path}");
        assert!(all.is_sorted_by(|left, right| id(left) < id(right)), "{path}");
    }
    t.finish().await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_its_name() {
    let t = TestGateway::start().await;
    for path in ["/catalog/models", "/catalog/profiles", "/catalog/regions", "/catalog/quotas"] {
        for (query, param) in [
            ("regoin=us-east-1", "regoin"),
            ("region=us-est-1", "region"),
            ("provider=nobody", "provider"),
            ("batch=maybe", "batch"),
            ("modality=smell", "modality"),
            ("limit=0", "limit"),
            ("q=%00", "q"),
        ] {
            let refused = get(&t, t.key(), &format!("{path}?{query}")).await;
            assert_eq!((refused.status(), &refused.openai_error()["param"]), (400, &json!(param)), "{path}?{query}");
        }
    }
    let meant = get(&t, t.key(), "/catalog/models?region=us-est-1").await.openai_error();
    assert!(meant["message"].as_str().unwrap().ends_with("did you mean `us-east-1`?"), "{meant}");

    let (_, metrics) = t.make_key(NewKey { scopes: vec![Scope::Metrics], ..NewKey::new(TEAM, "scrape") }).await;
    assert_eq!(get(&t, &metrics, "/catalog/models").await.status(), 403);
    let (_, batch) = t.make_key(NewKey { scopes: vec![Scope::Batch], ..NewKey::new(TEAM, "batches") }).await;
    assert_eq!(get(&t, &batch, "/catalog/models").await.status(), 200);
    let posted = Reply::to(t.request(Method::POST, "/catalog/models").bearer_auth(t.key())).await;
    assert_eq!(posted.status(), 405);
    t.finish().await;
}

#[tokio::test]
async fn a_client_that_has_the_list_is_not_sent_it_again() {
    let t = TestGateway::start().await;
    let path = "/catalog/models?provider=anthropic";
    let first = get(&t, t.key(), path).await;
    assert_eq!(first.header("cache-control"), "private, max-age=60");
    let tag = first.header("etag");
    let again = |key: &str, tag: &str| {
        Reply::to(t.request(Method::GET, path).bearer_auth(key).header("if-none-match", format!("\"x\", {tag}")))
    };
    let same = again(t.key(), tag).await;
    assert_eq!((same.status(), same.header("etag"), same.bytes().len()), (304, tag, 0));
    // Another key may use other things.
    let fenced = NewKey { regions: Some(vec![FIRST.into()]), ..NewKey::new(TEAM, "fenced") };
    let (_, fenced) = t.make_key(fenced).await;
    assert_eq!(again(&fenced, tag).await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn a_client_that_has_the_regions_has_them_as_long_as_only_their_age_changes() {
    let t = TestGateway::start().await;
    t.refresh().await;
    let again = |tag: &str| {
        let request = t.request(Method::GET, "/catalog/regions").bearer_auth(t.key());
        Reply::to(request.header("if-none-match", tag.to_owned()))
    };
    let tag = again("\"another\"").await.header("etag").to_owned();
    t.clock.advance(Duration::from_secs(5));
    assert_eq!(again(&tag).await.status(), 304);
    let told = list(&t, &format!("/catalog/regions?region={FIRST}")).await;
    assert_eq!(told[0]["refresh"]["age_seconds"], 5);
    t.refresh().await;
    assert_eq!(again(&tag).await.status(), 200, "AWS was asked again");
    t.finish().await;
}
