//! The schema of an answer, as far as Bedrock is stricter than those who write it: every object has to say that it has
//! no other properties. <https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html>

use serde_json::{Value, json};

use crate::converse::Object;

/// Says of every object in `schema` that it has no other properties, where nothing is said; whether anything was.
pub(super) fn close(schema: &mut Object) -> bool {
    let typed = match schema.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => schema.contains_key("properties"),
    };
    let mut changed = typed && !schema.contains_key("additionalProperties");
    if changed {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    for key in ["properties", "$defs", "definitions"] {
        for inner in schema.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(Object::values_mut) {
            changed |= close_value(inner);
        }
    }
    for key in ["items", "anyOf", "oneOf", "allOf"] {
        match schema.get_mut(key) {
            Some(Value::Array(inner)) => {
                for inner in inner {
                    changed |= close_value(inner);
                }
            }
            Some(inner) => changed |= close_value(inner),
            None => {}
        }
    }
    changed
}

fn close_value(schema: &mut Value) -> bool {
    schema.as_object_mut().is_some_and(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_closed_once_and_nothing_else_changes() {
        let mut schema = json!({
            "type": "object",
            "properties": {"a": {"type": "array", "items": {"properties": {}}}, "type": {"type": "string"}},
            "$defs": {"b": {"anyOf": [{"type": ["object", "null"]}, {"type": "object", "additionalProperties": true}]}},
        });
        let schema = schema.as_object_mut().unwrap();
        assert!(close(schema));
        let expected = json!({
            "type": "object",
            "properties": {
                "a": {"type": "array", "items": {"properties": {}, "additionalProperties": false}},
                "type": {"type": "string"},
            },
            "$defs": {"b": {"anyOf": [
                {"type": ["object", "null"], "additionalProperties": false},
                {"type": "object", "additionalProperties": true},
            ]}},
            "additionalProperties": false,
        });
        assert_eq!(Value::Object(schema.clone()), expected);
        assert!(!close(schema));
    }
}
