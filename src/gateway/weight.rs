//! How many tokens a body will be counted as, before AWS counts them: by its bytes, with a ratio that is learnt for each
//! model from what AWS counted before.
//!
//! Started on the safe side: too high an estimate holds too much for the length of a call, too low a one lets a budget be
//! overshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::scan::string_end;
use crate::table::Table;

/// Tokens that 1,024 bytes make for a model that nothing is known of: two bytes each. English prose has four, other
/// scripts two to three.
const START: u64 = 512;
/// The fewest that are believed.
const FEWEST: u64 = 128;
/// The most: a token has a byte at least.
const MOST: u64 = 1024;
/// A body has to have so many bytes to teach something: what is around the text of a small one weighs too much.
const TELLING: usize = 512;
/// A string that is shorter is text, whatever it says.
const MEDIA: usize = 2048;
/// What a picture counts for at least, whatever its size in bytes: what the largest takes with most models.
const PICTURE: u64 = 2_000;
/// Bytes of a picture's base64 that make a token beyond that.
const PICTURE_BYTES_PER_TOKEN: u64 = 100;
/// Bytes of other media's base64 that make a token: a document may be plain text.
const MEDIA_BYTES_PER_TOKEN: u64 = 4;
/// What is read from elsewhere may be as long as the model can read.
const UNSEEN: u64 = u64::MAX / 4;
/// How deep a body is looked into; beyond that, all is text.
const DEPTH: usize = 64;

/// What a body weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Bytes that are not media.
    text: usize,
    /// Tokens that its media may count for.
    media: u64,
    /// Whether a member's name is written so that only a parser sees which it is.
    pub(super) hides_names: bool,
}

impl Weight {
    /// Of a JSON body. One pass: a long string is skipped as fast as memory can be read. What is media is told by where it
    /// stands, because text may look like anything.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut weight = Self { text: body.len(), media: 0, hides_names: false };
        // The names under which what is open stands.
        let mut path: Vec<&[u8]> = Vec::with_capacity(16);
        let mut name: &[u8] = b"";
        let mut at = 0;
        while let Some(byte) = body.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    let Some(after) = string_end(body, at) else { break };
                    let (start, end) = (at, after - 1);
                    let string = &body[start..end];
                    at = after;
                    if is_name(body, at) {
                        name = string;
                        weight.hides_names |= hides_a_letter(name);
                    } else if string.len() > MEDIA
                        && let Some(tokens) = media(&path, name, string, around(body, start, end))
                    {
                        weight.text -= string.len();
                        weight.media = weight.media.saturating_add(tokens);
                    }
                }
                b'{' | b'[' => {
                    if name == b"s3Location" {
                        weight.media = weight.media.saturating_add(UNSEEN);
                    }
                    if path.len() < DEPTH {
                        path.push(name);
                    }
                }
                b'}' | b']' => name = path.pop().unwrap_or_default(),
                _ => {}
            }
        }
        weight
    }
}

/// Whether a colon follows.
fn is_name(body: &[u8], at: usize) -> bool {
    body[at..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// Whether a letter, a digit or `_` is written by its number: no encoder does that, and AWS reads it as the letter.
fn hides_a_letter(name: &[u8]) -> bool {
    memchr::memmem::find_iter(name, b"\\u00").any(|at| {
        let digits = name.get(at + 4..at + 6).and_then(|digits| std::str::from_utf8(digits).ok());
        let letter = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        letter.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    })
}

/// What stands beside a string, where the type of a picture is told.
fn around(body: &[u8], start: usize, end: usize) -> (&[u8], &[u8]) {
    (&body[start.saturating_sub(120)..start], &body[end..body.len().min(end + 120)])
}

/// The tokens that a string may count for that is media; `None`: it is text.
fn media(path: &[&[u8]], name: &[u8], string: &[u8], (before, after): (&[u8], &[u8])) -> Option<u64> {
    // What a tool was given or told is text, whatever it looks like.
    let is_free = |(depth, name): (usize, &&[u8])| match *name {
        b"json" | b"additionalModelRequestFields" => true,
        // At the top it is the conversation of a response.
        b"input" => depth > 2,
        _ => false,
    };
    if path.iter().enumerate().any(is_free) {
        return None;
    }
    let parent = |steps: usize| path.len().checked_sub(steps).and_then(|at| path.get(at)).copied().unwrap_or_default();
    let has_type = |what: &[u8]| [before, after].iter().any(|text| memchr::memmem::find(text, what).is_some());
    let (base64, is_picture) = match (parent(1), name) {
        (b"source", b"bytes") => (string, parent(2) == b"image"),
        (b"source", b"data") => {
            (string, has_type(b"\"image/") && !has_type(b"\"application/") && !has_type(b"\"text/"))
        }
        (b"input_audio", b"data") => (string, false),
        (b"image_url", b"url") | (_, b"image_url" | b"file_data") => {
            let url = string.strip_prefix(b"data:")?;
            let comma = memchr::memchr(b',', url.get(..120)?)?;
            (&url[comma + 1..], url.starts_with(b"image/"))
        }
        _ => return None,
    };
    let length = base64.len() as u64;
    if !is_base64(base64) {
        return None;
    }
    Some(if is_picture { (length / PICTURE_BYTES_PER_TOKEN).max(PICTURE) } else { length / MEDIA_BYTES_PER_TOKEN })
}

/// All of it, without a branch in between, so that it is judged many bytes at a time. Some encoders write `/` as `\/`.
#[expect(clippy::needless_bitwise_bool, reason = "a branch for each byte would keep this from SIMD registers")]
fn is_base64(bytes: &[u8]) -> bool {
    let is_good = |byte: u8| {
        let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
        letter | (byte.wrapping_sub(b'0') < 10) | (byte == b'+') | (byte == b'/') | (byte == b'=') | (byte == b'\\')
    };
    bytes.chunks(4096).all(|chunk| chunk.iter().fold(true, |good, byte| good & is_good(*byte)))
}

/// What was learnt of each model.
#[derive(Default)]
pub(super) struct Ratios(Table<AtomicU64>);

impl Ratios {
    /// The tokens that a body of this weight will be counted as by `model`.
    pub(super) fn tokens(&self, model: &str, weight: Weight) -> u64 {
        self.tokens_of(model, weight.text as u64).saturating_add(weight.media)
    }

    /// The tokens that so many bytes of text will be counted as by `model`.
    pub(super) fn tokens_of(&self, model: &str, bytes: u64) -> u64 {
        let per_kilobyte = self.0.find(model).map_or(START, |ratio| ratio.load(Ordering::Relaxed));
        bytes.saturating_mul(per_kilobyte).div_ceil(1024)
    }

    /// AWS counted `tokens` for a body of this weight. A body that made more than was thought is believed at once, one
    /// that made fewer little by little.
    pub(super) fn learn(&self, model: &Arc<str>, weight: Weight, tokens: u64) {
        if weight.media > 0 || weight.text < TELLING {
            return;
        }
        let seen = (tokens.saturating_mul(1024) / weight.text as u64).clamp(FEWEST, MOST);
        let ratio = self.0.find_or_add(model, || AtomicU64::new(START), |_| true);
        let known = ratio.load(Ordering::Relaxed);
        let next = if seen >= known { seen } else { known - (known - seen).div_ceil(16) };
        // Two that learn at once may lose one lesson, which the next call repeats.
        ratio.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_weighs_by_its_bytes_and_media_by_where_they_stand() {
        let picture = "iVBORw0KGgo".repeat(1000);
        let weigh = |body: &str| {
            let weight = Weight::of(body.as_bytes());
            (body.len() - weight.text, weight.media)
        };
        let counted = |body: &str| weigh(&body.replace('$', &picture));
        let whole = (picture.len(), PICTURE);
        let document = (picture.len(), picture.len() as u64 / 4);
        assert_eq!(counted(r#"{"messages":[{"content":[{"image":{"format":"png","source":{"bytes":"$"}}}]}]}"#), whole);
        assert_eq!(counted(r#"{"messages":[{"content":[{"document":{"source":{"bytes":"$"}}}]}]}"#), document);
        let source = r#"{"messages":[{"content":[{"source":{"media_type":"image/png","data":"$"}}]}]}"#;
        assert_eq!(counted(source), whole);
        assert_eq!(counted(&source.replace("image/png", "application/pdf")), document);
        let url = r#"{"messages":[{"content":[{"image_url":{"url":"data:image/png;base64,$"}}]}]}"#;
        assert_eq!(counted(url), (picture.len() + 22, PICTURE));
        assert_eq!(counted(r#"{"input":[{"content":[{"image_url":"data:image/png;base64,$"}]}]}"#).1, PICTURE);
        for text in [
            r#"{"messages":[{"content":[{"text":"$"}]}]}"#,
            r#"{"messages":[{"content":[{"text":"words, words, $"}]}]}"#,
            r#"{"messages":[{"content":[{"toolResult":{"content":[{"json":{"image":{"source":{"bytes":"$"}}}}]}}]}]}"#,
            r#"{"messages":[{"content":[{"toolUse":{"input":{"image":{"source":{"bytes":"$"}}}}}]}]}"#,
            r#"{"messages":[{"content":[{"image":{"source":{"bytes":"some words $"}}}]}]}"#,
            r#"{"messages":[{"content":"$"}]}"#,
        ] {
            assert_eq!(counted(text), (0, 0), "{text}");
        }
        let elsewhere = weigh(r#"{"messages":[{"content":[{"video":{"source":{"s3Location":{"uri":"s3://b/k"}}}}]}]}"#);
        assert_eq!(elsewhere, (0, UNSEEN));
        for broken in ["", "\"", "{\"a", "\\\"", "\"\\", "]}]}", "{{{{"] {
            assert_eq!(Weight::of(broken.as_bytes()).media, 0, "{broken}");
        }
        let deep = Weight::of("[".repeat(1_000_000).as_bytes());
        assert_eq!((deep.text, deep.media), (1_000_000, 0));
    }

    #[test]
    fn a_name_whose_letters_are_written_by_numbers_is_seen_at_any_depth() {
        let hides = |body: &str| Weight::of(body.as_bytes()).hides_names;
        assert!(hides(r#"{"inference\u0043onfig":{}}"#) && hides(r#"{"a":[{"max\u005ftokens":1}]}"#));
        assert!(hides(r#"{"a":{"cache\u0050oint" : {}}}"#));
        assert!(!hides(r#"{"gr\u00f6\u00dfe":1,"a\u0026b":2,"a\"b":3,"a\\b":"max\u0054okens"}"#));
    }

    #[test]
    fn a_model_is_taken_for_a_glutton_until_it_shows_otherwise_and_at_once_when_it_is() {
        let ratios = Ratios::default();
        let model: Arc<str> = "m".into();
        let weight = Weight { text: 10_240, ..Weight::default() };
        assert_eq!(ratios.tokens("m", weight), 5_120);
        for _ in 0..200 {
            ratios.learn(&model, weight, 2_500);
        }
        assert_eq!(ratios.tokens("m", weight), 2_500);
        ratios.learn(&model, weight, 4_000);
        assert_eq!(ratios.tokens("m", weight), 4_000);
        ratios.learn(&model, Weight { text: 10, ..Weight::default() }, 1_000_000);
        ratios.learn(&model, Weight { text: 10_240, media: 1, ..Weight::default() }, 0);
        assert_eq!(ratios.tokens("m", weight), 4_000, "small bodies and pictures teach nothing");
        assert_eq!(ratios.tokens("other", Weight { text: 1, media: 7, ..Weight::default() }), 8);
    }
}
