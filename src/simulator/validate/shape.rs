//! A request against the service's own model: required members, lengths, ranges, patterns, enums, unions, base64. The rules
//! are data (`shapes.json`, from AWS's published service models; `tests/clients/simulator_fidelity.py` holds it equal to botocore's), the
//! wording is AWS's. Unknown members are ignored and never answered, null counts as absent, as AWS does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::patterns::Pattern;
use crate::simulator::errors::Failure;

/// A shape of the models.
#[derive(Debug, Deserialize)]
pub(super) struct Shape {
    #[serde(rename = "type")]
    pub(super) kind: String,
    min: Option<f64>,
    max: Option<f64>,
    pub(super) pattern: Option<Pattern>,
    #[serde(default, rename = "enum")]
    values: Vec<String>,
    #[serde(default)]
    sensitive: bool,
    #[serde(default)]
    union: bool,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    members: serde_json::Map<String, Value>,
    pub(super) member: Option<String>,
    key: Option<String>,
    value: Option<String>,
    /// Of what is not in the body: `uri`, `querystring` or `header`, and the number of the segment or the name there.
    #[serde(default)]
    pub(super) places: BTreeMap<String, (String, String)>,
    /// How members are sent that are not called so.
    #[serde(default)]
    pub(super) names: BTreeMap<String, String>,
}

impl Shape {
    pub(super) fn member_shapes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().filter_map(|(name, shape)| Some((name.as_str(), shape.as_str()?)))
    }
}

#[expect(clippy::expect_used, reason = "the file is compiled in, and every test of this module reads it")]
static SHAPES: LazyLock<BTreeMap<String, Shape>> =
    LazyLock::new(|| serde_json::from_str(include_str!("shapes.json")).expect("shapes.json does not parse"));

/// The shape named `name`, if the models have it.
pub(super) fn named(name: &str) -> Option<&'static Shape> {
    SHAPES.get(name)
}

/// Parses `body` and checks it against the request shape named `shape`. What comes back has no member that the shape does not have.
pub(crate) fn parse(shape: &str, body: &[u8]) -> Result<Value, Failure> {
    let mut body: Value = match body {
        b"" => Value::Object(serde_json::Map::new()),
        _ => serde_json::from_slice(body)
            .map_err(|_| Failure::serialization("Could not parse the request body as JSON."))?,
    };
    check(shape, &body)?;
    forget_unknown(shape, &mut body);
    Ok(body)
}

/// Takes out what the shape does not have.
fn forget_unknown(name: &str, value: &mut Value) {
    let Some(shape) = SHAPES.get(name) else { return };
    match (shape.kind.as_str(), value) {
        ("structure", Value::Object(object)) => {
            object.retain(|member, value| shape.members.contains_key(member) && !value.is_null());
            for (member, target) in shape.member_shapes() {
                if let Some(value) = object.get_mut(member) {
                    forget_unknown(target, value);
                }
            }
        }
        ("list", Value::Array(items)) => {
            let target = shape.member.as_deref().unwrap_or_default();
            for item in items {
                forget_unknown(target, item);
            }
        }
        ("map", Value::Object(object)) => {
            let target = shape.value.as_deref().unwrap_or_default();
            for value in object.values_mut() {
                forget_unknown(target, value);
            }
        }
        _ => {}
    }
}

/// Checks a parsed body against the shape named `shape`.
pub(crate) fn check(shape: &str, body: &Value) -> Result<(), Failure> {
    check_below(shape, body, &mut Vec::new())
}

/// What is no JSON, but a text for a member of such a shape.
pub(super) fn read_text(shape: &str, text: &str) -> Result<Value, Failure> {
    let kind = SHAPES.get(shape).map_or("string", |shape| shape.kind.as_str());
    let wrong = || wrong_type(kind, &Value::from(text));
    match kind {
        "integer" | "long" => text.parse::<i64>().map(Value::from).map_err(|_| wrong()),
        "boolean" => text.parse::<bool>().map(Value::from).map_err(|_| wrong()),
        "timestamp" => {
            text.parse::<jiff::Timestamp>().map_err(|_| wrong())?;
            Ok(Value::from(text))
        }
        _ => Ok(Value::from(text)),
    }
}

fn check_below(shape: &str, body: &Value, path: &mut Vec<Step>) -> Result<(), Failure> {
    let mut check = Check::default();
    check.walk(shape, body, path)?;
    let count = check.constraints.len();
    if count > 0 {
        let plural = if count == 1 { "error" } else { "errors" };
        return Err(Failure::validation(format!(
            "{count} validation {plural} detected: {}",
            check.constraints.join("; ")
        )));
    }
    check.unions.into_iter().next().map_or(Ok(()), |message| Err(Failure::validation(message)))
}

#[derive(Clone)]
enum Step {
    Member(String),
    Index(usize),
}

/// As the constraint checker writes it: `messages.1.member.role`.
fn constraint_path(path: &[Step]) -> String {
    path.iter().fold(String::new(), |mut text, step| {
        let dot = if text.is_empty() { "" } else { "." };
        let _ = match step {
            Step::Member(name) => write!(text, "{dot}{name}"),
            Step::Index(index) => write!(text, "{dot}{}.member", index + 1),
        };
        text
    })
}

/// As the service writes it: `messages.0.role`.
fn service_path(path: &[Step]) -> String {
    path.iter().fold(String::new(), |mut text, step| {
        let dot = if text.is_empty() { "" } else { "." };
        let _ = match step {
            Step::Member(name) => write!(text, "{dot}{name}"),
            Step::Index(index) => write!(text, "{dot}{index}"),
        };
        text
    })
}

#[derive(Default)]
struct Check {
    constraints: Vec<String>,
    unions: Vec<String>,
}

impl Check {
    fn walk(&mut self, name: &str, value: &Value, path: &mut Vec<Step>) -> Result<(), Failure> {
        let Some(shape) = SHAPES.get(name) else { return Ok(()) };
        match (shape.kind.as_str(), value) {
            ("document", _) | ("boolean", Value::Bool(_)) | ("timestamp", Value::String(_)) => Ok(()),
            ("structure", Value::Object(object)) => self.structure(name, shape, object, path),
            ("list", Value::Array(items)) => {
                self.length(shape, items.len(), None, path);
                for (index, item) in items.iter().enumerate() {
                    if item.is_null() {
                        continue;
                    }
                    path.push(Step::Index(index));
                    self.walk(shape.member.as_deref().unwrap_or_default(), item, path)?;
                    path.pop();
                }
                Ok(())
            }
            ("map", Value::Object(object)) => self.map(shape, object, path),
            ("string", Value::String(text)) => {
                self.string(shape, text, path);
                Ok(())
            }
            ("blob", Value::String(text)) => {
                let bytes = BASE64_STANDARD.decode(text).map_err(|_| {
                    Failure::serialization("Unable to decode the value as base64: invalid character or padding.")
                })?;
                self.length(shape, bytes.len(), None, path);
                Ok(())
            }
            ("integer" | "long", Value::Number(number)) if number.is_f64() => {
                Err(Failure::serialization("FLOAT_VALUE can not be converted to an Integer"))
            }
            ("integer" | "long" | "float", Value::Number(number)) => {
                self.range(shape, number, path);
                Ok(())
            }
            (kind, value) => Err(wrong_type(kind, value)),
        }
    }

    fn structure(
        &mut self,
        name: &str,
        shape: &Shape,
        object: &serde_json::Map<String, Value>,
        path: &mut Vec<Step>,
    ) -> Result<(), Failure> {
        let given = |name: &str| object.get(name).filter(|value| !value.is_null());
        for required in shape.required.iter().filter(|required| given(required).is_none()) {
            path.push(Step::Member(required.clone()));
            let at = constraint_path(path);
            self.constraints
                .push(format!("Value null at '{at}' failed to satisfy constraint: Member must not be null"));
            path.pop();
        }
        let mut set = 0;
        for (member, member_shape) in shape.member_shapes() {
            let Some(value) = given(member) else { continue };
            set += 1;
            path.push(Step::Member(member.to_owned()));
            self.walk(member_shape, value, path)?;
            path.pop();
        }
        if shape.union && set != 1 {
            let keys: Vec<&str> = shape.member_shapes().map(|(name, _)| name).collect();
            let only = if set == 0 { "one" } else { "only one" };
            let name = name.rsplit('#').next().unwrap_or(name);
            self.unions.push(format!(
                "{name} object at {} must set {only} of the following keys: {}.",
                service_path(path),
                keys.join(", ")
            ));
        }
        Ok(())
    }

    fn map(
        &mut self,
        shape: &Shape,
        object: &serde_json::Map<String, Value>,
        path: &mut Vec<Step>,
    ) -> Result<(), Failure> {
        self.length(shape, object.len(), None, path);
        for (key, value) in object {
            let mut inner = Self::default();
            if let Some(key_shape) = shape.key.as_deref().and_then(|name| SHAPES.get(name)) {
                inner.string(key_shape, key, &[]);
                self.map_part("keys", shape, &inner.constraints, path);
            }
            let value_shape = shape.value.as_deref().unwrap_or_default();
            match (SHAPES.get(value_shape), value) {
                (Some(value_shape), Value::String(text)) if value_shape.kind == "string" => {
                    let mut inner = Self::default();
                    inner.string(value_shape, text, &[]);
                    self.map_part("value", shape, &inner.constraints, path);
                }
                _ => self.walk(value_shape, value, path)?,
            }
        }
        Ok(())
    }

    fn map_part(&mut self, part: &str, shape: &Shape, constraints: &[String], path: &[Step]) {
        if constraints.is_empty() {
            return;
        }
        let rules: Vec<&str> =
            constraints.iter().filter_map(|text| text.split_once("constraint: ")).map(|(_, rule)| rule).collect();
        let text = format!("Map {part} must satisfy constraint: [{}]", rules.join(", "));
        self.fail(shape, None, &text, path);
    }

    fn string(&mut self, shape: &Shape, text: &str, path: &[Step]) {
        let told = Some(text);
        if shape.max.is_some_and(|max| characters(text) > max) {
            self.length(shape, text.encode_utf16().count(), told, path);
        }
        if let Some(pattern) = shape.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            self.fail(
                shape,
                told,
                &format!("Member must satisfy regular expression pattern: {}", pattern.text()),
                path,
            );
        }
        if shape.min.is_some_and(|min| characters(text) < min) {
            self.length(shape, text.encode_utf16().count(), told, path);
        }
        if !shape.values.is_empty() && !shape.values.iter().any(|value| value == text) {
            self.fail(shape, told, &format!("Member must satisfy enum value set: [{}]", shape.values.join(", ")), path);
        }
    }

    fn length(&mut self, shape: &Shape, length: usize, told: Option<&str>, path: &[Step]) {
        let length = u32::try_from(length).map_or(f64::MAX, f64::from);
        if let Some(min) = shape.min.filter(|min| length < *min) {
            self.fail(shape, told, &format!("Member must have length greater than or equal to {min}"), path);
        }
        if let Some(max) = shape.max.filter(|max| length > *max) {
            self.fail(shape, told, &format!("Member must have length less than or equal to {max}"), path);
        }
    }

    fn range(&mut self, shape: &Shape, number: &serde_json::Number, path: &[Step]) {
        let value = number.as_f64().unwrap_or(f64::MAX);
        let told = number.to_string();
        if let Some(min) = shape.min.filter(|min| value < *min) {
            self.fail(shape, Some(&told), &format!("Member must have value greater than or equal to {min}"), path);
        }
        if let Some(max) = shape.max.filter(|max| value > *max) {
            self.fail(shape, Some(&told), &format!("Member must have value less than or equal to {max}"), path);
        }
    }

    fn fail(&mut self, shape: &Shape, told: Option<&str>, rule: &str, path: &[Step]) {
        let value = told.filter(|_| !shape.sensitive).map_or("Value".to_owned(), |told| format!("Value '{told}'"));
        self.constraints.push(format!("{value} at '{}' failed to satisfy constraint: {rule}", constraint_path(path)));
    }
}

fn characters(text: &str) -> f64 {
    u32::try_from(text.encode_utf16().count()).map_or(f64::MAX, f64::from)
}

fn wrong_type(expected: &str, value: &Value) -> Failure {
    let article = match expected {
        "integer" | "long" => "an Integer",
        "timestamp" => "a Timestamp",
        "float" => "a Float",
        "boolean" => "a Boolean",
        "blob" => "a ByteBuffer",
        _ => "a String",
    };
    Failure::serialization(match value {
        Value::Array(_) => "Start of list found where not expected".to_owned(),
        Value::Object(_) => "Start of structure or map found where not expected.".to_owned(),
        _ if matches!(expected, "structure" | "list" | "map") => "Unexpected value type in payload".to_owned(),
        Value::String(_) => format!("STRING_VALUE can not be converted to {article}"),
        Value::Bool(true) => format!("TRUE_VALUE can not be converted to {article}"),
        Value::Bool(false) => format!("FALSE_VALUE can not be converted to {article}"),
        _ => format!("NUMBER_VALUE can not be converted to {article}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(body: &Value) -> String {
        check("ConverseRequest", body)
            .map_or_else(|failure| format!("{}: {}", failure.name, failure.message), |()| "ok".to_owned())
    }

    fn with_user(content: &Value) -> Value {
        json!({"messages": [{"role": "user", "content": [content]}]})
    }

    #[test]
    fn every_pattern_of_the_shapes_is_understood() {
        for (name, shape) in SHAPES.iter() {
            if let Some(pattern) = &shape.pattern {
                assert!(!pattern.matches("\u{1} \u{1}"), "{name}: {} is not checked", pattern.text());
            }
        }
    }

    #[test]
    fn members_that_nobody_knows_are_forgotten() {
        let body = json!({"performanceConfig": {"latency": "standard", "extra": 1}, "extra": 1, "requestMetadata": {"a": "b"}, "additionalModelRequestFields": {"any": null}});
        let read = parse("ConverseRequest", body.to_string().as_bytes()).unwrap();
        assert_eq!(
            read,
            json!({"performanceConfig": {"latency": "standard"}, "requestMetadata": {"a": "b"}, "additionalModelRequestFields": {"any": null}})
        );
    }

    #[test]
    fn constraints_are_told_together_and_in_aws_words() {
        let body = json!({
            "messages": [{"role": "robot", "content": [{"text": "hi"}]}],
            "inferenceConfig": {"temperature": 1.5, "maxTokens": 0},
            "toolConfig": {"tools": [{"toolSpec": {"name": "a.b", "inputSchema": {"json": {}}}}]},
        });
        let message = told(&body);
        assert!(message.starts_with("ValidationException: 4 validation errors detected: "), "{message}");
        for part in [
            "Value 'robot' at 'messages.1.member.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant, system]",
            "Value '1.5' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than or equal to 1",
            "Value '0' at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1",
            "Value 'a.b' at 'toolConfig.tools.1.member.toolSpec.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn unions_take_exactly_one_known_member() {
        assert!(
            told(&with_user(&json!({}))).contains(
                "ContentBlock object at messages.0.content.0 must set one of the following keys: text, image"
            )
        );
        assert!(told(&with_user(&json!({"surprise": 1}))).contains("must set one of"));
        assert!(
            told(&with_user(&json!({"text": "a", "cachePoint": {"type": "default"}}))).contains("must set only one of")
        );
        assert_eq!(told(&with_user(&json!({"text": "a", "image": null, "extra": 1}))), "ok");
    }

    #[test]
    fn wrong_types_and_bad_base64_are_serialization_errors() {
        for (content, expected) in [
            (json!({"text": 5}), "NUMBER_VALUE can not be converted to a String"),
            (json!({"text": ["a"]}), "Start of list found"),
            (json!({"image": {"format": "png", "source": {"bytes": "%%%"}}}), "base64"),
            (json!("text"), "Unexpected value type in payload"),
        ] {
            let message = told(&with_user(&content));
            assert!(message.starts_with("SerializationException") && message.contains(expected), "{message}");
        }
        assert_eq!(parse("ConverseRequest", b"{").unwrap_err().name, "SerializationException");
    }

    #[test]
    fn missing_members_and_maps_are_checked() {
        assert!(told(&json!({"messages": [{"content": []}]})).contains("Value null at 'messages.1.member.role'"));
        assert!(told(&json!({"requestMetadata": {"key!": "v"}})).contains("at 'requestMetadata' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern"));
        assert!(told(&json!({"requestMetadata": {}})).contains("length greater than or equal to 1"));
        assert_eq!(told(&json!({"requestMetadata": {"team": "blue"}})), "ok");
    }
}
