//! Values of labels: names are bounded in number, numbers and AWS's words are turned into text.

use std::collections::HashSet;
use std::sync::RwLock;

/// How many different teams, and how many different models, are told apart.
pub const NAMES: usize = 200;

/// The first [`NAMES`] names seen.
#[derive(Debug, Default)]
pub(super) struct Bound(RwLock<HashSet<Box<str>>>);

impl Bound {
    /// The name itself while it is one of the first, else `other`. No name at all takes no place.
    pub(super) fn label<'a>(&self, name: &'a str) -> &'a str {
        if name.is_empty() {
            return name;
        }
        if self.0.read().is_ok_and(|seen| seen.contains(name)) {
            return name;
        }
        let Ok(mut seen) = self.0.write() else { return "other" };
        if seen.contains(name) {
            return name;
        }
        if seen.len() >= NAMES {
            return "other";
        }
        seen.insert(name.into());
        name
    }
}

/// A number below 1000 as three digits, without an allocation.
pub(super) fn itoa(number: u16) -> Digits {
    let digit = |by: u16| b'0' + u8::try_from(number / by % 10).unwrap_or_default();
    Digits([digit(100), digit(10), digit(1)])
}

pub(super) struct Digits([u8; 3]);

impl Digits {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("000")
    }
}

/// AWS's word for the state of a job as a label.
pub(super) fn job_state(word: &str) -> &'static str {
    match word {
        "queued" => "queued",
        "Submitted" => "submitted",
        "Validating" => "validating",
        "Scheduled" => "scheduled",
        "InProgress" => "in_progress",
        "Completed" => "completed",
        "PartiallyCompleted" => "partially_completed",
        "Failed" => "failed",
        "Stopping" => "stopping",
        "Stopped" => "stopped",
        "Expired" => "expired",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_are_one() {
        let bound = Bound::default();
        for n in 0..NAMES {
            let name = format!("name-{n}");
            assert_eq!(bound.label(&name), name);
        }
        assert_eq!(bound.label("one more"), "other");
        assert_eq!(bound.label("name-0"), "name-0", "who was there first stays");
    }
}
