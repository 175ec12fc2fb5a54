//! The native lane of chat completions: models whose Bedrock endpoint speaks OpenAI's dialect get the body as it came.
//!
//! Only what the lane itself needs is changed, by bytes: the model, pictures that are only pointed at, and the request
//! for the usage, which is taken out of the stream again where the client did not ask for it. Answers are forwarded
//! untouched.

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error;
use super::forward::{ToolHead, data_url, may_name, name_tier, pointer};
use super::translate::performance;
use crate::api::answer::{annotate, of_json};
use crate::api::body;
use crate::api::caller::Strictness;
use crate::api::native_headers::{agree, bedrocks};
use crate::api::remote::{Remote, fetch_all};
use crate::api::sse;
use crate::catalog::{Catalog, Hosting, Model, Resolved};
use crate::converse::Object;
use crate::error::{Error, Result};
use crate::gateway::{Asked, Gateway, LATENCY, Origin, Trail};
use crate::report::{Action, Report};
use crate::splice::{Edits, Members};
use crate::tenancy::Caller;
use crate::upstream::{Call, Frame, Operation};

/// Which way a model is asked for a chat completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// As it is, on the runtime's own chat completions.
    Native,
    /// Translated, by Converse.
    Converse,
}

/// The native lane where the catalog says that the runtime takes the model's chat completions, unless several answers
/// are asked for: those are made by asking several times. Nor for custom
/// tools and the `functions` of 2023, which Bedrock knows nothing of, nor for ARNs that cannot be named in a body.
pub(super) fn lane(model: &Resolved, head: &Head) -> Lane {
    let has_custom = head.tools.iter().flatten().any(ToolHead::is_custom);
    let has_path = model.hosting().is_none_or(Hosting::is_named_in_bodies);
    let takes = has_path && head.n.is_none_or(|n| n == 1) && head.functions.is_none() && !has_custom;
    if takes && resolves_to_one(model) { Lane::Native } else { Lane::Converse }
}

/// Whether the native lane may be the one for `body`.
pub(super) fn may_take(body: &[u8], catalog: &Catalog) -> bool {
    may_name(body, catalog, resolves_to_one)
}

/// Whether the runtime takes the model's chat completions.
pub(in crate::api) fn speaks_chat(model: &Model) -> bool {
    model.apis.chat_completions == Some(true)
}

fn resolves_to_one(model: &Resolved) -> bool {
    model.model.as_deref().is_some_and(speaks_chat)
}

/// What the gateway itself has to know of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
pub(super) struct Head {
    /// By any name the gateway knows.
    pub(super) model: String,
    stream: Option<bool>,
    stream_options: Option<Object>,
    n: Option<u32>,
    functions: Option<IgnoredAny>,
    tools: Option<Vec<ToolHead>>,
    user: Option<String>,
}

/// Reads what the gateway has to know, and passes over the rest.
pub(super) fn head(body: &[u8]) -> Result<Head> {
    body::read(body)
}

/// Whether the usage that ends a stream was asked for by the client, or only by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Usage {
    Asked,
    Hidden,
}

/// A picture that the runtime would refuse because it is only pointed at.
#[derive(Debug)]
struct Picture<'a> {
    remote: Remote,
    /// The URL's place in the body.
    url: &'a RawValue,
}

/// Answers a request on the native lane.
pub(super) async fn create(
    gateway: &Gateway,
    caller: &Caller,
    (trail, strictness): (Trail, Strictness),
    (model, head): (&Asked, Head),
    (headers, body): (&HeaderMap, Bytes),
) -> Result<Response> {
    let mut report = Report::default();
    let mut headers = bedrocks(headers);
    let (body, usage) = trail.wait_for(prepare(gateway, &head, (&mut headers, body), &mut report)).await?;
    strictness.judge(&report)?;
    let call = Call { operation: Operation::ChatCompletions, headers, body };
    let origin = Origin {
        surface: "openai",
        operation: "chat",
        trail: trail.clone(),
        end_user: head.user,
        status: error::status,
    };
    if head.stream == Some(true) {
        let answer = gateway.forward_stream(caller, origin, model, call).await?;
        let (_, frames) = answer.body;
        Ok(annotate(sse::response(frames, Chunks { usage, trail }), &answer.served, &report))
    } else {
        let answer = gateway.forward(caller, origin, model, call).await?;
        Ok(annotate(of_json(answer.body.body), &answer.served, &report))
    }
}

/// The body as it goes to AWS, without its model. Waits for nothing but the files that it points to.
async fn prepare(
    gateway: &Gateway,
    head: &Head,
    (headers, body): (&mut HeaderMap, Bytes),
    report: &mut Report,
) -> Result<(Bytes, Usage)> {
    // The head was read; text that is no UTF-8 is first met here.
    let members = body::object(&body)?;
    let mut edits = Edits::new(&body);
    edits.remove(&members, &["model", PERFORMANCE]);
    name_tier(&members, &mut edits, headers)?;
    ask_for_latency(&members, headers)?;
    let usage = ask_for_usage(head, &members, &mut edits);
    let pictures = pictures(&members)?;
    if !pictures.is_empty() {
        let wanted = pictures.iter().map(|picture| picture.remote.clone()).collect();
        for (payload, picture) in fetch_all(gateway.fetcher(), wanted).await?.into_iter().zip(pictures) {
            edits.replace(picture.url, data_url(payload.base64, &picture.remote.path)?);
            report.add(Action::Fetched, picture.remote.path);
        }
    }
    Ok((edits.apply(), usage))
}

/// Converse's member for it, which this surface takes as well.
const PERFORMANCE: &str = "performanceConfig";

/// Here it is a header that says whether the answer is to hurry.
fn ask_for_latency(members: &Members<'_>, headers: &mut HeaderMap) -> Result<()> {
    let Some(value) = members.value(PERFORMANCE) else { return Ok(()) };
    let asked = serde_json::from_str(value.get())
        .map_err(|_| Error::invalid(PERFORMANCE, "`performanceConfig` has a wrong type or value."))?;
    match performance(asked)? {
        Some(asked) => agree(headers, LATENCY, asked["latency"].as_str().unwrap_or_default()),
        None => Ok(()),
    }
}

/// A stream has to end by telling its usage, whether or not the client wants to know.
fn ask_for_usage(head: &Head, members: &Members<'_>, edits: &mut Edits<'_>) -> Usage {
    let options = head.stream_options.as_ref();
    let asked = options.and_then(|options| options.get("include_usage")?.as_bool());
    if head.stream != Some(true) || asked == Some(true) {
        return Usage::Asked;
    }
    let mut options = options.cloned().unwrap_or_default();
    options.insert("include_usage".to_owned(), true.into());
    let options = Value::Object(options).to_string();
    match members.value("stream_options") {
        Some(value) => edits.replace(value, options),
        None => edits.add("stream_options", &options),
    }
    Usage::Hidden
}

/// The pictures that are pointed at by http.
fn pictures<'a>(members: &Members<'a>) -> Result<Vec<Picture<'a>>> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow)]
        image_url: Option<&'a RawValue>,
    }
    let Some(messages) = members.value("messages").filter(|messages| messages.get().contains("\"image_url\"")) else {
        return Ok(Vec::new());
    };
    let refused = |path: String| Error::invalid(path.clone(), format!("`{path}` has a wrong type or value."));
    let messages: Vec<Message<'a>> =
        serde_json::from_str(messages.get()).map_err(|_| refused("messages".to_owned()))?;
    let mut pictures = Vec::new();
    for (i, message) in messages.into_iter().enumerate() {
        let Some(content) = message.content.filter(|content| content.get().starts_with('[')) else { continue };
        let path = || format!("messages[{i}].content");
        let parts: Vec<Part<'a>> = serde_json::from_str(content.get()).map_err(|_| refused(path()))?;
        for (j, image) in parts.into_iter().enumerate().filter_map(|(j, part)| Some((j, part.image_url?))) {
            let url = match Members::of(image) {
                Ok(image) => image.value("url"),
                Err(_) => Some(image),
            };
            let Some(place) = url else { continue };
            let Some(url) = pointer(place) else { continue };
            let path = format!("{}[{j}].image_url.url", path());
            pictures.push(Picture { remote: Remote { path, url: url.into_owned() }, url: place });
        }
    }
    Ok(pictures)
}

/// Forwards the chunks of one answer.
struct Chunks {
    usage: Usage,
    trail: Trail,
}

impl sse::Render for Chunks {
    type Item = Frame;

    fn event(&mut self, frame: Frame, out: &mut BytesMut) -> Result<()> {
        if let Some(failure) = frame.failure() {
            return Err(failure.error);
        }
        if self.usage == Usage::Asked || !tells_usage(&frame.payload) {
            out.extend_from_slice(&frame.raw);
        } else if let Some(chunk) = without_usage(&frame.payload) {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(&chunk);
            out.extend_from_slice(b"\n\n");
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut BytesMut) {
        // `[DONE]` was the last frame.
    }

    fn error(&mut self, broken: &Error, out: &mut BytesMut) {
        error::event(broken, self.trail.id().as_str(), out);
    }
}

fn tells_usage(chunk: &[u8]) -> bool {
    const MEMBER: &[u8] = br#""usage""#;
    chunk.windows(MEMBER.len()).any(|window| window == MEMBER)
}

/// A chunk as it would be had nobody asked for the usage; `None` for the one that only tells it.
fn without_usage(chunk: &[u8]) -> Option<Bytes> {
    let Ok(members) = Members::read(chunk) else { return Some(Bytes::copy_from_slice(chunk)) };
    let is_told = members.value("usage").is_some_and(|usage| usage.get() != "null");
    let is_empty = members.value("choices").is_some_and(|choices| choices.get()[1..].trim_start() == "]");
    if is_told && is_empty {
        return None;
    }
    let mut edits = Edits::new(chunk);
    edits.remove(&members, &["usage"]);
    Some(edits.apply())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn prepared(body: &str) -> (String, Usage) {
        let head: Head = serde_json::from_str(body).unwrap();
        let members = Members::read(body.as_bytes()).unwrap();
        let mut edits = Edits::new(body.as_bytes());
        edits.remove(&members, &["model"]);
        let usage = ask_for_usage(&head, &members, &mut edits);
        (String::from_utf8(edits.apply().to_vec()).unwrap(), usage)
    }

    #[test]
    fn only_the_model_goes_and_the_usage_is_asked_for_where_the_client_does_not() {
        let plain = r#"{"messages":[ 1.0 ],"model":"m","new_field":{"a": 1}}"#;
        assert_eq!(prepared(plain), (r#"{"messages":[ 1.0 ],"new_field":{"a": 1}}"#.to_owned(), Usage::Asked));
        let streamed = r#"{"model":"m","stream":true}"#;
        let asked = r#"{"stream":true,"stream_options":{"include_usage":true}}"#.to_owned();
        assert_eq!(prepared(streamed), (asked.clone(), Usage::Hidden));
        let with_options = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(prepared(with_options), (asked, Usage::Asked));
        let other = r#"{"model":"m","stream":true,"stream_options":{"x":1,"include_usage":false}}"#;
        let merged = r#"{"stream":true,"stream_options":{"x":1,"include_usage":true}}"#.to_owned();
        assert_eq!(prepared(other), (merged, Usage::Hidden));
    }

    #[test]
    fn the_lane_is_looked_for_without_reading_the_body() {
        let catalog = Catalog::configured(&Config::default()).unwrap();
        let found = |body: &str| may_take(body.as_bytes(), &catalog);
        assert!(found(r#"{"messages":[],"model" : "gpt-oss-120b"}"#));
        assert!(found(r#"{"x":{"model":"nova-lite"},"model":"openai.gpt-oss-120b-1:0"}"#));
        for other in
            [r#"{"model":"claude-haiku-4-5"}"#, r#"{"model":7}"#, r#"{"model""#, r#"{"model":"gpt-oss-120b"#, ""]
        {
            assert!(!found(other), "{other}");
        }
    }

    #[test]
    fn hidden_usage_leaves_no_trace_in_the_chunks() {
        let chunk = |text: &str| without_usage(text.as_bytes()).map(|chunk| String::from_utf8(chunk.to_vec()).unwrap());
        let told = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1}}"#;
        assert_eq!(chunk(told), None);
        let null = r#"{"id":"c","choices":[{"delta":{"content":"usage"}}],"usage":null}"#;
        assert_eq!(chunk(null).as_deref(), Some(r#"{"id":"c","choices":[{"delta":{"content":"usage"}}]}"#));
        assert!(!tells_usage(br#"{"choices":[{"delta":{"content":"my \"usage\" here"}}]}"#));
    }

    #[test]
    fn pictures_are_found_where_they_are_only_pointed_at() {
        let body = r#"{"messages":[{"role":"user","content":"image_url"},{"role":"user","content":[
            {"type":"text","text":"\"image_url\""},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
            {"type":"image_url","image_url":{"detail":"low","url":"https://example.com/a.png"}},
            {"type":"image_url","image_url":"https:\/\/example.com/b.png"}]}]}"#;
        let members = Members::read(body.as_bytes()).unwrap();
        let found = pictures(&members).unwrap();
        let found: Vec<_> = found.iter().map(|it| (it.remote.path.as_str(), it.remote.url.as_str())).collect();
        let expected = [
            ("messages[1].content[2].image_url.url", "https://example.com/a.png"),
            ("messages[1].content[3].image_url.url", "https://example.com/b.png"),
        ];
        assert_eq!(found, expected);
    }
}
