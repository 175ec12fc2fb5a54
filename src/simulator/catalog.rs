//! Which models and inference profiles this Bedrock has, and where: at first what the data files of the project say, then what
//! tests make of it (`edit.rs`). A call reads one snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

/// A row of `models.json`; an absent field is unknown, never "no".
#[derive(Clone, Debug, Deserialize)]
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
    pub(super) on_demand_regions: BTreeSet<String>,
    pub(super) profiles: Vec<String>,
    #[serde(default)]
    pub(crate) batch: Batch,
    #[serde(default)]
    output_token_burndown: Burndown,
    /// What the control plane lists instead of what follows from Regions and profiles.
    #[serde(skip)]
    pub(super) inference_types: Option<Vec<String>>,
}

/// The Regions in which it takes batch jobs, by its own id and by a profile.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Batch {
    pub(crate) single_region: BTreeSet<String>,
    pub(crate) via_profile: BTreeSet<String>,
}

/// How many tokens of a quota an output token is.
#[derive(Clone, Debug, Deserialize)]
struct Burndown {
    rate: Option<u64>,
}

impl Default for Burndown {
    fn default() -> Self {
        Self { rate: Some(1) }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoints {
    runtime: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Apis {
    converse: Option<bool>,
    invoke: Option<bool>,
    chat_completions: Option<bool>,
    responses: Option<bool>,
    messages: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PromptCaching {
    explicit: Option<bool>,
    min_tokens: Option<u64>,
}

#[derive(Clone, Debug, Deserialize)]
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

    /// How many tokens of a quota an output token is. Where AWS does not say, it is taken to be what most siblings have.
    pub(crate) fn burndown(&self) -> u64 {
        self.output_token_burndown.rate.unwrap_or(10)
    }

    /// Whether AWS has withdrawn it by `today` (`YYYY-MM-DD`).
    pub(crate) fn withdrawn(&self, today: &str) -> bool {
        self.lifecycle.status.starts_with("EOL") || self.lifecycle.eol.as_deref().is_some_and(|eol| eol <= today)
    }
}

/// A row of `profiles.json`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Profile {
    pub(crate) id: String,
    geo: String,
    pub(crate) model: String,
    pub(super) sources: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    destinations_seen: Vec<String>,
    #[serde(default)]
    note: String,
}

impl Profile {
    /// A profile that routes from nowhere yet.
    pub(super) fn new(id: &str, model: &str) -> Self {
        let geo = id.split('.').next().unwrap_or_default();
        Self {
            id: id.to_owned(),
            geo: geo.to_owned(),
            model: model.to_owned(),
            sources: BTreeMap::new(),
            destinations_seen: Vec::new(),
            note: String::new(),
        }
    }

    /// Only the sources it lists are its sources from here on, even when it lists none.
    pub(super) fn keep_no_defaults(&mut self) {
        "routes as listed; elsewhere non-existent".clone_into(&mut self.note);
    }

    /// Whether it may route anywhere.
    pub(crate) fn is_global(&self) -> bool {
        self.geo == "global"
    }
}

/// A profile as one Region sees it.
#[derive(Clone, Debug)]
pub(crate) struct Routing {
    pub(crate) profile: Arc<Profile>,
    pub(crate) destinations: Vec<String>,
}

#[derive(Deserialize)]
struct Region {
    code: String,
    partition: String,
}

/// The models and profiles of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(super) models: BTreeMap<String, Arc<Model>>,
    pub(super) profiles: BTreeMap<String, Arc<Profile>>,
    geo_defaults: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

static COMPILED: LazyLock<Arc<Catalog>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct Models {
        models: Vec<Model>,
    }
    #[derive(Deserialize)]
    struct Profiles {
        geo_defaults: BTreeMap<String, serde_json::Value>,
        profiles: Vec<Profile>,
    }
    let models: Models = parse(include_str!("../../data/models.json"));
    let profiles: Profiles = parse(include_str!("../../data/profiles.json"));
    let defaults = profiles.geo_defaults.into_iter();
    Arc::new(Catalog {
        models: models.models.into_iter().map(|model| (model.id.clone(), Arc::new(model))).collect(),
        profiles: profiles.profiles.into_iter().map(|profile| (profile.id.clone(), Arc::new(profile))).collect(),
        geo_defaults: defaults.filter_map(|(geo, map)| Some((geo, serde_json::from_value(map).ok()?))).collect(),
    })
});

static REGIONS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct Regions {
        regions: Vec<Region>,
    }
    let regions: Regions = parse(include_str!("../../data/regions.json"));
    regions.regions.into_iter().map(|region| (region.code, region.partition)).collect()
});

#[expect(clippy::expect_used, reason = "the files are compiled in, and a test reads each")]
fn parse<'a, T: Deserialize<'a>>(file: &'a str) -> T {
    serde_json::from_str(file).expect("a data file of the project does not parse")
}

/// The ARN partition of a Region; `None` when there is no such Region.
pub(crate) fn partition(region: &str) -> Option<&'static str> {
    REGIONS.get(region).map(String::as_str)
}

/// Whether some Region is of this ARN partition.
pub(crate) fn is_partition(name: &str) -> bool {
    REGIONS.values().any(|partition| partition == name)
}

/// A model of the data files.
#[cfg(test)]
pub(crate) fn model(id: &str) -> Option<&'static Model> {
    COMPILED.models.get(id).map(|model| &**model)
}

impl Catalog {
    /// What the data files say.
    pub(crate) fn compiled() -> Arc<Self> {
        Arc::clone(&COMPILED)
    }

    /// Every model, by id.
    pub(crate) fn models(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.models.values()
    }

    /// One model, by its bare id.
    pub(crate) fn model(&self, id: &str) -> Option<&Arc<Model>> {
        self.models.get(id)
    }

    /// Every profile that `region` may call.
    pub(crate) fn profiles(&self, region: &str) -> impl Iterator<Item = Routing> {
        self.profiles.keys().filter_map(move |id| self.profile(id, region))
    }

    /// One profile as `region` sees it.
    pub(crate) fn profile(&self, id: &str, region: &str) -> Option<Routing> {
        let profile = self.profiles.get(id)?;
        let defaults = || self.geo_defaults.get(&profile.geo).and_then(|sources| sources.get(region));
        let listed = profile.sources.get(region);
        let routing =
            if profile.sources.is_empty() && !profile.note.contains("non-existent") { defaults() } else { listed }?;
        let destinations = if routing.iter().any(|to| to == "*") { &profile.destinations_seen } else { routing };
        Some(Routing { profile: Arc::clone(profile), destinations: destinations.clone() })
    }

    /// The sources of a profile with the destinations of each, as listed or by default.
    pub(super) fn sources(&self, id: &str) -> BTreeMap<String, Vec<String>> {
        let Some(profile) = self.profiles.get(id) else { return BTreeMap::new() };
        let listed = profile.sources.keys();
        let defaults = self.geo_defaults.get(&profile.geo).into_iter().flat_map(BTreeMap::keys);
        let sources: BTreeSet<&String> = listed.chain(defaults).collect();
        let routed = sources.into_iter().filter_map(|region| {
            let routing = self.profile(id, region)?;
            Some((region.clone(), routing.destinations))
        });
        routed.collect()
    }

    /// The first inference profile by which `region` may call `model`.
    pub(crate) fn profile_of(&self, model: &Model, region: &str) -> Option<Routing> {
        model.profiles.iter().find_map(|id| self.profile(id, region))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_depend_on_the_region_that_is_called() {
        let catalog = Catalog::compiled();
        let id = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
        let destinations = |region| catalog.profile(id, region).map(|routing| routing.destinations);
        assert_ne!(destinations("us-east-1"), destinations("ca-central-1"));
        assert_eq!(destinations("eu-west-1"), None);
    }
}
