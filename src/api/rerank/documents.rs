//! From documents to texts, which is all that the models take; pure.

use std::borrow::Cow;

use serde_json::Value;

use super::wire::Document;
use crate::converse::Object;
use crate::error::{Error, Result};
use crate::report::{Action, Report};

/// The texts of `documents`. Of an object that is the field `text`, or the `fields` that the caller names; several become
/// one text of a line each, as Cohere advises, and that is reported.
pub(super) fn texts<'a>(
    documents: &'a [Document],
    fields: Option<&[String]>,
    report: &mut Report,
) -> Result<Vec<Cow<'a, str>>> {
    if fields.is_some_and(<[String]>::is_empty) {
        return Err(Error::invalid("rank_fields", "`rank_fields` is empty: name a field, or leave it out."));
    }
    let one = |(index, document): (usize, &'a Document)| match document {
        Document::Text(text) => Ok(Cow::Borrowed(text.as_str())),
        Document::Fields(object) => match fields {
            None => sole(object, "text", index),
            Some([field]) => sole(object, field, index),
            Some(fields) => {
                report.add(Action::Merged, format!("documents[{index}]"));
                joined(object, fields, index)
            }
        },
    };
    documents.iter().enumerate().map(one).collect()
}

fn sole<'a>(object: &'a Object, field: &str, index: usize) -> Result<Cow<'a, str>> {
    match object.get(field) {
        Some(Value::String(text)) => Ok(Cow::Borrowed(text)),
        Some(Value::Null) | None => {
            let message = format!("A document is a string, or an object with the field `{field}`.");
            Err(Error::invalid(format!("documents[{index}]"), message))
        }
        Some(other) => Ok(Cow::Owned(other.to_string())),
    }
}

fn joined<'a>(object: &'a Object, fields: &[String], index: usize) -> Result<Cow<'a, str>> {
    let mut lines = Vec::new();
    for field in fields {
        if object.get(field).is_some_and(|value| !value.is_null()) {
            lines.push(format!("{field}: {}", sole(object, field, index)?));
        }
    }
    if lines.is_empty() {
        let message = "The document has none of the fields that `rank_fields` names.";
        return Err(Error::invalid(format!("documents[{index}]"), message));
    }
    Ok(Cow::Owned(lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(documents: Value, fields: Option<&[&str]>) -> Result<(Vec<String>, String)> {
        let documents: Vec<Document> = serde_json::from_value(documents).unwrap();
        let fields: Option<Vec<String>> = fields.map(|fields| fields.iter().map(|field| (*field).to_owned()).collect());
        let mut report = Report::default();
        let texts = texts(&documents, fields.as_deref(), &mut report)?;
        Ok((texts.into_iter().map(Cow::into_owned).collect(), report.to_string()))
    }

    #[test]
    fn an_object_is_its_text_or_the_fields_that_are_named() {
        let documents = json!(["a", {"text": "b", "title": "t"}]);
        assert_eq!(read(documents.clone(), None).unwrap(), (vec!["a".into(), "b".into()], String::new()));
        assert_eq!(read(documents.clone(), Some(&["title"])).unwrap().0, ["a", "t"]);
        let several = read(json!(["a", {"text": "b", "title": "t", "n": 1}, {"n": 2}]), Some(&["title", "text", "n"]));
        let expected = vec!["a".into(), "title: t\ntext: b\nn: 1".into(), "n: 2".into()];
        assert_eq!(several.unwrap(), (expected, "merged:documents[1],merged:documents[2]".into()));
    }

    #[test]
    fn an_object_without_such_fields_is_named_by_its_index() {
        for (fields, path) in
            [(None, "documents[1]"), (Some(&["x", "y"][..]), "documents[1]"), (Some(&[]), "rank_fields")]
        {
            let error = read(json!(["a", {"title": "t"}]), fields).unwrap_err();
            assert_eq!(error.blamed(), Some(path));
        }
    }
}
