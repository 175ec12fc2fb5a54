//! The items of a conversation as text: what a request brings, and what came before it. Pure.
//!
//! The invariant: an item that need not be changed keeps the bytes it came in, and faults of form are Bedrock's own to
//! tell.

use std::borrow::Cow;

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::super::forward::{data_url, pointer};
use super::super::super::pointed::is_http;
use super::super::state::{input_id, unreadable};
use super::super::translate::is_sealed;
use crate::api::conversation::At;
use crate::api::remote::{Payload, Remote};
use crate::error::{Error, Result};
use crate::report::{Action, Report};
use crate::responses::Turn;
use crate::splice::{Edits, Members, quoted};

/// The conversation that goes to the model.
#[derive(Debug)]
pub(super) struct Input<'a> {
    /// What the request brings.
    own: Vec<Item<'a>>,
    /// What came before it: items without brackets around them.
    earlier: Vec<String>,
    /// Whether the request's own text will not do.
    is_changed: bool,
}

#[derive(Debug)]
struct Item<'a> {
    text: Cow<'a, str>,
    /// Where it stands in the request's `input`.
    position: usize,
}

/// An item of the conversation as it is kept.
#[derive(Debug, PartialEq)]
pub(super) struct Kept {
    text: String,
    /// Its kind, if it came without an id.
    nameless: Option<String>,
}

/// Who made the model that an earlier turn was answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// That of the model that is asked.
    Same,
    /// Another: its reasoning can be read by nobody else.
    Other,
}

/// A place in an item that points elsewhere.
#[derive(Debug)]
pub(super) struct Pointed {
    /// Which of the items.
    index: usize,
    at: At,
    url: String,
    field: Field,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ImageUrl,
    FileData,
    FileUrl,
}

impl Pointed {
    /// What to fetch.
    pub(super) fn remote(&self) -> Remote {
        Remote { path: self.at.to_string(), url: self.url.clone() }
    }
}

/// As much of an item as tells what it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Shape<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    encrypted_content: Option<String>,
}

impl<'a> Shape<'a> {
    fn of(item: &'a str) -> Self {
        serde_json::from_str(item).unwrap_or_default()
    }

    /// A reference need not say its type.
    fn is_reference(&self) -> bool {
        match self.kind.as_deref() {
            Some(kind) => kind == "item_reference",
            None => self.role.is_none() && self.content.is_none() && self.id.is_some(),
        }
    }

    fn is_reasoning(&self) -> bool {
        self.kind.as_deref() == Some("reasoning")
    }

    /// Whether this is reasoning that the translation sealed, for models that are asked by it.
    fn is_sealed(&self) -> bool {
        self.is_reasoning() && self.encrypted_content.as_deref().is_some_and(is_sealed)
    }
}

/// As much of a part as may point elsewhere.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow)]
    file_data: Option<&'a RawValue>,
    #[serde(borrow)]
    file_url: Option<&'a RawValue>,
}

impl<'a> Part<'a> {
    /// What of it is to be fetched. A file that is there already need not be.
    fn pointer(&self) -> Option<(Field, Cow<'a, str>)> {
        let (field, value) = match *self {
            Self { image_url: Some(url), .. } => (Field::ImageUrl, url),
            Self { file_data: Some(data), .. } => (Field::FileData, data),
            Self { file_url: Some(url), .. } => (Field::FileUrl, url),
            _ => return None,
        };
        pointer(value).filter(|url| is_http(url)).map(|url| (field, url))
    }
}

const POINTERS: [&str; 3] = ["\"image_url\"", "\"file_data\"", "\"file_url\""];

/// Whether one of these words, quotes and all, occurs. Base64 has no quotes: a picture is passed over quickly.
fn holds(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| memmem::find(text.as_bytes(), word.as_bytes()).is_some())
}

/// Whether there may be something in `input` that Bedrock cannot take as it is: a reference, a URL, reasoning that
/// this gateway sealed. Most requests that are not to be kept are looked at no further.
pub(super) fn may_point_elsewhere(input: &RawValue) -> bool {
    holds(input.get(), &POINTERS) || holds(input.get(), &["\"id\"", "\"item_reference\"", "\"encrypted_content\""])
}

impl<'a> Input<'a> {
    /// The items that `input` is; a string is one message.
    pub(super) fn read(input: Option<&'a RawValue>) -> Result<Self> {
        let text = input.map_or("[]", RawValue::get);
        let own = if text.starts_with('"') {
            let message =
                format!(r#"{{"type":"message","role":"user","content":[{{"type":"input_text","text":{text}}}]}}"#);
            vec![Item { text: Cow::Owned(message), position: 0 }]
        } else {
            let wrong = |_| Error::invalid("input", "`input` has a wrong type or value: expected a text or items.");
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
            let item = |(position, item): (usize, &'a RawValue)| Item { text: Cow::Borrowed(item.get()), position };
            items.into_iter().enumerate().map(item).collect()
        };
        Ok(Self { own, earlier: Vec::new(), is_changed: false })
    }

    /// The references among the items: each with its place, and the id it names.
    pub(super) fn references(&self) -> Vec<(usize, Option<String>)> {
        let shapes = self.own.iter().map(|item| (item.position, Shape::of(&item.text)));
        shapes.filter(|(_, shape)| shape.is_reference()).map(|(position, shape)| (position, shape.id)).collect()
    }

    /// Puts `item` in the place of the reference at `position`.
    pub(super) fn resolve(&mut self, position: usize, item: &str) {
        self.own[position].text = Cow::Owned(item.to_owned());
        self.is_changed = true;
    }

    /// What points elsewhere in the items.
    pub(super) fn pointed(&self) -> Vec<Pointed> {
        let mut found = Vec::new();
        for (index, item) in self.own.iter().enumerate().filter(|(_, item)| holds(&item.text, &POINTERS)) {
            for (place, j, part) in parts(&item.text) {
                let part: Part<'_> = serde_json::from_str(part.get()).unwrap_or_default();
                let Some((field, url)) = part.pointer() else { continue };
                let name = match field {
                    Field::ImageUrl => "image_url",
                    Field::FileData => "file_data",
                    Field::FileUrl => "file_url",
                };
                let at = At::item("input", item.position).at(place, j).dot(name);
                found.push(Pointed { index, at, url: url.into_owned(), field });
            }
        }
        found
    }

    /// Puts what was found in the place of what pointed to it.
    pub(super) fn fill(&mut self, pointed: Vec<Pointed>, found: Vec<Payload>, report: &mut Report) -> Result<()> {
        let mut found: Vec<_> = pointed.into_iter().zip(found).collect();
        for (index, item) in self.own.iter_mut().enumerate() {
            let count = found.iter().take_while(|(pointed, _)| pointed.index == index).count();
            if count == 0 {
                continue;
            }
            let mut own = found.drain(..count);
            let mut edits = Edits::new(item.text.as_bytes());
            for (_, _, part) in parts(&item.text) {
                let shape: Part<'_> = serde_json::from_str(part.get()).unwrap_or_default();
                if shape.pointer().is_none() {
                    continue;
                }
                let Some((pointed, payload)) = own.next() else { break };
                report.add(Action::Fetched, pointed.at);
                edits.replace(part, filled(part, &pointed, payload)?);
            }
            drop(own);
            item.text = Cow::Owned(text(edits)?);
            self.is_changed = true;
        }
        Ok(())
    }

    /// The items as they are kept: each in the form in which it is listed, but for its id.
    pub(super) fn to_keep(&self) -> Vec<Kept> {
        self.own.iter().map(|item| Kept::of(&item.text)).collect()
    }

    /// Leaves reasoning out that this gateway sealed for models that are asked by translation.
    pub(super) fn leave_out_unreadable(&mut self, report: &mut Report) {
        let before = self.own.len();
        self.own.retain(|item| {
            let is_sealed = holds(&item.text, &["\"encrypted_content\""]) && Shape::of(&item.text).is_sealed();
            if is_sealed {
                report.add(Action::Dropped, At::item("input", item.position));
            }
            !is_sealed
        });
        self.is_changed |= self.own.len() < before;
    }

    /// Puts an earlier turn before the request's own items, after those that were put there before. Reasoning that the
    /// model could not read is left out.
    pub(super) fn put_after(&mut self, turn: &Turn, maker: Maker, report: &mut Report) -> Result<()> {
        self.is_changed = true;
        for list in [&turn.input, &turn.output] {
            if !holds(list, &["\"reasoning\""]) {
                let inside = list.trim().strip_prefix('[').and_then(|list| list.strip_suffix(']'));
                self.earlier.extend(inside.map(str::to_owned).filter(|inside| !inside.trim().is_empty()));
                continue;
            }
            for item in serde_json::from_str::<Vec<&RawValue>>(list).map_err(unreadable)? {
                let shape = Shape::of(item.get());
                // Reasoning without its content stands for what is stored at AWS, and nothing is.
                let is_lost = shape.encrypted_content.is_none() || maker == Maker::Other || shape.is_sealed();
                if shape.is_reasoning() && is_lost {
                    report.add(Action::Dropped, "previous_response_id");
                } else {
                    self.earlier.push(item.get().to_owned());
                }
            }
        }
        Ok(())
    }

    /// The whole conversation, unless it is what the request says already.
    pub(super) fn changed(&self) -> Option<String> {
        if !self.is_changed {
            return None;
        }
        let texts = || self.earlier.iter().map(String::as_str).chain(self.own.iter().map(|item| &*item.text));
        let mut input = String::with_capacity(texts().map(|text| text.len() + 1).sum::<usize>() + 2);
        for text in texts() {
            input.push(if input.is_empty() { '[' } else { ',' });
            input.push_str(text);
        }
        input.push_str(if input.is_empty() { "[]" } else { "]" });
        Some(input)
    }
}

/// The parts of an item, each with the list it is in and its place there.
fn parts(item: &str) -> Vec<(&'static str, usize, &RawValue)> {
    let shape = Shape::of(item);
    let mut found = Vec::new();
    for (name, value) in [("content", shape.content), ("output", shape.output)] {
        let parts = value.and_then(|value| serde_json::from_str::<Vec<&RawValue>>(value.get()).ok());
        found.extend(parts.into_iter().flatten().enumerate().map(|(j, part)| (name, j, part)));
    }
    found
}

/// A part with what was found in it.
fn filled(part: &RawValue, pointed: &Pointed, payload: Payload) -> Result<String> {
    let members = Members::of(part).map_err(Error::internal)?;
    let mut edits = Edits::new(part.get().as_bytes());
    if pointed.field == Field::ImageUrl {
        if let Some(url) = members.value("image_url") {
            edits.replace(url, data_url(payload.base64, &pointed.at.to_string())?);
        }
        return text(edits);
    }
    let is_named = members.value("filename").is_some_and(|name| name.get() != "null");
    let gone: &[&str] = if is_named { &["file_url", "file_data"] } else { &["file_url", "file_data", "filename"] };
    edits.remove(&members, gone);
    let said = payload.media_type.as_deref().and_then(|said| said.split(';').next());
    // Every PDF begins with "%PDF-".
    let is_pdf = payload.base64.starts_with("JVBERi");
    let media_type = if is_pdf { "application/pdf" } else { said.unwrap_or("application/octet-stream").trim() };
    edits.add("file_data", &quoted(&format!("data:{media_type};base64,{}", payload.base64)));
    if !is_named {
        edits.add("filename", &quoted(file_name(&pointed.url)));
    }
    text(edits)
}

/// A name for the file at `url`: Bedrock needs one.
fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    path.split_once('/').and_then(|(_, path)| path.rsplit('/').next()).filter(|name| !name.is_empty()).unwrap_or("file")
}

/// The text with its edits made.
fn text(edits: Edits<'_>) -> Result<String> {
    String::from_utf8(edits.apply().into()).map_err(Error::internal)
}

impl Kept {
    fn of(item: &str) -> Self {
        let plain = || Self { text: item.to_owned(), nameless: None };
        let Ok(members) = Members::read(item.as_bytes()) else { return plain() };
        let shape = Shape::of(item);
        let mut missing = vec![("id", shape.id.is_none(), None)];
        if shape.role.is_some() {
            let is_told = |key| members.value(key).is_some_and(|value| value.get() != "null");
            missing.push(("type", !is_told("type"), Some("\"message\"")));
            missing.push(("status", !is_told("status"), Some("\"completed\"")));
        }
        missing.retain(|(_, is_missing, _)| *is_missing);
        let mut edits = Edits::new(item.as_bytes());
        // A null would be there twice.
        edits.remove(&members, &missing.iter().map(|(key, ..)| *key).collect::<Vec<_>>());
        for (key, default) in missing.iter().filter_map(|(key, _, default)| Some((key, (*default)?))) {
            edits.add(key, default);
        }
        if let Some(content) = shape.content.filter(|content| content.get().starts_with('"')) {
            let said = content.get();
            let is_own = shape.role.is_some_and(|role| role.get() == "\"assistant\"");
            let part = if is_own {
                format!(r#"[{{"type":"output_text","annotations":[],"text":{said}}}]"#)
            } else {
                format!(r#"[{{"type":"input_text","text":{said}}}]"#)
            };
            edits.replace(content, part);
        }
        let nameless = shape.id.is_none().then(|| shape.kind.unwrap_or_default());
        text(edits).map_or_else(|_| plain(), |text| Self { text, nameless })
    }

    /// Appends the item, which is at `position` of the input of the response `id`.
    pub(super) fn write(&self, id: &str, position: usize, out: &mut String) {
        let inside = self.text.trim_start().strip_prefix('{');
        let Some((kind, inside)) = self.nameless.as_deref().zip(inside) else {
            out.push_str(&self.text);
            return;
        };
        out.push_str("{\"id\":");
        out.push_str(&quoted(&input_id(Some(kind), id, position)));
        out.push_str(if inside.trim_start() == "}" { "" } else { "," });
        out.push_str(inside);
    }
}

#[cfg(test)]
mod tests;
