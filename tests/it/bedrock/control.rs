//! The catalog side of the control plane: what this key may use, in the Regions that this gateway calls.

use bedrock_gateway::tenancy::{NewKey, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL_ID, SECOND, TEAM, TestGateway};

const PROFILE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

async fn get(t: &TestGateway, key: &str, path: &str) -> Reply {
    Reply::to(t.request(Method::GET, path).bearer_auth(key)).await
}

fn texts(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

async fn models(t: &TestGateway, key: &str, query: &str) -> Vec<Value> {
    let reply = get(t, key, &format!("/foundation-models{query}")).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()["modelSummaries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn foundation_models_are_those_of_the_regions_in_awss_shape() {
    let t = TestGateway::start().await;
    let all = models(&t, t.key(), "").await;
    let haiku = all.iter().find(|model| model["modelId"] == MODEL_ID).unwrap();
    let expected = json!({
        "modelArn": format!("arn:aws:bedrock:{FIRST}::foundation-model/{MODEL_ID}"),
        "modelId": MODEL_ID,
        "modelName": "Claude Haiku 4.5",
        "providerName": "Anthropic",
        "inputModalities": ["IMAGE", "TEXT"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": true,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["INFERENCE_PROFILE"],
        "modelLifecycle": haiku["modelLifecycle"],
    });
    assert_eq!((haiku, &haiku["modelLifecycle"]["status"]), (&expected, &json!("ACTIVE")));
    let nova = all.iter().find(|model| model["modelId"] == "amazon.nova-pro-v1:0").unwrap();
    assert_eq!(nova["inferenceTypesSupported"], json!(["ON_DEMAND", "INFERENCE_PROFILE"]), "one in each Region");
    for legacy in all.iter().filter(|model| model["modelLifecycle"]["status"] == "LEGACY") {
        let time = legacy["modelLifecycle"]["legacyTime"].as_str().unwrap();
        assert!(time.ends_with("T00:00:00Z"), "{legacy}");
    }
    assert!(t.sim.calls().is_empty(), "answered from the catalog");
    t.finish().await;
}

#[tokio::test]
async fn filters_are_awss_own() {
    let t = TestGateway::start().await;
    let all = models(&t, t.key(), "").await.len();
    let anthropic = models(&t, t.key(), "?byProvider=anthropic").await;
    assert!(!anthropic.is_empty() && anthropic.len() < all);
    assert!(anthropic.iter().all(|model| model["providerName"] == "Anthropic"));
    let vectors = models(&t, t.key(), "?byOutputModality=EMBEDDING").await;
    assert!(!vectors.is_empty() && vectors.iter().all(|model| model["outputModalities"] == json!(["EMBEDDING"])));
    let on_demand = models(&t, t.key(), "?byInferenceType=ON_DEMAND&byProvider=Amazon").await;
    assert!(on_demand.iter().any(|model| model["modelId"] == "amazon.nova-lite-v1:0"));
    assert!(on_demand.iter().all(|model| model["inferenceTypesSupported"][0] == "ON_DEMAND"));
    for none in ["?byInferenceType=PROVISIONED", "?byCustomizationType=FINE_TUNING", "?byProvider=Nobody"] {
        assert_eq!(models(&t, t.key(), none).await, [Value::Null; 0], "{none}");
    }
    for bad in
        ["byOutputModality=SMELL", "byInferenceType=on_demand", "byCustomizationType=", "byProvider=a&byProvider=b"]
    {
        let reply = get(&t, t.key(), &format!("/foundation-models?{bad}")).await;
        assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"), "{bad}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_foundation_model_is_found_by_id_arn_and_short_id() {
    let t = TestGateway::start().await;
    let by = async |name: &str| get(&t, t.key(), &format!("/foundation-models/{name}")).await;
    let summary = models(&t, t.key(), "").await.into_iter().find(|model| model["modelId"] == MODEL_ID).unwrap();
    for name in [MODEL_ID, "claude-haiku-4-5"] {
        assert_eq!(by(name).await.json(), json!({"modelDetails": summary}), "{name}");
    }
    let arn = format!("arn:aws:bedrock:{SECOND}::foundation-model/{MODEL_ID}");
    let reply = by(&arn.replace('/', "%2F")).await;
    assert_eq!(reply.json()["modelDetails"]["modelArn"], arn);
    let elsewhere = format!("arn:aws:bedrock:eu-west-1::foundation-model%2F{MODEL_ID}");
    for missing in ["anthropic.claude-9", PROFILE, "arn:aws:bedrock", &elsewhere] {
        let reply = by(missing).await;
        assert_eq!((reply.status(), reply.exception().0), (404, "ResourceNotFoundException"), "{missing}");
    }
    t.finish().await;
}

#[tokio::test]
async fn inference_profiles_tell_where_they_lead() {
    let t = TestGateway::start().await;
    let haiku = |region: &str| json!({"modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{MODEL_ID}")});
    let expected = json!({
        "inferenceProfileName": "US Anthropic Claude Haiku 4.5",
        "description": "Routes requests to Anthropic Claude Haiku 4.5 in us-east-1, us-east-2, us-west-2.",
        "inferenceProfileArn": format!("arn:aws:bedrock:{FIRST}:000000000000:inference-profile/{PROFILE}"),
        "models": [haiku("us-east-1"), haiku("us-east-2"), haiku("us-west-2")],
        "inferenceProfileId": PROFILE,
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    });
    assert_eq!(get(&t, t.key(), &format!("/inference-profiles/{PROFILE}")).await.json(), expected);
    let list = get(&t, t.key(), "/inference-profiles?maxResults=1000").await.json();
    let all = list["inferenceProfileSummaries"].as_array().unwrap();
    assert!(all.contains(&expected) && list.get("nextToken").is_none());
    let ids = texts(&list["inferenceProfileSummaries"], "inferenceProfileId");
    assert!(ids.iter().all(|id| id.starts_with("us.") || id.starts_with("global.")), "no other leads from here");

    let arn = format!("arn:aws:bedrock:{SECOND}:111122223333:inference-profile%2F{PROFILE}");
    let by_arn = get(&t, t.key(), &format!("/inference-profiles/{arn}")).await.json();
    let own = format!("arn:aws:bedrock:{SECOND}:000000000000:inference-profile/{PROFILE}");
    assert_eq!(by_arn["inferenceProfileArn"], own);
    let world = get(&t, t.key(), &format!("/inference-profiles/{}", PROFILE.replacen("us.", "global.", 1))).await;
    assert_eq!(world.json()["models"], json!([haiku(""), haiku(FIRST)]));
    for missing in
        [MODEL_ID, "eu.anthropic.claude-haiku-4-5-20251001-v1:0", "arn:aws:bedrock:us-east-1::foundation-model%2Fx"]
    {
        let reply = get(&t, t.key(), &format!("/inference-profiles/{missing}")).await;
        assert_eq!((reply.status(), reply.exception().0), (404, "ResourceNotFoundException"), "{missing}");
    }
    assert!(t.sim.calls().is_empty());
    t.finish().await;
}

#[tokio::test]
async fn inference_profiles_come_in_pages_without_gap_or_repeat() {
    let t = TestGateway::start().await;
    let whole = get(&t, t.key(), "/inference-profiles?type=SYSTEM_DEFINED&maxResults=1000").await.json();
    let (mut told, mut token) = (Vec::new(), String::new());
    loop {
        let page = get(&t, t.key(), &format!("/inference-profiles?maxResults=7{token}")).await.json();
        let ids = texts(&page["inferenceProfileSummaries"], "inferenceProfileId");
        assert!((1..=7).contains(&ids.len()));
        told.extend(ids);
        let Some(next) = page["nextToken"].as_str() else { break };
        token = format!("&nextToken={next}");
    }
    assert_eq!(told, texts(&whole["inferenceProfileSummaries"], "inferenceProfileId"));
    let own = get(&t, t.key(), "/inference-profiles?type=APPLICATION").await.json();
    assert_eq!(own, json!({"inferenceProfileSummaries": []}));
    for bad in ["maxResults=0", "maxResults=1001", "maxResults=x", "nextToken=nothing", "type=OTHER"] {
        let reply = get(&t, t.key(), &format!("/inference-profiles?{bad}")).await;
        assert_eq!((reply.status(), reply.exception().0), (400, "ValidationException"), "{bad}");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_key_sees_only_what_it_may_use_where_it_may_use_it() {
    let t = TestGateway::start().await;
    let mut narrow = NewKey::new(TEAM, "narrow");
    narrow.models = Some(vec!["amazon.nova-lite-v1:0".into()]);
    narrow.regions = Some(vec![SECOND.into()]);
    let (_, narrow) = t.make_key(narrow).await;
    let nova = models(&t, &narrow, "").await;
    assert_eq!(nova.len(), 1);
    assert_eq!(nova[0]["modelArn"], format!("arn:aws:bedrock:{SECOND}::foundation-model/amazon.nova-lite-v1:0"));
    assert_eq!(nova[0]["inferenceTypesSupported"], json!(["ON_DEMAND"]));
    let profiles = get(&t, &narrow, "/inference-profiles").await.json();
    let ids = texts(&profiles["inferenceProfileSummaries"], "inferenceProfileId");
    assert!(ids.is_empty(), "a profile leads out of the key's Region: {ids:?}");
    for hidden in [format!("/foundation-models/{MODEL_ID}"), format!("/inference-profiles/{PROFILE}")] {
        let reply = get(&t, &narrow, &hidden).await;
        assert_eq!((reply.status(), reply.exception().0), (404, "ResourceNotFoundException"));
    }
    let mut metrics = NewKey::new(TEAM, "metrics");
    metrics.scopes = vec![Scope::Metrics];
    let (_, metrics) = t.make_key(metrics).await;
    for path in ["/foundation-models", "/foundation-models/x", "/inference-profiles", "/inference-profiles/x"] {
        let reply = get(&t, &metrics, path).await;
        assert_eq!((reply.status(), reply.exception().0), (403, "AccessDeniedException"), "{path}");
    }
    t.finish().await;
}
