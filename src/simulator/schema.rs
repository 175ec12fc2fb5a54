//! A JSON value that fits a JSON schema, always the same: for tool calls and structured output.

use serde_json::{Map, Value, json};

/// Below this depth only required members are written; twice as deep, nothing that could recurse.
const DEPTH: usize = 4;

/// A value of `schema`; its free strings are `hint`.
pub(crate) fn sample(schema: &Value, hint: &str) -> Value {
    Sampler { root: schema, hint }.value(schema, 0)
}

struct Sampler<'a> {
    root: &'a Value,
    hint: &'a str,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if let Some(target) = schema["$ref"].as_str().and_then(|path| self.root.pointer(path.strip_prefix('#')?)) {
            return if depth > 2 * DEPTH { Value::Null } else { self.value(target, depth + 1) };
        }
        for key in ["const", "default"] {
            if let Some(value) = schema.get(key) {
                return value.clone();
            }
        }
        if let Some(value) = schema["enum"].get(0).or_else(|| schema["examples"].get(0)) {
            return value.clone();
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(first) = schema[key].get(0) {
                return self.value(first, depth + 1);
            }
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let objects = parts.iter().filter_map(|part| self.value(part, depth + 1).as_object().cloned());
            return Value::Object(objects.flatten().collect());
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"].get(0)?.as_str());
        match kind {
            Some("string") => Value::from(self.string(schema)),
            Some("integer") => whole_number(schema),
            Some("number") => json!(number(schema)),
            Some("boolean") => json!(true),
            Some("null") => Value::Null,
            Some("array") => self.array(schema, depth),
            _ if kind == Some("object") || schema.get("properties").is_some() => self.object(schema, depth),
            _ => Value::from(self.hint),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let wanted =
            properties.filter(|(name, _)| depth < DEPTH || (depth < 2 * DEPTH && required.contains(&name.as_str())));
        Value::Object(
            wanted.map(|(name, property)| (name.clone(), self.value(property, depth + 1))).collect::<Map<_, _>>(),
        )
    }

    fn array(&self, schema: &Value, depth: usize) -> Value {
        let wanted = schema["minItems"].as_u64().unwrap_or(0).max(u64::from(depth < DEPTH)).min(100);
        let nothing = Value::Null;
        let items = schema.get("items").unwrap_or(&nothing);
        Value::Array((0..wanted).map(|_| self.value(items, depth + 1)).collect())
    }

    fn string(&self, schema: &Value) -> String {
        let text = match schema["format"].as_str() {
            Some("date-time") => "2026-01-02T03:04:05Z",
            Some("date") => "2026-01-02",
            Some("time") => "03:04:05Z",
            Some("email") => "someone@example.com",
            Some("uri" | "url") => "https://example.com/",
            Some("uuid") => "00000000-0000-4000-8000-000000000000",
            _ => self.hint,
        };
        let limit =
            schema["maxLength"].as_u64().map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut text: String = text.chars().take(limit).collect();
        while (text.chars().count() as u64) < schema["minLength"].as_u64().unwrap_or(0).min(10_000) {
            text.push('x');
        }
        text
    }
}

fn whole_number(schema: &Value) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "bounds that are not whole numbers are small in any schema")]
    let rounded = number(schema).ceil() as i64;
    schema["minimum"].as_i64().map_or_else(|| json!(rounded), Value::from)
}

fn number(schema: &Value) -> f64 {
    let low = schema["minimum"].as_f64().or_else(|| Some(schema["exclusiveMinimum"].as_f64()? + 1.0));
    let high = schema["maximum"].as_f64().unwrap_or(f64::MAX);
    low.unwrap_or_else(|| high.min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_fit_their_schemas() {
        let schema = json!({"type": "object", "required": ["city"], "properties": {
            "city": {"type": "string", "maxLength": 3}, "unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 2},
            "tags": {"type": "array", "items": {"type": "string"}}, "near": {"$ref": "#/$defs/place"}},
            "$defs": {"place": {"anyOf": [{"type": "object", "properties": {"open": {"type": "boolean"}}}, {"type": "null"}]}}});
        let expected = json!({"city": "Par", "unit": "C", "days": 2, "tags": ["Paris"], "near": {"open": true}});
        assert_eq!(sample(&schema, "Paris"), expected);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let tree = json!({"type": "object", "properties": {"child": {"$ref": "#"}}, "required": ["child"]});
        assert!(sample(&tree, "x").to_string().len() < 500);
    }
}
