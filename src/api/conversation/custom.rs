//! Custom tools take text instead of JSON (<https://platform.openai.com/docs/guides/function-calling#custom-tools>).
//! Bedrock's tools take objects: so a custom tool becomes one with a single field, and what the model puts in there is
//! the text.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::ToolNames;
use crate::converse::Object;

/// The one field.
const INPUT: &str = "input";

/// The caller's tools by the names that Bedrock has for them.
#[derive(Clone, Debug, Default)]
pub struct CallerTools {
    /// The way back to the caller's names.
    pub names: ToolNames,
    /// Those that take text instead of JSON, by the caller's names.
    pub custom: HashSet<String>,
}

impl CallerTools {
    /// The caller's name for what Bedrock calls `sent`.
    pub fn original<'a>(&'a self, sent: &'a str) -> &'a str {
        self.names.original(sent)
    }

    /// Whether the tool takes text instead of JSON, by the caller's name.
    pub fn is_custom(&self, name: &str) -> bool {
        self.custom.contains(name)
    }
}

/// The grammar that the text for a tool has to match. No model here is held to one; it is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Grammar<'a> {
    /// `lark` or `regex`.
    pub syntax: &'a str,
    /// The grammar itself.
    pub definition: &'a str,
}

/// The schema of a custom tool's arguments.
pub fn custom_schema(grammar: Option<Grammar<'_>>) -> Object {
    let description = match grammar {
        None => "The text for the tool.".to_owned(),
        Some(Grammar { syntax, definition }) => {
            format!("The text for the tool. It has to match this {syntax} grammar:\n{definition}")
        }
    };
    let field = json!({"type": "string", "description": description});
    Object::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), json!({ INPUT: field })),
        ("required".to_owned(), json!([INPUT])),
    ])
}

/// The arguments that hold the text for a custom tool.
pub fn custom_arguments(text: String) -> Object {
    Object::from_iter([(INPUT.to_owned(), Value::String(text))])
}

/// The text for a custom tool, out of the arguments. Those of a model that did not put it where it belongs are the text
/// themselves.
pub fn custom_text(arguments: Value) -> String {
    match arguments {
        Value::Object(mut fields) if fields.get(INPUT).is_some_and(Value::is_string) => match fields.remove(INPUT) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        },
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The same, out of arguments that came in pieces.
pub fn custom_text_of(json: &str) -> String {
    if json.trim().is_empty() {
        return String::new();
    }
    serde_json::from_str(json).map_or_else(|_| json.to_owned(), custom_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_out_as_it_went_in_and_odd_arguments_are_told_as_they_are() {
        let text = "a \"quoted\"\nline \\ é";
        let arguments = Value::Object(custom_arguments(text.to_owned()));
        assert_eq!(custom_text_of(&arguments.to_string()), text);
        assert_eq!(custom_text(arguments), text);
        for (odd, told) in [
            ("", ""),
            ("null", ""),
            ("{\"a\":1}", "{\"a\":1}"),
            ("{\"input\":2}", "{\"input\":2}"),
            ("{\"inp", "{\"inp"),
        ] {
            assert_eq!(custom_text_of(odd), told);
        }
    }
}
