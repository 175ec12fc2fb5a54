//! From the merged tree to [`Config`], reporting every problem and not only the first.
//!
//! serde stops at the first error. Each error is noted with its path, what is at that path is taken out, and decoding
//! begins again.

use std::fmt::Write;

use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use super::layers::Variable;
use super::{Config, Problems, nearest};

/// So many rounds are enough for any honest file; after them the rest is left for the next try.
const MAX_ROUNDS: usize = 1000;

/// What can be listened on.
const AN_ADDRESS: &str = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"";

/// One step from a table or list to what it holds.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Decodes what can be decoded; keys that cannot keep their defaults and are in `problems`.
pub(super) fn decode(mut tree: Map<String, Value>, mut variables: Vec<Variable>, problems: &mut Problems) -> Config {
    let mut first_errors: Vec<Option<String>> = variables.iter().map(|_| None).collect();
    for _ in 0..MAX_ROUNDS {
        let error = match serde_path_to_error::deserialize(&Value::Object(tree.clone())) {
            Ok(config) => return config,
            Err(error) => error,
        };
        let text = error.inner().to_string();
        let way = steps(error.path(), &text);
        let set_by = variables.iter().position(|variable| is_at(&way, &variable.keys));
        // A variable's text may be meant as a number, a flag or a list: try before complaining about the text.
        if let Some(index) = set_by {
            let first = first_errors[index].get_or_insert_with(|| explain(&text)).clone();
            if let Some(reading) = variables[index].readings.pop() {
                replace(&mut tree, &way, Some(reading));
            } else {
                problems.add(display(&way), first);
                replace(&mut tree, &way, None);
            }
            continue;
        }
        problems.add(display(&way), explain(&text));
        replace(&mut tree, &way, None);
    }
    Config::default()
}

fn is_at(way: &[Step], keys: &[String]) -> bool {
    way.len() == keys.len() && way.iter().zip(keys).all(|(step, key)| matches!(step, Step::Key(name) if name == key))
}

fn steps(path: &Path, text: &str) -> Vec<Step> {
    let mut way: Vec<Step> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    if let Some(unknown) = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
        && way.last() != Some(&Step::Key(unknown.to_owned()))
    {
        way.push(Step::Key(unknown.to_owned()));
    }
    way
}

/// `aws.regions[1]`; a key that is not plain is quoted and escaped.
fn display(way: &[Step]) -> String {
    let mut path = String::new();
    for step in way {
        match step {
            Step::Index(index) => {
                let _ = write!(path, "[{index}]");
            }
            Step::Key(key) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key_text(key));
            }
        }
    }
    path
}

/// The path of a key, from the section down, as a problem names it.
pub fn path_of(keys: &[String]) -> String {
    display(&keys.iter().cloned().map(Step::Key).collect::<Vec<_>>())
}

/// A key as it stands in a path.
pub(super) fn key_text(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if plain { key.to_owned() } else { format!("{key:?}") }
}

/// serde's words in ours; a value of text is left out, because it may be a secret in the wrong place.
fn explain(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("unknown field `") {
        let mut quoted = rest.split('`');
        let unknown = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
        return match nearest(unknown, known.iter().copied()) {
            Some(known) => format!("unknown key; did you mean \"{known}\"?"),
            None => format!("unknown key; known here: {}", known.join(", ")),
        };
    }
    let text = match (text.find("string \""), text.rfind('"')) {
        (Some(start), Some(end)) => format!("{}a string{}", &text[..start], &text[end + 1..]),
        _ => text.to_owned(),
    };
    let Some((found, expected)) = text.rsplit_once(", expected ") else {
        let is_address = text == "invalid socket address syntax";
        return if is_address { format!("must be {AN_ADDRESS}") } else { text };
    };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i64" => "a whole number",
        "a boolean" => "true or false",
        "a map" => "a table",
        "a sequence" => "a list",
        "socket address" => AN_ADDRESS,
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{found}, expected {expected}")
}

/// Takes out what is at `way`, or puts `value` there. In a list, whose items are texts or tables, an empty one of the
/// other sort takes the place of what is taken out, so that the rest keep their numbers.
fn replace(tree: &mut Map<String, Value>, way: &[Step], value: Option<Value>) {
    let Some((Step::Key(first), rest)) = way.split_first() else { return };
    let Some((last, between)) = rest.split_last() else {
        set(tree, first, value);
        return;
    };
    let Some(mut parent) = tree.get_mut(first) else { return };
    for step in between {
        let next = match (step, parent) {
            (Step::Key(key), Value::Object(table)) => table.get_mut(key),
            (Step::Index(index), Value::Array(items)) => items.get_mut(*index),
            _ => None,
        };
        let Some(next) = next else { return };
        parent = next;
    }
    match (last, parent) {
        (Step::Key(key), Value::Object(table)) => set(table, key, value),
        (Step::Index(index), Value::Array(items)) => {
            if let Some(item) = items.get_mut(*index) {
                *item = if item.is_string() { Value::Object(Map::new()) } else { Value::String(String::new()) };
            }
        }
        _ => {}
    }
}

fn set(table: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    match value {
        Some(value) => table.insert(key.to_owned(), value),
        None => table.remove(key),
    };
}
