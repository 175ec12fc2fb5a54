//! How many tokens a body will be counted as, before AWS counts them: by its bytes, with a ratio that is learnt for each
//! model from what AWS counted before.
//!
//! Started on the safe side: too high an estimate holds too much for the length of a call, too low a one lets a budget be
//! overshot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memchr2;

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
/// A string of base64 that is longer is a picture or a document.
const MEDIA: usize = 2048;
/// How many of a string's bytes tell whether it is base64.
const PROBE: usize = 256;
/// What a picture counts for at least, whatever its size in bytes: what the largest takes with most models.
const PICTURE: u64 = 2_000;
/// Bytes of base64 that make a token beyond that: documents are read page by page.
const MEDIA_BYTES_PER_TOKEN: u64 = 100;

/// What a body weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// Bytes that are not media.
    text: usize,
    /// Tokens that its media may count for.
    media: u64,
}

impl Weight {
    /// Of a JSON body. One pass over its quotes: a long string is skipped as fast as memory can be read.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut weight = Self { text: body.len(), media: 0 };
        let mut at = 0;
        while let Some(open) = memchr::memchr(b'"', body.get(at..).unwrap_or_default()) {
            let start = at + open + 1;
            let Some(end) = string_end(body, start) else { break };
            let string = &body[start..end];
            if string.len() > MEDIA && is_base64(&string[string.len() - PROBE..]) {
                weight.text -= string.len();
                weight.media += (string.len() as u64 / MEDIA_BYTES_PER_TOKEN).max(PICTURE);
            }
            at = end + 1;
        }
        weight
    }
}

/// Where the string ends that begins at `at`.
fn string_end(body: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', body.get(at..)?)?;
        if body[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

fn is_base64(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte))
}

/// What was learnt of each model.
#[derive(Default)]
pub(super) struct Ratios(Table<AtomicU64>);

impl Ratios {
    /// The tokens that a body of this weight will be counted as by `model`.
    pub(super) fn tokens(&self, model: &str, weight: Weight) -> u64 {
        let per_kilobyte = self.0.find(model).map_or(START, |ratio| ratio.load(Ordering::Relaxed));
        (weight.text as u64).saturating_mul(per_kilobyte).div_ceil(1024).saturating_add(weight.media)
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
    fn text_weighs_by_its_bytes_and_media_by_themselves() {
        let text = format!(r#"{{"a":"{}","b":"{}"}}"#, "word ".repeat(1000), r#"\"quoted\\"#);
        assert_eq!(Weight::of(text.as_bytes()), Weight { text: text.len(), media: 0 });
        let picture = "iVBORw0KGgo".repeat(1000);
        let body = format!(r#"{{"data":"data:image/png;base64,{picture}","text":"what is it?"}}"#);
        let weight = Weight::of(body.as_bytes());
        assert_eq!((weight.text, weight.media), (body.len() - picture.len() - 22, PICTURE));
        let document = "A".repeat(1_000_000);
        assert_eq!(Weight::of(format!(r#"["{document}"]"#).as_bytes()), Weight { text: 4, media: 10_000 });
        for broken in ["", "\"", "{\"a", "\\\"", "\"\\"] {
            assert_eq!(Weight::of(broken.as_bytes()).media, 0, "{broken}");
        }
    }

    #[test]
    fn a_model_is_taken_for_a_glutton_until_it_shows_otherwise_and_at_once_when_it_is() {
        let ratios = Ratios::default();
        let model: Arc<str> = "m".into();
        let weight = Weight { text: 10_240, media: 0 };
        assert_eq!(ratios.tokens("m", weight), 5_120);
        for _ in 0..200 {
            ratios.learn(&model, weight, 2_500);
        }
        assert_eq!(ratios.tokens("m", weight), 2_500);
        ratios.learn(&model, weight, 4_000);
        assert_eq!(ratios.tokens("m", weight), 4_000);
        ratios.learn(&model, Weight { text: 10, media: 0 }, 1_000_000);
        ratios.learn(&model, Weight { text: 10_240, media: 1 }, 0);
        assert_eq!(ratios.tokens("m", weight), 4_000, "small bodies and pictures teach nothing");
        assert_eq!(ratios.tokens("other", Weight { text: 1, media: 7 }), 8);
    }
}
