//! A reader of AWS's binary event stream that shares nothing with the gateway's: it checks both checksums bit by bit.
//! <https://smithy.io/2.0/aws/amazon-eventstream.html>

use std::collections::BTreeMap;

use serde_json::Value;

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    headers: BTreeMap<String, String>,
    payload: Vec<u8>,
}

impl Frame {
    /// What it is: the event's type, or the exception's with an exclamation mark before it.
    pub(crate) fn kind(&self) -> String {
        match self.headers[":message-type"].as_str() {
            "event" => self.headers[":event-type"].clone(),
            "exception" => format!("!{}", self.headers[":exception-type"]),
            other => panic!("a frame of the type {other}"),
        }
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.headers[":content-type"], "application/json");
        serde_json::from_slice(&self.payload).unwrap()
    }
}

/// The frames of a whole stream; fails on anything that is not one.
pub(crate) fn read_all(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let total = number(bytes, 0);
        assert!((16..=bytes.len()).contains(&total), "a frame of {total} bytes with {} left", bytes.len());
        frames.push(read(&bytes[..total]));
        bytes = &bytes[total..];
    }
    frames
}

fn read(frame: &[u8]) -> Frame {
    let end = frame.len() - 4;
    assert_eq!(crc32(&frame[..8]), number(frame, 8), "the checksum of the prelude");
    assert_eq!(crc32(&frame[..end]), number(frame, end), "the checksum of the frame");
    let payload_at = 12 + number(frame, 4);
    let (mut headers, mut at) = (BTreeMap::new(), 12);
    while at < payload_at {
        let name = take(frame, &mut at, 1);
        assert_eq!(frame[at], 7, "every header of these streams is a string");
        at += 1;
        let value = take(frame, &mut at, 2);
        headers.insert(name, value);
    }
    assert_eq!(at, payload_at);
    Frame { headers, payload: frame[payload_at..end].to_vec() }
}

/// A text behind its length of `width` bytes.
fn take(frame: &[u8], at: &mut usize, width: usize) -> String {
    let length = frame[*at..*at + width].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let start = *at + width;
    *at = start + length;
    String::from_utf8(frame[start..*at].to_vec()).unwrap()
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// CRC-32 by its definition.
fn crc32(bytes: &[u8]) -> usize {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    (!crc) as usize
}

#[test]
fn the_checksum_is_that_of_the_published_check_value() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
