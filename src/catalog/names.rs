//! The names by which a model may be called besides its id, and the search for what a wrong name may have meant.

use crate::config::nearest;
use crate::error::{Error, Result};

/// The longest name: AWS's limit for `modelId`.
const MAX_LENGTH: usize = 2048;

/// Refuses what is no name of anything: empty, too long, with control characters, white space or `..`.
pub(super) fn check(name: &str) -> Result<()> {
    let fault = if name.is_empty() {
        "The model is missing."
    } else if name.len() > MAX_LENGTH {
        "The model's name is longer than 2048 bytes."
    } else if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        "The model's name has white space or control characters."
    } else if name.contains("..") {
        "The model's name has `..` in it."
    } else {
        return Ok(());
    };
    Err(Error::invalid("model", fault))
}

/// The id without provider, version and date: `claude-haiku-4-5`, `nova-lite`, `gpt-oss-120b`.
pub(super) fn short(id: &str) -> &str {
    forms(id).last().unwrap_or(id)
}

/// The id without its provider, then also without `:0`, without `-v1`, without the date; each once.
pub(super) fn forms(id: &str) -> impl Iterator<Item = &str> {
    let whole = id.split_once('.').map_or(id, |(_, rest)| rest);
    let unnumbered = without_digits(whole, ":", 1..=3);
    let unversioned = without_digits(unnumbered, "-v", 1..=2);
    // `gpt-oss-120b-1:0` has its version without a v; without the colon `-1` may belong to the name.
    let is_bare = unversioned == unnumbered && unnumbered != whole;
    let unversioned = if is_bare { without_digits(unnumbered, "-", 1..=1) } else { unversioned };
    // `rerank-v1` would be left with a word that says nothing.
    let says_enough = unversioned.contains('-') || unversioned.bytes().any(|b| b.is_ascii_digit());
    let unversioned = if says_enough { unversioned } else { unnumbered };
    let undated = without_digits(unversioned, "-", 8..=8);
    let forms = [whole, unnumbered, unversioned, undated];
    forms.into_iter().enumerate().filter(move |(i, form)| !forms[..*i].contains(form)).map(|(_, form)| form)
}

/// `text` without a last `mark` that is followed by so many digits and nothing else.
fn without_digits<'a>(text: &'a str, mark: &str, count: std::ops::RangeInclusive<usize>) -> &'a str {
    match text.rsplit_once(mark) {
        Some((rest, digits))
            if !rest.is_empty() && count.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            rest
        }
        _ => text,
    }
}

/// The known name that is meant, perhaps: nearly the same letters, or nearly the same words in another order.
pub(super) fn suggest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // Other gateways say `bedrock/anthropic.claude...` and `anthropic/claude...`.
    if let Some((_, last)) = name.rsplit_once('/')
        && let Some(meant) = known.iter().find(|known| **known == last)
    {
        return Some(meant);
    }
    nearest(name, known.iter().copied()).or_else(|| {
        let wanted = words(name);
        let alike = known.iter().filter_map(|candidate| {
            let words = words(candidate);
            let shared = words.iter().filter(|word| wanted.contains(word)).count();
            let all = words.len() + wanted.len() - shared;
            // Three quarters of the words at least.
            (shared * 4 >= all * 3 && shared > 1).then_some((shared * 1000 / all, *candidate))
        });
        alike.max_by_key(|(score, candidate)| (*score, std::cmp::Reverse(candidate.len()))).map(|(_, known)| known)
    })
}

fn words(name: &str) -> Vec<&str> {
    let mut words: Vec<&str> = name.split(['-', '.', ':', '/', '_']).filter(|word| !word.is_empty()).take(16).collect();
    words.sort_unstable();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_has_no_provider_version_or_date() {
        for (id, expected) in [
            ("anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
            ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6"),
            ("anthropic.claude-opus-4-8", "claude-opus-4-8"),
            ("amazon.nova-lite-v1:0", "nova-lite"),
            ("openai.gpt-oss-120b-1:0", "gpt-oss-120b"),
            ("openai.gpt-5.4-2026-03-05", "gpt-5.4-2026-03-05"),
            ("mistral.mistral-7b-instruct-v0:2", "mistral-7b-instruct"),
            ("deepseek.v3-v1:0", "v3"),
            ("cohere.embed-v4:0", "embed-v4"),
            ("amazon.rerank-v1:0", "rerank-v1"),
        ] {
            assert_eq!(short(id), expected, "{id}");
        }
    }

    #[test]
    fn the_forms_between_are_names_too() {
        let forms: Vec<_> = forms("anthropic.claude-haiku-4-5-20251001-v1:0").collect();
        let expected = [
            "claude-haiku-4-5-20251001-v1:0",
            "claude-haiku-4-5-20251001-v1",
            "claude-haiku-4-5-20251001",
            "claude-haiku-4-5",
        ];
        assert_eq!(forms, expected);
    }

    #[test]
    fn a_slip_and_another_order_of_words_are_understood() {
        let known = ["claude-sonnet-4-5", "claude-haiku-4-5", "nova-lite"];
        assert_eq!(suggest("claude-sonet-4-5", &known), Some("claude-sonnet-4-5"));
        assert_eq!(suggest("claude-4-5-haiku", &known), Some("claude-haiku-4-5"));
        assert_eq!(suggest("anthropic/claude-haiku-4-5", &known), Some("claude-haiku-4-5"));
        assert_eq!(suggest("gpt-4o", &known), None);
    }
}
