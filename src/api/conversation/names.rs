//! Names that Bedrock takes for those it does not, and the way back.

use std::collections::{HashMap, HashSet};

use super::At;
use crate::error::Error;
use crate::report::{Action, Report};

/// Bedrock's limit for tool names and tool call ids alike.
const MAX_LENGTH: usize = 64;

/// Hands out names that are free and that Bedrock takes.
#[derive(Debug, Default)]
pub(super) struct Namer {
    taken: HashSet<String>,
    next: HashMap<String, usize>,
}

impl Namer {
    /// Takes `name` as it is; false when it is taken already.
    pub(super) fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }

    /// A free name as near to `wanted` as `allowed` permits, and takes it.
    pub(super) fn near(&mut self, wanted: &str, allowed: fn(char) -> bool) -> String {
        let base: String = wanted.chars().take(MAX_LENGTH).map(|c| if allowed(c) { c } else { '_' }).collect();
        let base = if base.is_empty() { "_".to_owned() } else { base };
        if self.taken.insert(base.clone()) {
            return base;
        }
        let next = self.next.entry(base.clone()).or_insert(2);
        loop {
            let suffix = format!("_{next}");
            *next += 1;
            let mut name = base.clone();
            name.truncate(MAX_LENGTH - suffix.len());
            name.push_str(&suffix);
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// Whether Bedrock takes `text`, all of it made of `allowed`.
pub(super) fn fits(text: &str, allowed: fn(char) -> bool) -> bool {
    !text.is_empty() && text.len() <= MAX_LENGTH && text.chars().all(allowed)
}

fn in_tool_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// The tools whose names Bedrock does not take (1 to 64 of `[a-zA-Z0-9_-]`), under both their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolNames {
    sent: HashMap<String, String>,
    original: HashMap<String, String>,
}

impl ToolNames {
    /// Looks at every tool that a request names: those `offered`, and those `called` in its history, each with the
    /// place of its name. Names that are good already are given away first, so that none of them has to change.
    /// A name that is empty, or offered twice, is `Kind::Invalid`.
    pub fn collect<'a>(
        offered: impl Iterator<Item = (At, &'a str)>,
        called: impl Iterator<Item = (At, &'a str)>,
        report: &mut Report,
    ) -> Result<Self, Error> {
        let twice = |at: At| Error::invalid(at, "Two tools have this name.");
        let offered = offered.map(|(at, name)| (Source::Offered, at, name));
        let called = called.map(|(at, name)| (Source::Called, at, name));
        let mut namer = Namer::default();
        let mut odd = Vec::new();
        for (source, at, name) in offered.chain(called) {
            if name.is_empty() {
                return Err(Error::invalid(at, "A tool needs a name."));
            }
            if !fits(name, in_tool_name) {
                odd.push((source, at, name));
            } else if !namer.take(name) && source == Source::Offered {
                return Err(twice(at));
            }
        }
        let mut renamed = Self::default();
        for (source, at, name) in odd {
            if !renamed.sent.contains_key(name) {
                let sent = namer.near(name, in_tool_name);
                renamed.original.insert(sent.clone(), name.to_owned());
                renamed.sent.insert(name.to_owned(), sent);
            } else if source == Source::Offered {
                return Err(twice(at));
            }
            report.add(Action::Renamed, at);
        }
        Ok(renamed)
    }

    /// The name that Bedrock gets for the caller's `original`.
    pub fn sent<'a>(&'a self, original: &'a str) -> &'a str {
        self.sent.get(original).map_or(original, String::as_str)
    }

    /// The caller's name for what Bedrock calls `sent`.
    pub fn original<'a>(&'a self, sent: &'a str) -> &'a str {
        self.original.get(sent).map_or(sent, String::as_str)
    }
}

/// Where a request names a tool.
#[derive(Clone, Copy, PartialEq)]
enum Source {
    Offered,
    Called,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_become_free_ones_and_lead_back() {
        let offered = ["a.b", "a_b"].into_iter().enumerate().map(|(i, name)| (At::item("tools", i), name));
        let called = ["a b", "a_b_2"].into_iter().enumerate().map(|(i, name)| (At::item("calls", i), name));
        let mut report = Report::default();
        let names = ToolNames::collect(offered, called, &mut report).unwrap();
        assert_eq!((names.sent("a.b"), names.sent("a b"), names.sent("a_b")), ("a_b_3", "a_b_4", "a_b"));
        assert_eq!((names.original("a_b_3"), names.original("a_b")), ("a.b", "a_b"));
        assert_eq!(report.to_string(), "renamed:tools[0],renamed:calls[0]");
    }

    #[test]
    fn long_names_stay_within_the_limit_and_apart() {
        let mut namer = Namer::default();
        let long = "é".repeat(80);
        let (first, second) = (namer.near(&long, in_tool_name), namer.near(&long, in_tool_name));
        assert_ne!(first, second);
        assert!(fits(&first, in_tool_name) && fits(&second, in_tool_name));
    }
}
