//! What an operation reads elsewhere than in a JSON body, against its service's own model: path, query and headers of Bedrock's
//! operations, the forms of STS and IAM. The members are told by the names that the model gives them.

use std::collections::BTreeMap;

use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::shape;
use crate::simulator::errors::Failure;
use crate::simulator::form::Form;
use crate::simulator::handler::query;

/// Checks path, query and headers of a call of this operation.
pub(crate) fn check(operation: &str, parts: &Parts) -> Result<(), Failure> {
    let name = format!("@{operation}");
    let Some(shape) = shape::named(&name) else { return Ok(()) };
    let query: BTreeMap<String, String> = query(parts.uri.query().unwrap_or_default());
    let segment = |number: &str| {
        let segment = parts.uri.path().split('/').skip(1).nth(number.parse().ok()?)?;
        Some(percent_decode_str(segment).decode_utf8_lossy().into_owned())
    };
    let mut found = Map::new();
    for (member, target) in shape.member_shapes() {
        let Some((place, wire)) = shape.places.get(member) else { continue };
        let text = match place.as_str() {
            "uri" => segment(wire),
            "header" => parts.headers.get(wire).and_then(|value| value.to_str().ok()).map(str::to_owned),
            _ => query.get(wire).cloned(),
        };
        if let Some(text) = text {
            found.insert(member.to_owned(), shape::read_text(target, &text)?);
        }
    }
    shape::check(&name, &Value::Object(found))
}

/// Checks a form against the shape named `shape`. What the model has but is not `simulated` is refused: it would be ignored.
pub(crate) fn check_form(shape: &str, form: &Form, simulated: &[&str]) -> Result<(), Failure> {
    let read = read(shape, form, "")?.unwrap_or_else(|| Value::Object(Map::new()));
    shape::check(shape, &read)?;
    let mut given = read.as_object().into_iter().flat_map(|read| read.keys());
    match given.find(|member| !simulated.contains(&member.as_str())) {
        Some(member) => Err(Failure::new(501, "NotImplemented", format!("The parameter {member} is not simulated."))),
        None => Ok(()),
    }
}

/// What a form has under `prefix`, if it has something.
fn read(name: &str, form: &Form, prefix: &str) -> Result<Option<Value>, Failure> {
    let below = |part: &str| if prefix.is_empty() { part.to_owned() } else { format!("{prefix}.{part}") };
    let Some(shape) = shape::named(name).filter(|_| prefix.is_empty() || form.has(prefix)) else { return Ok(None) };
    match shape.kind.as_str() {
        "structure" => {
            let mut found = Map::new();
            for (member, target) in shape.member_shapes() {
                let wire = shape.names.get(member).map_or(member, String::as_str);
                if let Some(value) = read(target, form, &below(wire))? {
                    found.insert(member.to_owned(), value);
                }
            }
            Ok(Some(Value::Object(found)))
        }
        "list" => {
            let target = shape.member.as_deref().unwrap_or_default();
            let mut items = Vec::new();
            for number in 1.. {
                match read(target, form, &below(&format!("member.{number}")))? {
                    Some(item) => items.push(item),
                    None => break,
                }
            }
            Ok((!items.is_empty()).then_some(Value::Array(items)))
        }
        _ => form.field(prefix).map(|text| shape::read_text(name, text)).transpose(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uri: &str, operation: &str) -> String {
        let parts = axum::http::Request::get(uri).body(()).unwrap().into_parts().0;
        check(operation, &parts)
            .map_or_else(|failure| format!("{}: {}", failure.name, failure.message), |()| "ok".to_owned())
    }

    #[test]
    fn paths_and_queries_are_held_to_the_model() {
        assert_eq!(told("/inference-profiles?maxResults=5&type=APPLICATION", "ListInferenceProfiles"), "ok");
        let message = told("/inference-profiles?maxResults=0&type=OTHER", "ListInferenceProfiles");
        assert!(message.starts_with("ValidationException: 2 validation errors detected: "), "{message}");
        assert!(
            message.contains("Value '0' at 'maxResults'") && message.contains("Value 'OTHER' at 'typeEquals'"),
            "{message}"
        );
        assert!(
            told("/inference-profiles?maxResults=x", "ListInferenceProfiles").starts_with("SerializationException")
        );
        assert!(told("/foundation-models/a%20b", "GetFoundationModel").contains("Value 'a b' at 'modelIdentifier'"));
        assert!(
            told("/async-invoke?submitTimeAfter=yesterday", "ListAsyncInvokes").starts_with("SerializationException")
        );
    }

    #[test]
    fn forms_are_read_as_nested_as_they_are_and_what_is_not_simulated_is_told() {
        let check = |text: &str| {
            let form =
                Form::parse(format!("RoleArn=arn:aws:iam::000000000000:role/a&RoleSessionName=me&{text}").as_bytes());
            let result =
                check_form("sts#AssumeRoleRequest", &form, &["roleArn", "roleSessionName", "tags", "durationSeconds"]);
            result.map_or_else(|failure| format!("{}: {}", failure.name, failure.message), |()| "ok".to_owned())
        };
        assert_eq!(check("Tags.member.1.Key=a&Tags.member.1.Value=b"), "ok");
        assert!(check("Tags.member.1.Key=a").contains("Value null at 'tags.1.member.value'"));
        assert!(check("Tags.member.1.Value=a").contains("Value null at 'tags.1.member.key'"));
        assert!(check("DurationSeconds=5").contains("at 'durationSeconds'"));
        assert!(check("DurationSeconds=x").starts_with("SerializationException"));
        assert_eq!(check("Policy=%7B%7D"), "NotImplemented: The parameter policy is not simulated.");
    }
}
