//! The caller's own bookkeeping, for Bedrock's invocation log.

use std::collections::BTreeMap;

use crate::report::{Action, Report};

/// As many pairs as Bedrock takes.
const MAX_PAIRS: usize = 16;

/// The pairs for the invocation log, within Bedrock's limits
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>): the caller's `pairs`, which
/// stand in `metadata`, and `named`: path in the request, key in the log, value. What does not fit is left out.
pub fn request_metadata(
    pairs: Option<BTreeMap<String, String>>,
    named: impl IntoIterator<Item = (&'static str, &'static str, Option<String>)>,
    report: &mut Report,
) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (key, value) in pairs.into_iter().flatten() {
        if kept.len() < MAX_PAIRS && !key.is_empty() && fits(&key) && fits(&value) {
            kept.insert(key, value);
        } else {
            report.add(Action::Dropped, format!("metadata.{key}"));
        }
    }
    for (path, key, value) in named {
        let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
        if kept.len() < MAX_PAIRS && fits(&value) && !kept.contains_key(key) {
            kept.insert(key.to_owned(), value);
        } else {
            report.add(Action::Dropped, path);
        }
    }
    kept
}

fn fits(text: &str) -> bool {
    text.chars().count() <= 256
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c))
}
