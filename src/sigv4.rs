//! Signature Version 4: how a request is written down to be signed, and what it is signed with. Both sides are here, so
//! that they cannot differ: the gateway signs its calls to AWS with it, and checks what callers signed.
//!
//! Pure. What is written are bytes into a buffer that the caller keeps; a canonical query is the caller's affair where it
//! writes one itself. The rules are those of
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::AsHeaderName;
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use sha2::{Digest as _, Sha256};

use crate::clock::Timestamp;

/// The name of the algorithm, as it stands in the header and in what is signed.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What ends every scope.
pub const TERMINATOR: &str = "aws4_request";

/// Everything but what RFC 3986 leaves unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A request, as it is signed.
#[derive(Clone, Copy, Debug)]
pub struct Canonical<'a, N> {
    /// The method.
    pub method: &'a Method,
    /// The path as it is sent, percent-encoded; it is encoded once more, as every service but S3 wants it.
    pub path: &'a str,
    /// The query in its canonical form.
    pub query: &'a str,
    /// The names of the signed headers in lower case and in their order.
    pub names: &'a [N],
    /// Where their values are.
    pub headers: &'a HeaderMap,
    /// SHA-256 of the body.
    pub body: [u8; 32],
}

impl<N: AsRef<str> + AsHeaderName + Copy> Canonical<'_, N> {
    /// SHA-256 of the request as it is written down in `buffer`, which is emptied first.
    pub fn hash(&self, buffer: &mut Vec<u8>) -> [u8; 32] {
        buffer.clear();
        buffer.extend_from_slice(self.method.as_str().as_bytes());
        buffer.push(b'\n');
        push_encoded(buffer, self.path);
        buffer.push(b'\n');
        buffer.extend_from_slice(self.query.as_bytes());
        buffer.push(b'\n');
        for name in self.names {
            buffer.extend_from_slice(name.as_ref().as_bytes());
            buffer.push(b':');
            for (index, value) in self.headers.get_all(*name).iter().enumerate() {
                if index > 0 {
                    buffer.push(b',');
                }
                push_trimmed(buffer, value.as_bytes());
            }
            buffer.push(b'\n');
        }
        buffer.push(b'\n');
        push_names(buffer, self.names);
        buffer.push(b'\n');
        push_hex(buffer, &self.body);
        Sha256::digest(&buffer).into()
    }
}

/// Writes what is signed into `buffer`, which is emptied first: `stamp` is when, as [`date_time`] writes it, and `scope`
/// is what for, from the day to [`TERMINATOR`].
pub fn write_string_to_sign(buffer: &mut Vec<u8>, stamp: &[u8], scope: &str, canonical: &[u8; 32]) {
    buffer.clear();
    for part in [ALGORITHM.as_bytes(), stamp, scope.as_bytes()] {
        buffer.extend_from_slice(part);
        buffer.push(b'\n');
    }
    push_hex(buffer, canonical);
}

/// The key that signs for one day (`20260102`), Region and service.
pub fn signing_key(secret: &str, day: &str, region: &str, service: &str) -> [u8; 32] {
    let mut key = keyed_hash(&[b"AWS4", secret.as_bytes()].concat(), day.as_bytes());
    for part in [region, service, TERMINATOR] {
        key = keyed_hash(&key, part.as_bytes());
    }
    key
}

/// HMAC-SHA-256.
pub fn keyed_hash(key: &[u8], text: &[u8]) -> [u8; 32] {
    // A key of any length is good for HMAC, so that the empty answer cannot happen.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| mac.chain_update(text).finalize().into_bytes().into())
        .unwrap_or_default()
}

/// The names, with `;` between them.
pub fn push_names<N: AsRef<str>>(text: &mut Vec<u8>, names: &[N]) {
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            text.push(b';');
        }
        text.extend_from_slice(name.as_ref().as_bytes());
    }
}

/// Bytes in lower-case hex.
pub fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        text.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
        text.push(b"0123456789abcdef"[usize::from(byte & 15)]);
    }
}

/// A query as somebody sent it, in the form that is signed: every name and value encoded in one way, in their order.
pub fn canonical_query(query: &str) -> String {
    let encoded = |text: &str| {
        let bytes: Vec<u8> = percent_decode_str(text).collect();
        percent_encode(&bytes, ENCODED).to_string()
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (encoded(name), encoded(value))
    };
    let mut pairs: Vec<_> = query.split('&').filter(|text| !text.is_empty()).map(pair).collect();
    pairs.sort_unstable();
    let mut text = String::with_capacity(query.len() + 16);
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        let _ = write!(text, "{name}={value}");
    }
    text
}

/// The path encoded once more: a `%` becomes `%25`.
fn push_encoded(text: &mut Vec<u8>, path: &str) {
    for &byte in path.as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            text.push(byte);
        } else {
            text.push(b'%');
            text.push(b"0123456789ABCDEF"[usize::from(byte >> 4)]);
            text.push(b"0123456789ABCDEF"[usize::from(byte & 15)]);
        }
    }
}

/// Without the spaces around, and with one space for every run of them.
fn push_trimmed(text: &mut Vec<u8>, value: &[u8]) {
    let mut gap = false;
    let start = text.len();
    for &byte in value {
        if byte == b' ' {
            gap = true;
            continue;
        }
        if gap && text.len() > start {
            text.push(b' ');
        }
        gap = false;
        text.push(byte);
    }
}

/// `20260102T030405Z`; `None` outside the years that jiff knows.
pub fn date_time(at: Timestamp) -> Option<[u8; 16]> {
    let at = jiff::Timestamp::from_second(at.seconds()).ok()?;
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let digit = |number: i16| b'0' + u8::try_from(number.rem_euclid(10)).unwrap_or(0);
    let mut text = *b"00000000T000000Z";
    let year = at.year();
    for (index, number) in [year / 1000, year / 100, year / 10, year].into_iter().enumerate() {
        text[index] = digit(number);
    }
    for (index, number) in [(4, at.month()), (6, at.day()), (9, at.hour()), (11, at.minute()), (13, at.second())] {
        text[index] = digit(i16::from(number / 10));
        text[index + 1] = digit(i16::from(number));
    }
    Some(text)
}

/// Reads what [`date_time`] writes, and nothing else.
pub fn parse_date_time(text: &str) -> Option<Timestamp> {
    let parsed = jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", text).ok()?.to_datetime().ok()?;
    let at = Timestamp::from_millis(parsed.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond());
    (date_time(at)?[..] == *text.as_bytes()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_one_form_however_it_is_written() {
        assert_eq!(canonical_query("b=2&a=1&a=%2f%2F"), "a=%2F%2F&a=1&b=2");
        assert_eq!(canonical_query("A&z=%7E~&=&&e=a%20b"), "=&A=&e=a%20b&z=~~");
        assert_eq!(canonical_query(""), "");
        assert_eq!(canonical_query("a=%zz%"), "a=%25zz%25");
    }

    #[test]
    fn only_moments_that_are_written_as_aws_writes_them_are_read() {
        let at = Timestamp::from_millis(1_767_322_985_000);
        assert_eq!(date_time(at), Some(*b"20260102T030305Z"));
        assert_eq!(parse_date_time("20260102T030305Z"), Some(at));
        for other in
            ["", "20260102", "20260102T030305", "20261302T030305Z", "2026-01-02T03:03:05Z", "20260102T030305Z "]
        {
            assert_eq!(parse_date_time(other), None, "{other}");
        }
    }

    /// `get-vanilla` and `get-vanilla-query-order-key-case` of AWS's Signature Version 4 test suite.
    #[test]
    fn signatures_equal_the_published_vectors() {
        let mut headers = HeaderMap::new();
        headers.insert("host", http::HeaderValue::from_static("example.amazonaws.com"));
        headers.insert("x-amz-date", http::HeaderValue::from_static("20150830T123600Z"));
        let key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830", "us-east-1", "service");
        for (query, expected) in [
            ("", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ] {
            let query = canonical_query(query);
            let names = ["host", "x-amz-date"];
            let body = Sha256::digest(b"").into();
            let canonical =
                Canonical { method: &Method::GET, path: "/", query: &query, names: &names, headers: &headers, body };
            let mut buffer = Vec::new();
            let hash = canonical.hash(&mut buffer);
            let scope = "20150830/us-east-1/service/aws4_request";
            write_string_to_sign(&mut buffer, b"20150830T123600Z", scope, &hash);
            let mut signature = Vec::new();
            push_hex(&mut signature, &keyed_hash(&key, &buffer));
            assert_eq!(String::from_utf8(signature).unwrap(), expected);
        }
    }
}
