//! A model, and what is known of it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Deserialize;
use strum::{EnumString, IntoStaticStr};

use super::data::ModelRow;
use super::observed::SeenModel;
use super::{Source, names};

/// A foundation model. `None` is unknown, never no.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Bedrock's id, such as `anthropic.claude-haiku-4-5-20251001-v1:0`.
    pub id: Arc<str>,
    /// The id without provider, version and date, such as `claude-haiku-4-5`.
    pub short: String,
    /// Who made it, such as `Anthropic`.
    pub provider: String,
    /// Its name for people; the id when there is none.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// Whether the runtime endpoint serves it: the one that this gateway calls.
    pub on_runtime: bool,
    /// Which of the runtime's APIs take it.
    pub apis: Apis,
    /// What goes in, in AWS's words: `TEXT`, `IMAGE`, `VIDEO`, `AUDIO`, `SPEECH`.
    pub input_modalities: Vec<String>,
    /// What comes out.
    pub output_modalities: Vec<String>,
    /// Tokens of prompt and answer together.
    pub context_window: Option<u64>,
    /// The most tokens of one answer.
    pub max_output_tokens: Option<u64>,
    /// How many tokens of a quota a token of output takes.
    pub output_burndown: Option<u32>,
    /// What it can and cannot.
    pub abilities: Abilities,
    /// How it caches prompts, if that is known.
    pub prompt_caching: Option<PromptCaching>,
    /// Where it stands between launch and end: in the Region where it will live longest.
    pub lifecycle: Lifecycle,
    /// Where it stands in Regions that say something else.
    pub(super) regional: BTreeMap<Arc<str>, Lifecycle>,
    /// When it was launched on Bedrock, in seconds since the Unix epoch.
    pub created: Option<i64>,
    /// `Aws` when the compiled-in data does not know the model, and little is known but that it is there.
    pub source: Source,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// Takes a conversation.
    Chat,
    /// Makes vectors.
    Embedding,
    /// Makes images.
    Image,
    /// Changes images.
    ImageEdit,
    /// Makes video.
    Video,
    /// Orders texts by how well they answer.
    Rerank,
    /// Talks both ways at once.
    Realtime,
    /// Something this version does not know.
    Other,
}

/// Which APIs of the runtime endpoint take a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Apis {
    /// `Converse` and `ConverseStream`.
    pub converse: Option<bool>,
    /// `InvokeModel` and `InvokeModelWithResponseStream`.
    pub invoke: Option<bool>,
    /// The OpenAI chat path.
    pub chat_completions: Option<bool>,
    /// The OpenAI responses path.
    pub responses: Option<bool>,
    /// The Anthropic messages path.
    pub messages: Option<bool>,
}

/// What a model can and cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Abilities {
    /// Answers in pieces.
    pub streaming: Option<bool>,
    /// Takes a system prompt.
    pub system: Option<bool>,
    /// Takes images.
    pub vision: Option<bool>,
    /// Takes documents.
    pub documents: Option<bool>,
    /// Takes tools.
    pub tools: Option<bool>,
    /// Takes a tool choice.
    pub tool_choice: Option<bool>,
    /// Takes a tool choice that forces a tool.
    pub forced_tool_use: Option<bool>,
    /// Can be told to call one tool at a time.
    pub parallel_tool_config: Option<bool>,
    /// Answers by a JSON schema.
    pub structured_output: Option<bool>,
    /// Thinks before it answers.
    pub reasoning: Option<bool>,
    /// Thinks even when not asked to.
    pub thinking_always_on: Option<bool>,
    /// Takes `temperature`, `top_p` and the like.
    pub sampling_params: Option<bool>,
    /// Takes a last turn of the assistant to go on from.
    pub assistant_prefill: Option<bool>,
}

/// How a model caches prompts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PromptCaching {
    /// Takes cache points.
    pub explicit: Option<bool>,
    /// The fewest tokens of a prefix that is cached.
    pub min_tokens: Option<u64>,
    /// The most cache points of a request.
    pub max_checkpoints: Option<usize>,
    /// How long a prefix may be kept: `5m`, `1h`.
    pub ttl: Option<Vec<String>>,
}

/// Where a model stands between launch and end. Dates are seconds since the Unix epoch, the day's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    /// The stage.
    pub stage: Stage,
    /// When new customers were or will be shut out.
    pub legacy: Option<i64>,
    /// When all calls fail.
    pub end: Option<i64>,
}

impl Lifecycle {
    /// Whether the model is on its way out: legacy, or its end is known.
    pub fn is_ending(&self) -> bool {
        self.stage != Stage::Active || self.end.is_some()
    }
}

/// A stage of a model's life. The order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    /// In use.
    Active,
    /// On its way out: closed to new customers.
    Legacy,
    /// Gone: AWS refuses calls.
    EndOfLife,
}

impl Kind {
    /// What a model that is known by its modalities alone does; `Other`, which is left to AWS, when they do not tell.
    fn of(id: &str, input: &[String], output: &[String]) -> Self {
        let takes = |kind: &str| input.iter().any(|modality| modality == kind);
        let gives = |kind: &str| output.iter().any(|modality| modality == kind);
        if gives("EMBEDDING") {
            Self::Embedding
        } else if id.contains("rerank") {
            // Text goes in and comes out: the modalities are those of a chat.
            Self::Rerank
        } else if gives("SPEECH") && takes("SPEECH") {
            Self::Realtime
        } else if gives("TEXT") {
            Self::Chat
        } else if gives("VIDEO") {
            Self::Video
        } else if gives("IMAGE") && !takes("IMAGE") {
            Self::Image
        } else {
            Self::Other
        }
    }
}

impl Model {
    pub(super) fn new(row: ModelRow<'_>) -> Self {
        Self {
            id: row.id.into(),
            short: names::short(row.id).to_owned(),
            provider: row.provider.into_owned(),
            name: row.name.map_or_else(|| row.id.to_owned(), std::borrow::Cow::into_owned),
            kind: row.kind.parse().unwrap_or(Kind::Other),
            on_runtime: row.endpoints.runtime,
            apis: row.apis,
            input_modalities: row.input_modalities,
            output_modalities: row.output_modalities,
            context_window: row.context_window,
            max_output_tokens: row.max_output_tokens,
            output_burndown: row.output_token_burndown.and_then(|burndown| burndown.rate),
            abilities: row.abilities,
            prompt_caching: row.prompt_caching,
            lifecycle: Lifecycle {
                stage: stage(row.lifecycle.status),
                legacy: row.lifecycle.legacy.and_then(seconds),
                end: row.lifecycle.eol.and_then(seconds),
            },
            regional: BTreeMap::new(),
            created: row.launch_date.and_then(seconds),
            source: Source::Compiled,
        }
    }

    /// A model of which only is known what a Region lists. That a control plane lists it is taken to mean that the runtime
    /// serves it.
    pub(super) fn seen(id: &str, seen: &SeenModel) -> Self {
        Self {
            id: id.into(),
            short: names::short(id).to_owned(),
            provider: seen.provider.clone().unwrap_or_else(|| id.split('.').next().unwrap_or(id).to_owned()),
            name: seen.name.clone().unwrap_or_else(|| id.to_owned()),
            kind: Kind::of(id, &seen.input_modalities, &seen.output_modalities),
            on_runtime: true,
            apis: Apis::default(),
            input_modalities: seen.input_modalities.clone(),
            output_modalities: seen.output_modalities.clone(),
            context_window: None,
            max_output_tokens: None,
            output_burndown: None,
            abilities: Abilities {
                streaming: seen.streaming,
                vision: (!seen.input_modalities.is_empty()).then(|| seen.input_modalities.iter().any(|m| m == "IMAGE")),
                ..Abilities::default()
            },
            prompt_caching: None,
            lifecycle: Lifecycle { stage: Stage::Active, legacy: None, end: None },
            regional: BTreeMap::new(),
            created: seen.start,
            source: Source::Aws,
        }
    }

    /// Where it stands between launch and end in `region`.
    pub fn lifecycle_in(&self, region: &str) -> &Lifecycle {
        self.regional.get(region).unwrap_or(&self.lifecycle)
    }

    /// Whether it can still be called, and on the endpoint that this gateway calls.
    pub fn is_callable(&self) -> bool {
        self.on_runtime && self.lifecycle.stage != Stage::EndOfLife
    }

    /// Which of two models has the better claim to a name that fits both: one that the runtime serves, in use, newest.
    /// One without a launch date is newer than the dumps that tell launch dates.
    pub(super) fn claim(&self, other: &Self) -> Ordering {
        let newness = |model: &Self| model.created.unwrap_or(i64::MAX);
        (other.on_runtime.cmp(&self.on_runtime))
            .then(self.lifecycle.stage.cmp(&other.lifecycle.stage))
            .then(newness(other).cmp(&newness(self)))
            .then(other.id.cmp(&self.id))
    }
}

/// `EOL`, `EOL_OR_WITHDRAWN`, `EOL_PER_LITELLM`; `LEGACY`; everything else counts as active until AWS says otherwise.
fn stage(status: &str) -> Stage {
    match status {
        _ if status.starts_with("EOL") => Stage::EndOfLife,
        "LEGACY" => Stage::Legacy,
        _ => Stage::Active,
    }
}

/// The first second, in UTC, of a day written `2024-06-20`, `Aug 22, 2024` or `June 9, 2026`.
fn seconds(text: &str) -> Option<i64> {
    let date = ["%Y-%m-%d", "%b %d, %Y", "%B %d, %Y"].iter().find_map(|format| Date::strptime(format, text).ok())?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_as_the_sources_write_it() {
        assert_eq!(seconds("2024-06-20"), Some(1_718_841_600));
        assert_eq!(seconds("Jun 20, 2024"), Some(1_718_841_600));
        assert_eq!(seconds("June 9, 2026"), Some(1_780_963_200));
        assert_eq!(seconds("soon"), None);
    }

    #[test]
    fn an_unknown_status_does_not_take_a_model_away() {
        assert_eq!(stage("EOL_OR_WITHDRAWN"), Stage::EndOfLife);
        assert_eq!(stage("LEGACY"), Stage::Legacy);
        assert_eq!(stage("PUBLIC_EXTENDED_ACCESS"), Stage::Active);
    }
}
