//! Pictures, documents, recordings, films. Bedrock believes the format it is told, and refuses what is of another;
//! labels are often wrong, so the bytes decide wherever they tell.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::At;
use crate::converse::{ContentBlock, Document, DocumentSource, Image, Media, MediaSource};
use crate::error::Error;
use crate::families::Traits;

/// Characters of base64 checked at a time; a multiple of four.
const STEP: usize = 4096;

/// What a caller says a file is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Label<'a> {
    /// Such as `application/pdf`.
    pub media_type: Option<&'a str>,
    /// Such as `report.pdf`.
    pub file_name: Option<&'a str>,
}

/// Whether `payload` begins as a picture in base64 does, whatever else it is said to be.
pub fn is_picture(payload: &str) -> bool {
    picture_type(payload).is_some()
}

/// The media type of the picture in base64 that `payload` begins as, such as `image/png`.
pub fn picture_type(payload: &str) -> Option<&'static str> {
    let format = payload.as_bytes().get(..16).and_then(first_bytes).and_then(|first| picture(&first))?;
    ["image/png", "image/jpeg", "image/gif", "image/webp"].into_iter().find(|known| known.ends_with(format))
}

/// The picture that `payload` encodes in base64, found at `at`.
pub fn image(payload: String, at: At) -> Result<Image, Error> {
    let (payload, first) = checked(payload, at)?;
    let Some(format) = picture(&first) else {
        return Err(Error::invalid(at, "This is no picture in one of the formats png, jpeg, gif or webp."));
    };
    Ok(Image { format: format.to_owned(), source: MediaSource::Bytes(payload) })
}

/// The document that `payload` encodes in base64, found at `at`; `name` is what the model gets to read.
pub fn document(payload: String, label: Label<'_>, name: String, at: At) -> Result<Document, Error> {
    let (payload, first) = checked(payload, at)?;
    let Some(format) = written(&first, label) else {
        let message = "This is no document in one of the formats pdf, docx, doc, xlsx, xls, csv, html, md or txt.";
        return Err(Error::invalid(at, message));
    };
    let source = DocumentSource::Bytes(payload);
    Ok(Document { format: Some(format.to_owned()), name, source, context: None, citations: None })
}

/// The recording that `payload` encodes in base64, found at `at`, in the format that the caller says.
pub fn audio(payload: String, format: &str, at: At, traits: &Traits) -> Result<ContentBlock, Error> {
    const FORMATS: [&str; 15] = [
        "aac", "flac", "m4a", "mka", "mkv", "mp3", "mp4", "mpeg", "mpga", "ogg", "opus", "pcm", "wav", "webm", "x-aac",
    ];
    if !traits.audio {
        return Err(Error::unsupported(at, "This model takes no recordings."));
    }
    let Some(format) = FORMATS.iter().find(|known| **known == format.trim_end_matches("16")) else {
        return Err(Error::invalid(at, "This is no known format of recordings: use wav or mp3."));
    };
    let (payload, _) = checked(payload, at)?;
    Ok(ContentBlock::Audio(Media { format: (*format).to_owned(), source: MediaSource::Bytes(payload) }))
}

/// The film that `payload` encodes in base64, found at `at`.
pub fn video(payload: String, media_type: Option<&str>, at: At, traits: &Traits) -> Result<ContentBlock, Error> {
    if !traits.video {
        return Err(Error::unsupported(at, "This model takes no films."));
    }
    let format = match media_type.and_then(|media_type| media_type.trim().strip_prefix("video/")) {
        Some(same @ ("mp4" | "webm" | "mpeg")) => same,
        Some("quicktime" | "mov") => "mov",
        Some("x-matroska" | "matroska" | "mkv") => "mkv",
        Some("x-flv" | "flv") => "flv",
        Some("mpg") => "mpg",
        Some("x-ms-wmv" | "wmv") => "wmv",
        Some("3gpp") => "three_gp",
        _ => return Err(Error::invalid(at, "This is no known media type of films: use video/mp4.")),
    };
    let (payload, _) = checked(payload, at)?;
    Ok(ContentBlock::Video(Media { format: format.to_owned(), source: MediaSource::Bytes(payload) }))
}

/// Base64 that Bedrock takes, and what it begins with.
fn checked(mut payload: String, at: At) -> Result<(String, [u8; 12]), Error> {
    if first_bytes(payload.as_bytes()).is_none() {
        forgive(&mut payload);
    }
    match first_bytes(payload.as_bytes()) {
        Some(first) if !payload.is_empty() => Ok((payload, first)),
        _ => Err(Error::invalid(at, "This is not valid base64.")),
    }
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

/// The format of a picture, which its first bytes tell.
fn picture(first: &[u8; 12]) -> Option<&'static str> {
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

/// The format of a document. The first bytes tell a family of formats; which of them, and which kind of text, the label.
fn written(first: &[u8; 12], label: Label<'_>) -> Option<&'static str> {
    if first.starts_with(b"%PDF") {
        return Some("pdf");
    }
    let said = said(label);
    let among = |formats: &[&'static str]| said.filter(|said| formats.contains(said));
    if first.starts_with(b"PK\x03\x04") {
        return among(&["docx", "xlsx"]);
    }
    if first.starts_with(b"\xd0\xcf\x11\xe0") {
        return among(&["doc", "xls"]);
    }
    if picture(first).is_some() {
        return None;
    }
    match (label.media_type, label.file_name) {
        (None, None) => Some("txt"),
        _ => among(&["txt", "md", "html", "csv"]),
    }
}

/// The format that the label says.
fn said(label: Label<'_>) -> Option<&'static str> {
    let media_type = label.media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let by_type = match media_type.to_ascii_lowercase().as_str() {
        "application/pdf" => Some("pdf"),
        "application/msword" => Some("doc"),
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => Some("docx"),
        "application/vnd.ms-excel" => Some("xls"),
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => Some("xlsx"),
        "text/csv" => Some("csv"),
        "text/html" => Some("html"),
        "text/markdown" | "text/x-markdown" => Some("md"),
        _ => None,
    };
    let by_name = || {
        let (_, extension) = label.file_name?.rsplit_once('.')?;
        Some(match extension.to_ascii_lowercase().as_str() {
            "pdf" => "pdf",
            "doc" => "doc",
            "docx" => "docx",
            "xls" => "xls",
            "xlsx" => "xlsx",
            "csv" => "csv",
            "html" | "htm" => "html",
            "md" | "markdown" => "md",
            "txt" | "text" | "log" | "json" | "xml" | "yaml" | "yml" => "txt",
            _ => return None,
        })
    };
    let text = media_type.starts_with("text/") || media_type == "application/json";
    by_type.or_else(by_name).or_else(|| text.then_some("txt"))
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
    fn a_document_is_what_its_bytes_and_then_its_label_say() {
        let label = |media_type, file_name| Label { media_type, file_name };
        let read = |start: &[u8], label| {
            document(encoded(start, 50), label, "document-1".into(), At::field("here"))
                .map(|document| document.format.unwrap())
                .map_err(|error| error.blamed().unwrap().to_owned())
        };
        let (pdf, zip, text) = (&b"%PDF-1.7"[..], &b"PK\x03\x04"[..], &b"a,b"[..]);
        for (start, label, format) in [
            (pdf, label(Some("text/plain"), Some("a.txt")), Some("pdf")),
            (zip, label(None, Some("A.DOCX")), Some("docx")),
            (zip, label(Some("application/zip"), None), None),
            (text, label(None, None), Some("txt")),
            (text, label(Some("text/csv; charset=utf-8"), None), Some("csv")),
            (text, label(Some("application/octet-stream"), Some("a.md")), Some("md")),
            (text, label(Some("application/octet-stream"), None), None),
            (b"GIF89a", label(Some("text/plain"), None), None),
        ] {
            assert_eq!(read(start, label).ok().as_deref(), format, "{label:?}");
        }
        assert_eq!(read(zip, Label::default()), Err("here".into()));
    }

    #[test]
    fn recordings_and_films_go_only_to_models_that_take_them() {
        let deaf = Traits { audio: false, video: false, ..Traits::default() };
        let (at, data) = (At::field("here"), || encoded(b"x", 30));
        assert!(matches!(audio(data(), "wav", at, &Traits::default()), Ok(ContentBlock::Audio(_))));
        assert!(
            matches!(audio(data(), "pcm16", at, &Traits::default()), Ok(ContentBlock::Audio(pcm)) if pcm.format == "pcm")
        );
        assert!(audio(data(), "midi", at, &Traits::default()).is_err() && audio(data(), "wav", at, &deaf).is_err());
        let film = video(data(), Some("video/quicktime"), at, &Traits::default());
        assert!(matches!(film, Ok(ContentBlock::Video(film)) if film.format == "mov"));
        assert!(video(data(), None, at, &Traits::default()).is_err());
        assert!(video(data(), Some("video/mp4"), at, &deaf).is_err());
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
