//! The control plane of a Region, as the gateway asks it on its own behalf: signed, or with an API key, and with the
//! meaning of a refusal.

use std::net::Ipv4Addr;

use bedrock_gateway::clock::Clock;
use bedrock_gateway::config::{Aws, Endpoints, Secret};
use bedrock_gateway::simulator::{Settings, Simulator};
use bedrock_gateway::upstream::{PlainCall, Reason, Upstream};
use http::Method;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

const REGION: &str = "eu-west-1";
const PROFILE: &str = "eu.anthropic.claude-haiku-4-5-20251001-v1:0";

/// The gateway's side of a simulated Region, whose runtime is nowhere: what is answered, the control plane answered.
async fn connect(change: impl FnOnce(&mut Aws, &Settings)) -> (Upstream, DropGuard) {
    let settings = Settings::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let control = format!("http://{}", listener.local_addr().unwrap());
    let runtime = Some("http://127.0.0.1:1".to_owned());
    let mut aws = Aws {
        regions: vec![REGION.into()],
        endpoints: [(REGION.into(), Endpoints { control: Some(control), runtime, ..Endpoints::default() })].into(),
        credentials: Some((settings.access_key.clone(), Secret::new(settings.secret_key.clone()))),
        ..Aws::default()
    };
    change(&mut aws, &settings);
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let upstream = Upstream::connect(&aws, Clock::system(), &tracker).await.unwrap();
    let (simulator, stopped) = (Simulator::new(settings), stop.clone().cancelled_owned());
    tracker.spawn(async move { simulator.serve_region(listener, REGION, stopped).await.unwrap() });
    (upstream, stop.drop_guard())
}

async fn ask(upstream: &Upstream, call: PlainCall) -> Value {
    let reply = upstream.region(REGION).unwrap().control(&call).await.unwrap();
    serde_json::from_slice(&reply.body).unwrap()
}

#[tokio::test]
async fn models_and_profiles_are_asked_of_the_control_plane() {
    let (upstream, _stop) = connect(|_, _| {}).await;
    let models = PlainCall::new(Method::GET, ["foundation-models"]).query([("byProvider", "Anthropic")]);
    let listed = ask(&upstream, models).await;
    assert!(listed["modelSummaries"].as_array().unwrap().iter().all(|model| model["providerName"] == "Anthropic"));

    let by_id = ask(&upstream, PlainCall::new(Method::GET, ["inference-profiles", PROFILE])).await;
    let arn = by_id["inferenceProfileArn"].as_str().unwrap();
    let by_arn = ask(&upstream, PlainCall::new(Method::GET, ["inference-profiles", arn])).await;
    assert_eq!((&by_id, &by_arn["inferenceProfileId"]), (&by_arn, &Value::from(PROFILE)));
}

#[tokio::test]
async fn an_api_key_is_good_for_the_control_plane_too() {
    let (upstream, _stop) = connect(|aws, settings| {
        aws.credentials = None;
        aws.bearer_token = Some(Secret::new(settings.bearer_tokens[0].clone()));
    })
    .await;
    let profile = ask(&upstream, PlainCall::new(Method::GET, ["inference-profiles", PROFILE])).await;
    assert_eq!(profile["inferenceProfileId"], PROFILE);
}

#[tokio::test]
async fn a_refusal_of_the_control_plane_is_told_by_its_meaning() {
    let (upstream, _stop) = connect(|aws, _| {
        aws.credentials = Some(("AKIDWRONG".into(), Secret::new("wrong")));
    })
    .await;
    let call = PlainCall::new(Method::GET, ["inference-profiles", PROFILE]);
    let failure = upstream.region(REGION).unwrap().control(&call).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Credentials);

    let (upstream, _stop) = connect(|_, _| {}).await;
    let call = PlainCall::new(Method::GET, ["inference-profiles", "eu.nobody.nothing-v1:0"]);
    let failure = upstream.region(REGION).unwrap().control(&call).await.unwrap_err();
    assert_eq!(failure.reason, Reason::Missing);
    let call = PlainCall::new(Method::GET, ["foundation-models"]).query([("byOutputModality", "SMELL")]);
    let failure = upstream.region(REGION).unwrap().control(&call).await.unwrap_err();
    assert_eq!((failure.reason, failure.error.message().contains("SMELL")), (Reason::Rejected, true));
}
