//! `GET /v1/models`.

use bedrock_gateway::config::Alias;
use bedrock_gateway::tenancy::NewKey;
use serde_json::json;

use crate::support::{MODEL, MODEL_ID, TEAM, TestGateway};

#[tokio::test]
async fn models_are_listed_and_looked_up_by_any_name() {
    let t = TestGateway::start().await;
    let list = t.openai().models().await.json();
    assert_eq!(list["object"], "list");
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&MODEL_ID) && ids.len() > 20, "{ids:?}");
    for name in [MODEL, MODEL_ID, "us.anthropic.claude-haiku-4-5-20251001-v1:0"] {
        let model = t.get(&format!("/v1/models/{name}")).await.json();
        assert_eq!(
            (&model["id"], &model["object"], &model["owned_by"]),
            (&json!(name), &json!("model"), &json!("anthropic"))
        );
    }
    let missing = t.get("/v1/models/no-such-model").await;
    assert_eq!((missing.status(), &missing.openai_error()["code"]), (404, &json!("model_not_found")));
    t.finish().await;
}

#[tokio::test]
async fn a_key_sees_only_the_models_that_it_may_use() {
    let t = TestGateway::start().await;
    let new = NewKey { models: Some(vec!["nova-*".into()]), ..NewKey::new(TEAM, "nova") };
    let (_, key) = t.make_key(new).await;
    let list = t.openai().with_key(&key).models().await.json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"amazon.nova-lite-v1:0") && ids.iter().all(|id| id.contains("nova")), "{ids:?}");
    let hidden = t.request(reqwest::Method::GET, &format!("/v1/models/{MODEL}")).bearer_auth(&key);
    assert_eq!(crate::support::reply::Reply::to(hidden).await.status(), 404);
    t.finish().await;
}

#[tokio::test]
async fn a_name_with_a_slash_is_found_encoded_or_not_in_either_shape() {
    let alias = Alias { alias: "team/smart:latest".into(), model: MODEL_ID.into(), ..Alias::default() };
    let t = TestGateway::with(|config| config.models = vec![alias]).await;
    let arn = format!("arn:aws:bedrock:us-east-1::foundation-model/{MODEL_ID}");
    let in_parts = format!("/v1/models/{arn}");
    for (path, name) in [
        ("/v1/models/team/smart:latest", "team/smart:latest"),
        ("/v1/models/team%2Fsmart%3Alatest", "team/smart:latest"),
        (&in_parts, &arn),
    ] {
        assert_eq!(t.get(path).await.json()["id"], name, "{path}");
        let request =
            t.request(reqwest::Method::GET, path).bearer_auth(t.key()).header("anthropic-version", "2023-06-01");
        let model = crate::support::reply::Reply::to(request).await.json();
        assert_eq!((&model["id"], &model["type"]), (&json!(name), &json!("model")), "{path}");
    }
    let missing = t.get("/v1/models/team/other").await;
    assert_eq!((missing.status(), &missing.openai_error()["code"]), (404, &json!("model_not_found")));
    let keyless = t.request(reqwest::Method::GET, "/v1/models/team/smart:latest");
    assert_eq!(crate::support::reply::Reply::to(keyless).await.status(), 401);
    t.finish().await;
}

#[tokio::test]
async fn an_alias_is_listed_first_and_answers_under_its_own_name() {
    let alias = Alias { alias: "house-model".into(), model: MODEL_ID.into(), ..Alias::default() };
    let t = TestGateway::with(|config| config.models = vec![alias]).await;
    assert_eq!(t.openai().models().await.json()["data"][0]["id"], "house-model");
    let body = json!({"model": "house-model", "messages": [{"role": "user", "content": "hi"}]});
    let reply = t.openai().send(&body).await;
    assert_eq!((reply.status(), reply.header("x-gateway-model")), (200, MODEL_ID));
    assert_eq!(reply.json()["model"], "house-model");
    t.finish().await;
}
