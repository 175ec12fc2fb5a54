//! Reads what a call used out of an answer whose bytes belong to the client.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde::Deserialize;

use crate::converse::{Event, Usage};

/// Bytes of text that make a token, for what has to be estimated. English prose has about four; code and other
/// languages have less, and an estimate that is too high is the safe side.
const BYTES_PER_TOKEN: u64 = 3;

/// Tokens that `bytes` of text make, estimated.
pub(super) fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// Watches one streamed answer.
#[derive(Debug)]
pub(super) enum Meter {
    /// Converse events: usage is in the last one.
    Converse {
        /// Bytes of text and arguments seen.
        written: usize,
    },
    /// Events of the model's own: usage is in the last chunk's `amazon-bedrock-invocationMetrics`; an Anthropic
    /// stream tells the input in its first.
    Invoke {
        /// Read from the first chunk.
        start: Option<Usage>,
        /// Bytes of chunks seen.
        written: usize,
    },
}

impl Meter {
    pub(super) fn converse() -> Self {
        Self::Converse { written: 0 }
    }

    pub(super) fn invoke() -> Self {
        Self::Invoke { start: None, written: 0 }
    }

    /// Whether the stream must end by telling its usage.
    pub(super) fn is_converse(&self) -> bool {
        matches!(self, Self::Converse { .. })
    }

    /// Takes note of a frame; the final usage when this frame tells it.
    pub(super) fn observe(&mut self, kind: &str, payload: &[u8]) -> Option<Usage> {
        match self {
            Self::Converse { written } => match kind {
                "contentBlockDelta" => {
                    *written += payload.len().saturating_sub(DELTA_ENVELOPE + padding(payload));
                    None
                }
                "metadata" => match Event::parse(kind, payload) {
                    Ok(Event::Metadata { usage, .. }) => Some(usage),
                    _ => None,
                },
                _ => None,
            },
            Self::Invoke { start, written } => {
                // Most chunks are only counted: the first and the last tell something.
                let first = *written == 0;
                *written += payload.len().saturating_sub(padding(payload)) * 3 / 4;
                if !first && !holds_metrics(payload) {
                    return None;
                }
                let inner = native_chunk(payload)?;
                if first {
                    *start = inner.message.map(|message| message.usage.into());
                }
                inner.metrics.map(Into::into)
            }
        }
    }

    /// What was used by an answer that was cut short: what was seen, the rest estimated.
    pub(super) fn partial(&self, input_estimate: u64) -> Usage {
        let (start, written) = match self {
            Self::Converse { written } => (None, *written),
            // Half of a native event is its envelope.
            Self::Invoke { start, written } => (start.clone(), *written / 2),
        };
        let mut usage = start.unwrap_or(Usage { input_tokens: input_estimate, ..Usage::default() });
        usage.output_tokens = usage.output_tokens.max(estimate(written));
        usage.total_tokens = usage.prompt_tokens() + usage.output_tokens;
        usage
    }
}

/// What is around the text: `{"contentBlockIndex":0,"delta":{"text":""},"p":"`.
const DELTA_ENVELOPE: usize = 48;

/// Whether base64 in `payload` holds `invocationMetrics`, told without decoding it: by the base64 of that word at each
/// of the three places where it can begin in a group.
fn holds_metrics(payload: &[u8]) -> bool {
    static NEEDLES: LazyLock<[String; 3]> = LazyLock::new(|| {
        [0, 1, 2].map(|before| {
            let shifted = STANDARD.encode(format!("{}invocationMetrics", &"__"[..before]));
            // The first and last groups mix with their neighbours.
            shifted[4..20].to_owned()
        })
    });
    NEEDLES.iter().any(|needle| payload.windows(needle.len()).any(|window| window == needle.as_bytes()))
}

/// How many bytes at the payload's end are padding: `"p":"abc"}`.
fn padding(payload: &[u8]) -> usize {
    const MARK: &[u8] = br#""p":""#;
    let tail = payload.len().saturating_sub(128);
    let tail = payload.get(tail..).unwrap_or_default();
    tail.windows(MARK.len()).rposition(|window| window == MARK).map_or(0, |at| tail.len() - at - MARK.len())
}

/// The usage of a whole native answer: Bedrock's own count in the headers, else what the body says.
pub(super) fn invoke_usage(headers: &HeaderMap, body: &[u8]) -> Option<Usage> {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    if let Some(input) = count("x-amzn-bedrock-input-token-count") {
        return Some(total(Usage {
            input_tokens: input,
            output_tokens: count("x-amzn-bedrock-output-token-count").unwrap_or(0),
            cache_read_input_tokens: count("x-amzn-bedrock-cache-read-input-token-count").unwrap_or(0),
            cache_write_input_tokens: count("x-amzn-bedrock-cache-write-input-token-count").unwrap_or(0),
            ..Usage::default()
        }));
    }
    Some(serde_json::from_slice::<WithUsage>(body).ok()?.usage.into())
}

/// The usage of a whole Converse answer.
pub(super) fn converse_usage(body: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Converse {
        usage: Usage,
    }
    Some(serde_json::from_slice::<Converse>(body).ok()?.usage)
}

fn total(mut usage: Usage) -> Usage {
    usage.total_tokens = usage.prompt_tokens() + usage.output_tokens;
    usage
}

#[derive(Deserialize)]
struct WithUsage {
    usage: NativeUsage,
}

/// Usage as the models' own bodies tell it: Anthropic's names, or OpenAI's.
#[expect(clippy::struct_field_names, reason = "the names are the wire's")]
#[derive(Deserialize)]
struct NativeUsage {
    #[serde(alias = "prompt_tokens", alias = "inputTokens", default)]
    input_tokens: u64,
    #[serde(alias = "completion_tokens", alias = "outputTokens", default)]
    output_tokens: u64,
    #[serde(default)]
    cache_read_input_tokens: u64,
    #[serde(default)]
    cache_creation_input_tokens: u64,
}

impl From<NativeUsage> for Usage {
    fn from(native: NativeUsage) -> Self {
        total(Self {
            input_tokens: native.input_tokens,
            output_tokens: native.output_tokens,
            cache_read_input_tokens: native.cache_read_input_tokens,
            cache_write_input_tokens: native.cache_creation_input_tokens,
            ..Self::default()
        })
    }
}

#[derive(Deserialize)]
struct NativeChunk {
    /// Anthropic's `message_start`.
    message: Option<WithUsage>,
    #[serde(rename = "amazon-bedrock-invocationMetrics")]
    metrics: Option<InvocationMetrics>,
}

#[expect(clippy::struct_field_names, reason = "the names are the wire's")]
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InvocationMetrics {
    input_token_count: u64,
    output_token_count: u64,
    cache_read_input_token_count: u64,
    cache_write_input_token_count: u64,
}

impl From<InvocationMetrics> for Usage {
    fn from(metrics: InvocationMetrics) -> Self {
        total(Self {
            input_tokens: metrics.input_token_count,
            output_tokens: metrics.output_token_count,
            cache_read_input_tokens: metrics.cache_read_input_token_count,
            cache_write_input_tokens: metrics.cache_write_input_token_count,
            ..Self::default()
        })
    }
}

fn native_chunk(payload: &[u8]) -> Option<NativeChunk> {
    #[derive(Deserialize)]
    struct Wrapping<'a> {
        #[serde(borrow)]
        bytes: std::borrow::Cow<'a, str>,
    }
    let wrapping: Wrapping<'_> = serde_json::from_slice(payload).ok()?;
    serde_json::from_slice(&STANDARD.decode(wrapping.bytes.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(inner: &str) -> Vec<u8> {
        format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(inner)).into_bytes()
    }

    #[test]
    fn a_converse_stream_tells_its_usage_in_the_metadata() {
        let mut meter = Meter::converse();
        assert_eq!(
            meter.observe("contentBlockDelta", br#"{"contentBlockIndex":0,"delta":{"text":"hello"},"p":"ab"}"#),
            None
        );
        let usage = meter.observe("metadata", br#"{"usage":{"inputTokens":7,"outputTokens":2,"totalTokens":9}}"#);
        assert_eq!(usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((7, 2)));
    }

    #[test]
    fn a_native_stream_tells_its_usage_in_the_last_chunk() {
        let mut meter = Meter::invoke();
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":11,"output_tokens":1}}}"#;
        assert_eq!(meter.observe("chunk", &chunk(start)), None);
        assert_eq!(meter.partial(99).input_tokens, 11);
        let stop = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":11,"outputTokenCount":40,"invocationLatency":5,"firstByteLatency":1}}"#;
        let usage = meter.observe("chunk", &chunk(stop)).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.total_tokens), (11, 40, 51));
    }

    #[test]
    fn a_cut_stream_is_charged_for_about_what_it_wrote() {
        let mut meter = Meter::converse();
        for _ in 0..10 {
            let text = "x".repeat(30);
            let payload = format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}},"p":"abcdefghijklmnop"}}"#);
            meter.observe("contentBlockDelta", payload.as_bytes());
        }
        let usage = meter.partial(50);
        assert_eq!(usage.input_tokens, 50);
        assert!((90..=110).contains(&usage.output_tokens), "{usage:?}");
    }

    #[test]
    fn a_whole_native_answer_is_read_from_headers_first_and_its_body_second() {
        let mut headers = HeaderMap::new();
        let body = br#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
        assert_eq!(invoke_usage(&headers, body).map(|usage| usage.total_tokens), Some(7));
        headers.insert("x-amzn-bedrock-input-token-count", 5.into());
        assert_eq!(invoke_usage(&headers, body).map(|usage| usage.total_tokens), Some(5));
        assert_eq!(invoke_usage(&HeaderMap::new(), b"not json"), None);
    }
}
