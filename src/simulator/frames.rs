//! The encoder of `application/vnd.amazon.eventstream`: lengths, a checksum of the prelude, headers, payload, a checksum of
//! all. Every header is a string (type 7).

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

/// One message of a stream before it is framed.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    framing: Framing,
    payload: String,
    /// Output tokens that a reader has seen once this message is out.
    pub(crate) output_tokens: u64,
}

#[derive(Clone, Debug)]
enum Framing {
    /// A binary event of this type.
    Event(&'static str),
    /// Text, with an `event:` line if it is named.
    ServerSent(Option<String>),
}

impl Item {
    /// A server-sent event.
    pub(crate) fn server_sent(event: Option<String>, payload: String, output_tokens: u64) -> Self {
        Self { framing: Framing::ServerSent(event), payload, output_tokens }
    }

    /// An event with AWS's padding member, whose length hides that of the text. `index` varies it.
    pub(crate) fn event(kind: &'static str, mut payload: Value, index: usize, output_tokens: u64) -> Self {
        if let Some(object) = payload.as_object_mut() {
            object.insert("p".to_owned(), Value::from(padding(index)));
        }
        Self { framing: Framing::Event(kind), payload: payload.to_string(), output_tokens }
    }

    /// The framed event.
    pub(crate) fn frame(&self) -> Bytes {
        match &self.framing {
            Framing::Event(kind) => {
                let headers =
                    [(":event-type", *kind), (":content-type", "application/json"), (":message-type", "event")];
                encode(&headers, self.payload.as_bytes())
            }
            Framing::ServerSent(Some(event)) => Bytes::from(format!(
                "event: {event}
data: {}

",
                self.payload
            )),
            Framing::ServerSent(None) => Bytes::from(format!(
                "data: {}

",
                self.payload
            )),
        }
    }
}

/// A framed exception; `name` as AWS writes it in streams (`throttlingException`).
pub(crate) fn exception(name: &str, payload: &Value) -> Bytes {
    let headers = [(":exception-type", name), (":content-type", "application/json"), (":message-type", "exception")];
    encode(&headers, payload.to_string().as_bytes())
}

/// One framed message.
pub(crate) fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let headers_length: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
    let total = 12 + headers_length + payload.len() + 4;
    let mut frame = BytesMut::with_capacity(total);
    frame.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    frame.put_u32(u32::try_from(headers_length).unwrap_or(u32::MAX));
    frame.put_u32(crc32fast::hash(&frame));
    for (name, value) in headers {
        frame.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        frame.put_slice(name.as_bytes());
        frame.put_u8(7);
        frame.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        frame.put_slice(value.as_bytes());
    }
    frame.put_slice(payload);
    frame.put_u32(crc32fast::hash(&frame));
    frame.freeze()
}

fn padding(index: usize) -> &'static str {
    const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    &ALPHABET[..=index.wrapping_mul(29) % ALPHABET.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector `payload_no_headers` and `payload_one_str_header` of AWS's event-stream test suite.
    #[test]
    fn frames_equal_the_published_vectors() {
        let expected: &[u8] = &[
            0, 0, 0, 0x1d, 0, 0, 0, 0, 0xfd, 0x52, 0x8c, 0x5a, b'{', b'\'', b'f', b'o', b'o', b'\'', b':', b'\'', b'b',
            b'a', b'r', b'\'', b'}', 0xc3, 0x65, 0x39, 0x36,
        ];
        assert_eq!(&encode(&[], b"{'foo':'bar'}")[..], expected);
        let one_header = encode(&[("content-type", "application/json")], b"{'foo':'bar'}");
        assert_eq!(one_header[..12], [0, 0, 0, 0x3d, 0, 0, 0, 0x20, 0x07, 0xfd, 0x83, 0x96]);
        assert_eq!(one_header[one_header.len() - 4..], [0x8d, 0x9c, 0x08, 0xb1]);
    }

    #[test]
    fn events_carry_the_three_headers_and_padding() {
        let item = Item::event("messageStart", serde_json::json!({"role": "assistant"}), 3, 0);
        let frame = item.frame();
        let text = String::from_utf8_lossy(&frame);
        assert!(text.contains(":event-type\u{7}\0\u{c}messageStart") && text.contains("\"p\":\"abc"));
    }
}
