//! The control plane, outages and denials, and a catalog that changes, over the router.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::probe::{post, send};
use super::{Outcome, Settings, Simulator};

const HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";

async fn get(simulator: &Simulator, path: &str) -> (u16, Value) {
    let (status, text) = send(simulator, "GET", path, &Value::Null).await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

async fn converse(simulator: &Simulator, id: &str) -> (u16, Value) {
    let id = id.replace(':', "%3A").replace('/', "%2F");
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    post(simulator, &format!("/model/{id}/converse"), &body).await
}

#[tokio::test]
async fn a_catalog_that_changes_shows_on_both_planes() {
    let simulator = Simulator::new(Settings::default());
    let editor = simulator.catalog();
    editor.add_model("acme.next-v1:0", NOVA).add_region("acme.next-v1:0", "us-east-1");
    editor.set_lifecycle("acme.next-v1:0", "SUNSETTING").set_inference_types("acme.next-v1:0", &["TELEPATHY"]);
    editor.add_profile("us.acme.next-v1:0", "acme.next-v1:0", "us-east-1", &["us-east-1", "us-east-2"]);
    let (_, model) = get(&simulator, "/foundation-models/acme.next-v1:0").await;
    assert_eq!(model["modelDetails"]["modelLifecycle"]["status"], "SUNSETTING");
    assert_eq!(model["modelDetails"]["inferenceTypesSupported"], json!(["TELEPATHY"]));
    let (_, profile) = get(&simulator, "/inference-profiles/us.acme.next-v1:0").await;
    assert_eq!(profile["models"][1]["modelArn"], "arn:aws:bedrock:us-east-2::foundation-model/acme.next-v1:0");
    assert_eq!(converse(&simulator, "us.acme.next-v1:0").await.0, 200);
    editor.set_destinations("us.acme.next-v1:0", "us-east-1", &["us-east-1"]);
    let (_, profile) = get(&simulator, "/inference-profiles/us.acme.next-v1:0").await;
    assert_eq!(profile["models"].as_array().unwrap().len(), 1);
    editor.remove_region("acme.next-v1:0", "us-east-1");
    assert_eq!(get(&simulator, "/foundation-models/acme.next-v1:0").await.0, 404);
    assert_eq!(converse(&simulator, "acme.next-v1:0").await.0, 400);
}

#[tokio::test]
async fn a_denied_model_is_denied_under_every_name() {
    let settings = Settings {
        application_profiles: BTreeMap::from([("abcdefghijkl".to_owned(), HAIKU.to_owned())]),
        ..Settings::default()
    };
    let simulator = Simulator::new(settings);
    let arn = "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abcdefghijkl";
    let bare = "anthropic.claude-haiku-4-5-20251001-v1:0";
    simulator.region("us-east-1").deny_model("claude-haiku-4-5");
    for id in [HAIKU, arn] {
        let (status, body) = converse(&simulator, id).await;
        assert_eq!(
            (status, &body["message"]),
            (403, &json!("You don't have access to the model with the specified model ID."))
        );
    }
    assert_eq!(converse(&simulator, NOVA).await.0, 200);
    let (_, told) = get(&simulator, &format!("/foundation-model-availability/{bare}")).await;
    assert_eq!(
        (&told["authorizationStatus"], &told["regionAvailability"]),
        (&json!("NOT_AUTHORIZED"), &json!("AVAILABLE"))
    );
    simulator.region("us-east-1").allow_model("claude-haiku-4-5");
    assert_eq!(converse(&simulator, arn).await.0, 200);
}

#[tokio::test]
async fn an_outage_takes_every_call_until_it_ends() {
    let simulator = Simulator::new(Settings::default());
    let east = simulator.region("us-east-1");
    east.outage_with_503();
    assert_eq!(converse(&simulator, HAIKU).await.0, 503);
    assert_eq!(get(&simulator, "/inference-profiles").await.0, 503);
    let call = simulator.calls().pop().unwrap();
    assert_eq!((call.region.as_str(), call.outcome), ("us-east-1", Outcome::Refused));
    east.end_outage();
    assert_eq!(converse(&simulator, HAIKU).await.0, 200);
}

#[tokio::test]
async fn faults_of_the_control_plane_are_met_there() {
    let simulator = Simulator::new(Settings::default());
    simulator.region("us-east-1").control().on("ListInferenceProfiles").throttle(1);
    simulator.region("us-east-1").control().deny(1);
    assert_eq!(converse(&simulator, HAIKU).await.0, 200);
    assert_eq!(get(&simulator, "/foundation-models").await.0, 403);
    assert_eq!(get(&simulator, "/inference-profiles").await.0, 429);
    assert_eq!(get(&simulator, "/inference-profiles").await.0, 200);
}

#[tokio::test]
async fn resources_of_the_account_are_told_by_id_and_arn() {
    let named = |id: &str| BTreeMap::from([(id.to_owned(), NOVA.to_owned())]);
    let simulator = Simulator::new(Settings {
        provisioned_models: named("provisioned1"),
        custom_models: named("customcustom"),
        imported_models: named("importimport"),
        ..Settings::default()
    });
    let arn = |resource: &str| format!("arn%3Aaws%3Abedrock%3Aus-east-1%3A000000000000%3A{resource}");
    for (path, member) in [
        ("/provisioned-model-throughput/provisioned1".to_owned(), "foundationModelArn"),
        (format!("/provisioned-model-throughput/{}", arn("provisioned-model%2Fprovisioned1")), "foundationModelArn"),
        (format!("/custom-models/{}", arn("custom-model%2Famazon.nova-lite-v1%3A0%2Fcustomcustom")), "baseModelArn"),
    ] {
        let (status, body) = get(&simulator, &path).await;
        assert_eq!(
            (status, body[member].as_str()),
            (200, Some("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0")),
            "{path}"
        );
    }
    let (_, body) = get(&simulator, "/imported-models/importimport").await;
    assert_eq!((&body["modelArchitecture"], &body["instructSupported"]), (&json!("amazon"), &json!(true)));
    assert_eq!(get(&simulator, "/imported-models/other").await.0, 404);
}
