//! AWS's binary event stream (`application/vnd.amazon.eventstream`). The layout is
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>: total length, headers length and their CRC, headers, payload,
//! CRC of all. It is read in place because the general reader of `aws-smithy-eventstream` copies each header and takes
//! about 500 ns a frame, once per token, this one 150; tests compare the two, and our own frames are written by that crate.

use std::ops::Range;

use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use bytes::{Bytes, BytesMut};

use super::{Frame, FrameKind, MAX_FRAME, Malformed, Name};

const PRELUDE: usize = 12;
const CRC: usize = 4;
const STRING: u8 = 7;

impl Frame {
    /// Reads a whole frame: `raw` has the length that its prelude says.
    fn read(raw: Bytes) -> Result<Self, Malformed> {
        let headers_len = usize::try_from(number(&raw, 4)).unwrap_or(usize::MAX);
        let end = raw.len() - CRC;
        let Some(payload_start) = headers_len.checked_add(PRELUDE).filter(|start| *start <= end) else {
            return Err(Malformed("the headers are longer than the frame"));
        };
        if crc32fast::hash(&raw[..end]) != number(&raw, end) {
            return Err(Malformed("the checksum of a frame is wrong"));
        }
        let mut found = Headers::default();
        let mut at = PRELUDE;
        while at < payload_start {
            at = found.read(&raw[..payload_start], at).ok_or(Malformed("the headers of a frame are broken"))?;
        }
        let name = |range: Range<usize>| Name::new(raw.slice(range));
        let kind = match &raw[found.message_type] {
            b"event" => FrameKind::Event(name(found.event_type)),
            b"exception" => FrameKind::Exception(name(found.exception_type)),
            b"error" => FrameKind::Error { code: name(found.error_code), message: name(found.error_message) },
            _ => return Err(Malformed("a frame has no known type")),
        };
        let payload = raw.slice(payload_start..end);
        Ok(Self { raw, kind, payload })
    }
}

/// Where the headers that matter stand in the frame; an empty range for one that is missing.
#[derive(Default)]
struct Headers {
    message_type: Range<usize>,
    event_type: Range<usize>,
    exception_type: Range<usize>,
    error_code: Range<usize>,
    error_message: Range<usize>,
}

impl Headers {
    /// Reads the header at `at` and says where the next one begins; `None` when it does not fit.
    fn read(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let name_end = at + 1 + usize::from(*bytes.get(at)?);
        let name = bytes.get(at + 1..name_end)?;
        let kind = *bytes.get(name_end)?;
        let start = name_end + 1;
        // The lengths of the fixed types: booleans, integers of 1, 2, 4 and 8 bytes, a timestamp, a UUID.
        let value = match kind {
            0 | 1 => start..start,
            2 => start..start + 1,
            3 => start..start + 2,
            4 => start..start + 4,
            5 | 8 => start..start + 8,
            9 => start..start + 16,
            6 | STRING => {
                let length = bytes.get(start..start + 2)?;
                start + 2..start + 2 + usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
            _ => return None,
        };
        let next = value.end;
        if next > bytes.len() {
            return None;
        }
        if kind == STRING {
            match name {
                b":message-type" => self.message_type = value,
                b":event-type" => self.event_type = value,
                b":exception-type" => self.exception_type = value,
                b":error-code" => self.error_code = value,
                b":error-message" => self.error_message = value,
                _ => {}
            }
        }
        Some(next)
    }
}

/// The big-endian number at `at`, which the caller has checked to be there.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Cuts pieces of any size into frames. A frame within one piece is a slice of it; only what straddles two is copied.
#[derive(Default)]
pub struct Splitter {
    piece: Bytes,
    partial: BytesMut,
}

impl Splitter {
    /// Adds the next piece; all frames of the one before have been taken.
    pub fn push(&mut self, piece: Bytes) {
        self.piece = piece;
    }

    /// The next whole frame, or `None` when another piece is needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Malformed> {
        if self.partial.is_empty() && self.piece.len() >= PRELUDE {
            let total = frame_length(&self.piece)?;
            if self.piece.len() >= total {
                return Frame::read(self.piece.split_to(total)).map(Some);
            }
        }
        if self.partial.len() < PRELUDE {
            self.fill(PRELUDE);
            if self.partial.len() < PRELUDE {
                return Ok(None);
            }
        }
        let total = frame_length(&self.partial)?;
        self.fill(total);
        if self.partial.len() < total {
            return Ok(None);
        }
        Frame::read(self.partial.split().freeze()).map(Some)
    }

    /// Moves bytes from the piece until `partial` holds `wanted`.
    fn fill(&mut self, wanted: usize) {
        let count = wanted.saturating_sub(self.partial.len()).min(self.piece.len());
        if count > 0 {
            self.partial.reserve(wanted - self.partial.len());
            self.partial.extend_from_slice(&self.piece.split_to(count));
        }
    }

    /// Whether a frame was begun and not finished.
    pub(super) fn is_within_frame(&self) -> bool {
        !self.partial.is_empty() || !self.piece.is_empty()
    }
}

/// The length of the frame that begins here. Its prelude is checked first, so that a broken length is never waited for.
fn frame_length(bytes: &[u8]) -> Result<usize, Malformed> {
    if crc32fast::hash(&bytes[..PRELUDE - CRC]) != number(bytes, PRELUDE - CRC) {
        return Err(Malformed("the checksum of a frame's prelude is wrong"));
    }
    let total = usize::try_from(number(bytes, 0)).unwrap_or(usize::MAX);
    if !(PRELUDE + CRC..=MAX_FRAME).contains(&total) {
        return Err(Malformed("a frame has an impossible length"));
    }
    Ok(total)
}

/// An exception frame as AWS sends it: `name` as in `ThrottlingException`, whose first letter is lowered as on the wire.
pub fn exception(name: &str, message: &str) -> Bytes {
    let mut wire_name = name.to_owned();
    if let Some(first) = wire_name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let payload = serde_json::json!({ "message": message }).to_string();
    let headers = [
        (":exception-type", wire_name),
        (":content-type", "application/json".to_owned()),
        (":message-type", "exception".to_owned()),
    ];
    encode(headers, payload)
}

/// An event frame with a JSON payload.
pub fn event(event_type: &str, payload: impl Into<Bytes>) -> Bytes {
    let headers = [
        (":event-type", event_type.to_owned()),
        (":content-type", "application/json".to_owned()),
        (":message-type", "event".to_owned()),
    ];
    encode(headers, payload)
}

/// A frame with these text headers. Empty when they exceed what the format can hold (32 KB for a value).
pub fn encode(headers: impl IntoIterator<Item = (&'static str, String)>, payload: impl Into<Bytes>) -> Bytes {
    let headers = headers.into_iter().map(|(name, value)| Header::new(name, HeaderValue::String(value.into())));
    let message = Message::new_from_parts(headers.collect(), payload);
    let mut frame = BytesMut::new();
    match aws_smithy_eventstream::frame::write_message_to(&message, &mut frame) {
        Ok(()) => frame.freeze(),
        Err(_) => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Reason;

    fn frames_of(pieces: &[&[u8]]) -> Result<Vec<Frame>, Malformed> {
        let mut splitter = Splitter::default();
        let mut frames = Vec::new();
        for piece in pieces {
            splitter.push(Bytes::copy_from_slice(piece));
            while let Some(frame) = splitter.next_frame()? {
                frames.push(frame);
            }
        }
        assert!(!splitter.is_within_frame());
        Ok(frames)
    }

    fn stream() -> Vec<u8> {
        let mut bytes = event("messageStart", r#"{"role":"assistant"}"#).to_vec();
        bytes.extend(event("contentBlockDelta", r#"{"delta":{"text":"é"}}"#));
        bytes.extend(event("empty", ""));
        bytes.extend(exception("ThrottlingException", "slow down"));
        bytes
    }

    #[test]
    fn frames_keep_their_bytes_wherever_the_pieces_are_cut() {
        let bytes = stream();
        for cut in 0..=bytes.len() {
            let frames = frames_of(&[&bytes[..cut], &bytes[cut..]]).unwrap();
            let raw: Vec<u8> = frames.iter().flat_map(|frame| frame.raw.to_vec()).collect();
            assert_eq!(raw, bytes, "cut at {cut}");
            assert_eq!(frames[1].kind, FrameKind::Event(Name::from("contentBlockDelta")));
            assert_eq!(&frames[1].payload[..], r#"{"delta":{"text":"é"}}"#.as_bytes());
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(frames_of(&single).unwrap().len(), 4);
    }

    #[test]
    fn a_frame_within_one_piece_is_not_copied() {
        let piece = Bytes::from(stream());
        let mut splitter = Splitter::default();
        splitter.push(piece.clone());
        let frame = splitter.next_frame().unwrap().unwrap();
        assert_eq!(frame.raw.as_ptr(), piece.as_ptr());
    }

    #[test]
    fn our_reading_is_that_of_the_smithy_reader() {
        use aws_smithy_types::event_stream::HeaderValue as Value;
        let message = Message::new_from_parts(
            vec![
                Header::new("flag", Value::Bool(true)),
                Header::new("byte", Value::Byte(1)),
                Header::new("short", Value::Int16(2)),
                Header::new("int", Value::Int32(3)),
                Header::new("long", Value::Int64(4)),
                Header::new("bytes", Value::ByteArray(Bytes::from_static(b"event"))),
                Header::new("time", Value::Timestamp(aws_smithy_types::DateTime::from_secs(5))),
                Header::new("uuid", Value::Uuid(6)),
                Header::new(":message-type", Value::String("event".into())),
                Header::new(":event-type", Value::String("chunk".into())),
            ],
            r#"{"bytes":"e30="}"#,
        );
        let mut bytes = BytesMut::new();
        aws_smithy_eventstream::frame::write_message_to(&message, &mut bytes).unwrap();
        let theirs = aws_smithy_eventstream::frame::read_message_from(bytes.clone().freeze()).unwrap();
        let ours = Frame::read(bytes.freeze()).unwrap();
        assert_eq!(ours.kind, FrameKind::Event(Name::from("chunk")));
        assert_eq!(&ours.payload, theirs.payload());
    }

    #[test]
    fn no_single_flipped_bit_passes() {
        let bytes = event("contentBlockStop", r#"{"contentBlockIndex":0}"#).to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(frames_of(&[&broken]).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_their_bytes_come() {
        for total in [0, 15, u32::try_from(MAX_FRAME).unwrap() + 1, u32::MAX] {
            let mut prelude = total.to_be_bytes().to_vec();
            prelude.extend([0; 4]);
            let crc = crc32fast::hash(&prelude).to_be_bytes();
            prelude.extend(crc);
            let mut splitter = Splitter::default();
            splitter.push(prelude.into());
            assert!(splitter.next_frame().is_err(), "{total}");
        }
    }

    #[test]
    fn our_exception_frames_read_back_as_the_failure_they_name() {
        let frame = Frame::read(exception("ModelStreamErrorException", "broke off")).unwrap();
        assert_eq!(frame.kind, FrameKind::Exception(Name("modelStreamErrorException".into())));
        let failure = frame.failure().unwrap();
        assert_eq!((failure.reason, failure.error.message()), (Reason::ModelError, "broke off"));
        let error = [(":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", "x")];
        let frame = Frame::read(encode(error.map(|(name, value)| (name, value.to_owned())), "")).unwrap();
        assert_eq!(frame.failure().unwrap().reason, Reason::Unavailable);
    }
}
