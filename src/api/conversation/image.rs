//! Pictures. Bedrock believes the format it is told, and refuses a picture that is of another; labels on data URLs
//! are often wrong, so the bytes decide.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::At;
use crate::converse::{Image, MediaSource};
use crate::error::Error;

/// Characters of base64 checked at a time; a multiple of four.
const STEP: usize = 4096;

/// The picture that `payload` encodes in base64, found at `at`.
pub fn image(mut payload: String, at: At) -> Result<Image, Error> {
    if first_bytes(payload.as_bytes()).is_none() {
        forgive(&mut payload);
    }
    let Some(first) = first_bytes(payload.as_bytes()) else {
        return Err(Error::invalid(at, "This is not valid base64."));
    };
    let Some(format) = format(&first) else {
        return Err(Error::invalid(at, "This is no picture in one of the formats png, jpeg, gif or webp."));
    };
    Ok(Image { format: format.to_owned(), source: MediaSource::Bytes(payload) })
}

/// Line breaks and missing padding are common and harmless (<https://infra.spec.whatwg.org/#forgiving-base64-decode>),
/// but Bedrock takes neither.
fn forgive(payload: &mut String) {
    payload.retain(|c| !c.is_ascii_whitespace());
    while matches!(payload.len() % 4, 2 | 3) {
        payload.push('=');
    }
}

/// The first bytes of what `payload` encodes, if all of it is valid base64. Needs no memory of its size.
fn first_bytes(payload: &[u8]) -> Option<[u8; 12]> {
    let mut buffer = [0; STEP / 4 * 3];
    let mut first = [0; 12];
    let mut steps = payload.chunks(STEP).enumerate().peekable();
    while let Some((index, step)) = steps.next() {
        let length = STANDARD.decode_slice(step, &mut buffer).ok()?;
        let padded = step.last() == Some(&b'=');
        if padded && steps.peek().is_some() {
            return None;
        }
        if index == 0 {
            let length = length.min(first.len());
            first[..length].copy_from_slice(&buffer[..length]);
        }
    }
    Some(first)
}

/// The format that the first bytes of a file tell.
fn format(first: &[u8; 12]) -> Option<&'static str> {
    if first.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some("png");
    }
    if first.starts_with(b"\xff\xd8\xff") {
        return Some("jpeg");
    }
    if first.starts_with(b"GIF87a") || first.starts_with(b"GIF89a") {
        return Some("gif");
    }
    (first.starts_with(b"RIFF") && first.ends_with(b"WEBP")).then_some("webp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &str) -> Result<Image, Error> {
        image(payload.to_owned(), At::field("here"))
    }

    fn encoded(start: &[u8], length: usize) -> String {
        let mut bytes = start.to_vec();
        bytes.resize(length, 7);
        STANDARD.encode(bytes)
    }

    #[test]
    fn the_bytes_decide_the_format_whatever_the_label() {
        let webp = b"RIFF\0\0\0\0WEBP";
        for (start, format) in [(&b"\xff\xd8\xff\xe0"[..], "jpeg"), (b"GIF89a", "gif"), (webp, "webp")] {
            assert_eq!(read(&encoded(start, 5_000)).unwrap().format, format);
        }
        assert_eq!(read(&encoded(b"BM", 100)).unwrap_err().blamed(), Some("here"));
    }

    #[test]
    fn a_fault_is_found_wherever_it_is() {
        let good = encoded(b"GIF89a", 9_000);
        for place in [0, 4_095, 4_096, 8_000, good.len() - 1] {
            let mut bad = good.clone().into_bytes();
            bad[place] = b'=';
            let bad = String::from_utf8(bad).unwrap();
            let still_good = place == good.len() - 1;
            assert_eq!(read(&bad).is_ok(), still_good, "{place}");
        }
    }

    #[test]
    fn line_breaks_and_missing_padding_are_mended() {
        let good = encoded(b"GIF89a", 10);
        assert!(good.ends_with("=="));
        let broken = format!("{}\r\n{}", &good[..4], good[4..].trim_end_matches('='));
        assert_eq!(read(&broken).unwrap().source, MediaSource::Bytes(good));
        assert!(read("R0lGO").is_err());
    }
}
