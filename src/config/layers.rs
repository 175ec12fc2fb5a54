//! The layers of a configuration, file below environment, merged into one tree.
//!
//! What an environment variable means depends on the key it sets, and only the decoding knows that; so its text goes
//! into the tree as it is, and [`Variable::readings`] are what else it may stand for.

use std::path::Path;

use serde_json::{Map, Value};

use super::Problems;

/// The beginning of every environment variable that sets a key.
const PREFIX: &str = "BEDROCK_GATEWAY__";

/// One environment variable that sets a key.
pub(super) struct Variable {
    /// Its name.
    pub(super) name: String,
    /// The key it sets, from the section down.
    pub(super) keys: Vec<String>,
    /// What its text may stand for besides itself, likeliest last.
    pub(super) readings: Vec<Value>,
}

/// The file's tree; a file that cannot be read or parsed is a problem and an empty tree.
pub(super) fn file(path: &Path, problems: &mut Problems) -> Map<String, Value> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.add(path.display().to_string(), format!("cannot be read: {error}"));
            return Map::new();
        }
    };
    // The error's Display would show the line, and with it perhaps a password.
    toml::from_str(&text).unwrap_or_else(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).unwrap_or_default().matches('\n').count() + 1;
        problems.add(path.display().to_string(), format!("line {line}: {}", error.message().replace('\n', " ")));
        Map::new()
    })
}

/// Puts every `BEDROCK_GATEWAY__SECTION__KEY` of `env` into the tree, as text, and returns them.
pub(super) fn overlay(
    tree: &mut Map<String, Value>,
    env: &[(String, String)],
    problems: &mut Problems,
) -> Vec<Variable> {
    let mut variables: Vec<_> = env.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    variables.sort();
    let mut placed = Vec::new();
    for (name, text) in variables {
        let mut keys: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_ascii_lowercase).collect();
        if keys.iter().any(String::is_empty) {
            problems.add(name.as_str(), format!("names no key; write {PREFIX}SECTION__KEY"));
            continue;
        }
        respell_region(&mut keys);
        if place(tree, &keys, text) {
            placed.push(Variable { name: name.clone(), keys, readings: readings(text) });
        } else {
            problems.add(name.as_str(), "sets a key below one that holds a value of its own");
        }
    }
    complain_of_misspelt(env, problems);
    placed
}

/// A variable that would be a setting if its parts were separated by two underscores. Others may begin alike: Kubernetes makes
/// some for a Service of the gateway's name.
fn complain_of_misspelt(env: &[(String, String)], problems: &mut Problems) {
    let start = PREFIX.trim_end_matches('_');
    let rest = |name: &str| Some(name.strip_prefix(start)?.strip_prefix('_')?.to_ascii_lowercase());
    let misspelt: Vec<_> = env.iter().filter_map(|(name, _)| Some((name, rest(name)?))).collect();
    let misspelt: Vec<_> = misspelt.into_iter().filter(|(name, _)| !name.starts_with(PREFIX)).collect();
    if misspelt.is_empty() {
        return;
    }
    let schema = super::schema();
    for (name, rest) in misspelt {
        if let Some(keys) = meant(&schema, rest.trim_start_matches('_')) {
            let meant = keys.join("__").to_ascii_uppercase();
            problems.add(
                name.as_str(),
                format!("is not read; did you mean {PREFIX}{meant}? Two underscores separate the parts"),
            );
        }
    }
}

/// The keys of a setting whose names, joined by underscores, are `text`.
fn meant(schema: &Value, text: &str) -> Option<Vec<String>> {
    let below = |key: &str| text.strip_prefix(key).map(|rest| (rest, rest.trim_start_matches('_')));
    let mut found =
        schema["properties"].as_object().into_iter().flatten().filter_map(|(key, inner)| match below(key)? {
            ("", _) => Some(vec![key.clone()]),
            (rest, inside) if rest.starts_with('_') => {
                let mut keys = vec![key.clone()];
                if inner["additionalProperties"].is_object() {
                    keys.push(inside.to_owned());
                } else {
                    keys.extend(meant(inner, inside)?);
                }
                Some(keys)
            }
            _ => None,
        });
    found.next()
}

/// A shell cannot export a name with a hyphen, so `US_EAST_1` is `us-east-1` where a Region is the key.
fn respell_region(keys: &mut [String]) {
    if let [section, key, region, ..] = keys
        && matches!((section.as_str(), key.as_str()), ("aws", "endpoints" | "quotas") | ("batch", "bucket"))
    {
        *region = region.replace('_', "-");
    }
}

/// Sets the key; false when a key on the way holds something that has no keys.
fn place(tree: &mut Map<String, Value>, keys: &[String], text: &str) -> bool {
    let Some((last, way)) = keys.split_last() else { return false };
    let mut table = tree;
    for key in way {
        let next = table.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(next) = next else { return false };
        table = next;
    }
    table.insert(last.clone(), Value::String(text.to_owned()));
    true
}

/// What the text of a variable may stand for: a flag, a number, TOML (`[..]`, `{..}`) or a list with commas.
fn readings(text: &str) -> Vec<Value> {
    let text = text.trim();
    let list = text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(Value::from).collect();
    let mut readings = vec![Value::Array(list)];
    if text.starts_with(['[', '{'])
        && let Ok(mut table) = toml::from_str::<Map<String, Value>>(&format!("value = {text}"))
    {
        readings.extend(table.remove("value"));
    }
    if let Ok(number) = text.parse::<i64>() {
        readings.push(number.into());
    }
    if let Ok(flag) = text.parse::<bool>() {
        readings.push(flag.into());
    }
    readings
}
