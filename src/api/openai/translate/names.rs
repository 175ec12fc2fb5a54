//! Names that Bedrock takes for those it does not, and the way back.

use std::collections::{HashMap, HashSet};

use crate::api::openai::wire;
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
    /// Looks at every tool that `request` names. Names that are good already are given away first, so that none of
    /// them has to change.
    pub(super) fn collect(request: &wire::ChatRequest, report: &mut Report) -> Result<Self, Error> {
        let tools = request.tools.iter().flatten().enumerate().filter_map(|(i, tool)| {
            let function = tool.function.as_ref()?;
            Some((Place::Tool(i), function.name.as_str()))
        });
        let calls = request.messages.iter().enumerate().flat_map(|(i, message)| {
            message.tool_calls.iter().flatten().enumerate().filter_map(move |(j, call)| {
                let function = call.function.as_ref()?;
                Some((Place::Call(i, j), function.name.as_str()))
            })
        });
        let mut namer = Namer::default();
        let mut odd = Vec::new();
        for (place, name) in tools.chain(calls) {
            if name.is_empty() {
                return Err(Error::invalid(place.path(), "A tool needs a name."));
            }
            if !fits(name, in_tool_name) {
                odd.push((place, name));
                continue;
            }
            if !namer.take(name) && matches!(place, Place::Tool(_)) {
                return Err(Error::invalid(place.path(), "Two tools have this name."));
            }
        }
        let mut renamed = Self::default();
        for (place, name) in odd {
            if !renamed.sent.contains_key(name) {
                let sent = namer.near(name, in_tool_name);
                renamed.original.insert(sent.clone(), name.to_owned());
                renamed.sent.insert(name.to_owned(), sent);
            } else if matches!(place, Place::Tool(_)) {
                return Err(Error::invalid(place.path(), "Two tools have this name."));
            }
            report.add(Action::Renamed, place.path());
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
#[derive(Clone, Copy)]
enum Place {
    Tool(usize),
    Call(usize, usize),
}

impl Place {
    fn path(self) -> String {
        match self {
            Self::Tool(i) => format!("tools[{i}].function.name"),
            Self::Call(i, j) => format!("messages[{i}].tool_calls[{j}].function.name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_become_free_ones_and_lead_back() {
        let body = br#"{"model":"m","messages":[{"role":"assistant","tool_calls":[
            {"id":"1","function":{"name":"a b"}},{"id":"2","function":{"name":"a_b_2"}}]}],
            "tools":[{"type":"function","function":{"name":"a.b"}},{"type":"function","function":{"name":"a_b"}}]}"#;
        let mut report = Report::default();
        let names = ToolNames::collect(&wire::parse(body).unwrap(), &mut report).unwrap();
        assert_eq!((names.sent("a.b"), names.sent("a b"), names.sent("a_b")), ("a_b_3", "a_b_4", "a_b"));
        assert_eq!((names.original("a_b_3"), names.original("a_b")), ("a.b", "a_b"));
        let report = report.to_string();
        assert_eq!(report, "renamed:tools[0].function.name,renamed:messages[0].tool_calls[0].function.name");
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
