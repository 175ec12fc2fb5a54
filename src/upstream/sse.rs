//! Server-sent events, as the runtime's OpenAI and Anthropic paths stream them: split into [`Frame`]s like AWS's binary
//! frames, so that everything behind is the same. A frame keeps the bytes that came.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

use bytes::{Buf as _, Bytes, BytesMut};

use super::frames::{Frame, FrameKind, MAX_FRAME, Malformed, Name};

/// Cuts pieces of any size into events. Comments, and events without data, are passed over.
#[derive(Default)]
pub(super) struct Splitter {
    buffer: BytesMut,
    /// How far the buffer was searched for an end.
    searched: usize,
}

impl Splitter {
    /// Adds the next piece; all events of the one before have been taken.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole event, or `None` when another piece is needed.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        while let Some(end) = self.end() {
            self.searched = 0;
            if let Some(frame) = read(self.buffer.split_to(end).freeze()) {
                return Ok(Some(frame));
            }
        }
        if self.buffer.len() > MAX_FRAME {
            return Err(Malformed("an event is longer than the gateway takes"));
        }
        Ok(None)
    }

    /// Whether an event was begun and not finished.
    pub(super) fn is_within_frame(&self) -> bool {
        self.buffer.iter().any(|byte| !byte.is_ascii_whitespace())
    }

    /// Where the first event ends: behind an empty line, whichever way lines end.
    fn end(&mut self) -> Option<usize> {
        let bytes = &self.buffer[..];
        // The empty line may straddle two pieces.
        let mut at = self.searched.saturating_sub(3);
        while let Some(found) = bytes[at..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            at += found;
            let second = line_end(bytes, at).and_then(|next| line_end(bytes, next));
            if let Some(end) = second {
                return Some(end);
            }
            at += 1;
        }
        self.searched = bytes.len();
        None
    }
}

/// Behind the line ending at `at`, if one is there. A carriage return at the very end may be half of one; it counts as a
/// whole, and a line feed that follows is an empty line of the next event, which is nothing.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match (bytes.get(at)?, bytes.get(at + 1)) {
        (b'\r', Some(b'\n')) => Some(at + 2),
        (b'\r' | b'\n', _) => Some(at + 1),
        _ => None,
    }
}

/// The event in `raw`; `None` when it has no data.
fn read(raw: Bytes) -> Option<Frame> {
    let mut name = None;
    let mut data: Option<Bytes> = None;
    let mut rest = raw.clone();
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let line = rest.split_to(length);
        rest.advance(line_end(&rest, 0).unwrap_or_default());
        if let Some(value) = field(&line, b"event") {
            name = Some(value);
        } else if let Some(value) = field(&line, b"data") {
            data = Some(match data {
                None => value,
                Some(before) => [&before[..], b"\n", &value[..]].concat().into(),
            });
        }
    }
    let payload = data?;
    let kind = match name {
        Some(name) if &name[..] == b"error" => FrameKind::Exception(error_type(&payload)),
        Some(name) => FrameKind::Event(Name::new(name)),
        None if payload.starts_with(b"[DONE]") => FrameKind::Event(Name::new(Bytes::from_static(b"done"))),
        None if is_error(&payload) => FrameKind::Exception(error_type(&payload)),
        None => FrameKind::Event(Name::new(Bytes::from_static(b"data"))),
    };
    Some(Frame { raw, kind, payload })
}

/// What follows `name:` and at most one space.
fn field(line: &Bytes, name: &[u8]) -> Option<Bytes> {
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(line.slice_ref(value.strip_prefix(b" ").unwrap_or(value)))
}

/// Whether an event without a name is OpenAI's `{"error": {...}}`. No chunk has `error` as its first member.
fn is_error(payload: &[u8]) -> bool {
    let inside = payload.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    inside.is_some_and(|inside| inside.starts_with(br#""error""#))
}

/// The error's type: `{"error": {"type": ...}}` in both dialects, or the `code` on top, where Responses has it
/// (<https://platform.openai.com/docs/api-reference/responses-streaming/error>).
fn error_type(payload: &[u8]) -> Name {
    #[derive(serde::Deserialize)]
    struct Outer {
        error: Option<Inner>,
        code: Option<String>,
    }
    #[derive(serde::Deserialize)]
    struct Inner {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let read = serde_json::from_slice::<Outer>(payload).ok();
    let read = read.and_then(|outer| outer.error.and_then(|error| error.kind).or(outer.code));
    Name::new(read.unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&str]) -> Vec<(FrameKind, String)> {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for piece in pieces {
            splitter.push(piece.as_bytes());
            while let Some(frame) = splitter.next_frame().unwrap() {
                events.push((frame.kind, String::from_utf8_lossy(&frame.payload).into_owned()));
            }
        }
        assert!(!splitter.is_within_frame());
        events
    }

    fn event(name: &'static str) -> FrameKind {
        FrameKind::Event(Name::new(Bytes::from_static(name.as_bytes())))
    }

    #[test]
    fn events_are_the_same_however_they_are_cut_and_lines_end() {
        let text = ": hello\n\nevent: ping\ndata: {\"a\":1}\n\ndata:{\"b\":2}\n\ndata: [DONE]\n\n";
        let expected = [
            (event("ping"), "{\"a\":1}".to_owned()),
            (event("data"), "{\"b\":2}".to_owned()),
            (event("done"), "[DONE]".to_owned()),
        ];
        assert_eq!(events(&[text]), expected);
        assert_eq!(events(&[&text.replace('\n', "\r\n")]), expected);
        for cut in 1..text.len() {
            assert_eq!(events(&[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
            let windows = text.replace('\n', "\r\n");
            assert_eq!(events(&[&windows[..cut], &windows[cut..]]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_error_in_either_dialect_is_a_failure_of_its_kind() {
        for (text, reason) in [
            (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, "unavailable"),
            (r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#, "throttled"),
            (r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#, "rejected"),
        ] {
            for head in ["event: error\ndata: ", "data: "] {
                let text = if head.starts_with("data") { text.replace("\"type\":\"error\",", "") } else { text.into() };
                let mut splitter = Splitter::default();
                splitter.push(format!("{head}{text}\n\n").as_bytes());
                let failure = splitter.next_frame().unwrap().unwrap().failure().unwrap();
                assert_eq!((failure.reason.into(), failure.error.message()), (reason, "m"), "{text}");
            }
        }
    }

    #[test]
    fn an_error_of_responses_has_its_code_on_top() {
        for (code, reason) in
            [("throttlingException", "throttled"), ("rate_limit_exceeded", "throttled"), ("invalid_prompt", "rejected")]
        {
            let mut splitter = Splitter::default();
            let error = format!(r#"{{"type":"error","sequence_number":3,"code":"{code}","message":"m","param":null}}"#);
            splitter.push(format!("event: error\ndata: {error}\n\n").as_bytes());
            let failure = splitter.next_frame().unwrap().unwrap().failure().unwrap();
            assert_eq!((failure.reason.into(), failure.error.message()), (reason, "m"), "{code}");
        }
    }

    #[test]
    fn data_of_several_lines_is_one_text_and_an_unfinished_event_is_noticed() {
        assert_eq!(events(&["data: a\ndata: b\n\n"]), [(event("data"), "a\nb".to_owned())]);
        let mut splitter = Splitter::default();
        splitter.push(b"data: {");
        assert!(splitter.next_frame().unwrap().is_none() && splitter.is_within_frame());
    }
}
