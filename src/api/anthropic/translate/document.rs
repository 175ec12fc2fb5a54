//! Documents. Bedrock wants a name for each, from a small alphabet and used once; the model reads it, and the prompt cache
//! compares it, so that it follows from the request alone.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::anthropic::wire::{Block, Source, Whereabouts};
use crate::api::conversation::At;
use crate::converse::{Document, DocumentSource};
use crate::error::{Error, Result};
use crate::report::{Action, Report};

/// Bedrock's limit.
const MAX_NAME: usize = 200;

/// Media types and the names that Bedrock has for them.
const FORMATS: [(&str, &str); 9] = [
    ("application/pdf", "pdf"),
    ("text/plain", "txt"),
    ("text/markdown", "md"),
    ("text/html", "html"),
    ("text/csv", "csv"),
    ("application/msword", "doc"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.ms-excel", "xls"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
];

/// The documents of one request.
#[derive(Debug, Default)]
pub(super) struct Documents {
    taken: HashSet<String>,
    /// The next number behind a name that was taken.
    next: HashMap<String, u32>,
}

impl Documents {
    /// The document in `block`, which stands at `at`.
    pub(super) fn read(&mut self, block: Block, at: At, report: &mut Report) -> Result<Document> {
        let Some(Whereabouts::Source(source)) = block.source else {
            return Err(Error::invalid(at.dot("source"), "`source` has to be an object."));
        };
        let cites = block.citations.as_ref().is_some_and(|citations| citations["enabled"] == true);
        let (format, source) = content(*source, cites, at.dot("source"))?;
        let name = self.name(block.title.filter(|title| !title.trim().is_empty()), at, report);
        let context = block.context.filter(|context| !context.trim().is_empty());
        let citations = cites.then(|| json!({"enabled": true}));
        Ok(Document { format, name, source, context, citations })
    }

    /// The title as Bedrock takes it, or a number.
    fn name(&mut self, title: Option<String>, at: At, report: &mut Report) -> String {
        let base = match &title {
            None => format!("document-{}", self.taken.len() + 1),
            Some(title) => {
                let plain = |c: char| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' };
                let plain: String = title.chars().map(plain).collect();
                let words: Vec<&str> = plain.split_ascii_whitespace().collect();
                let mut name = words.join(" ");
                name.truncate(MAX_NAME - 8);
                let name = name.trim_end();
                if name.is_empty() { format!("document-{}", self.taken.len() + 1) } else { name.to_owned() }
            }
        };
        let mut name = base.clone();
        while !self.taken.insert(name.clone()) {
            let next = self.next.entry(base.clone()).or_insert(2);
            name = format!("{base} ({next})");
            *next += 1;
        }
        if title.is_some_and(|title| title != name) {
            report.add(Action::Renamed, at.dot("title"));
        }
        name
    }
}

/// Format and content. Text goes as bytes, which every model with documents takes, unless it is to be cited from.
fn content(source: Source, cites: bool, at: At) -> Result<(Option<String>, DocumentSource)> {
    let missing = |field: &'static str| Error::invalid(at.dot(field), format!("`{field}` is missing."));
    let as_bytes = |text: &str| (Some("txt".to_owned()), DocumentSource::Bytes(STANDARD.encode(text)));
    match source.kind.as_str() {
        "base64" => {
            let data = source.data.ok_or_else(|| missing("data"))?;
            let format = format(source.media_type.as_deref(), &data).ok_or_else(|| {
                Error::invalid(at.dot("media_type"), "This is no type of document that Bedrock takes.")
            })?;
            Ok((Some(format.to_owned()), DocumentSource::Bytes(data)))
        }
        "text" => {
            let text = source.data.ok_or_else(|| missing("data"))?;
            Ok(if cites { (None, DocumentSource::Text(text)) } else { as_bytes(&text) })
        }
        "content" => {
            let texts = texts(source.content.ok_or_else(|| missing("content"))?, at)?;
            if cites {
                let blocks: Vec<Value> = texts.into_iter().map(|text| json!({"text": text})).collect();
                return Ok((None, DocumentSource::Content(Value::Array(blocks))));
            }
            Ok(as_bytes(&texts.join("\n\n")))
        }
        "file" => Err(Error::unsupported(at.dot("type"), crate::api::anthropic::native::NO_FILES)),
        _ => Err(Error::invalid(at.dot("type"), "`type` has to be `base64`, `text`, `content` or `url`.")),
    }
}

/// What the bytes are: a PDF shows itself; for the rest the label counts.
fn format(media_type: Option<&str>, data: &str) -> Option<&'static str> {
    // Every PDF begins with "%PDF-".
    if data.starts_with("JVBERi") {
        return Some("pdf");
    }
    let essence = media_type?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    FORMATS.iter().find(|(name, _)| *name == essence).map(|(_, format)| *format)
}

/// The texts of a document that comes in pieces.
fn texts(content: Value, at: At) -> Result<Vec<String>> {
    let blocks = match content {
        Value::String(text) => return Ok(vec![text]),
        Value::Array(blocks) => blocks,
        _ => return Err(Error::invalid(at.dot("content"), "`content` has to be a string or an array.")),
    };
    let mut texts = Vec::with_capacity(blocks.len());
    for (i, mut block) in blocks.into_iter().enumerate() {
        match block["text"].take() {
            Value::String(text) if block["type"] == "text" => texts.push(text),
            _ => {
                let message = "A document in pieces may hold only text for this model.";
                return Err(Error::unsupported(at.at("content", i), message));
            }
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(titles: &[Option<&str>]) -> (Vec<String>, String) {
        let (mut documents, mut report) = (Documents::default(), Report::default());
        let name =
            |(i, title): (usize, Option<&str>)| documents.name(title.map(str::to_owned), At::item("m", i), &mut report);
        (titles.iter().copied().enumerate().map(name).collect(), report.to_string())
    }

    #[test]
    fn names_are_the_titles_in_bedrocks_alphabet_and_each_is_used_once() {
        let (names, report) = names(&[None, Some("Plan (v2).pdf"), Some("Plan (v2) pdf"), None, Some("é"), Some("ok")]);
        assert_eq!(names, ["document-1", "Plan (v2) pdf", "Plan (v2) pdf (2)", "document-4", "document-5", "ok"]);
        assert_eq!(report, "renamed:m[1].title,renamed:m[2].title,renamed:m[4].title");
    }

    #[test]
    fn a_pdf_is_known_by_its_bytes_and_the_rest_by_its_label() {
        assert_eq!(format(Some("text/plain"), "JVBERi0xLjcK"), Some("pdf"));
        assert_eq!(format(Some("text/CSV; charset=utf-8"), "YQ=="), Some("csv"));
        assert_eq!((format(Some("image/png"), "YQ=="), format(None, "YQ==")), (None, None));
    }
}
