//! The reference of the settings in `docs/CONFIGURATION.md`, written from the types that settings are read into: their
//! names, types and doc comments by the schema, their defaults by `Config::default()`. `UPDATE_DOCS=1 cargo test --test
//! docs` writes it. What the reference says of limits and variables is tried here against what reads the settings.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::str::FromStr;

use bedrock_gateway::config::{self, Config, Sources};
use serde_json::Value;

use super::pages::is_rewriting;
use super::{document, root};

const BEGIN: &str = "<!-- Written by tests/docs/settings.rs: UPDATE_DOCS=1 cargo test --test docs -->\n";
const END: &str = "<!-- End of what is written -->\n";

/// One key that holds a value.
struct Setting {
    /// From the section down. `<Region>` and `<model>` stand for names, `[]` follows a list of tables.
    keys: Vec<String>,
    schema: Value,
    counts: Counts,
}

/// When a change of the file counts.
#[derive(Clone, Copy, PartialEq)]
enum Counts {
    AfterARestart,
    WhenReadAgain,
}

/// What doc comments of settings end with that a running gateway takes over, for all below them.
const RELOADED: &str = " Reloaded.";

impl Counts {
    fn told(schema: &Value, above: Self) -> Self {
        let says = schema["description"].as_str().is_some_and(|text| text.replace('\n', " ").ends_with(RELOADED));
        if says { Self::WhenReadAgain } else { above }
    }
}

impl Setting {
    fn path(&self) -> String {
        self.keys.join(".")
    }

    fn is(&self, kind: &str) -> bool {
        kind == self.schema["type"] || self.schema["type"].as_array().is_some_and(|kinds| kinds.contains(&kind.into()))
    }

    fn about(&self) -> String {
        let text = self.schema["description"].as_str().unwrap_or_else(|| panic!("{} says nothing", self.path()));
        let text = text.replace('\n', " ");
        text.strip_suffix(RELOADED).map_or(text.clone(), str::to_owned)
    }

    /// The words that it may be, each with what it means.
    fn words(&self) -> Vec<(&str, &str)> {
        let words = self.schema["oneOf"].as_array().into_iter().flatten();
        words.map(|word| (word["const"].as_str().unwrap(), word["description"].as_str().unwrap_or_default())).collect()
    }

    fn kind(&self) -> &'static str {
        let words = !self.words().is_empty();
        let is_address = self.schema["default"].as_str().is_some_and(|text| text.parse::<SocketAddr>().is_ok());
        match () {
            () if words => "one of",
            () if self.is("boolean") => "`true` or `false`",
            () if self.is("integer") => "whole number",
            () if self.is("number") => "number",
            () if self.is("array") => "list",
            () if is_address => "`ADDRESS:PORT`",
            () if self.is("string") => "text",
            () => panic!("{} is of a kind that has no name here: {}", self.path(), self.schema),
        }
    }

    /// As TOML; `None`: it has none.
    fn default(&self) -> Option<String> {
        match &self.schema["default"] {
            Value::Null if self.path() == "auth.sealing_key" => Some("\"\"".into()),
            Value::Null => None,
            value => Some(value.to_string()),
        }
    }

    /// The least and the greatest, as the text tells them: `1 to 1024`.
    fn limits<T: FromStr>(&self) -> Option<(T, T)> {
        let about = self.about();
        let words: Vec<&str> = about.split(' ').map(|word| word.trim_end_matches(['.', ',', ';', ':'])).collect();
        let mut three = words.windows(3).filter(|words| words[1] == "to");
        three.find_map(|words| Some((words[0].parse().ok()?, words[2].parse().ok()?)))
    }

    fn may_be_zero(&self) -> bool {
        self.about().contains("; 0:")
    }

    /// The variable that sets it alone.
    fn variable(&self) -> Option<String> {
        let is_in_list = self.keys.iter().any(|key| key.ends_with("[]") || key == "\"<model>\"");
        let keys = self.keys.iter().map(|key| key.to_uppercase()).collect::<Vec<_>>().join("__");
        (!is_in_list).then(|| format!("BEDROCK_GATEWAY__{keys}"))
    }

    fn row(&self) -> String {
        let words = self.words();
        let kind = match words.iter().map(|(word, _)| format!("`\"{word}\"`")).collect::<Vec<_>>() {
            none if none.is_empty() => self.kind().to_owned(),
            some => some.join(", "),
        };
        let limits = match self.limits::<f64>() {
            Some((low, high)) if self.may_be_zero() && low > 0.0 => format!("{low} to {high}, or 0"),
            Some((low, high)) => format!("{low} to {high}"),
            None if self.is("integer") => "at least 1".to_owned(),
            None => "-".to_owned(),
        };
        let mut about = self.about();
        for (word, means) in words.iter().filter(|(_, means)| !means.is_empty()) {
            write!(about, " `\"{word}\"`: {}", lowered(&means.replace('\n', " "))).unwrap();
        }
        let variable = self.variable().map_or(String::new(), |name| format!("<br>`{name}`"));
        let default = self.default().map_or("none".to_owned(), |default| format!("`{default}`"));
        let counts = match self.counts {
            Counts::AfterARestart => "restart",
            Counts::WhenReadAgain => "reload",
        };
        let cells = [format!("`{}`{variable}", self.path()), kind, default, limits, counts.to_owned(), about];
        format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
    }
}

/// The first letter small, unless the word is a name.
fn lowered(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().unwrap_or_default();
    if letters.clone().next().is_some_and(char::is_uppercase) {
        return text.to_owned();
    }
    first.to_lowercase().chain(letters).collect()
}

/// All keys below `schema`, in the order in which they are declared.
fn settings(keys: &[String], schema: &Value, above: Counts) -> Vec<Setting> {
    let counts = Counts::told(schema, above);
    if let Some(properties) = schema["properties"].as_object() {
        let below = properties
            .iter()
            .flat_map(|(key, schema)| settings(&[keys, std::slice::from_ref(key)].concat(), schema, counts));
        return below.collect();
    }
    if schema["items"]["properties"].is_object() {
        let (last, way) = keys.split_last().unwrap();
        return settings(&[way, &[format!("{last}[]")]].concat(), &schema["items"], counts);
    }
    if schema["additionalProperties"].is_object() {
        let name = match keys {
            [.., last] if last == "<Region>" => "\"<model>\"",
            [section, ..] if section == "telemetry" => "<name>",
            _ => "<Region>",
        };
        let mut below = settings(&[keys, &[name.to_owned()]].concat(), &schema["additionalProperties"], counts);
        if let [only] = &mut below[..] {
            only.schema["description"] = schema["description"].clone();
        }
        return below;
    }
    vec![Setting { keys: keys.to_vec(), schema: schema.clone(), counts }]
}

fn all() -> Vec<Setting> {
    let all = settings(&[], &config::schema(), Counts::AfterARestart);
    assert!(all.len() > 50, "the settings were not found");
    all
}

fn reference() -> String {
    let mut text = String::new();
    for (section, schema) in config::schema()["properties"].as_object().unwrap() {
        let title = if schema["items"].is_object() { format!("[[{section}]]") } else { format!("[{section}]") };
        write!(text, "\n### `{title}`\n\n{}\n\n", schema["description"].as_str().unwrap()).unwrap();
        text += "| setting, and its variable | type | default | limits | counts after | what it means |\n|---|---|---|---|---|---|\n";
        text.extend(settings(std::slice::from_ref(section), schema, Counts::AfterARestart).iter().map(Setting::row));
    }
    text + "\n"
}

#[test]
fn the_reference_of_settings_is_what_the_types_say() {
    let page = document("docs/CONFIGURATION.md");
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (kept, after) = rest.split_once(END).unwrap();
    let reference = reference();
    if is_rewriting() {
        let page = format!("{before}{BEGIN}{reference}{END}{after}");
        fs::write(root().join("docs/CONFIGURATION.md"), page).unwrap();
        return;
    }
    assert!(kept == reference, "docs/CONFIGURATION.md is out of step: run UPDATE_DOCS=1 cargo test --test docs");
}

#[test]
fn the_reference_and_the_example_have_the_same_keys() {
    let example = document("config.example.toml");
    let bare = |line: &str| if line.starts_with("# ") { String::new() } else { line.replacen('#', "", 1) };
    let example: Value = toml::from_str(&example.lines().map(bare).collect::<Vec<_>>().join("\n")).unwrap();
    let mut told = Vec::new();
    keys_of(&example, &mut Vec::new(), &mut told);
    let mut known: Vec<String> = all().iter().map(Setting::path).collect();
    for list in [&mut told, &mut known] {
        list.sort();
        list.dedup();
    }
    assert_eq!(told, known);
}

/// The paths of what holds a value, as [`Setting::path`] writes them.
fn keys_of(value: &Value, way: &mut Vec<String>, found: &mut Vec<String>) {
    let tables = value.as_array().filter(|items| items.iter().all(Value::is_object) && !items.is_empty());
    if let Some(tables) = tables {
        let last = way.pop().unwrap();
        way.push(format!("{last}[]"));
        for table in tables {
            keys_of(table, way, found);
        }
        way.pop();
        way.push(last);
    } else if let Some(table) = value.as_object() {
        for (key, value) in table {
            let is_model = way.len() == 3 && way[1] == "quotas";
            let is_region = key.ends_with("-1");
            let is_header = way.last().is_some_and(|last| last == "otlp_headers");
            way.push(match key {
                _ if is_model => "\"<model>\"".into(),
                _ if is_region => "<Region>".into(),
                _ if is_header => "<name>".into(),
                key => key.clone(),
            });
            keys_of(value, way, found);
            way.pop();
        }
    } else {
        found.push(way.join("."));
    }
}

/// What is wrong with the setting of this path when a file sets it so.
fn problem(path: &str, value: &str) -> Option<String> {
    let name = |key: &str| key.replace("<Region>", "us-east-1").replace("<model>", "nova-lite");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{} = {value}", name(path)).unwrap();
    let (_, problems) = config::read(&Sources { file: Some(file.path().to_owned()), env: Vec::new() });
    problems.iter().find(|problem| problem.path == name(path).replace('"', "")).map(ToString::to_string)
}

#[test]
fn numbers_are_taken_within_the_limits_that_are_told_and_refused_beyond() {
    let mut tried = 0;
    for setting in all().iter().filter(|setting| setting.is("integer")) {
        let path = setting.path();
        let (low, high) = match setting.limits::<u64>() {
            Some(limits) => limits,
            None if setting.about().contains("at least 1") => (1, u64::from(u32::MAX)),
            None => panic!("{path} tells no limits: {}", setting.about()),
        };
        for good in [low, high] {
            assert_eq!(problem(&path, &good.to_string()), None, "{path} = {good}");
        }
        if low > 0 {
            assert_eq!(problem(&path, &(low - 1).to_string()).is_none(), setting.may_be_zero(), "{path} = {}", low - 1);
        }
        if setting.limits::<u64>().is_some() {
            assert!(problem(&path, &(high + 1).to_string()).is_some(), "{path} = {}", high + 1);
        }
        tried += 1;
    }
    assert!(tried > 15, "{tried}");
}

#[test]
fn every_variable_that_is_told_sets_its_key() {
    for setting in all() {
        let (Some(variable), Some(default)) = (setting.variable(), setting.default()) else { continue };
        let env = vec![(variable.clone(), default.trim_matches('"').to_owned())];
        assert_eq!(config::load(&Sources { file: None, env }).unwrap(), Config::default(), "{variable}={default}");
        let env = vec![(format!("{variable}X"), "1".to_owned())];
        assert!(config::load(&Sources { file: None, env }).is_err(), "{variable} would be taken whatever it is called");
    }
}
