//! The catalog as a whole, against the data that is compiled in.

use super::*;
use crate::config::{Alias, Config, Problems};
use crate::converse::Usage;
use crate::error::{Error, Kind as ErrorKind};
use crate::money::{MicroUsd, PerMillion};

const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

/// The Regions that the contract names.
const NAMED_REGIONS: [&str; 16] = [
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

fn catalog() -> Catalog {
    Catalog::embedded(&[]).unwrap()
}

fn alias(alias: &str, model: &str) -> Alias {
    Alias { alias: alias.into(), model: model.into(), ..Alias::default() }
}

fn candidates(catalog: &Catalog, resolved: &Resolved, regions: &[Arc<str>]) -> Result<Vec<Arc<Place>>> {
    catalog.candidates(resolved, regions, &Fence::default(), Order::Preference)
}

fn unavailable(catalog: &Catalog, resolved: &Resolved, regions: &[Arc<str>]) -> Error {
    candidates(catalog, resolved, regions).unwrap_err()
}

fn regions(codes: &[&str]) -> Vec<Arc<str>> {
    codes.iter().map(|code| Arc::from(*code)).collect()
}

/// What would be called: `region id`, in order.
fn calls(catalog: &Catalog, name: &str, codes: &[&str]) -> Vec<String> {
    let resolved = catalog.resolve(name).unwrap();
    let candidates = candidates(catalog, &resolved, &regions(codes)).unwrap_or_default();
    candidates.iter().map(|place| format!("{} {}", place.region, place.id)).collect()
}

fn all_regions(catalog: &Catalog) -> Vec<Arc<str>> {
    catalog.regions().iter().map(|region| Arc::clone(&region.code)).collect()
}

#[test]
fn the_regions_of_the_contract_are_known() {
    let catalog = catalog();
    for code in NAMED_REGIONS {
        assert!(catalog.region(code).is_some(), "{code}");
    }
    assert_eq!(catalog.region("us-gov-west-1").unwrap().partition, "aws-us-gov");
    assert!(catalog.region("us-east-9").is_none());
}

#[test]
fn every_chat_model_that_is_not_gone_can_be_called_somewhere_by_its_id_and_its_short_id() {
    let catalog = catalog();
    let everywhere = all_regions(&catalog);
    let mut count = 0;
    for entry in &catalog.0.models {
        let model = &entry.model;
        if model.kind != Kind::Chat || !model.is_callable() {
            continue;
        }
        count += 1;
        let resolved = catalog.resolve(&model.id).unwrap();
        assert_eq!(resolved.name, model.id);
        let candidates = candidates(&catalog, &resolved, &everywhere).unwrap();
        assert!(!candidates.is_empty(), "{} has no place", model.id);
        assert!(candidates.iter().all(|place| place.id.ends_with(&*model.id)), "{}", model.id);
        assert!(catalog.resolve(&model.short).unwrap().model.unwrap().is_callable(), "{}", model.short);
    }
    assert!(count > 90, "{count}");
    assert!(catalog.models(&everywhere, &Fence::default()).count() >= count);
}

#[test]
fn every_id_of_model_and_profile_resolves_to_its_model() {
    let catalog = catalog();
    for (id, resolved) in &catalog.0.ids {
        assert_eq!(catalog.resolve(id).unwrap().name, resolved.name, "{id}");
        assert!(id.ends_with(&*resolved.name), "{id}");
    }
    assert!(catalog.0.ids.len() > 350, "{}", catalog.0.ids.len());
}

#[test]
fn a_model_without_on_demand_is_called_by_the_profile_of_the_region() {
    let catalog = catalog();
    assert_eq!(
        calls(&catalog, HAIKU, &["us-east-1", "eu-central-1", "ap-southeast-2", "ap-northeast-1", "ap-northeast-2"]),
        [
            format!("us-east-1 us.{HAIKU}"),
            format!("eu-central-1 eu.{HAIKU}"),
            format!("ap-southeast-2 au.{HAIKU}"),
            format!("ap-northeast-1 jp.{HAIKU}"),
            format!("ap-northeast-2 global.{HAIKU}"),
        ]
    );
}

#[test]
fn a_model_with_on_demand_is_called_by_its_own_id_there() {
    let catalog = catalog();
    let codes = ["us-east-1", "us-west-1", "eu-central-1", "ca-central-1"];
    assert_eq!(
        calls(&catalog, "nova-lite", &codes),
        [
            "us-east-1 amazon.nova-lite-v1:0",
            "us-west-1 us.amazon.nova-lite-v1:0",
            "eu-central-1 eu.amazon.nova-lite-v1:0",
            "ca-central-1 ca.amazon.nova-lite-v1:0",
        ]
    );
}

#[test]
fn a_named_profile_is_called_from_its_source_regions_only() {
    let catalog = catalog();
    let name = format!("eu.{HAIKU}");
    let expected = [format!("eu-west-1 {name}")];
    assert_eq!(calls(&catalog, &name, &["us-east-1", "eu-west-1"]), expected);
    assert_eq!(calls(&catalog, "eu.anthropic.claude-haiku-4-5", &["us-east-1", "eu-west-1"]), expected);
    assert_eq!(catalog.resolve(&name).unwrap().name.as_ref(), HAIKU);
}

#[test]
fn a_profile_without_known_routing_is_tried_in_its_geography() {
    let catalog = catalog();
    let codes = ["us-gov-west-1", "us-east-1", "us-gov-east-1"];
    let name = "us-gov.anthropic.claude-opus-5";
    assert_eq!(calls(&catalog, name, &codes), [format!("us-gov-west-1 {name}"), format!("us-gov-east-1 {name}")]);
    // Seen routing goes before a guess: the Japanese profile of this model is only a name.
    let opus = "anthropic.claude-opus-5";
    assert_eq!(calls(&catalog, opus, &["ap-northeast-1"]), [format!("ap-northeast-1 global.{opus}")]);
}

#[test]
fn short_ids_and_the_names_of_other_vendors_clients_find_the_newest_model_that_can_be_called() {
    let catalog = catalog();
    for (name, id) in [
        ("claude-haiku-4-5", HAIKU),
        ("anthropic.claude-haiku-4-5", HAIKU),
        ("claude-haiku-4-5-20251001", HAIKU),
        ("claude-sonnet-4-5", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("claude-3-5-sonnet", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("nova-lite", "amazon.nova-lite-v1:0"),
        ("gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
        ("openai.gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
        ("titan-embed-text", "amazon.titan-embed-text-v2:0"),
        ("qwen3-32b", "qwen.qwen3-32b-v1:0"),
        ("kimi-k2.5", "moonshotai.kimi-k2.5"),
    ] {
        assert_eq!(catalog.resolve(name).unwrap().name.as_ref(), id, "{name}");
    }
}

#[test]
fn an_arn_is_called_as_it_is_and_only_where_it_is() {
    let catalog = catalog();
    let account = "000000000000";
    for (arn, name, is_known) in [
        ("arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-lite-v1:0".to_owned(), "amazon.nova-lite-v1:0", true),
        (format!("arn:aws:bedrock:us-west-2:{account}:inference-profile/us.{HAIKU}"), HAIKU, true),
        (
            format!("arn:aws:bedrock:us-west-2:{account}:application-inference-profile/abc123"),
            "application-inference-profile",
            false,
        ),
        (format!("arn:aws:bedrock:us-west-2:{account}:provisioned-model/abc123"), "provisioned-model", false),
        (format!("arn:aws:bedrock:us-west-2:{account}:custom-model/abc/def"), "custom-model", false),
        (format!("arn:aws:bedrock:us-west-2:{account}:custom-model-deployment/abc"), "custom-model-deployment", false),
        (format!("arn:aws:bedrock:us-west-2:{account}:imported-model/abc"), "imported-model", false),
        (format!("arn:aws:bedrock:us-west-2:{account}:default-prompt-router/a:1"), "default-prompt-router", false),
    ] {
        let resolved = catalog.resolve(&arn).unwrap();
        assert_eq!(&*resolved.name, name);
        assert_eq!(resolved.model.is_some(), is_known, "{arn}");
        assert_eq!(calls(&catalog, &arn, &["us-east-1", "us-west-2"]), [format!("us-west-2 {arn}")]);
        let elsewhere = regions(&["us-east-1"]);
        assert!(candidates(&catalog, &resolved, &elsewhere).is_err());
        assert!(!unavailable(&catalog, &resolved, &elsewhere).message().contains(account));
    }
    let unknown = catalog.resolve("arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-light-v1:0").unwrap_err();
    assert_eq!((unknown.kind(), unknown.blamed()), (ErrorKind::ModelNotFound, Some("model")));
    let says = unknown.message();
    assert!(says.contains("`amazon.nova-light-v1:0` does not exist") && says.contains("did you mean"), "{says}");
    let new =
        catalog.resolve("arn:aws:bedrock:us-east-1::foundation-model/newcomer.model-of-tomorrow-v1:0").unwrap_err();
    assert!(new.message().contains("`newcomer.model-of-tomorrow-v1:0` does not exist"), "{}", new.message());
    assert!(new.message().contains("GET /v1/models"), "{}", new.message());
}

#[test]
fn an_arn_has_the_price_of_what_it_names() {
    let catalog = catalog();
    let price = |arn: &str| {
        let resolved = catalog.resolve(arn).unwrap();
        candidates(&catalog, &resolved, &regions(&["us-west-2"])).unwrap()[0].price.clone()
    };
    let input = |arn: &str| price(arn).and_then(|price| price.standard.input);
    let profile = format!("arn:aws:bedrock:us-west-2:000000000000:inference-profile/us.{HAIKU}");
    assert_eq!(input(&profile), Some(PerMillion(1_100_000)));
    // Offered by profiles only: called, and charged, by one.
    assert_eq!(input(&format!("arn:aws:bedrock:us-west-2::foundation-model/{HAIKU}")), Some(PerMillion(1_100_000)));
    assert_eq!(price("arn:aws:bedrock:us-west-2:000000000000:custom-model/abc"), None);
}

#[test]
fn what_is_no_name_is_refused_and_an_unknown_one_is_not_found() {
    let catalog = catalog();
    let long = "a".repeat(2049);
    for name in ["", " ", "nova lite", "a\nb", "nova-lite\0", "../etc/passwd", "a..b", "\u{a0}x", &long, "arn:aws:x"] {
        let error = catalog.resolve(name).unwrap_err();
        assert_eq!((error.kind(), error.blamed()), (ErrorKind::Invalid, Some("model")), "{name:?}");
    }
    let longest = "x".repeat(2048);
    for name in ["gpt-4o", "%2e%2e%2fx", "a/b", "模型", "eu.openai.gpt-5.5", &longest] {
        let error = catalog.resolve(name).unwrap_err();
        assert_eq!((error.kind(), error.blamed()), (ErrorKind::ModelNotFound, Some("model")), "{name:?}");
        assert!(error.message().len() < 512);
    }
}

#[test]
fn a_wrong_name_gets_the_right_one_told() {
    let catalog = Catalog::embedded(&[alias("fastest", "nova-lite")]).unwrap();
    for (wrong, right) in [
        ("claude-sonet-4-5", "claude-sonnet-4-5"),
        ("claude-4-5-haiku", "claude-haiku-4-5"),
        ("fastset", "fastest"),
        ("amazon.nova-lite-v2:0", "amazon.nova-lite-v1:0"),
    ] {
        let error = catalog.resolve(wrong).unwrap_err();
        assert!(error.message().ends_with(&format!("did you mean `{right}`?")), "{error}");
    }
}

#[test]
fn a_model_that_is_not_offered_here_is_told_from_where_it_is() {
    let catalog = catalog();
    let here = regions(&["ap-south-1"]);
    let resolved = catalog.resolve(&format!("eu.{HAIKU}")).unwrap();
    assert!(candidates(&catalog, &resolved, &here).is_err());
    let error = unavailable(&catalog, &resolved, &here);
    assert_eq!(error.kind(), ErrorKind::ModelNotFound);
    assert!(error.message().contains("from ap-south-1") && error.message().contains("eu-central-1"), "{error}");
    let elsewhere = unavailable(&catalog, &catalog.resolve("google.gemma-4-31b").unwrap(), &here);
    assert!(elsewhere.message().contains("bedrock-mantle"), "{elsewhere}");
}

#[test]
fn models_are_those_that_the_regions_can_call() {
    let catalog = catalog();
    let here = regions(&["us-east-1"]);
    let open = Fence::default();
    let ids: Vec<&str> = catalog.models(&here, &open).map(|model| &*model.id).collect();
    assert!(ids.contains(&HAIKU) && ids.contains(&"amazon.nova-lite-v1:0"));
    assert!(!ids.contains(&"anthropic.claude-3-haiku-20240307-v1:0"), "its end has come");
    assert!(!ids.contains(&"google.gemma-4-31b"), "another endpoint serves it");
    assert!(ids.is_sorted());
    assert_eq!(catalog.models(&regions(&[]), &Fence::default()).count(), 0);
}

#[test]
fn a_model_tells_what_is_known_of_it() {
    let model = catalog().resolve("claude-haiku-4-5").unwrap().model.unwrap();
    assert_eq!((model.provider.as_str(), model.short.as_str()), ("Anthropic", "claude-haiku-4-5"));
    assert_eq!((model.kind, model.lifecycle.stage), (Kind::Chat, Stage::Active));
    assert_eq!((model.context_window, model.max_output_tokens), (Some(200_000), Some(64_000)));
    assert_eq!(model.created, Some(1_760_572_800));
    assert_eq!((model.abilities.tools, model.abilities.vision), (Some(true), Some(true)));
    let opus = catalog().resolve("claude-opus-4-8").unwrap().model.unwrap();
    assert_eq!(opus.abilities.sampling_params, Some(false));
}

#[test]
fn an_alias_stands_for_any_name_but_another_alias() {
    let arn = "arn:aws:bedrock:eu-west-1:000000000000:application-inference-profile/abc";
    let aliases =
        [alias("fast", "claude-haiku-4-5"), alias("pinned", arn), alias("nova-lite", "us.amazon.nova-pro-v1:0")];
    let catalog = Catalog::embedded(&aliases).unwrap();
    assert_eq!(catalog.resolve("fast").unwrap().name.as_ref(), HAIKU);
    assert_eq!(calls(&catalog, "pinned", &["eu-west-1"]), [format!("eu-west-1 {arn}")]);
    assert_eq!(calls(&catalog, "nova-lite", &["us-east-1"]), ["us-east-1 us.amazon.nova-pro-v1:0"]);
    assert_eq!(catalog.aliases().map(|(name, _)| name).collect::<Vec<_>>(), ["fast", "pinned", "nova-lite"]);
    let chained = Catalog::embedded(&[alias("a", "nova-lite"), alias("b", "a")]).unwrap_err();
    assert_eq!(chained.kind(), ErrorKind::ModelNotFound);
}

#[test]
fn what_the_configuration_names_has_to_exist() {
    let mut config = Config::default();
    assert!(Catalog::configured(&config).is_ok());
    config.models = vec![alias("slow", "eu.amazon.nova-lite-v1:0"), alias("fast", "nova-light")];
    assert_eq!(
        Catalog::configured(&config).unwrap_err().to_string(),
        "models[0].model: The model `amazon.nova-lite-v1:0` cannot be called from us-east-1, us-west-2 by this name, \
         but from eu-central-1, eu-north-1, eu-south-1, eu-south-2 and 3 more.\n\
         models[1].model: unknown model \"nova-light\"; did you mean \"nova-lite\"?"
    );
    config.models.clear();
    config.aws.regions = vec!["us-east-1".into(), "us-est-1".into()];
    config.aws.endpoints.insert("eu-west-1".into(), crate::config::Endpoints::default());
    let wrong = Catalog::configured(&config).unwrap_err().to_string();
    let expected = "aws.endpoints.eu-west-1: is never used: the Region is not in aws.regions\n\
                    aws.regions[1]: unknown Region \"us-est-1\"; did you mean \"us-east-1\"? known are af-south-1, ";
    assert!(wrong.starts_with(expected) && wrong.ends_with(", us-gov-west-1"), "{wrong}");
    config.aws.regions.pop();
    config.aws.endpoints.clear();
    config.batch.bucket.insert("eu-west-1".into(), "files".into());
    config.batch.bucket.insert("us-nowhere-1".into(), "files".into());
    let wrong = Catalog::configured(&config).unwrap_err().to_string();
    assert!(wrong.starts_with("batch.bucket.us-nowhere-1: unknown Region \"us-nowhere-1\"; "), "{wrong}");
    assert_eq!(wrong.lines().count(), 1, "a bucket may be somewhere else than calls: {wrong}");
    config.batch.bucket.clear();
    config.models = vec![alias("fast", "nova-light")];
    let mut known = Problems::default();
    known.add("aws.regions[0]", "is wrong already");
    assert_eq!(
        Catalog::checked(&config, known).unwrap_err().to_string(),
        "aws.regions[0]: is wrong already\n\
         models[0].model: unknown model \"nova-light\"; did you mean \"nova-lite\"?"
    );
}

#[test]
fn what_an_allow_list_names_is_looked_up() {
    let catalog = Catalog::embedded(&[alias("fast", "nova-lite")]).unwrap();
    let opaque = "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abc";
    for good in ["nova-lite", "fast", "fas*", "us.anthropic.*", "anthropic.claude-*", "*", "arn:aws:bedrock:*", opaque]
    {
        assert_eq!(catalog.check_allowed(good), Ok(()), "{good}");
    }
    assert!(catalog.check_allowed("nova-light").unwrap_err().contains("did you mean \"nova-lite\""));
    assert!(catalog.check_allowed("nonsense*").unwrap_err().contains("\"nonsense\""));
    assert_eq!(catalog.check_region("us-west-2"), Ok(()));
    let far = catalog.check_region("mars").unwrap_err();
    assert!(far.contains("\"mars\"") && far.contains("eu-central-1"), "{far}");
}

fn price(name: &str, region: &str) -> Option<Arc<Price>> {
    let catalog = catalog();
    let resolved = catalog.resolve(name).unwrap();
    candidates(&catalog, &resolved, &regions(&[region])).unwrap()[0].price.clone()
}

#[test]
fn a_price_goes_by_the_way_of_the_call() {
    let input = |name: &str, region: &str| price(name, region).and_then(|price| price.standard.input);
    // The geography's profile, the global one, the bare id.
    assert_eq!(input(HAIKU, "us-east-1"), Some(PerMillion(1_100_000)));
    assert_eq!(input(HAIKU, "ap-northeast-2"), Some(PerMillion(1_000_000)));
    assert_eq!(input("nova-lite", "us-east-1"), Some(PerMillion(60_000)));
    assert_eq!(input("nova-lite", "eu-central-1"), Some(PerMillion(78_000)));
    // A Region's own row goes before the general one.
    assert_eq!(input("nova-lite", "us-gov-west-1"), Some(PerMillion(72_000)));
    // The general row is not for GovCloud.
    let arn = "arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/deepseek.v3-v1:0";
    assert!(input("deepseek.v3-v1:0", "us-east-2").is_some());
    assert_eq!(input(arn, "us-gov-west-1"), None);
    // No row: unknown.
    assert_eq!(input("nova-lite", "ca-central-1"), None);
    // Billed by the query, not by the token.
    assert_eq!(input("rerank-v3-5", "us-west-2"), None);
}

#[test]
fn what_is_not_charged_by_tokens_costs_what_the_list_says_for_the_unit() {
    let cost = |name: &str, region: &str, charged: Charged| {
        price(name, region)?.by_unit.as_ref()?.cost(charged, 1000).map(|MicroUsd(micros)| micros)
    };
    assert_eq!(cost("rerank-v3-5", "us-west-2", Charged::Queries(3)), Some(6_000));
    assert_eq!(cost("amazon.rerank-v1:0", "us-west-2", Charged::Queries(1)), Some(1_000));
    assert_eq!(cost("stability.stable-image-core-v1:1", "us-west-2", Charged::Images(2)), Some(80_000));
    assert_eq!(cost("stability.stable-image-core-v1:1", "us-west-2", Charged::Images(0)), Some(0));
    // 1000 x 0.135 micro-dollars of text, or 60 for an image.
    assert_eq!(cost("nova-2-multimodal-embeddings", "us-east-1", Charged::Text), Some(135));
    assert_eq!(cost("nova-2-multimodal-embeddings", "us-east-1", Charged::Picture), Some(60));
    assert_eq!(cost("us.twelvelabs.marengo-embed-3-0-v1:0", "us-east-1", Charged::Queries(1)), Some(70));
    assert_eq!(cost("us.twelvelabs.marengo-embed-3-0-v1:0", "us-east-1", Charged::Picture), Some(100));
    // The list says 0 for its tokens, because there is nothing to pay for them.
    assert_eq!(cost("rerank-v3-5", "us-west-2", Charged::Text), None);
    assert_eq!(cost("stability.stable-image-core-v1:1", "us-west-2", Charged::Queries(1)), None);
    // Charged by the second of video, which nobody counts.
    assert_eq!(price("us.twelvelabs.pegasus-1-2-v1:0", "us-east-1"), None);
    let tokens: Usage = serde_json::from_str(r#"{"inputTokens": 1}"#).unwrap();
    assert_eq!(price("rerank-v3-5", "us-west-2").unwrap().cost(&tokens), None);
}

#[test]
fn a_call_costs_what_the_list_says_to_the_micro_dollar() {
    let usage: Usage = serde_json::from_str(
        r#"{"inputTokens": 1000, "outputTokens": 100, "cacheReadInputTokens": 10, "cacheWriteInputTokens": 4}"#,
    )
    .unwrap();
    // 1000 x 1.10 + 100 x 5.50 + 10 x 0.11 + 4 x 1.375 micro-dollars, rounded up.
    assert_eq!(price(HAIKU, "us-east-1").unwrap().cost(&usage), Some(MicroUsd(1657)));
    // Nova's list has no price for cache writes.
    assert_eq!(price("nova-lite", "us-east-1").unwrap().cost(&usage), None);
}

#[test]
fn nearly_every_place_of_a_chat_model_has_a_price() {
    let catalog = catalog();
    let is_chat = |entry: &&Entry| entry.model.kind == Kind::Chat && entry.model.is_callable();
    let places: Vec<_> =
        catalog.0.models.iter().filter(is_chat).flat_map(|entry| entry.places.values().flatten()).collect();
    let unpriced = places.iter().filter(|place| place.price.is_none()).count();
    assert!(unpriced * 16 < places.len(), "{unpriced} of {}", places.len());
}

#[test]
fn a_profile_tells_where_it_leads_from_each_of_its_source_regions() {
    let catalog = catalog();
    let profile = |id: &str| catalog.profiles().iter().find(|profile| &*profile.id == id).unwrap();
    let us = profile("us.anthropic.claude-haiku-4-5-20251001-v1:0");
    assert_eq!((&*us.geo, &*us.model.id), ("us", HAIKU));
    let to = regions(&["us-east-1", "us-east-2", "us-west-2"]);
    assert_eq!(us.destinations("us-east-1"), Some(&Destinations::Among(to.into())));
    assert_eq!(us.destinations("eu-west-1"), None);
    let world = profile("global.anthropic.claude-haiku-4-5-20251001-v1:0");
    assert_eq!(world.destinations("eu-west-1"), Some(&Destinations::Anywhere));
}

#[test]
fn profiles_are_those_of_living_models_whose_routing_was_seen() {
    let catalog = catalog();
    assert!(catalog.profiles().len() > 100);
    assert!(catalog.profiles().is_sorted_by(|left, right| left.id < right.id));
    assert!(catalog.profiles().iter().all(|profile| profile.model.is_callable()));
    // Known by its id alone.
    assert!(catalog.profiles().iter().all(|profile| &*profile.id != "apac.amazon.nova-2-lite-v1:0"));
    assert!(catalog.resolve("apac.amazon.nova-2-lite-v1:0").is_ok());
}
