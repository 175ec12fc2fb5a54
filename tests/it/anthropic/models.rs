//! `GET /v1/models` in Anthropic's shape.

use serde_json::json;

use crate::support::{MODEL, MODEL_ID, TestGateway};

#[tokio::test]
async fn the_header_tells_whose_list_is_wanted() {
    let t = TestGateway::start().await;
    let theirs = t.anthropic().get("/v1/models?limit=1000").await.json();
    assert_eq!(theirs["has_more"], false);
    let models = theirs["data"].as_array().unwrap();
    let haiku = models.iter().find(|model| model["id"] == MODEL_ID).unwrap();
    assert_eq!((&haiku["type"], &haiku["lifecycle"]), (&json!("model"), &json!("active")));
    assert!(haiku["display_name"].is_string() && haiku["created_at"].as_str().unwrap().ends_with('Z'), "{haiku}");
    assert!(!models.iter().any(|model| model["id"].as_str().unwrap().contains("embed")));
    assert_eq!(t.openai().models().await.json()["object"], "list");
    t.finish().await;
}

#[tokio::test]
async fn pages_add_up_to_the_whole_list() {
    let t = TestGateway::start().await;
    let ids = |page: &serde_json::Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    let whole = ids(&t.anthropic().get("/v1/models?limit=1000").await.json());
    let mut page = t.anthropic().get("/v1/models?limit=7").await.json();
    let mut paged = ids(&page);
    while page["has_more"] == true {
        let path = format!("/v1/models?limit=7&after_id={}", page["last_id"].as_str().unwrap());
        page = t.anthropic().get(&path).await.json();
        paged.extend(ids(&page));
    }
    assert_eq!(paged, whole);
    assert!(whole.len() > 7);
    t.finish().await;
}

#[tokio::test]
async fn a_model_is_found_by_its_short_name_and_an_unknown_one_is_not() {
    let t = TestGateway::start().await;
    let model = t.anthropic().get(&format!("/v1/models/{MODEL}")).await.json();
    assert_eq!((&model["id"], &model["type"]), (&json!(MODEL), &json!("model")));
    assert!(model["max_tokens"].as_u64().unwrap() > 0);
    let reply = t.anthropic().get("/v1/models/nobody").await;
    assert_eq!((reply.status(), &reply.anthropic_error()["type"]), (404, &json!("not_found_error")));
    let bad = t.anthropic().get("/v1/models?limit=0").await;
    assert_eq!((bad.status(), &bad.anthropic_error()["type"]), (400, &json!("invalid_request_error")));
    t.finish().await;
}
