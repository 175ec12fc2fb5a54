//! The body of `StartAsyncInvoke`: read, and made into what one Region gets. Pure; what is not changed keeps its bytes.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::splice::{Edits, Members};

/// How deep a model's input may be.
const DEEPEST: usize = 32;

/// A body, and where in it stands what is changed.
#[derive(Debug)]
pub(super) struct Start<'a> {
    text: &'a [u8],
    /// The model as the caller named it.
    pub(super) model: Cow<'a, str>,
    model_at: &'a RawValue,
    /// The caller's token, if there is one.
    pub(super) token: Option<Cow<'a, str>>,
    token_at: Option<&'a RawValue>,
    /// Where to write, and every other location in S3 that the model's input names.
    pub(super) locations: Vec<Location<'a>>,
}

/// A location in S3.
#[derive(Debug)]
pub(super) struct Location<'a> {
    /// Which field names it.
    pub(super) field: String,
    pub(super) uri: Cow<'a, str>,
    at: &'a RawValue,
}

impl<'a> Start<'a> {
    /// Reads a body. The first of its locations is the output.
    pub(super) fn read(text: &'a [u8]) -> Result<Self> {
        let body = Members::read(text)
            .map_err(|error| Error::invalid("body", format!("The request body is not a JSON object: {error}.")))?;
        refuse_repeated(&body, "")?;
        let model_at = required(&body, "modelId", "modelId")?;
        let token_at = body.value("clientRequestToken");
        let output = object(required(&body, "outputDataConfig", "outputDataConfig")?, "outputDataConfig")?;
        let field = "outputDataConfig.s3OutputDataConfig";
        refuse_others(&output, &["s3OutputDataConfig"], "outputDataConfig")?;
        let output = object(required(&output, "s3OutputDataConfig", field)?, field)?;
        refuse_others(&output, &["s3Uri"], field)?;
        let field = format!("{field}.s3Uri");
        let at = required(&output, "s3Uri", &field)?;
        let mut locations = vec![Location { uri: string(at, &field)?, at, field }];
        collect(required(&body, "modelInput", "modelInput")?, "modelInput", 0, &mut locations)?;
        Ok(Self {
            text,
            model: string(model_at, "modelId")?,
            model_at,
            token: token_at.map(|value| string(value, "clientRequestToken")).transpose()?,
            token_at,
            locations,
        })
    }

    /// The caller's output location.
    pub(super) fn output(&self) -> &str {
        self.locations.first().map_or("", |location| &location.uri)
    }

    /// The body with another model, another token in the place of one that is there, and its locations as `named`.
    pub(super) fn body(&self, model: &str, token: Option<&str>, named: impl Fn(&str) -> String) -> Bytes {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut edits = Edits::new(self.text);
        edits.replace(self.model_at, quoted(model));
        if let (Some(at), Some(token)) = (self.token_at, token) {
            edits.replace(at, quoted(token));
        }
        for location in &self.locations {
            edits.replace(location.at, quoted(&named(&location.uri)));
        }
        edits.apply()
    }
}

/// Every location in S3 that a model's input at `path` names.
pub(super) fn locations<'a>(input: &'a RawValue, path: &str) -> Result<Vec<Location<'a>>> {
    let mut found = Vec::new();
    collect(input, path, 0, &mut found)?;
    Ok(found)
}

fn required<'a>(members: &Members<'a>, key: &str, field: &str) -> Result<&'a RawValue> {
    members.value(key).ok_or_else(|| Error::invalid(field, format!("`{field}` is missing.")))
}

fn object<'a>(value: &'a RawValue, field: &str) -> Result<Members<'a>> {
    let members = Members::of(value).map_err(|_| Error::invalid(field, format!("`{field}` must be an object.")))?;
    refuse_repeated(&members, field)?;
    Ok(members)
}

fn string<'a>(value: &'a RawValue, field: &str) -> Result<Cow<'a, str>> {
    text(value).ok_or_else(|| Error::invalid(field, format!("`{field}` must be a string.")))
}

/// The text of a string, borrowed where it has no escapes.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    if !value.get().starts_with('"') {
        return None;
    }
    match serde_json::from_str::<&str>(value.get()) {
        Ok(text) => Some(text.into()),
        Err(_) => serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned),
    }
}

/// What is given twice would be read here in one way, and perhaps at AWS in another.
fn refuse_repeated(members: &Members<'_>, path: &str) -> Result<()> {
    match members.repeated() {
        Some(key) => {
            let field = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            Err(Error::invalid(field.clone(), format!("`{field}` is given twice.")))
        }
        None => Ok(()),
    }
}

/// Where and how to write is the operator's to say: no other account's bucket, no other key.
fn refuse_others(members: &Members<'_>, known: &[&str], path: &str) -> Result<()> {
    match members.iter().find(|member| !known.contains(&&*member.key)) {
        Some(member) => {
            let field = format!("{path}.{}", member.key);
            let message = format!("`{field}` cannot be chosen: this gateway writes to its operator's bucket.");
            Err(Error::unsupported(field, message))
        }
        None => Ok(()),
    }
}

/// Whether a location may be in it: not in a number, of which an input may have millions.
fn may_name(value: &RawValue) -> bool {
    matches!(value.get().as_bytes().first(), Some(b'{' | b'[' | b'"'))
}

/// Every text that names a location in S3, wherever it stands: the gateway's role could read what the caller may not.
fn collect<'a>(value: &'a RawValue, path: &str, depth: usize, found: &mut Vec<Location<'a>>) -> Result<()> {
    if depth > DEEPEST {
        return Err(Error::invalid("modelInput", "`modelInput` is nested too deeply."));
    }
    let broken = |_| Error::invalid("modelInput", "`modelInput` is not valid JSON.");
    match value.get().as_bytes().first() {
        Some(b'{') => {
            for member in Members::of(value).map_err(broken)?.iter().filter(|member| may_name(member.value)) {
                collect(member.value, &format!("{path}.{}", member.key), depth + 1, found)?;
            }
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(value.get()).map_err(broken)?;
            for (index, item) in items.into_iter().enumerate().filter(|(_, item)| may_name(item)) {
                collect(item, &format!("{path}[{index}]"), depth + 1, found)?;
            }
        }
        Some(b'"') => {
            let uri = text(value).filter(|text| {
                let start = text.trim_start().as_bytes();
                start.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"s3://"))
            });
            found.extend(uri.map(|uri| Location { field: path.to_owned(), uri, at: value }));
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"modelId": "m", "clientRequestToken":"t", "later" : [1.0e1],
 "modelInput": {"text": "s3 is not a location", "media": [{"uri": "s3:\/\/bedrock-gateway/in"}]},
 "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bedrock-gateway/out"}}}"#;

    #[test]
    fn only_model_token_and_locations_are_changed() {
        let start = Start::read(BODY.as_bytes()).unwrap();
        assert_eq!((&*start.model, start.token.as_deref()), ("m", Some("t")));
        assert_eq!(start.output(), "s3://bedrock-gateway/out");
        let fields: Vec<&str> = start.locations.iter().map(|location| &*location.field).collect();
        assert_eq!(fields, ["outputDataConfig.s3OutputDataConfig.s3Uri", "modelInput.media[0].uri"]);
        let made = start.body("a.b", Some("t2"), |uri| uri.replace("bedrock-gateway", "bucket"));
        let expected = BODY
            .replace(r#""m""#, r#""a.b""#)
            .replace(r#":"t""#, r#":"t2""#)
            .replace(r#""s3:\/\/bedrock-gateway/in""#, r#""s3://bucket/in""#)
            .replace("bedrock-gateway/out", "bucket/out");
        assert_eq!(made, expected);
    }

    #[test]
    fn what_is_missing_wrong_twice_or_not_the_callers_to_say_is_named() {
        let body = |from: &str, to: &str| BODY.replacen(from, to, 1);
        let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
        for (body, field) in [
            (body(r#""modelId": "m","#, ""), "modelId"),
            (body(r#""m""#, "7"), "modelId"),
            (body(r#""later""#, r#""modelId""#), "modelId"),
            (body(r#""t""#, "null"), "clientRequestToken"),
            (body(r#"{"s3OutputDataConfig""#, r#"{"other""#), "outputDataConfig.other"),
            (body(r#""s3Uri""#, r#""kmsKeyId""#), "outputDataConfig.s3OutputDataConfig.kmsKeyId"),
            (body(r#"{"s3Uri""#, r#"{"s3Uri":"","s3Uri""#), "outputDataConfig.s3OutputDataConfig.s3Uri"),
            (body(r#""s3 is not a location""#, &deep), "modelInput"),
            ("[]".to_owned(), "body"),
        ] {
            let error = Start::read(body.as_bytes()).unwrap_err();
            assert_eq!(error.blamed(), Some(field), "{body}");
        }
    }

    #[test]
    fn a_location_is_found_however_it_is_written() {
        for text in ["S3://other/a", " s3://other/a", r"\u0073\u0033://other/a"] {
            let body = BODY.replacen("s3 is not a location", text, 1);
            assert_eq!(Start::read(body.as_bytes()).unwrap().locations.len(), 3, "{text}");
        }
    }
}
