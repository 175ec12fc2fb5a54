//! What an image really is, told from its first bytes.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The format that `base64` data is in, as Converse names formats.
pub(crate) fn sniff(base64: &str) -> Option<&'static str> {
    let start = base64.get(..16).unwrap_or(base64);
    let bytes = BASE64_STANDARD.decode(start).ok()?;
    match bytes[..] {
        [0x89, b'P', b'N', b'G', ..] => Some("png"),
        [0xff, 0xd8, 0xff, ..] => Some("jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_format() {
        let png = BASE64_STANDARD.encode(b"\x89PNG\r\n\x1a\n0000000000");
        assert_eq!(sniff(&png), Some("png"));
        assert_eq!(sniff(&BASE64_STANDARD.encode(b"RIFF0000WEBPVP8 ")), Some("webp"));
        assert_eq!(sniff(&BASE64_STANDARD.encode(b"hello, this is text")), None);
    }
}
