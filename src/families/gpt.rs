//! OpenAI's models, open and closed, and those that answer in their manner: Grok, Kimi K3.

use super::Traits;
use super::reasoning::{Habit, Reasoning};
use crate::catalog::Model;

pub(super) fn adjust(model: &Model, traits: &mut Traits) {
    let short = model.short.as_str();
    if short.starts_with("gpt-oss") {
        traits.reasoning = Reasoning::Raw(Habit::Always);
        return;
    }
    let closed = model.id.starts_with("openai.");
    if closed || short.starts_with("grok") || short.starts_with("kimi-k3") {
        traits.min_output_tokens = 16;
    }
    // Their caches are steered by fields of the Responses API, which Converse does not have.
    if closed {
        traits.caching = None;
    }
}
