//! Claude. The pages behind this are Anthropic's on extended and adaptive thinking, effort and prompt caching, and
//! Bedrock's model cards.

use super::reasoning::{Habit, Reasoning};
use super::{TopK, Traits};
use crate::catalog::Model;

/// The models that refuse `temperature` and `top_p` together; later ones refuse either.
const ONE_OF_TWO: [&str; 6] = [
    "claude-opus-4-1",
    "claude-opus-4-5",
    "claude-opus-4-6",
    "claude-sonnet-4-5",
    "claude-sonnet-4-6",
    "claude-haiku-4-5",
];

pub(super) fn adjust(model: &Model, traits: &mut Traits) {
    traits.anthropic = true;
    traits.top_k = TopK::Plain;
    traits.parallel_tool_switch = true;
    traits.temperature_xor_top_p = ONE_OF_TWO.contains(&model.short.as_str());
    traits.reasoning = reasoning(model);
    traits.signed_reasoning = traits.reasoning != Reasoning::Untold;
    traits.system_turns = model.short == "claude-opus-4-8" || is_fifth(&model.short);
    // Where the lifetimes are not known, they are not ours to refuse.
    let lifetimes = model.prompt_caching.as_ref().and_then(|caching| caching.ttl.as_ref());
    if let Some(caching) = traits.caching.as_mut().filter(|_| lifetimes.is_none()) {
        caching.hour = true;
    }
}

fn reasoning(model: &Model) -> Reasoning {
    if model.abilities.reasoning != Some(true) {
        return Reasoning::Untold;
    }
    let short = model.short.as_str();
    if short.ends_with("-4-6") {
        return Reasoning::BudgetOrAdaptive;
    }
    if model.abilities.thinking_always_on == Some(true) {
        return Reasoning::Adaptive(Habit::Always);
    }
    if is_fifth(short) {
        return Reasoning::Adaptive(Habit::On);
    }
    if short.ends_with("-4-7") || short.ends_with("-4-8") {
        return Reasoning::Adaptive(Habit::Off);
    }
    Reasoning::Budget
}

/// The fifth generation: `claude-opus-5`, `claude-sonnet-5-5`, and those that are only in it.
fn is_fifth(short: &str) -> bool {
    ["opus-5", "sonnet-5", "haiku-5", "fable-5", "mythos-5"].iter().any(|name| short.contains(name))
}
