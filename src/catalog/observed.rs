//! What one Region was seen to have, read from the answers of its control plane. Pure.
//!
//! AWS adds values and members without notice, and its answers break its own API model (longer names, more destinations
//! than five, inference types that no SDK knows). So nothing is validated that is not needed: what cannot be understood
//! is unknown, and an entry without a usable id is left out and counted. Because the one that was left out may be any,
//! a list with such an entry does not tell that something is gone; see [`Observed::lists_all_models`].

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::model::Stage;
use super::{Destinations, arn, names};
use crate::error::{Error, Result};

/// The models and inference profiles of one Region, as `ListFoundationModels` and `ListInferenceProfiles` told them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub(super) region: Arc<str>,
    pub(super) models: BTreeMap<Box<str>, SeenModel>,
    pub(super) profiles: BTreeMap<Box<str>, SeenProfile>,
    /// Entries that could not be used.
    broken_models: usize,
    broken_profiles: usize,
    /// Whether there were more pages than were asked for.
    is_cut: bool,
}

/// A model as a Region lists it; `None` is not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenModel {
    pub(super) name: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) input_modalities: Vec<String>,
    pub(super) output_modalities: Vec<String>,
    pub(super) streaming: Option<bool>,
    /// Whether it is called by its own id.
    pub(super) on_demand: Option<bool>,
    pub(super) stage: Option<Stage>,
    /// Seconds since the Unix epoch, as the next two.
    pub(super) start: Option<i64>,
    pub(super) legacy: Option<i64>,
    pub(super) end: Option<i64>,
}

/// A system-defined inference profile as a Region lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenProfile {
    /// The model that all its destinations name, if there is one.
    pub(super) model: Option<Box<str>>,
    pub(super) destinations: Destinations,
}

impl Observed {
    /// A Region of which nothing was seen so far.
    pub fn new(region: Arc<str>) -> Self {
        Self {
            region,
            models: BTreeMap::new(),
            profiles: BTreeMap::new(),
            broken_models: 0,
            broken_profiles: 0,
            is_cut: false,
        }
    }

    /// The Region.
    pub fn region(&self) -> &Arc<str> {
        &self.region
    }

    /// Adds an answer to `ListFoundationModels`.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html>
    ///
    /// # Errors
    /// The answer is no such list.
    pub fn add_models(&mut self, body: &[u8]) -> Result<()> {
        for entry in entries(&object(body)?, "modelSummaries")? {
            let Some(id) = id(entry, "modelId") else {
                self.broken_models += 1;
                continue;
            };
            // Of an id that is told twice the first entry counts.
            self.models.entry(id.into()).or_insert_with(|| SeenModel::read(entry));
        }
        Ok(())
    }

    /// Adds a page of `ListInferenceProfiles` and returns the token of the next. Application profiles are left out: they
    /// are their account's, and called by ARN.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListInferenceProfiles.html>
    ///
    /// # Errors
    /// The answer is no such list.
    pub fn add_profiles(&mut self, body: &[u8]) -> Result<Option<String>> {
        let page = object(body)?;
        for entry in entries(&page, "inferenceProfileSummaries")? {
            if entry["type"] == "APPLICATION" {
                continue;
            }
            match id(entry, "inferenceProfileId") {
                Some(id) => match self.profiles.entry(id.into()) {
                    Entry::Vacant(vacant) => _ = vacant.insert(SeenProfile::read(entry)),
                    Entry::Occupied(_) => {}
                },
                None => self.broken_profiles += 1,
            }
        }
        Ok(page["nextToken"].as_str().filter(|token| !token.is_empty()).map(str::to_owned))
    }

    /// The profiles whose destinations the list did not tell.
    pub fn unrouted(&self) -> impl Iterator<Item = &str> {
        let unrouted = self.profiles.iter().filter(|(_, profile)| profile.destinations == Destinations::Unknown);
        unrouted.map(|(id, _)| &**id)
    }

    /// Adds an answer to `GetInferenceProfile` for `id`; one that tells no destinations either changes nothing.
    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetInferenceProfile.html>
    pub fn add_destinations(&mut self, id: &str, body: &[u8]) {
        if let (Some(profile), Ok(told)) = (self.profiles.get_mut(id), object(body)) {
            *profile = SeenProfile::read(&told);
        }
    }

    /// There are more profiles than were asked for.
    pub fn cut_short(&mut self) {
        self.is_cut = true;
    }

    /// How many models were seen.
    pub fn models(&self) -> usize {
        self.models.len()
    }

    /// How many profiles were seen.
    pub fn profiles(&self) -> usize {
        self.profiles.len()
    }

    /// How many entries could not be used.
    pub fn broken(&self) -> usize {
        self.broken_models + self.broken_profiles
    }

    /// Whether a model that was not seen is not there.
    pub(super) fn lists_all_models(&self) -> bool {
        self.broken_models == 0
    }

    /// Whether a profile that was not seen cannot be called from the Region.
    pub(super) fn lists_all_profiles(&self) -> bool {
        self.broken_profiles == 0 && !self.is_cut
    }
}

impl SeenModel {
    fn read(entry: &Value) -> Self {
        let text = |member: &str| entry[member].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let lifecycle = &entry["modelLifecycle"];
        Self {
            name: text("modelName"),
            provider: text("providerName"),
            input_modalities: texts(&entry["inputModalities"]).map(str::to_owned).collect(),
            output_modalities: texts(&entry["outputModalities"]).map(str::to_owned).collect(),
            streaming: entry["responseStreamingSupported"].as_bool(),
            on_demand: on_demand(&entry["inferenceTypesSupported"]),
            stage: match lifecycle["status"].as_str() {
                Some("ACTIVE") => Some(Stage::Active),
                Some("LEGACY") => Some(Stage::Legacy),
                _ => None,
            },
            start: seconds(&lifecycle["startOfLifeTime"]),
            legacy: seconds(&lifecycle["legacyTime"]),
            end: seconds(&lifecycle["endOfLifeTime"]),
        }
    }
}

impl SeenProfile {
    fn read(entry: &Value) -> Self {
        let unknown = Self { model: None, destinations: Destinations::Unknown };
        let Some(models) = entry["models"].as_array().filter(|models| !models.is_empty()) else { return unknown };
        let (mut model, mut regions, mut anywhere) = (None, Vec::new(), false);
        for entry in models {
            // A destination that cannot be read may be outside any fence.
            let Some((to, of)) = entry["modelArn"].as_str().and_then(arn::destination) else { return unknown };
            if *model.get_or_insert(of) != of {
                return unknown;
            }
            match to {
                Some(to) => regions.push(Arc::from(to)),
                None => anywhere = true,
            }
        }
        // Neither their order nor a repetition says anything.
        regions.sort_unstable();
        regions.dedup();
        let destinations = if anywhere { Destinations::Anywhere } else { Destinations::Among(regions.into()) };
        Self { model: model.filter(|id| is_id(id)).map(Box::from), destinations }
    }
}

/// `ON_DEMAND` decides; without it only types that are known not to mean it say no.
fn on_demand(types: &Value) -> Option<bool> {
    let types: Vec<&str> = texts(types).collect();
    if types.contains(&"ON_DEMAND") {
        return Some(true);
    }
    let are_others = types.iter().all(|kind| ["INFERENCE_PROFILE", "PROVISIONED"].contains(kind));
    (are_others && !types.is_empty()).then_some(false)
}

fn object(body: &[u8]) -> Result<Value> {
    serde_json::from_slice(body).map_err(|error| Error::internal(format!("the answer is no JSON: {error}")))
}

fn entries<'a>(answer: &'a Value, member: &str) -> Result<&'a Vec<Value>> {
    answer[member].as_array().ok_or_else(|| Error::internal(format!("the answer has no list `{member}`")))
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn id<'a>(entry: &'a Value, member: &str) -> Option<&'a str> {
    entry[member].as_str().filter(|id| is_id(id))
}

/// Whether it can be a name in the catalog; an ARN names an account.
fn is_id(id: &str) -> bool {
    names::check(id).is_ok() && !id.starts_with("arn:") && !id.contains('/')
}

/// A moment in AWS's ISO 8601, or in seconds since the epoch as some of its services write it.
fn seconds(moment: &Value) -> Option<i64> {
    match moment {
        Value::String(text) => text.parse::<Timestamp>().ok().map(Timestamp::as_second),
        #[expect(clippy::cast_possible_truncation, reason = "a moment's fraction of a second says nothing here")]
        Value::Number(number) => number.as_f64().map(|seconds| seconds as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn models(list: &Value) -> Observed {
        let mut observed = Observed::new("us-east-1".into());
        observed.add_models(json!({ "modelSummaries": list }).to_string().as_bytes()).unwrap();
        observed
    }

    fn profiles(list: &Value) -> Observed {
        let mut observed = Observed::new("us-east-1".into());
        observed.add_profiles(json!({ "inferenceProfileSummaries": list }).to_string().as_bytes()).unwrap();
        observed
    }

    fn destinations(arns: &[&str]) -> Destinations {
        let models: Vec<Value> = arns.iter().map(|arn| json!({ "modelArn": arn })).collect();
        let seen = profiles(&json!([{"inferenceProfileId": "us.acme.rocket-v1:0", "models": models}]));
        seen.profiles["us.acme.rocket-v1:0"].destinations.clone()
    }

    #[test]
    fn a_model_is_read_with_members_and_values_that_nobody_knows() {
        let seen = models(&json!([{
            "modelArn": 7, "modelId": "acme.rocket-v1:0", "modelName": "x".repeat(300), "providerName": "Acme",
            "inputModalities": ["TEXT", "SMELL", 3], "outputModalities": ["TEXT"], "responseStreamingSupported": "maybe",
            "inferenceTypesSupported": ["ON_DEMAND", "TELEPATHY"],
            "modelLifecycle": {"status": "REBORN", "startOfLifeTime": "2026-01-02T00:00:00Z", "endOfLifeTime": 1_800_000_000.5},
            "novelty": {"a": [1]},
        }]));
        let model = &seen.models["acme.rocket-v1:0"];
        assert_eq!(model.input_modalities, ["TEXT", "SMELL"]);
        assert_eq!((model.on_demand, model.stage, model.streaming), (Some(true), None, None));
        assert_eq!((model.start, model.end, model.legacy), (Some(1_767_312_000), Some(1_800_000_000), None));
        assert!(seen.lists_all_models() && seen.broken() == 0);
    }

    #[test]
    fn an_entry_without_a_usable_id_is_left_out_and_proves_nothing_gone() {
        let seen =
            models(&json!([null, 5, {"modelId": "a b"}, {"modelId": "arn:aws:x"}, {"modelId": "acme.rocket-v1:0"}]));
        assert_eq!((seen.models(), seen.broken(), seen.lists_all_models()), (1, 4, false));
        let seen = profiles(&json!([{"inferenceProfileId": ""}, {"inferenceProfileId": "us.acme.rocket-v1:0"}]));
        assert_eq!((seen.profiles(), seen.broken(), seen.lists_all_profiles()), (1, 1, false));
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        let mut observed = Observed::new("us-east-1".into());
        for body in ["", "<html>", "{}", "[]", r#"{"modelSummaries": {}, "inferenceProfileSummaries": null}"#] {
            assert!(observed.add_models(body.as_bytes()).is_err(), "{body}");
            assert!(observed.add_profiles(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn only_types_that_are_known_say_that_a_model_is_not_on_demand() {
        for (types, expected) in [
            (json!(["ON_DEMAND"]), Some(true)),
            (json!(["PROVISIONED", "ON_DEMAND"]), Some(true)),
            (json!(["PROVISIONED"]), Some(false)),
            (json!(["INFERENCE_PROFILE", "PROVISIONED"]), Some(false)),
            (json!(["INFERENCE_PROFILE", "TELEPATHY"]), None),
            (json!([]), None),
            (json!(null), None),
        ] {
            assert_eq!(on_demand(&types), expected, "{types}");
        }
    }

    #[test]
    fn destinations_are_known_only_when_every_one_can_be_read() {
        let among = |regions: &[&str]| Destinations::Among(regions.iter().map(|region| Arc::from(*region)).collect());
        let [east, west] =
            ["us-east-1", "us-west-2"].map(|to| format!("arn:aws:bedrock:{to}::foundation-model/acme.rocket-v1:0"));
        let anywhere = "arn:aws:bedrock:::foundation-model/acme.rocket-v1:0";
        let other = "arn:aws:bedrock:us-east-1::foundation-model/acme.wheel-v1:0";
        assert_eq!(destinations(&[&west, &east, &west]), among(&["us-east-1", "us-west-2"]));
        assert_eq!(destinations(&[&east, anywhere]), Destinations::Anywhere);
        assert_eq!(destinations(&[&east, other]), Destinations::Unknown);
        assert_eq!(destinations(&[&east, "arn:aws:bedrock:us-east-1::teapot/1"]), Destinations::Unknown);
        assert_eq!(destinations(&[]), Destinations::Unknown);
    }

    #[test]
    fn destinations_that_the_list_does_not_tell_are_told_one_by_one() {
        let mut seen = profiles(&json!([
            {"inferenceProfileId": "us.acme.rocket-v1:0", "type": "SYSTEM_DEFINED", "status": "SLEEPING"},
            {"inferenceProfileId": "abc123", "type": "APPLICATION"},
        ]));
        assert_eq!(seen.unrouted().collect::<Vec<_>>(), ["us.acme.rocket-v1:0"]);
        seen.add_destinations("us.acme.rocket-v1:0", b"no JSON");
        assert_eq!(seen.unrouted().count(), 1);
        let told = json!({"models": [{"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/acme.rocket-v1:0"}]});
        seen.add_destinations("us.acme.rocket-v1:0", told.to_string().as_bytes());
        assert_eq!(seen.unrouted().count(), 0);
    }
}
