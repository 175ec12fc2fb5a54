//! `[[models]]`: other names for models.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Problems;

/// `[[models]]`: a name that clients may use, and what it stands for. Reloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alias {
    /// The name, which wins over a model's own: at most 128 letters, digits and `-_.:/`.
    pub alias: String,
    /// What it stands for: a short id, a Bedrock id, an inference profile, an ARN; not another alias.
    pub model: String,
    /// The model, or the system inference profile, behind an ARN that hides it, such as that of a provisioned model.
    pub base: Option<String>,
    /// The Regions that its calls may touch, those that a profile leads to included. None given: all.
    pub regions: Option<Vec<String>>,
    /// The geography that its calls may not leave: `us`, `eu`, `apac`, `jp`, `au`, `in`, `ca`, `sa`, `mx`, `me`, `il`, `af`
    /// or `us-gov`.
    pub geography: Option<String>,
    /// Who says what of a prompt is worth caching.
    pub prompt_cache: PromptCache,
}

/// Who says what of a prompt is worth caching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PromptCache {
    /// The caller, by marking it.
    #[default]
    Explicit,
    /// The gateway, where the caller marks nothing and the request is translated: the tools, the instructions and the last
    /// turn of the user.
    Auto,
}

pub(super) fn validate(aliases: &[Alias], problems: &mut Problems) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    for (index, Alias { alias, model, base, regions, .. }) in aliases.iter().enumerate() {
        let path = format!("models[{index}].alias");
        if alias.is_empty() {
            problems.add(path, "is missing");
        } else if alias.len() > 128 || alias.contains("..") || !alias.chars().all(is_plain) {
            problems.add(path, "must be at most 128 letters, digits and -_.:/ without \"..\"");
        } else if aliases[..index].iter().any(|earlier| earlier.alias == *alias) {
            problems.add(path, format!("{alias:?} is given twice"));
        }
        if model.is_empty() {
            problems.add(format!("models[{index}].model"), "is missing");
        }
        if regions.as_ref().is_some_and(Vec::is_empty) {
            problems.add(format!("models[{index}].regions"), "is empty and would allow nothing");
        }
        if base.is_some() && !model.starts_with("arn:") {
            problems.add(format!("models[{index}].base"), "says what is behind an ARN, but the model is none");
        }
    }
}
