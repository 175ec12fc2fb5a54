//! Everything of a request but messages and tools: length, sampling, thinking, form of the answer, bookkeeping.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::anthropic::native;
use crate::api::anthropic::wire::{Format, Metadata, OutputConfig, Thinking};
use crate::api::conversation::{self, At, Sampling, Wanted, request_metadata};
use crate::converse::{InferenceConfig, Object};
use crate::error::{Error, Result};
use crate::families::Traits;
use crate::families::reasoning::{Ask, Effort};
use crate::report::{Action, Report};

/// Members that only Claude gives a meaning to, beside those that only Anthropic's own service does.
const OF_CLAUDE: [&str; 1] = ["context_management"];

/// Length, sampling and stop sequences.
pub(super) fn inference(
    max_tokens: Option<u32>,
    (temperature, top_p): (Option<f64>, Option<f64>),
    stop_sequences: Vec<String>,
    traits: &Traits,
    report: &mut Report,
) -> Result<InferenceConfig> {
    let asked = Sampling { temperature, top_p, hottest: 1.0 };
    let (temperature, top_p) = conversation::sampling(asked, traits, report)?;
    Ok(InferenceConfig {
        max_tokens: conversation::max_tokens("max_tokens", max_tokens, traits, report)?,
        temperature,
        top_p,
        stop_sequences: conversation::stop_sequences(stop_sequences, |i| At::item("stop_sequences", i), traits, report),
    })
}

/// How much the model is to think, and the field that says so.
pub(super) fn ask(
    thinking: Option<&Thinking>,
    output: Option<&OutputConfig>,
    report: &mut Report,
) -> Result<Option<(Ask, &'static str)>> {
    for (key, _) in thinking.iter().flat_map(|thinking| &thinking.extra).filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, format!("thinking.{key}"));
    }
    for (key, _) in output.iter().flat_map(|output| &output.extra).filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, format!("output_config.{key}"));
    }
    let effort = match output.and_then(|output| output.effort.as_deref()) {
        None => None,
        Some(text) => {
            let message = "`effort` has to be one of `low`, `medium`, `high`, `xhigh`, `max`.";
            let effort: Effort = text.parse().map_err(|_| Error::invalid("output_config.effort", message))?;
            Some((Ask::Effort(effort), "output_config.effort"))
        }
    };
    let Some(thinking) = thinking else { return Ok(effort) };
    match (thinking.kind.as_str(), thinking.budget_tokens) {
        ("enabled", Some(_)) if effort.is_some() => {
            report.add(Action::Dropped, "thinking.budget_tokens");
            Ok(effort)
        }
        ("enabled", Some(tokens)) => Ok(Some((Ask::Budget(tokens), "thinking"))),
        ("enabled", None) => Err(Error::invalid("thinking.budget_tokens", "`budget_tokens` is missing.")),
        ("adaptive", _) => Ok(effort.or(Some((Ask::Adaptive, "thinking")))),
        ("disabled", _) => {
            if effort.is_some() {
                report.add(Action::Dropped, "output_config.effort");
            }
            Ok(Some((Ask::Off, "thinking")))
        }
        _ => Err(Error::invalid("thinking.type", "`type` has to be one of `enabled`, `adaptive`, `disabled`.")),
    }
}

/// The form of the answer, and the field that says it; `older` is the older one.
pub(super) fn wanted(
    output: Option<OutputConfig>,
    older: Option<Format>,
    report: &mut Report,
) -> Result<Option<(Wanted, &'static str)>> {
    let (format, field) = match (output.and_then(|output| output.format), older) {
        (None, None) => return Ok(None),
        (None, Some(format)) => (format, "output_format"),
        (Some(format), older) => {
            if older.is_some() {
                report.add(Action::Dropped, "output_format");
            }
            (format, "output_config.format")
        }
    };
    if format.kind != "json_schema" {
        return Err(Error::invalid(format!("{field}.type"), "`type` has to be `json_schema`."));
    }
    let Some(schema) = format.schema else {
        return Err(Error::invalid(format!("{field}.schema"), "`schema` is missing."));
    };
    Ok(Some((Wanted::Schema { schema, name: format.name, description: None }, field)))
}

/// The tier, by Bedrock's name for it.
pub(super) fn service_tier(asked: Option<&str>) -> Result<Option<Value>> {
    Ok(asked.map(native::service_tier).transpose()?.flatten().map(|tier| json!({ "type": tier })))
}

/// The pairs for the invocation log.
pub(super) fn metadata(metadata: Option<Metadata>, report: &mut Report) -> BTreeMap<String, String> {
    let Some(metadata) = metadata else { return BTreeMap::new() };
    for (key, _) in metadata.extra.iter().filter(|(_, value)| !value.is_null()) {
        report.add(Action::Dropped, format!("metadata.{key}"));
    }
    request_metadata(None, [("metadata.user_id", "user_id", metadata.user_id)], report)
}

/// The model's own fields: whatever nobody here knows.
pub(super) fn additional(extra: Object, report: &mut Report) -> Object {
    let mut kept = Object::new();
    for (key, value) in extra {
        if value.is_null() || native::OF_THE_LANE.contains(&key.as_str()) || native::is_refused(&key) {
            continue;
        }
        if native::DROPPED.contains(&key.as_str()) || OF_CLAUDE.contains(&key.as_str()) {
            report.add(Action::Dropped, key);
        } else {
            kept.insert(key, value);
        }
    }
    kept
}
