//! From the catalog's facts about a model to its [`Traits`], and what the catalog does not say.

use super::Traits;
use crate::catalog::Model;

/// The traits of a model; those of one that takes everything when it is not known.
pub fn traits(model: Option<&Model>) -> Traits {
    let Some(model) = model else { return Traits::default() };
    let abilities = &model.abilities;
    let claude = model.id.starts_with("anthropic.");
    Traits {
        sampling: abilities.sampling_params.unwrap_or(true),
        temperature_xor_top_p: claude && ONE_OF_TWO.iter().any(|short| model.short == *short),
        tools: abilities.tools.unwrap_or(true),
        forced_tool_choice: abilities.forced_tool_use.unwrap_or_else(|| abilities.tool_choice.unwrap_or(true)),
        parallel_tool_switch: claude,
        raw_reasoning_effort: model.short.starts_with("gpt-oss") || model.short.starts_with("v3"),
        prefill: abilities.assistant_prefill.unwrap_or(true),
        anthropic: claude,
        max_output_tokens: model.max_output_tokens.and_then(|tokens| u32::try_from(tokens).ok()),
    }
}

/// The Claude models that refuse `temperature` and `top_p` together; later ones refuse either.
const ONE_OF_TWO: [&str; 5] =
    ["claude-opus-4-1", "claude-opus-4-5", "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-haiku-4-5"];
