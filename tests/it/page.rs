//! `/docs`: the page of the API, offline, with what it tries.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::Bucket;
use bedrock_gateway::tenancy::{NewKey, Scope};
use reqwest::Method;
use serde_json::Value;

use crate::support::reply::Reply;
use crate::support::{FIRST, TEAM, TestGateway, eventually};

async fn fetch(t: &TestGateway, path: &str) -> Reply {
    Reply::to(t.request(Method::GET, path)).await
}

/// What a page or style sheet loads.
fn loaded(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (mark, end) in [("src=\"", '"'), ("href=\"", '"'), ("url(", ')'), ("@import", ';')] {
        names.extend(text.split(mark).skip(1).filter_map(|rest| rest.split(end).next()));
    }
    names
        .into_iter()
        .map(|name| name.trim_matches(['"', '\'', ' ']))
        .filter(|name| !name.starts_with("data:"))
        .collect()
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_its_browser_may_not() {
    let t = TestGateway::start().await;
    let root = fetch(&t, "/").await;
    assert_eq!((root.status(), root.header("location")), (307, "/docs/"));
    let mut open = vec!["/docs/".to_owned(), "/openapi.json".to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        let reply = fetch(&t, &path).await;
        assert!(reply.status() == 200 && !reply.bytes().is_empty(), "{path}: {}", reply.status());
        let policy = reply.header("content-security-policy");
        for rule in policy.split(';') {
            for source in rule.trim().split(' ').skip(1) {
                let known = ["'none'", "'self'", "'unsafe-inline'", "data:", "blob:"];
                assert!(known.contains(&source), "{path} may load from {source}");
            }
        }
        let guards = ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"];
        assert!(guards.iter().all(|rule| policy.split("; ").any(|part| part == *rule)), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        if path.ends_with('/') || path.contains(".css") {
            for name in loaded(reply.text()) {
                assert!(!name.contains("//") && !name.starts_with('/'), "{path} loads {name}");
                let next = format!("/docs/{}", name.trim_start_matches("./"));
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
    let scripts = seen.iter().filter(|path| path.contains(".js")).count();
    assert!(scripts >= 3 && seen.len() >= 6, "{seen:?}");
    t.finish().await;
}

/// <https://swagger.io/docs/open-source-tools/swagger-ui/usage/configuration/>
#[tokio::test]
async fn the_page_tries_calls_with_the_callers_key_and_asks_no_stranger_to_check_the_document() {
    let t = TestGateway::start().await;
    let script = fetch(&t, "/docs/swagger-initializer.js").await;
    for setting in [
        "\"url\": \"/openapi.json\"",
        "\"persistAuthorization\": true",
        "\"tryItOutEnabled\": true",
        "\"validatorUrl\": \"none\"",
        "\"layout\": \"BaseLayout\"",
    ] {
        assert!(script.text().contains(setting), "{setting} is not in {}", script.text());
    }
    assert!(!script.text().contains("//") || !script.text().contains("http"), "{}", script.text());
    let document = fetch(&t, "/openapi.json").await.json();
    assert_eq!(document["servers"], serde_json::json!([{"url": "/"}]));
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!((&schemes["key"]["type"], &schemes["key"]["scheme"]), (&"http".into(), &"bearer".into()));
    let header = &schemes["x-api-key"];
    assert_eq!(
        (&header["type"], &header["in"], &header["name"]),
        (&"apiKey".into(), &"header".into(), &"x-api-key".into())
    );
    // A file is chosen from the disk only if the document says that it is one.
    let upload = &document["paths"]["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"];
    assert_eq!(upload["properties"]["file"]["format"], "binary");
    t.finish().await;
}

/// The operations that have a body to try, teams first: keys, limits and budgets are theirs.
async fn offered(t: &TestGateway) -> Vec<(Method, String, Value)> {
    let document = fetch(t, "/openapi.json").await.json();
    let mut offered = Vec::new();
    for (pattern, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let mut path = pattern.clone();
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if let Some(example) = parameter["example"].as_str() {
                    path = path.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), example);
                }
            }
            let body = &operation["requestBody"]["content"]["application/json"]["example"];
            if !body.is_null() {
                offered.push((method.to_uppercase().parse().unwrap(), path, body.clone()));
            }
        }
    }
    offered.sort_by_key(|(_, path, _)| !path.ends_with("/teams"));
    offered
}

#[tokio::test]
async fn what_the_page_offers_to_try_works_with_either_header() {
    let with_bucket = |config: &mut Config| {
        config.batch.bucket = [(FIRST.to_owned(), "files-east".to_owned())].into();
        "arn:aws:iam::000000000000:role/batch".clone_into(&mut config.batch.role_arn);
    };
    let t = TestGateway::with_simulated(with_bucket, |settings| {
        settings.buckets.insert("files-east".to_owned(), Bucket::default());
    })
    .await;
    let scopes = vec![Scope::Inference, Scope::Batch, Scope::Admin];
    let (_, key) = t.make_key(NewKey { scopes, ..NewKey::new(TEAM, "page") }).await;
    let offered = offered(&t).await;
    assert!(offered.len() >= 18, "{offered:?}");
    for (method, path, body) in offered {
        let request = t.request(method.clone(), &path).json(&body);
        let bearer = Reply::to(request.bearer_auth(&key)).await;
        assert!(bearer.status() < 300, "{method} {path}: {} {}", bearer.status(), bearer.text());
        if !path.starts_with("/admin") {
            let header = Reply::to(t.request(method.clone(), &path).json(&body).header("x-api-key", &key)).await;
            assert_eq!(header.status(), bearer.status(), "{method} {path}");
        }
    }
    let ended = async || {
        let batches = Reply::to(t.request(Method::GET, "/v1/messages/batches").bearer_auth(&key)).await.json();
        let batches = batches["data"].as_array().unwrap().clone();
        batches.len() == 2 && batches.iter().all(|batch| batch["processing_status"] == "ended")
    };
    eventually("both batches end", ended).await;
    t.finish().await;
}

#[tokio::test]
async fn a_page_that_is_not_public_has_the_browser_ask_for_a_key() {
    let t = TestGateway::with(|config| config.server.public_docs = false).await;
    let basic = |key: &str| format!("Basic {}", STANDARD.encode(format!("me:{key}")));
    for path in ["/", "/docs", "/docs/", "/docs/swagger-ui-bundle.js", "/openapi.json"] {
        let refused = fetch(&t, path).await;
        assert_eq!(refused.status(), 401, "{path}");
        assert!(refused.header("www-authenticate").starts_with("Basic realm="), "{path}");
        assert_eq!(refused.json()["error"]["code"], "invalid_api_key", "{path}");
        let wrong = Reply::to(t.request(Method::GET, path).header("authorization", basic("bgw_a_b"))).await;
        assert_eq!(wrong.status(), 401, "{path}");
        let asked = Reply::to(t.request(Method::GET, path).header("authorization", basic(t.key()))).await;
        assert!([200, 303, 307].contains(&asked.status()), "{path}: {}", asked.status());
    }
    assert!(t.get("/openapi.json").await.json()["paths"].is_object());
    let elsewhere = Reply::to(t.request(Method::GET, "/v1/models").header("authorization", basic(t.key()))).await;
    assert_eq!(elsewhere.status(), 401, "only the page takes a key in that way");
    t.finish().await;
}

#[tokio::test]
async fn operations_have_ids_of_their_own() {
    let document = serde_json::to_value(bedrock_gateway::api::openapi()).unwrap();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let ids: Vec<&Value> = operations.map(|operation| &operation["operationId"]).collect();
    let unique: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(unique.len(), ids.len());
}
