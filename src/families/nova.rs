//! Amazon's Nova (<https://docs.aws.amazon.com/nova/latest/userguide/>, <https://docs.aws.amazon.com/nova/latest/nova2-userguide/>).

use super::{Reasoning, TopK, Traits};
use crate::catalog::Model;

pub(super) fn adjust(model: &Model, traits: &mut Traits) {
    if !model.short.starts_with("nova") {
        return;
    }
    traits.top_k = TopK::Nested;
    traits.max_stop_sequences = 4;
    if model.short.starts_with("nova-2") {
        traits.reasoning = Reasoning::Nova;
    }
    if let Some(caching) = &mut traits.caching {
        caching.tools = false;
        caching.hour = false;
    }
}
