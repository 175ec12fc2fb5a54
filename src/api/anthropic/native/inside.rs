//! A look inside the parts of a native body that may hold what Bedrock does not take: pictures and documents that are
//! somewhere else, and cache scopes. Nothing is decoded, and what is found is where it stands in the caller's bytes.
//!
//! Faults of form are not looked for: those are Claude's own to tell.

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::api::conversation::At;
use crate::error::{Error, Result};
use crate::splice::Members;

/// A source that points elsewhere.
#[derive(Debug)]
pub(super) struct Remote<'a> {
    /// The whole source, to be replaced.
    pub(super) source: &'a RawValue,
    /// Where it stands.
    pub(super) at: At,
    /// What it points to.
    pub(super) url: String,
    /// What is expected there.
    pub(super) media: Media,
}

/// What a source is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// A picture.
    Image,
    /// A document, a PDF.
    Document,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// Sources to fetch.
    pub(super) remote: Vec<Remote<'a>>,
    /// Cache controls with a scope, which only Anthropic's own service has.
    pub(super) scoped: Vec<(&'a RawValue, At)>,
}

/// Looks into `system`, `messages` and `tools`. A file kept by Anthropic is `Kind::Unsupported`.
pub(super) fn look<'a>(members: &Members<'a>) -> Result<Found<'a>> {
    let mut found = Found::default();
    for name in ["system", "tools"] {
        if let Some(value) = members.value(name).filter(|value| holds(value, &[SCOPE])) {
            let blocks: Content<'_> = serde_json::from_str(value.get()).unwrap_or_default();
            found.add(blocks, &|j| At::item(name, j))?;
        }
    }
    if let Some(value) = members.value("messages").filter(|value| holds(value, &[SCOPE, br#""url""#, br#""file""#])) {
        let messages: Vec<Message<'_>> = serde_json::from_str(value.get()).unwrap_or_default();
        for (i, message) in messages.into_iter().enumerate() {
            found.add(message.content, &|j| At::item("messages", i).at("content", j))?;
        }
    }
    Ok(found)
}

/// The member that asks for caching.
pub(super) const MARK: &str = "cache_control";

/// What asks for caching inside `system`, `tools` and `messages`: the values of [`MARK`].
pub(super) fn marks<'a>(members: &Members<'a>) -> Vec<&'a RawValue> {
    let mut found = Vec::new();
    for name in ["system", "tools", "messages"] {
        let Some(value) = members.value(name).filter(|value| holds(value, &[br#""cache_control""#])) else { continue };
        if name == "messages" {
            let messages: Vec<Message<'_>> = serde_json::from_str(value.get()).unwrap_or_default();
            for message in messages {
                message.content.collect_marks(&mut found);
            }
        } else {
            let blocks: Content<'_> = serde_json::from_str(value.get()).unwrap_or_default();
            blocks.collect_marks(&mut found);
        }
    }
    found
}

const SCOPE: &[u8] = br#""scope""#;

/// Whether one of these words, quotes and all, occurs. Base64 has no quotes, so that most bodies are looked at no
/// further, however large they are.
fn holds(value: &RawValue, words: &[&[u8]]) -> bool {
    words.iter().any(|word| memmem::find(value.get().as_bytes(), word).is_some())
}

impl<'a> Found<'a> {
    fn add(&mut self, content: Content<'a>, at: &dyn Fn(usize) -> At) -> Result<()> {
        for (j, block) in content.0.into_iter().enumerate() {
            let at = at(j);
            if let Some(control) = block.cache_control.filter(|control| holds(control, &[SCOPE])) {
                self.scoped.push((control, at.dot("cache_control")));
            }
            let media = match block.kind.as_deref() {
                Some("image") => Some(Media::Image),
                Some("document") => Some(Media::Document),
                _ => None,
            };
            if let Some((media, source)) = media.zip(block.source) {
                self.source(source, media, at)?;
            }
            self.add(block.content, &|k| at.at("content", k))?;
        }
        Ok(())
    }

    fn source(&mut self, raw: &'a RawValue, media: Media, at: At) -> Result<()> {
        // The content itself is most of a body: it is not read a second time to learn that it is there.
        if raw.get().len() > 64 * 1024 && !holds(raw, &[br#""url""#, br#""file""#]) {
            return Ok(());
        }
        let Ok(source) = serde_json::from_str::<Source<'_>>(raw.get()) else { return Ok(()) };
        match (source.kind.as_deref(), source.url) {
            (Some("url"), Some(url)) => {
                self.remote.push(Remote { source: raw, at: at.dot("source"), url: url.into_owned(), media });
                Ok(())
            }
            (Some("file"), _) => Err(Error::unsupported(at.dot("source.type"), NO_FILES)),
            (Some("content"), _) => self.add(source.content, &|k| at.at("source.content", k)),
            _ => Ok(()),
        }
    }
}

/// What is said to a request for a file of Anthropic's Files API.
pub(in crate::api::anthropic) const NO_FILES: &str =
    "Bedrock has no files to refer to: send the content as `base64`, or its `url`.";

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Content<'a>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_control: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Content<'a>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    content: Content<'a>,
}

/// The blocks of some content; none, if it is text or anything else.
#[derive(Default)]
struct Content<'a>(Vec<Block<'a>>);

impl<'a> Content<'a> {
    fn collect_marks(self, found: &mut Vec<&'a RawValue>) {
        for block in self.0 {
            found.extend(block.cache_control);
            block.content.collect_marks(found);
            let source = block.source.filter(|source| holds(source, &[br#""cache_control""#]));
            let source = source.and_then(|source| serde_json::from_str::<Source<'_>>(source.get()).ok());
            if let Some(source) = source {
                source.content.collect_marks(found);
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Content<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("content")
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(Content::default())
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Content::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Content::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = items.next_element()? {
                    blocks.push(block);
                }
                Ok(Content(blocks))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> (Vec<(String, String, Media)>, Vec<String>) {
        let members = Members::read(body.as_bytes()).unwrap();
        let found = look(&members).unwrap();
        let remote = found.remote.into_iter().map(|remote| (remote.at.to_string(), remote.url, remote.media)).collect();
        (remote, found.scoped.into_iter().map(|(_, at)| at.to_string()).collect())
    }

    #[test]
    fn sources_elsewhere_are_found_however_deep_they_stand() {
        let url = |url: &str| format!(r#"{{"type":"url","url":"{url}"}}"#);
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":"no url"}},{{"role":"user","content":[
                {{"type":"image","source":{}}},
                {{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"AAAA"}}}},
                {{"type":"tool_result","tool_use_id":"x","content":[{{"type":"text","text":"t"}},{{"type":"image","source":{}}}]}},
                {{"type":"document","source":{{"type":"content","content":[{{"type":"image","source":{}}}]}}}},
                {{"type":"document","source":{}}}]}}]}}"#,
            url("https://a/1"),
            url("https://a/2"),
            url("https://a/3"),
            url("https://a/4")
        );
        let (remote, scoped) = found(&body);
        let expected = [
            ("messages[1].content[0].source", "https://a/1", Media::Image),
            ("messages[1].content[2].content[1].source", "https://a/2", Media::Image),
            ("messages[1].content[3].source.content[0].source", "https://a/3", Media::Image),
            ("messages[1].content[4].source", "https://a/4", Media::Document),
        ];
        assert_eq!(remote, expected.map(|(at, url, media)| (at.to_owned(), url.to_owned(), media)));
        assert!(scoped.is_empty());
    }

    #[test]
    fn cache_scopes_are_found_wherever_a_cache_control_may_stand() {
        let control = r#""cache_control":{"type":"ephemeral","scope":"global"}"#;
        let body = format!(
            r#"{{"system":[{{"type":"text","text":"s",{control}}}],"tools":[{{"name":"a"}},{{"name":"b",{control}}}],
                "messages":[{{"role":"user","content":[{{"type":"text","text":"t",{control}}}]}}]}}"#
        );
        let at = ["system[0].cache_control", "tools[1].cache_control", "messages[0].content[0].cache_control"];
        assert_eq!(found(&body).1, at);
    }

    #[test]
    fn a_file_of_anthropics_is_refused_and_named() {
        let body = r#"{"messages":[{"content":[{"type":"document","source":{"type":"file","file_id":"file_1"}}]}]}"#;
        let error = look(&Members::read(body.as_bytes()).unwrap()).unwrap_err();
        assert_eq!(error.blamed(), Some("messages[0].content[0].source.type"));
    }

    #[test]
    fn a_body_of_any_form_is_left_to_claude() {
        for body in [
            r#"{"messages":{"url":"url"}}"#,
            r#"{"messages":[{"content":[{"type":7,"source":{"type":"url","url":[]}}]}]}"#,
            r#"{"messages":[{"content":[{"type":"image","source":"url"}]}],"system":7,"tools":"scope"}"#,
            r#"{"messages":[{"content":null},{"content":{"url":"url"}}]}"#,
        ] {
            assert_eq!(found(body), (vec![], vec![]), "{body}");
        }
    }
}
