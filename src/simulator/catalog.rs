//! Which models and inference profiles this Bedrock has, and where, read from the data files of the project. AWS's order of
//! refusals for a model identifier is here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::errors::Failure;

/// A row of `models.json`; an absent field is unknown, never "no".
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) provider: String,
    pub(crate) name: Option<String>,
    pub(crate) kind: String,
    endpoints: Endpoints,
    #[serde(default)]
    apis: Apis,
    pub(crate) input_modalities: Vec<String>,
    pub(crate) output_modalities: Vec<String>,
    pub(crate) streaming: Option<bool>,
    pub(crate) tools: Option<bool>,
    pub(crate) tool_choice: Option<bool>,
    pub(crate) forced_tool_use: Option<bool>,
    pub(crate) vision: bool,
    pub(crate) documents: Option<bool>,
    pub(crate) system: Option<bool>,
    pub(crate) reasoning: Option<bool>,
    pub(crate) structured_output: Option<bool>,
    pub(crate) sampling_params: Option<bool>,
    pub(crate) assistant_prefill: Option<bool>,
    pub(crate) thinking_always_on: Option<bool>,
    pub(crate) prompt_caching: Option<PromptCaching>,
    pub(crate) context_window: Option<u64>,
    pub(crate) max_output_tokens: Option<u64>,
    pub(crate) lifecycle: Lifecycle,
    on_demand_regions: BTreeSet<String>,
    profiles: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    runtime: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Apis {
    converse: Option<bool>,
    invoke: Option<bool>,
    chat_completions: Option<bool>,
    responses: Option<bool>,
    messages: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PromptCaching {
    explicit: Option<bool>,
    min_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Lifecycle {
    pub(crate) status: String,
    pub(crate) legacy: Option<String>,
    pub(crate) eol: Option<String>,
}

/// The wire format that a model's InvokeModel body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Claude,
    Nova,
    Llama,
    /// OpenAI's chat body: gpt-oss and the open-weight models.
    Chat,
    TitanText,
    TitanImage,
    NovaEmbedding,
    CohereEmbedding,
    Marengo,
    Rerank,
    /// Text to image.
    Stability,
    Other,
}

impl Model {
    pub(crate) fn family(&self) -> Family {
        match (self.kind.as_str(), self.provider.as_str()) {
            ("chat", "Anthropic") => Family::Claude,
            ("chat", "Amazon") => Family::Nova,
            ("chat", "Meta") => Family::Llama,
            ("chat", "TwelveLabs") => Family::Other,
            ("chat", _) => Family::Chat,
            ("rerank", _) => Family::Rerank,
            ("image", "Stability AI") => Family::Stability,
            ("embedding", "TwelveLabs") => Family::Marengo,
            ("embedding", "Cohere") => Family::CohereEmbedding,
            ("embedding", _) if self.id.starts_with("amazon.titan-embed-image") => Family::TitanImage,
            ("embedding", _) if self.id.starts_with("amazon.titan") => Family::TitanText,
            ("embedding", _) if self.id.starts_with("amazon.nova") => Family::NovaEmbedding,
            _ => Family::Other,
        }
    }

    /// Whether Converse serves the model.
    pub(crate) fn converses(&self) -> bool {
        self.kind == "chat" && self.apis.converse != Some(false)
    }

    /// Whether InvokeModel serves the model. Of models that do not chat the data knows less than AWS's pages do.
    pub(crate) fn invokes(&self) -> bool {
        self.kind != "chat" || self.apis.invoke != Some(false)
    }

    /// Whether the runtime's OpenAI chat path serves the model.
    pub(crate) fn completes_chats(&self) -> bool {
        self.family() == Family::Chat && self.apis.chat_completions != Some(false)
    }

    /// Whether the runtime's Responses path serves the model. gpt-oss has Responses on another endpoint of AWS alone.
    pub(crate) fn responds(&self) -> bool {
        let newest = self.is_any(&["openai.gpt-5", "openai.gpt-6", "xai.grok"]);
        self.family() == Family::Chat && !self.is_any(&["gpt-oss"]) && self.apis.responses.unwrap_or(newest)
    }

    /// Whether the runtime's Anthropic path serves the model.
    pub(crate) fn takes_messages(&self) -> bool {
        self.family() == Family::Claude && self.apis.messages != Some(false)
    }

    /// The fewest tokens of a prefix that is cached; `None` when cache points are refused.
    pub(crate) fn cacheable_tokens(&self) -> Option<u64> {
        let caching = self.prompt_caching.as_ref().filter(|caching| caching.explicit == Some(true))?;
        Some(caching.min_tokens.unwrap_or(1024))
    }

    /// Whether any of `parts` is in the id: a generation of a family.
    pub(crate) fn is_any(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.id.contains(part))
    }

    /// Whether the runtime answers for it in `region` by its bare id.
    pub(crate) fn on_demand_in(&self, region: &str) -> bool {
        self.endpoints.runtime && self.on_demand_regions.contains(region)
    }

    /// The first inference profile that `region` may call it by.
    pub(crate) fn profile_in(&self, region: &str) -> Option<&'static Profile> {
        self.profiles.iter().find_map(|id| profile(id, region).map(|(profile, _)| profile))
    }

    /// Whether AWS has withdrawn it by `today` (`YYYY-MM-DD`).
    pub(crate) fn withdrawn(&self, today: &str) -> bool {
        self.lifecycle.status.starts_with("EOL") || self.lifecycle.eol.as_deref().is_some_and(|eol| eol <= today)
    }
}

/// A row of `profiles.json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Profile {
    pub(crate) id: String,
    geo: String,
    pub(crate) model: String,
    sources: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    destinations_seen: Vec<String>,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
struct Region {
    code: String,
    partition: String,
}

struct Catalog {
    models: BTreeMap<String, Model>,
    profiles: BTreeMap<String, Profile>,
    geo_defaults: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    regions: BTreeMap<String, String>,
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct Models {
        models: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Profiles {
        geo_defaults: BTreeMap<String, serde_json::Value>,
        profiles: Vec<Profile>,
    }
    #[derive(Deserialize)]
    struct Regions {
        regions: Vec<Region>,
    }
    let models: Models = parse(include_str!("../../data/models.json"));
    let profiles: Profiles = parse(include_str!("../../data/profiles.json"));
    let regions: Regions = parse(include_str!("../../data/regions.json"));
    let defaults = profiles.geo_defaults.into_iter();
    Catalog {
        models: models.models.into_iter().map(|model| (model.id.clone(), model)).collect(),
        profiles: profiles.profiles.into_iter().map(|profile| (profile.id.clone(), profile)).collect(),
        geo_defaults: defaults.filter_map(|(geo, map)| Some((geo, serde_json::from_value(map).ok()?))).collect(),
        regions: regions.regions.into_iter().map(|region| (region.code, region.partition)).collect(),
    }
});

#[expect(clippy::expect_used, reason = "the files are compiled in, and a test reads each")]
fn parse<'a, T: Deserialize<'a>>(file: &'a str) -> T {
    serde_json::from_str(file).expect("a data file of the project does not parse")
}

/// Every model, by id.
pub(crate) fn models() -> impl Iterator<Item = &'static Model> {
    CATALOG.models.values()
}

/// Every profile that `region` may call, with its destination Regions.
pub(crate) fn profiles(region: &str) -> impl Iterator<Item = (&'static Profile, Vec<&'static str>)> {
    CATALOG.profiles.keys().filter_map(move |id| profile(id, region))
}

/// One profile as `region` sees it.
pub(crate) fn profile(id: &str, region: &str) -> Option<(&'static Profile, Vec<&'static str>)> {
    let profile = CATALOG.profiles.get(id)?;
    let defaults = || CATALOG.geo_defaults.get(&profile.geo).and_then(|sources| sources.get(region));
    let listed = profile.sources.get(region);
    let routing =
        if profile.sources.is_empty() && !profile.note.contains("non-existent") { defaults() } else { listed }?;
    let destinations = if routing.iter().any(|to| to == "*") { &profile.destinations_seen } else { routing };
    Some((profile, destinations.iter().map(String::as_str).collect()))
}

/// One model, by its bare id.
pub(crate) fn model(id: &str) -> Option<&'static Model> {
    CATALOG.models.get(id)
}

/// The ARN partition of a Region; `None` when there is no such Region.
pub(crate) fn partition(region: &str) -> Option<&'static str> {
    CATALOG.regions.get(region).map(String::as_str)
}

/// A model as one call means it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) model: &'static Model,
    /// The Region that was called.
    pub(crate) region: String,
}

/// What a model identifier means in `region` on `today`, or AWS's refusal of it. `applications` maps the ids of application
/// inference profiles to the model or profile id that they copy.
pub(crate) fn resolve(
    region: &str,
    identifier: &str,
    today: &str,
    applications: &BTreeMap<String, String>,
) -> Result<Target, Failure> {
    let invalid = || Failure::validation("The provided model identifier is invalid.");
    let id = match identifier.strip_prefix("arn:") {
        None => identifier,
        Some(arn) => {
            let parts: Vec<&str> = arn.splitn(5, ':').collect();
            let [_, "bedrock", arn_region, _, resource] = parts[..] else { return Err(invalid()) };
            let (kind, id) = resource.split_once('/').ok_or_else(invalid)?;
            if arn_region != region {
                return Err(invalid());
            }
            match kind {
                "foundation-model" | "inference-profile" => id,
                "application-inference-profile" => applications.get(id).ok_or_else(|| {
                    Failure::not_found("Could not find the inference profile from the provided model identifier.")
                })?,
                _ => {
                    return Err(Failure::not_found(
                        "Could not resolve the foundation model from the provided model identifier.",
                    ));
                }
            }
        }
    };
    let profiled = profile(id, region);
    let model = model(profiled.as_ref().map_or(id, |(profile, _)| &profile.model)).ok_or_else(invalid)?;
    if model.withdrawn(today) {
        return Err(Failure::not_found(
            "This model version has reached the end of its life. Please refer to the AWS documentation for more details.",
        ));
    }
    if profiled.is_none() && !model.on_demand_in(region) {
        return Err(match model.profile_in(region) {
            None => invalid(),
            Some(_) => Failure::validation(format!(
                "Invocation of model ID {id} with on-demand throughput isn\u{2019}t supported. Retry your request with the ID or \
                 ARN of an inference profile that contains this model."
            )),
        });
    }
    Ok(Target { model, region: region.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

    fn resolved(region: &str, id: &str) -> Result<&'static str, String> {
        let applications = BTreeMap::from([("abcdefghijkl".to_owned(), format!("us.{HAIKU}"))]);
        let resolved = resolve(region, id, "2026-11-22", &applications);
        resolved.map(|target| target.model.id.as_str()).map_err(|failure| failure.message)
    }

    #[test]
    fn profiles_arns_and_application_profiles_resolve_where_they_are_offered() {
        for id in [
            format!("us.{HAIKU}"),
            format!("global.{HAIKU}"),
            format!("arn:aws:bedrock:us-east-1:000000000000:inference-profile/us.{HAIKU}"),
            "arn:aws:bedrock:us-east-1:000000000000:application-inference-profile/abcdefghijkl".to_owned(),
        ] {
            assert_eq!(resolved("us-east-1", &id).as_deref(), Ok(HAIKU), "{id}");
        }
        assert!(resolved("eu-west-1", &format!("us.{HAIKU}")).unwrap_err().contains("identifier is invalid"));
        assert!(resolved("us-east-1", "amazon.nova-lite-v1:0").is_ok());
    }

    #[test]
    fn refusals_are_worded_as_aws_words_them() {
        assert!(resolved("us-east-1", HAIKU).unwrap_err().contains("isn\u{2019}t supported. Retry your request"));
        assert!(resolved("us-east-1", "no.such-model").unwrap_err().contains("identifier is invalid"));
        assert!(resolved("us-east-1", "anthropic.claude-3-sonnet-20240229-v1:0").is_err());
    }

    #[test]
    fn destinations_depend_on_the_region_that_is_called() {
        let destinations = |region| profile(&format!("us.{HAIKU}"), region).map(|(_, to)| to);
        assert_ne!(destinations("us-east-1"), destinations("ca-central-1"));
        assert_eq!(destinations("eu-west-1"), None);
    }
}
