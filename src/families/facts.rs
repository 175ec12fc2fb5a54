//! From the catalog's facts about a model to its [`Traits`].

use super::{Caching, Reasoning, TopK, Traits, claude, deepseek, gpt, nova};
use crate::catalog::Model;

/// The traits of a model; those of one that takes everything when it is not known.
pub fn traits(model: Option<&Model>) -> Traits {
    let Some(model) = model else { return Traits::default() };
    let abilities = &model.abilities;
    let takes = |modalities: &[&str]| model.input_modalities.iter().any(|own| modalities.contains(&own.as_str()));
    let mut traits = Traits {
        sampling: abilities.sampling_params.unwrap_or(true),
        top_k: TopK::Refused,
        tools: abilities.tools.unwrap_or(true),
        forced_tool_choice: abilities.forced_tool_use.unwrap_or_else(|| abilities.tool_choice.unwrap_or(true)),
        reasoning: if abilities.reasoning == Some(true) { Reasoning::Fixed } else { Reasoning::Untold },
        signed_reasoning: false,
        prefill: abilities.assistant_prefill.unwrap_or(true),
        structured_output: abilities.structured_output.unwrap_or(true),
        caching: caching(model),
        audio: takes(&["AUDIO", "SPEECH"]),
        video: takes(&["VIDEO"]),
        max_output_tokens: model.max_output_tokens.and_then(|tokens| u32::try_from(tokens).ok()),
        ..Traits::default()
    };
    let (maker, _) = model.id.split_once('.').unwrap_or_default();
    match maker {
        "anthropic" => claude::adjust(model, &mut traits),
        "amazon" => nova::adjust(model, &mut traits),
        "openai" | "xai" | "moonshotai" => gpt::adjust(model, &mut traits),
        "deepseek" => deepseek::adjust(model, &mut traits),
        _ => {}
    }
    traits
}

/// A model that is not known to take cache points refuses them, so these have to be known.
fn caching(model: &Model) -> Option<Caching> {
    let known = model.prompt_caching.as_ref().filter(|caching| caching.explicit == Some(true))?;
    Some(Caching {
        max_points: known.max_checkpoints.unwrap_or(Caching::default().max_points),
        hour: known.ttl.as_ref().is_some_and(|ttl| ttl.iter().any(|ttl| ttl == "1h")),
        tools: true,
    })
}

#[cfg(test)]
mod tests {
    use super::super::reasoning::Habit;
    use super::*;
    use crate::catalog::Catalog;

    fn of(name: &str) -> Traits {
        let catalog = Catalog::embedded(&[]).unwrap();
        let resolved = catalog.resolve(name).unwrap();
        traits(Some(resolved.model.as_deref().unwrap_or_else(|| panic!("{name} is no model"))))
    }

    #[test]
    fn each_generation_of_claude_thinks_in_its_way() {
        for (name, reasoning) in [
            ("claude-3-7-sonnet", Reasoning::Budget),
            ("claude-haiku-4-5", Reasoning::Budget),
            ("claude-opus-4-6", Reasoning::BudgetOrAdaptive),
            ("claude-opus-4-8", Reasoning::Adaptive(Habit::Off)),
            ("claude-opus-5", Reasoning::Adaptive(Habit::On)),
            ("claude-opus-5-5", Reasoning::Adaptive(Habit::Always)),
            ("nova-2-lite", Reasoning::Nova),
            ("nova-lite", Reasoning::Untold),
            ("gpt-oss-120b", Reasoning::Raw(Habit::Always)),
            ("deepseek.v3-v1:0", Reasoning::Raw(Habit::Off)),
            ("deepseek.r1-v1:0", Reasoning::Fixed),
        ] {
            assert_eq!(of(name).reasoning, reasoning, "{name}");
        }
    }

    #[test]
    fn what_a_family_takes_is_told_apart() {
        let haiku = of("claude-haiku-4-5");
        assert_eq!((haiku.top_k, haiku.temperature_xor_top_p, haiku.system_turns), (TopK::Plain, true, false));
        assert_eq!(haiku.caching, Some(Caching { max_points: 4, hour: true, tools: true }));
        let nova = of("nova-lite");
        assert_eq!((nova.top_k, nova.video, nova.max_stop_sequences), (TopK::Nested, true, 4));
        assert_eq!(nova.caching, Some(Caching { max_points: 4, hour: false, tools: false }));
        let opus = of("claude-opus-5");
        assert!(opus.system_turns && !opus.sampling && !opus.structured_output && !opus.prefill);
        let gpt = of("openai.gpt-5.6-sol");
        assert_eq!((gpt.min_output_tokens, gpt.caching, gpt.sampling), (16, None, false));
        let llama = of("llama3-3-70b-instruct");
        assert_eq!((llama.forced_tool_choice, llama.caching, llama.top_k), (false, None, TopK::Refused));
    }
}
