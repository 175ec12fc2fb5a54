//! Where calls may lead, against everything that the compiled-in data knows.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::config::Alias;
use crate::error::{Error, Kind as ErrorKind};

const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
const ACCOUNT: &str = "000000000000";

fn catalog() -> Catalog {
    static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded(&[]).unwrap());
    CATALOG.clone()
}

fn codes(codes: &[&str]) -> Vec<Arc<str>> {
    codes.iter().map(|code| Arc::from(*code)).collect()
}

fn among(codes: &[&str]) -> Fence {
    let codes: Vec<String> = codes.iter().map(|code| (*code).to_owned()).collect();
    Fence::new(Some(&codes), None)
}

fn within(geography: Geography) -> Fence {
    Fence::new(None, Some(geography))
}

fn everywhere(catalog: &Catalog) -> Vec<Arc<str>> {
    catalog.regions().iter().map(|region| Arc::clone(&region.code)).collect()
}

/// `region id` of each candidate.
fn calls(catalog: &Catalog, name: &str, regions: &[&str], fence: &Fence) -> Result<Vec<String>, Error> {
    let resolved = catalog.resolve(name)?;
    let places = catalog.candidates(&resolved, &codes(regions), fence, Order::Preference)?;
    Ok(places.iter().map(|place| format!("{} {}", place.region, place.id)).collect())
}

/// No candidate, and no Region that one is sent on to, is outside.
fn assert_inside(fence: &Fence, places: &[Arc<Place>]) {
    for place in places {
        assert!(fence.holds(&place.region), "{place:?} is called outside");
        match &place.destinations {
            Destinations::Among(regions) => {
                for region in regions.iter() {
                    assert!(fence.holds(region), "{place:?} leads to {region}");
                }
            }
            Destinations::Anywhere | Destinations::Unknown => panic!("{place:?} may lead anywhere"),
        }
    }
}

#[test]
fn no_name_of_the_catalog_leaves_any_geography_or_region() {
    let catalog = catalog();
    let everywhere = everywhere(&catalog);
    let geographies = Geography::NAMES.iter().map(|name| within(Geography::parse("geography", name).unwrap()));
    let single = everywhere.iter().map(|region| among(&[region]));
    let (mut inside, mut refused) = (0, 0);
    for fence in geographies.chain(single) {
        for resolved in catalog.0.ids.values().chain(catalog.0.names.values()) {
            match catalog.candidates(resolved, &everywhere, &fence, Order::Preference) {
                Ok(places) => {
                    assert_inside(&fence, &places);
                    inside += places.len();
                }
                Err(error) => refused += usize::from(error.kind() == ErrorKind::Forbidden),
            }
        }
    }
    assert!(inside > 1000 && refused > 1000, "{inside} {refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_name_leaves_a_fence_of_any_regions_in_either_order(
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
        names in prop::collection::vec(any::<prop::sample::Index>(), 40),
        by_price in any::<bool>(),
    ) {
        let catalog = catalog();
        let everywhere = everywhere(&catalog);
        let allowed: Vec<&str> = chosen.iter().map(|index| &**index.get(&everywhere)).collect();
        let fence = among(&allowed);
        let all: Vec<Resolved> = catalog.0.names.values().cloned().collect();
        let order = if by_price { Order::Price } else { Order::Preference };
        for name in &names {
            if let Ok(places) = catalog.candidates(name.get(&all), &everywhere, &fence, order) {
                assert_inside(&fence, &places);
            }
        }
    }
}

#[test]
fn a_fence_takes_the_profile_that_stays_inside() {
    let catalog = catalog();
    let sonnet = "anthropic.claude-sonnet-4-6";
    // Offered on demand in London, by the European profile elsewhere.
    assert_eq!(
        calls(&catalog, sonnet, &["eu-west-2", "eu-west-1"], &among(&["eu-west-2"])).unwrap(),
        [format!("eu-west-2 {sonnet}")]
    );
    let europe = calls(&catalog, HAIKU, &["us-east-1", "eu-west-1"], &within(Geography::Eu)).unwrap();
    assert_eq!(europe, [format!("eu-west-1 eu.{HAIKU}")]);
}

#[test]
fn a_refusal_by_the_fence_says_the_way_out() {
    let catalog = catalog();
    let error = calls(&catalog, HAIKU, &["eu-west-1"], &among(&["eu-west-1"])).unwrap_err();
    assert_eq!((error.kind(), error.refused_by()), (ErrorKind::Forbidden, Some("region")));
    let says = error.message();
    assert!(says.contains("cannot be called within eu-west-1") && says.contains("may be sent on to eu-"), "{says}");

    let global = calls(&catalog, &format!("global.{HAIKU}"), &["eu-west-1"], &within(Geography::Eu)).unwrap_err();
    assert!(global.message().contains("may be sent on to any Region"), "{}", global.message());

    let elsewhere = calls(&catalog, HAIKU, &["us-east-1"], &within(Geography::Eu)).unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::Forbidden);
    assert!(elsewhere.message().contains("this gateway calls it from us-east-1"), "{}", elsewhere.message());

    // Not offered at all is another thing.
    let nowhere = calls(&catalog, "amazon.nova-sonic-v1:0", &["eu-central-2"], &within(Geography::Eu)).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::ModelNotFound);
}

#[test]
fn what_hides_where_it_leads_stays_outside_of_a_fence_and_what_runs_in_one_region_inside() {
    let catalog = catalog();
    let arn = |kind: &str| format!("arn:aws:bedrock:eu-west-1:{ACCOUNT}:{kind}/abcdefghijkl");
    let fence = among(&["eu-west-1"]);
    for kind in ["provisioned-model", "custom-model", "custom-model-deployment", "imported-model"] {
        assert!(calls(&catalog, &arn(kind), &["eu-west-1"], &fence).is_ok(), "{kind}");
    }
    for kind in ["application-inference-profile", "prompt-router", "default-prompt-router", "prompt"] {
        let error = calls(&catalog, &arn(kind), &["eu-west-1"], &fence).unwrap_err();
        assert!(error.message().contains("not known") && !error.message().contains(ACCOUNT), "{kind}: {error}");
        assert!(calls(&catalog, &arn(kind), &["eu-west-1"], &Fence::default()).is_ok(), "{kind}");
    }
}

#[test]
fn the_arn_of_a_profile_only_model_is_called_by_a_profile() {
    let catalog = catalog();
    let arn = format!("arn:aws:bedrock:us-west-2::foundation-model/{HAIKU}");
    let open = Fence::default();
    assert_eq!(calls(&catalog, &arn, &["us-east-1", "us-west-2"], &open).unwrap(), [format!("us-west-2 us.{HAIKU}")]);
    let wrong = format!("arn:aws-us-gov:bedrock:us-west-2::foundation-model/{HAIKU}");
    let error = calls(&catalog, &wrong, &["us-west-2"], &open).unwrap_err();
    assert!(error.message().contains("partition is `aws-us-gov`"), "{error}");
}

#[test]
fn a_told_application_profile_is_its_model_with_its_price_and_its_destinations() {
    let catalog = catalog();
    let name = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/abcdefghijkl");
    let hidden = catalog.resolve(&name).unwrap();
    assert!(hidden.hidden_profile().is_some());
    let to = |regions: &[&str], model: &str| -> Vec<String> {
        regions.iter().map(|region| format!("arn:aws:bedrock:{region}::foundation-model/{model}")).collect()
    };
    let unveil = |arns: Vec<String>| catalog.unveiled(&hidden, arns.iter().map(String::as_str));

    let known = unveil(to(&["us-east-1", "us-west-2", "us-east-2"], HAIKU)).unwrap();
    assert_eq!(&*known.name, HAIKU);
    let fence = within(Geography::Us);
    let place = &catalog.candidates(&known, &codes(&["us-east-1"]), &fence, Order::Preference).unwrap()[0];
    assert_eq!((&*place.id, &place.scope), (name.as_str(), &Scope::Profile("us".into())));
    assert!(place.price.is_some());

    let single = unveil(to(&["us-east-1"], "amazon.nova-lite-v1:0")).unwrap();
    let place = &catalog.candidates(&single, &codes(&["us-east-1"]), &fence, Order::Preference).unwrap()[0];
    assert_eq!(place.scope, Scope::InRegion);

    let global = unveil(to(&["", "us-east-1"], HAIKU)).unwrap();
    assert!(catalog.candidates(&global, &codes(&["us-east-1"]), &fence, Order::Preference).is_err());

    assert!(unveil(to(&["us-east-1"], "newcomer.model-v1:0")).is_none());
    assert!(unveil([to(&["us-east-1"], HAIKU), to(&["us-east-2"], "amazon.nova-lite-v1:0")].concat()).is_none());
    assert!(unveil(Vec::new()).is_none());
}

#[test]
fn an_alias_has_a_fence_of_its_own_and_may_tell_what_an_arn_hides() {
    let provisioned = format!("arn:aws:bedrock:us-east-1:{ACCOUNT}:provisioned-model/abcdefghijkl");
    let europe = Alias {
        alias: "european".into(),
        model: "claude-haiku-4-5".into(),
        geography: Some("eu".into()),
        ..Alias::default()
    };
    let own =
        Alias { alias: "own".into(), model: provisioned.clone(), base: Some("nova-lite".into()), ..Alias::default() };
    let catalog = Catalog::embedded(&[europe, own]).unwrap();
    let open = Fence::default();
    let regions = ["us-east-1", "eu-west-1"];
    assert_eq!(calls(&catalog, "european", &regions, &open).unwrap(), [format!("eu-west-1 eu.{HAIKU}")]);
    assert!(calls(&catalog, "european", &regions, &within(Geography::Us)).is_err());
    let resolved = catalog.resolve("own").unwrap();
    assert_eq!(&*resolved.name, "amazon.nova-lite-v1:0");
    let place = &catalog.candidates(&resolved, &codes(&regions), &open, Order::Preference).unwrap()[0];
    assert_eq!((&*place.id, &place.price), (provisioned.as_str(), &None));
}

#[test]
fn the_cheapest_goes_first_when_that_is_asked_for() {
    let catalog = catalog();
    let resolved = catalog.resolve(HAIKU).unwrap();
    let regions = codes(&["us-east-1", "eu-west-1"]);
    let by_price = catalog.candidates(&resolved, &regions, &Fence::default(), Order::Price).unwrap();
    assert!(by_price.iter().all(|place| *place.id == format!("global.{HAIKU}")), "{by_price:?}");
    let fenced = catalog.candidates(&resolved, &regions, &within(Geography::Eu), Order::Price).unwrap();
    assert_eq!(&*fenced[0].id, format!("eu.{HAIKU}"));
}
