//! The catalog follows what AWS lists, Region by Region, while calls go on.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use bedrock_gateway::catalog::{Catalog, Destinations, Fence, Freshness, Place, Source};
use bedrock_gateway::config::{Config, Endpoints};
use bedrock_gateway::tenancy::NewKey;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL_ID, SECOND, TEAM, TestGateway, eventually};

const NEW: &str = "acme.rocket-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";
const US_PROFILE: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";

fn in_regions(regions: &'static [&'static str]) -> impl FnOnce(&mut Config) {
    |config| config.aws.regions = regions.iter().map(|region| (*region).to_owned()).collect()
}

async fn send(t: &TestGateway, model: &str) -> Reply {
    let ask: Value = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    t.openai().send(&ask).await
}

fn state(t: &TestGateway, region: &str) -> Freshness {
    t.gateway().catalog_state().into_iter().find(|state| &*state.region == region).unwrap()
}

/// How often the Region's control plane was asked this.
fn asked(t: &TestGateway, region: &str, operation: &str) -> usize {
    t.sim.calls().iter().filter(|call| call.region == region && call.operation == operation).count()
}

/// What a way to call is, but who told it; the order of destinations says nothing.
fn essence(place: &Place) -> String {
    let destinations = match &place.destinations {
        Destinations::Among(regions) => {
            let mut regions: Vec<&str> = regions.iter().map(|region| &**region).collect();
            regions.sort_unstable();
            format!("{regions:?}")
        }
        other => format!("{other:?}"),
    };
    format!("{} {:?} {destinations} {:?}", place.id, place.scope, place.price)
}

/// The ways that the compiled-in data was told, not concluded.
fn told(catalog: &Catalog, name: &str, region: &str) -> (Vec<String>, bool) {
    let resolved = catalog.resolve(name).unwrap();
    let offers = resolved.offers(region);
    let is_told = |place: &&Arc<Place>| place.source != Source::Assumed;
    let told: Vec<String> = offers.iter().filter(is_told).map(|place| essence(place)).collect();
    let is_all = told.len() == offers.len();
    (told, is_all)
}

#[tokio::test]
async fn a_region_that_lists_what_is_compiled_in_changes_no_candidate() {
    const REGIONS: [&str; 3] = [FIRST, "eu-west-1", "ap-northeast-1"];
    let t = TestGateway::with(in_regions(&REGIONS)).await;
    let before = t.gateway().catalog();
    t.refresh().await;
    let after = t.gateway().catalog();
    let regions: Vec<Arc<str>> = REGIONS.into_iter().map(Arc::from).collect();
    let now = t.clock.now().seconds();
    let lives = |end: Option<i64>| end.is_none_or(|end| end > now);
    let (mut names, open): (Vec<&str>, _) = (Vec::new(), Fence::default());
    for model in before.models(&regions, &open).filter(|model| lives(model.lifecycle.end)) {
        names.extend([&*model.id, &model.short]);
    }
    let profiles = before.profiles().iter().filter(|profile| lives(profile.model.lifecycle.end));
    names.extend(profiles.map(|profile| &*profile.id));
    let (mut same, mut better) = (0, 0);
    for name in names {
        for region in REGIONS {
            let ((old, is_all), (new, _)) = (told(&before, name, region), told(&after, name, region));
            if is_all {
                assert_eq!(old, new, "{name} from {region}");
                same += old.len();
            } else {
                // What was concluded is now told, or told not to be; the rest stays, in its order.
                let kept: Vec<&String> = new.iter().filter(|offer| old.contains(offer)).collect();
                assert_eq!(kept, old.iter().collect::<Vec<_>>(), "{name} from {region}");
                better += 1;
            }
        }
    }
    assert!(same > 500 && better > 10, "{same} {better}");
    assert!(after.resolve(NOVA).unwrap().offers(FIRST).iter().all(|place| place.source == Source::Aws));
    t.finish().await;
}

#[tokio::test]
async fn a_new_model_can_be_called_whatever_else_aws_says_of_it() {
    let t = TestGateway::start().await;
    let known_before = send(&t, NEW).await.status();
    t.sim.catalog().add_model(NEW, NOVA).add_region(NEW, FIRST).set_lifecycle(NEW, "REBORN");
    t.sim.catalog().set_inference_types(NEW, &["TELEPATHY", "ON_DEMAND"]);
    t.refresh().await;
    assert_eq!((known_before, send(&t, NEW).await.status()), (404, 200));
    t.sim.catalog().set_inference_types(NEW, &["TELEPATHY"]);
    t.refresh().await;
    let answer = send(&t, "rocket-v1").await;
    assert_eq!((answer.status(), answer.region()), (200, FIRST));
    let listed = t.openai().models().await.json();
    assert!(listed["data"].as_array().unwrap().iter().any(|model| model["id"] == NEW), "{listed}");
    t.finish().await;
}

#[tokio::test]
async fn a_region_that_no_longer_lists_a_model_is_no_candidate_for_it() {
    let t = TestGateway::start().await;
    assert_eq!(send(&t, NOVA).await.region(), FIRST);
    t.sim.catalog().remove_region(NOVA, FIRST);
    t.refresh().await;
    let answer = send(&t, NOVA).await;
    assert_eq!((answer.status(), answer.region()), (200, SECOND));
    assert_eq!(t.metrics().count("gateway_upstream_attempts_total", &[]), 2, "the Region that lost it is not tried");
    t.sim.catalog().remove_region(NOVA, SECOND);
    t.refresh().await;
    let refused = send(&t, NOVA).await;
    assert_eq!((refused.status(), &refused.openai_error()["code"]), (404, &json!("model_not_found")));
    t.finish().await;
}

#[tokio::test]
async fn a_fence_judges_a_profile_by_where_aws_says_that_it_leads() {
    let t = TestGateway::start().await;
    let regions = Some(vec![FIRST.to_owned(), SECOND.to_owned()]);
    let (_, key) = t.make_key(NewKey { regions, ..NewKey::new(TEAM, "fenced") }).await;
    let ask = json!({"model": MODEL_ID, "messages": [{"role": "user", "content": "hello"}]});
    assert_eq!(t.openai().with_key(&key).send(&ask).await.status(), 403);
    t.sim.catalog().set_destinations(US_PROFILE, FIRST, &[FIRST, SECOND]);
    t.refresh().await;
    let answer = t.openai().with_key(&key).send(&ask).await;
    assert_eq!((answer.status(), answer.region()), (200, FIRST));
    t.sim.catalog().set_destinations(US_PROFILE, FIRST, &[FIRST, SECOND, "ca-central-1"]);
    t.refresh().await;
    let refused = t.openai().with_key(&key).send(&ask).await;
    assert_eq!(refused.status(), 403);
    assert!(refused.text().contains("ca-central-1"), "{}", refused.text());
    t.finish().await;
}

#[tokio::test]
async fn every_page_of_profiles_is_read() {
    let t = TestGateway::with(in_regions(&[FIRST])).await;
    t.sim.catalog().add_model(NEW, NOVA);
    for number in 0..1100 {
        t.sim.catalog().add_profile(&format!("zz.acme.rocket-{number:04}"), NEW, FIRST, &[FIRST]);
    }
    t.refresh().await;
    assert_eq!(asked(&t, FIRST, "ListInferenceProfiles"), 2);
    let catalog = t.gateway().catalog();
    for number in 0..1100 {
        let profile = catalog.resolve(&format!("zz.acme.rocket-{number:04}")).unwrap();
        assert_eq!(&*profile.name, NEW);
    }
    t.finish().await;
}

#[tokio::test]
async fn a_region_that_does_not_answer_keeps_what_is_known_of_it_and_is_told_to_be_stale() {
    const DENIED: &str = "eu-west-1";
    const DOWN: &str = "ap-northeast-1";
    const ALL: [&str; 4] = [FIRST, SECOND, DENIED, DOWN];
    let t = TestGateway::with(in_regions(&ALL)).await;
    t.sim.catalog().add_model(NEW, NOVA);
    for region in ALL {
        t.sim.catalog().add_region(NEW, region);
    }
    // One refusal is overcome.
    t.sim.region(FIRST).control().on("ListFoundationModels").throttle(1);
    t.refresh().await;
    let first_time = t.clock.now();
    assert!(t.gateway().catalog_state().iter().all(|state| !state.is_stale()));

    t.clock.advance(Duration::from_mins(1));
    for region in ALL {
        t.sim.catalog().remove_region(NEW, region);
    }
    t.sim.region(SECOND).control().on("ListFoundationModels").throttle(2);
    t.sim.region(DENIED).control().on("ListInferenceProfiles").deny(1);
    t.sim.region(DOWN).outage();
    t.refresh().await;

    let catalog = t.gateway().catalog();
    let resolved = catalog.resolve(NEW).unwrap();
    let offered = ALL.map(|region| !resolved.offers(region).is_empty());
    assert_eq!(offered, [false, true, true, true]);
    let states = ALL.map(|region| {
        let state = state(&t, region);
        (state.problem.as_ref().map(|problem| problem.result), state.last_success == Some(first_time), state.is_stale())
    });
    let expected = [
        (None, false, false),
        (Some("throttled"), true, true),
        (Some("denied"), true, true),
        (Some("connection"), true, true),
    ];
    assert_eq!(states, expected);
    assert!(state(&t, DENIED).problem.unwrap().message.contains("bedrock:ListInferenceProfiles"));
    for (region, result, count) in [(FIRST, "ok", 2), (DENIED, "ok", 1), (DENIED, "denied", 1), (DOWN, "connection", 1)]
    {
        let labels = [("region", region), ("result", result)];
        assert_eq!(t.metrics().count("gateway_catalog_refreshes_total", &labels), count, "{region} {result}");
    }
    let scrape = t.ops("/metrics").await.text().to_owned();
    assert!(scrape.contains(&format!("gateway_catalog_age_seconds{{region=\"{DOWN}\"}} 60")), "{scrape}");
    assert!(scrape.contains(&format!("gateway_catalog_age_seconds{{region=\"{FIRST}\"}} 0")), "{scrape}");

    t.sim.region(DOWN).end_outage();
    t.refresh().await;
    assert!(t.gateway().catalog_state().iter().all(|state| !state.is_stale()));
    assert!(t.gateway().catalog().resolve(NEW).is_err());
    t.finish().await;
}

#[tokio::test]
async fn a_refresh_fails_no_call_that_is_under_way() {
    let t = TestGateway::start().await;
    let refreshing = async {
        for round in 0..6 {
            let id = format!("acme.rocket-{round}-v1:0");
            t.sim.catalog().add_model(&id, NOVA).add_region(&id, FIRST);
            t.refresh().await;
        }
    };
    let calling = async {
        for _ in 0..10 {
            let answers = futures_util::future::join_all((0..4).map(|_| send(&t, NOVA))).await;
            assert!(answers.iter().all(|answer| answer.status() == 200));
        }
    };
    tokio::join!(refreshing, calling);
    assert_eq!(send(&t, "acme.rocket-5-v1:0").await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn the_gateway_asks_by_itself_when_it_starts_and_not_when_it_is_told_not_to() {
    let silent = TestGateway::start().await;
    let t = TestGateway::with(|config| config.aws.catalog_refresh_minutes = 60).await;
    eventually("both Regions were asked", async || {
        t.metrics().count("gateway_catalog_refreshes_total", &[("result", "ok")]) == 2
    })
    .await;
    eventually("what they told is in the catalog", async || {
        let resolved = t.gateway().catalog().resolve(NOVA).unwrap();
        resolved.offers(SECOND).iter().all(|place| place.source == Source::Aws)
    })
    .await;
    assert_eq!(asked(&t, FIRST, "ListFoundationModels") + asked(&t, SECOND, "ListInferenceProfiles"), 2);
    assert!(silent.sim.calls().is_empty());
    assert_eq!(state(&silent, FIRST).last_attempt, None);
    silent.finish().await;
    t.finish().await;
}

/// A control plane without the simulator's care: lists as they are put here.
struct Sloppy {
    models: Value,
    profiles: Value,
    profile: Value,
}

impl Sloppy {
    /// Serves until the guard is dropped; returns where.
    async fn serve(self, tracker: &TaskTracker) -> (String, DropGuard) {
        let router = Router::new()
            .route("/foundation-models", get(async || Json(self.models)))
            .route("/inference-profiles", get(async || Json(self.profiles)))
            .route("/inference-profiles/{id}", get(async || Json(self.profile)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        tracker.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap() });
        (url, stop.drop_guard())
    }
}

#[tokio::test]
async fn what_a_list_leaves_out_is_asked_for_and_what_is_no_list_is_not_believed() {
    const ARN: &str = "arn:aws:bedrock:us-east-1::foundation-model/acme.rocket-v1:0";
    let tracker = TaskTracker::new();
    let sparse = Sloppy {
        models: json!({"modelSummaries": [{"modelId": NEW}]}),
        profiles: json!({"inferenceProfileSummaries": [{"inferenceProfileId": "us.acme.rocket-v1:0"}]}),
        profile: json!({"models": [{"modelArn": ARN}]}),
    };
    let profiles = json!({"inferenceProfileSummaries": []});
    let empty = Sloppy { models: json!({"modelSummaries": []}), profiles: profiles.clone(), profile: json!({}) };
    let strange = Sloppy { models: json!({"modelSummaries": "many"}), profiles, profile: json!({}) };
    let (sparse, _first) = sparse.serve(&tracker).await;
    let (empty, _second) = empty.serve(&tracker).await;
    let (strange, _third) = strange.serve(&tracker).await;
    let urls = [(FIRST, sparse), (SECOND, empty), ("eu-west-1", strange)];
    let t = TestGateway::with(|config| {
        in_regions(&[FIRST, SECOND, "eu-west-1"])(config);
        for (region, url) in urls {
            let endpoints = Endpoints { runtime: Some(url.clone()), control: Some(url), ..Endpoints::default() };
            config.aws.endpoints.insert(region.into(), endpoints);
        }
    })
    .await;
    let before = t.gateway().catalog();
    t.refresh().await;
    let after = t.gateway().catalog();
    let resolved = after.resolve(NEW).unwrap();
    let [offer] = resolved.offers(FIRST) else { panic!("{resolved:?}") };
    assert_eq!((&*offer.id, &offer.destinations), ("us.acme.rocket-v1:0", &Destinations::Among([FIRST.into()].into())));
    for region in [SECOND, "eu-west-1"] {
        let state = state(&t, region);
        assert_eq!((state.problem.unwrap().result, state.last_success), ("unreadable", None), "{region}");
        for model in [NOVA, MODEL_ID] {
            assert_eq!(before.resolve(model).unwrap().offers(region), after.resolve(model).unwrap().offers(region));
        }
    }
    t.finish().await;
}
