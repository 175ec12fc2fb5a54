//! What the catalog says once AWS has spoken, against what the compiled-in data says.

use serde_json::{Value, json};

use super::*;
use crate::catalog::{Catalog, Destinations, Fence, Geography, Kind, Order, Place};
use crate::config::Alias;
use crate::error::Kind as ErrorKind;

const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
const US_HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";
const EAST: &str = "us-east-1";
const WEST: &str = "us-west-2";

fn arn(region: &str, model: &str) -> Value {
    json!({"modelArn": format!("arn:aws:bedrock:{region}::foundation-model/{model}")})
}

fn model(id: &str, types: &[&str]) -> Value {
    json!({
        "modelId": id, "modelName": "A model", "inputModalities": ["TEXT"], "outputModalities": ["TEXT"],
        "inferenceTypesSupported": types, "modelLifecycle": {"status": "ACTIVE"},
    })
}

fn profile(id: &str, model: &str, to: &[&str]) -> Value {
    let models: Vec<Value> = to.iter().map(|region| arn(region, model)).collect();
    json!({"inferenceProfileId": id, "type": "SYSTEM_DEFINED", "status": "ACTIVE", "models": models})
}

fn seen(region: &str, models: &[Value], profiles: &[Value]) -> Observed {
    let mut observed = Observed::new(region.into());
    observed.add_models(json!({ "modelSummaries": models }).to_string().as_bytes()).unwrap();
    let profiles = json!({ "inferenceProfileSummaries": profiles }).to_string();
    assert_eq!(observed.add_profiles(profiles.as_bytes()).unwrap(), None);
    observed
}

fn refreshed(observed: &[Observed]) -> Catalog {
    Catalog::embedded(&[]).unwrap().refreshed(observed, &[]).unwrap().0
}

/// `id source` of each way to call `name` in the Region, best first.
fn offers(catalog: &Catalog, name: &str, region: &str) -> Vec<String> {
    let resolved = catalog.resolve(name).unwrap();
    resolved.offers(region).iter().map(|place| format!("{} {}", place.id, <&str>::from(place.source))).collect()
}

fn place(catalog: &Catalog, name: &str, region: &str) -> Option<Arc<Place>> {
    let resolved = catalog.resolve(name).ok()?;
    let places = catalog.candidates(&resolved, &[region.into()], &Fence::default(), Order::Preference).ok()?;
    places.into_iter().next()
}

#[test]
fn a_region_that_was_not_seen_keeps_what_is_compiled_in() {
    let (before, after) =
        (Catalog::embedded(&[]).unwrap(), refreshed(&[seen(EAST, &[model(NOVA, &["ON_DEMAND"])], &[])]));
    for region in before.regions().iter().filter(|region| &*region.code != EAST) {
        for name in before.0.names.keys() {
            assert_eq!(place(&before, name, &region.code), place(&after, name, &region.code), "{name} {}", region.code);
        }
    }
    assert_eq!(offers(&after, NOVA, EAST), [format!("{NOVA} aws")]);
    assert!(offers(&before, HAIKU, EAST).len() > 1 && offers(&after, HAIKU, EAST).is_empty());
}

#[test]
fn a_model_that_nobody_knew_can_be_called_by_its_id_and_its_short_names() {
    let new = model("acme.rocket-20270101-v1:0", &["ON_DEMAND", "TELEPATHY"]);
    let embedder = json!({"modelId": "acme.embed-v9:0", "outputModalities": ["EMBEDDING"]});
    let strange = json!({"modelId": "acme.scent-v1:0", "outputModalities": ["SMELL"]});
    let spare = model("acme.rocket-20270101-v1:0:48k", &["PROVISIONED"]);
    let catalog = refreshed(&[seen(EAST, &[new, embedder, strange, spare], &[])]);
    for name in ["acme.rocket-20270101-v1:0", "rocket-20270101-v1:0", "rocket", "acme.rocket"] {
        let resolved = catalog.resolve(name).unwrap();
        let model = resolved.model.unwrap();
        assert_eq!(
            (model.kind, model.source, &*model.short, &*model.provider),
            (Kind::Chat, Source::Aws, "rocket", "acme")
        );
        let place = place(&catalog, name, EAST).unwrap();
        assert_eq!((&*place.id, place.price.is_none()), ("acme.rocket-20270101-v1:0", true));
        assert!(self::place(&catalog, name, WEST).is_none());
    }
    let kind = |name| catalog.resolve(name).unwrap().model.unwrap().kind;
    assert_eq!((kind("embed-v9"), kind("scent-v1")), (Kind::Embedding, Kind::Other));
    assert_eq!(offers(&catalog, "acme.embed-v9:0", EAST), ["acme.embed-v9:0 assumed"]);
    assert_eq!(catalog.resolve("acme.rocket-20270101-v1:0:48k").unwrap_err().kind(), ErrorKind::ModelNotFound);
}

#[test]
fn a_profile_that_nobody_knew_can_be_called_and_is_judged_by_where_it_leads() {
    let profiles = [
        profile("mx.acme.rocket-v1:0", "acme.rocket-v1:0", &["mx-central-1"]),
        profile("us.amazon.titan-text-express-v1", "amazon.titan-text-express-v1", &[EAST, WEST]),
        json!({"inferenceProfileId": "us.acme.wheel-v1:0", "type": "SYSTEM_DEFINED"}),
        json!({"inferenceProfileId": "nothing"}),
    ];
    let rocket = model("acme.rocket-v1:0", &["INFERENCE_PROFILE"]);
    let wheel = json!({"modelId": "acme.wheel-v1:0", "inferenceTypesSupported": ["TELEPATHY"]});
    let catalog = refreshed(&[seen("mx-central-1", &[rocket, wheel], &profiles)]);
    let rocket = place(&catalog, "rocket-v1", "mx-central-1").unwrap();
    assert_eq!(&*rocket.id, "mx.acme.rocket-v1:0");
    assert!(Fence::new(None, Some(Geography::Mx)).permits(&rocket));
    assert!(catalog.resolve("mx.acme.rocket-v1").is_ok());
    // Where it leads is not known, so it stays out of every fence; but it can be called.
    let wheel = place(&catalog, "acme.wheel-v1:0", "mx-central-1").unwrap();
    assert_eq!((&*wheel.id, &wheel.destinations), ("us.acme.wheel-v1:0", &Destinations::Unknown));
    assert!(catalog.profiles().iter().any(|profile| &*profile.id == "mx.acme.rocket-v1:0"));
}

#[test]
fn the_destinations_that_aws_tells_hold_in_its_region_alone() {
    let told = profile(US_HAIKU, HAIKU, &[EAST, "us-west-1"]);
    let catalog = refreshed(&[seen(EAST, &[model(HAIKU, &["INFERENCE_PROFILE"])], &[told])]);
    let destinations = |region| place(&catalog, US_HAIKU, region).unwrap().destinations.clone();
    assert_eq!(destinations(EAST), Destinations::Among([EAST.into(), "us-west-1".into()].into()));
    assert_eq!(destinations(WEST), place(&Catalog::embedded(&[]).unwrap(), US_HAIKU, WEST).unwrap().destinations);
    let profile = catalog.profiles().iter().find(|profile| &*profile.id == US_HAIKU).unwrap();
    assert_eq!((profile.source(EAST), profile.source(WEST)), (Some(Source::Aws), Some(Source::Compiled)));
    assert_eq!(offers(&catalog, HAIKU, EAST), [format!("{US_HAIKU} aws")]);
}

#[test]
fn a_list_that_could_not_be_read_whole_takes_nothing_away() {
    let broken = json!({"modelId": null});
    let mut observed = seen(EAST, &[broken], &[json!({"inferenceProfileId": 7})]);
    let compiled = Catalog::embedded(&[]).unwrap();
    let catalog = refreshed(std::slice::from_ref(&observed));
    for name in compiled.0.names.keys() {
        assert_eq!(place(&compiled, name, EAST), place(&catalog, name, EAST), "{name}");
    }
    observed = seen(EAST, &[model(HAIKU, &[])], &[]);
    observed.cut_short();
    assert_eq!(offers(&refreshed(&[observed]), HAIKU, EAST), offers(&compiled, HAIKU, EAST));
}

#[test]
fn aws_tells_how_long_a_model_lives_region_by_region() {
    let with = |life: Value| {
        let mut model = model(HAIKU, &["INFERENCE_PROFILE"]);
        model["modelLifecycle"] = life;
        model
    };
    let legacy = with(json!({"status": "LEGACY", "endOfLifeTime": "2027-01-01T00:00:00Z"}));
    let active = with(json!({"status": "ACTIVE"}));
    let catalog = refreshed(&[seen(EAST, &[legacy], &[]), seen(WEST, &[active], &[])]);
    let haiku = catalog.resolve(HAIKU).unwrap().model.unwrap();
    assert_eq!(haiku.lifecycle.stage, Stage::Active);
    assert_eq!(haiku.lifecycle_in(EAST).stage, Stage::Legacy);
    assert_eq!(haiku.lifecycle_in(EAST).end, Some(1_798_761_600));
    assert_eq!(haiku.lifecycle_in(WEST), &haiku.lifecycle);
}

#[test]
fn a_model_that_the_data_takes_for_gone_lives_where_aws_lists_it() {
    let compiled = Catalog::embedded(&[]).unwrap();
    let gone = compiled.0.models.iter().map(|entry| &entry.model);
    let gone = gone.clone().find(|model| model.on_runtime && model.lifecycle.stage == Stage::EndOfLife).unwrap();
    let catalog = refreshed(&[seen(EAST, &[model(&gone.id, &["ON_DEMAND"])], &[])]);
    assert!(catalog.resolve(&gone.id).unwrap().model.unwrap().is_callable());
    assert_eq!(place(&catalog, &gone.id, EAST).unwrap().source, Source::Aws);
}

#[test]
fn no_name_comes_to_mean_another_model() {
    let newer = model("anthropic.claude-haiku-4-5-20270101-v1:0", &["ON_DEMAND"]);
    let mut older = model(HAIKU, &["INFERENCE_PROFILE"]);
    older["modelLifecycle"]["status"] = "LEGACY".into();
    let (compiled, catalog) = (Catalog::embedded(&[]).unwrap(), refreshed(&[seen(EAST, &[newer, older], &[])]));
    for (name, resolved) in &compiled.0.names {
        assert_eq!(catalog.resolve(name).unwrap().name, resolved.name, "{name}");
    }
    assert!(catalog.resolve("claude-haiku-4-5-20270101").is_ok());
}

#[test]
fn an_alias_outlives_its_model() {
    let rocket = seen(EAST, &[model("acme.rocket-v1:0", &["ON_DEMAND"])], &[]);
    let alias = |name: &str, model: &str| Alias { alias: name.into(), model: model.into(), ..Alias::default() };
    let aliases = [alias("fast", "acme.rocket-v1:0"), alias("small", "nova-lite")];
    let first = Catalog::embedded(&aliases[1..]).unwrap().refreshed([&rocket], &aliases).unwrap();
    assert!(first.1.is_empty());
    let (second, lost) = first.0.refreshed(&[], &aliases).unwrap();
    assert_eq!(lost, ["fast"]);
    assert_eq!(&*place(&second, "fast", EAST).unwrap().id, "acme.rocket-v1:0");
    let told: Vec<&str> = second.aliases().map(|(alias, _)| alias).collect();
    assert_eq!(told, ["fast", "small"]);
    assert!(second.resolve("acme.rocket-v1:0").is_err());
}
