//! `DeepSeek`: R1 thinks and takes no word on it, V3 thinks when told to.

use super::Traits;
use super::reasoning::{Habit, Reasoning};
use crate::catalog::Model;

pub(super) fn adjust(model: &Model, traits: &mut Traits) {
    if model.id.starts_with("deepseek.v3") {
        traits.reasoning = Reasoning::Raw(Habit::Off);
    }
}
