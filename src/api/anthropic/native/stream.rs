//! A native stream on its way to the client: AWS's framing taken off, Anthropic's put on. What is inside the events is
//! Claude's own and passes byte for byte, but for what AWS adds for itself.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;

use crate::api::anthropic::error;
use crate::api::anthropic::lane::Lane;
use crate::api::sse;
use crate::error::{Error, Kind, Result};
use crate::gateway::{FrameStream, Trail};
use crate::splice::{Edits, Members};
use crate::upstream::{Frame, FrameKind};

/// Sent into a silence, and once at the start, as Anthropic does.
pub(in crate::api::anthropic) const PING: &[u8] = b"event: ping\ndata: {\"type\": \"ping\"}\n\n";

/// What AWS adds to the last event, for itself.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// The frames up to the one that says that AWS broke off, which is an error and the end.
pub(in crate::api::anthropic) fn unbroken(frames: FrameStream) -> impl Stream<Item = Result<Frame>> + Send + Unpin {
    frames.map(|item| {
        let frame = item?;
        frame.failure().map_or(Ok(frame), |failure| Err(failure.error))
    })
}

/// Writes the server-sent events of one native answer.
pub(in crate::api::anthropic) struct Writer {
    lane: Lane,
    trail: Trail,
    /// The event at hand, decoded.
    event: Vec<u8>,
    /// Whether the last event was seen.
    complete: bool,
}

impl Writer {
    /// For an answer that comes by `lane`.
    pub(in crate::api::anthropic) fn new(lane: Lane, trail: Trail) -> Self {
        Self { lane, trail, event: Vec::with_capacity(1024), complete: false }
    }

    /// Appends the event in a `chunk` of `InvokeModelWithResponseStream`.
    fn chunk(&mut self, payload: &[u8], out: &mut BytesMut) -> Result<()> {
        self.event.clear();
        let chunk: Chunk<'_> = serde_json::from_slice(payload).map_err(unreadable)?;
        STANDARD.decode_vec(chunk.bytes.as_bytes(), &mut self.event).map_err(unreadable)?;
        let name = event_name(&self.event).ok_or_else(|| unreadable("an event without a type"))?;
        out.reserve(self.event.len() + name.len() + 32);
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        if name == "message_stop" {
            append_line(&without_metrics(&self.event), out);
        } else {
            append_line(&self.event, out);
        }
        out.extend_from_slice(b"\n\n");
        match &*name {
            "message_start" => out.extend_from_slice(PING),
            // An error event of Claude's own ends the answer as well.
            "message_stop" | "error" => self.complete = true,
            _ => {}
        }
        Ok(())
    }
}

impl sse::Render for Writer {
    type Item = Frame;

    const ALIVE: &'static [u8] = PING;

    fn event(&mut self, frame: Frame, out: &mut BytesMut) -> Result<()> {
        if self.lane == Lane::Messages {
            // Server-sent events already.
            if let FrameKind::Event(name) = &frame.kind {
                self.complete |= matches!(name.as_str(), "message_stop" | "error");
            }
            out.extend_from_slice(&frame.raw);
            return Ok(());
        }
        self.chunk(&frame.payload, out)
    }

    fn finish(&mut self, out: &mut BytesMut) {
        if !self.complete {
            let message = "Bedrock ended the stream before the answer was complete.";
            self.error(&Error::new(Kind::UpstreamUnavailable, message), out);
        }
    }

    fn error(&mut self, error: &Error, out: &mut BytesMut) {
        error::event(error, self.trail.id().as_str(), out);
    }
}

/// The payload of a `chunk`. What else is in it is padding.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    bytes: Cow<'a, str>,
}

/// The `type` of an event. Claude writes it first, and then nothing has to be parsed.
fn event_name(event: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    let is_name = |name: &[u8]| name.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'_');
    let first = event.strip_prefix(br#"{"type":""#).and_then(|rest| rest.split(|byte| *byte == b'"').next());
    let name = match first.filter(|name| is_name(name)) {
        Some(name) => Cow::Borrowed(str::from_utf8(name).ok()?),
        None => serde_json::from_slice::<Typed<'_>>(event).ok()?.kind,
    };
    (!name.is_empty() && is_name(name.as_bytes())).then_some(name)
}

/// The event without what AWS counts for itself: its usage is told in Anthropic's own way.
fn without_metrics(event: &[u8]) -> Cow<'_, [u8]> {
    match Members::read(event) {
        Ok(members) if members.value(METRICS).is_some() => {
            let mut edits = Edits::new(event);
            edits.remove(&members, &[METRICS]);
            Cow::Owned(edits.apply().to_vec())
        }
        _ => Cow::Borrowed(event),
    }
}

/// Appends JSON as one line: a line break in it can only stand between its tokens.
fn append_line(json: &[u8], out: &mut BytesMut) {
    if json.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend(json.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
    } else {
        out.extend_from_slice(json);
    }
}

fn unreadable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::UpstreamUnavailable, "Bedrock sent an event that could not be read.").source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sse::Render as _;
    use crate::ids;

    fn written(events: &[&str]) -> String {
        let mut writer = Writer::new(Lane::Invoke, Trail::new(ids::RequestId::from("req_1")));
        let mut out = BytesMut::new();
        for event in events {
            let payload = format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(event));
            writer.chunk(payload.as_bytes(), &mut out).unwrap();
        }
        writer.finish(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn events_pass_byte_for_byte_and_the_metrics_of_aws_do_not() {
        let start = r#"{"type":"message_start","message":{"id":"msg_1","new":[1.0e0,"\u00e9"]}}"#;
        let stop = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":1}}"#;
        assert_eq!(
            written(&[start, stop]),
            format!(
                "event: message_start\ndata: {start}\n\nevent: ping\ndata: {{\"type\": \"ping\"}}\n\n\
                 event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
            )
        );
    }

    #[test]
    fn an_event_of_an_unknown_kind_or_layout_passes_too() {
        let odd = "{ \"more\": 1,\n \"type\": \"something_new\" }";
        let told = written(&[odd, r#"{"type":"message_stop"}"#]);
        assert!(told.starts_with("event: something_new\ndata: { \"more\": 1,  \"type\": \"something_new\" }\n\n"));
    }

    #[test]
    fn a_stream_that_ends_without_its_last_event_says_so() {
        let told = written(&[r#"{"type":"content_block_stop","index":0}"#]);
        let (_, last) = told.trim_end().rsplit_once("\n\n").unwrap();
        assert!(last.starts_with("event: error\ndata: {\"type\":\"error\""), "{told}");
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        let mut writer = Writer::new(Lane::Invoke, Trail::new(ids::RequestId::from("req_1")));
        for payload in ["{}", r#"{"bytes":"%"}"#, r#"{"bytes":"e30="}"#, r#"{"bytes":"eyJ0eXBlIjoiYVxuYiJ9"}"#] {
            assert!(writer.chunk(payload.as_bytes(), &mut BytesMut::new()).is_err(), "{payload}");
        }
    }
}
