//! Reads what a call used out of an answer whose bytes belong to the client.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde::Deserialize;

use crate::converse::{CacheDetail, Event, Usage};
use crate::upstream::Operation;

/// Bytes of text that make a token, for what has to be estimated. English prose has about four; code and other
/// languages have less, and an estimate that is too high is the safe side.
const BYTES_PER_TOKEN: u64 = 3;

/// Tokens that `bytes` of text make, estimated.
pub(super) fn estimate(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

/// Watches one streamed answer.
#[derive(Debug)]
pub(super) struct Meter {
    dialect: Dialect,
    /// What the stream told so far.
    told: Option<Usage>,
    /// Bytes of content seen.
    written: usize,
}

/// How a stream tells what it used.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    /// Converse: in the last event.
    Converse,
    /// The model's own events in AWS's frames: in the last chunk's `amazon-bedrock-invocationMetrics`; an Anthropic
    /// stream tells the input in its first.
    Invoke,
    /// Anthropic's events: the input in the first, the output in `message_delta`.
    Messages,
    /// OpenAI's chunks: in the last, if it was asked for.
    ChatCompletions,
    /// OpenAI's events: in the one that ends the response.
    Responses,
}

/// What a frame says about the end of its stream.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// This was used, finally.
    Usage(Usage),
    /// The answer is complete, and nothing told what it used.
    Nothing,
}

impl Meter {
    pub(super) fn of(operation: Operation) -> Self {
        let dialect = match operation {
            Operation::Converse | Operation::ConverseStream | Operation::CountTokens => Dialect::Converse,
            Operation::InvokeModel | Operation::InvokeModelWithResponseStream => Dialect::Invoke,
            Operation::Messages => Dialect::Messages,
            Operation::ChatCompletions => Dialect::ChatCompletions,
            Operation::Responses => Dialect::Responses,
        };
        Self { dialect, told: None, written: 0 }
    }

    /// Whether the stream must say that it ends; one that does not was cut, whatever the connection says.
    pub(super) fn must_say_end(&self) -> bool {
        self.dialect != Dialect::Invoke
    }

    /// Takes note of a frame; the end, when this frame is it.
    pub(super) fn observe(&mut self, kind: &str, payload: &[u8]) -> Option<Told> {
        match self.dialect {
            Dialect::Converse => self.converse(kind, payload),
            Dialect::Invoke => self.invoke(payload),
            Dialect::Messages => self.messages(kind, payload),
            Dialect::ChatCompletions => self.chunk(kind, payload),
            Dialect::Responses => self.response_event(kind, payload),
        }
    }

    fn converse(&mut self, kind: &str, payload: &[u8]) -> Option<Told> {
        if kind == "contentBlockDelta" {
            self.written += payload.len().saturating_sub(DELTA_ENVELOPE + padding(payload));
            return None;
        }
        match (kind == "metadata").then(|| Event::parse(kind, payload)) {
            Some(Ok(Event::Metadata { usage, .. })) => Some(Told::Usage(usage)),
            _ => None,
        }
    }

    fn invoke(&mut self, payload: &[u8]) -> Option<Told> {
        // Most chunks are only counted: the first and the last tell something.
        let first = self.written == 0;
        // Base64, and half of a native event is its envelope.
        self.written += payload.len().saturating_sub(padding(payload)) * 3 / 8;
        if !first && !holds_metrics(payload) {
            return None;
        }
        let inner = native_chunk(payload)?;
        if first {
            self.told = inner.message.map(|message| message.usage.into());
        }
        let mut usage = Usage::from(inner.metrics?);
        // How long what was written to the cache lives there is told in the first event alone.
        usage.cache_details = self.told.take().map(|told| told.cache_details).unwrap_or_default();
        Some(Told::Usage(usage))
    }

    fn messages(&mut self, kind: &str, payload: &[u8]) -> Option<Told> {
        match kind {
            "content_block_delta" => self.written += payload.len().saturating_sub(MESSAGE_ENVELOPE),
            "message_start" => {
                let start: Option<NativeChunk> = serde_json::from_slice(payload).ok();
                self.told = start.and_then(|start| start.message).map(|message| message.usage.into());
            }
            "message_delta" => {
                // The counts so far, those of the whole answer in the last one.
                let delta = serde_json::from_slice::<WithUsage>(payload).ok()?;
                self.told = Some(delta.usage.after(self.told.take()));
            }
            "message_stop" => return Some(self.told.take().map_or(Told::Nothing, Told::Usage)),
            _ => {}
        }
        None
    }

    fn chunk(&mut self, kind: &str, payload: &[u8]) -> Option<Told> {
        if kind == "done" {
            return Some(self.told.take().map_or(Told::Nothing, Told::Usage));
        }
        self.written += payload.len().saturating_sub(CHUNK_ENVELOPE);
        // `"usage":null` is in every chunk of a stream that ends by telling it.
        let tells = memmem(payload, br#""prompt_tokens""#);
        if tells && let Ok(WithUsage { usage }) = serde_json::from_slice(payload) {
            self.told = Some(usage.into());
        }
        None
    }

    fn response_event(&mut self, kind: &str, payload: &[u8]) -> Option<Told> {
        #[derive(Deserialize)]
        struct Ended {
            response: MayUse,
        }
        #[derive(Deserialize)]
        struct MayUse {
            usage: Option<NativeUsage>,
        }
        if kind.strip_suffix("delta").is_some() {
            self.written += payload.len().saturating_sub(EVENT_ENVELOPE);
        }
        if !matches!(kind, "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled") {
            return None;
        }
        let usage = serde_json::from_slice::<Ended>(payload).ok().and_then(|ended| ended.response.usage);
        Some(usage.map_or(Told::Nothing, |usage| Told::Usage(usage.into())))
    }

    /// What was used by an answer that was cut short: what was seen, the rest estimated.
    pub(super) fn partial(&self, input_estimate: u64) -> Usage {
        let told = self.told.clone();
        let mut usage = told.unwrap_or(Usage { input_tokens: input_estimate, ..Usage::default() });
        usage.output_tokens = usage.output_tokens.max(estimate(self.written));
        total(usage)
    }
}

/// What is around the text in a `content_block_delta`.
const MESSAGE_ENVELOPE: usize = 86;
/// What is around the text in an OpenAI chunk.
const CHUNK_ENVELOPE: usize = 180;
/// What is around the text in an event of OpenAI's Responses.
const EVENT_ENVELOPE: usize = 150;

fn memmem(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
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
    NEEDLES.iter().any(|needle| memmem(payload, needle.as_bytes()))
}

/// How many bytes at the payload's end are padding: `"p":"abc"}`.
fn padding(payload: &[u8]) -> usize {
    const MARK: &[u8] = br#""p":""#;
    let tail = payload.len().saturating_sub(128);
    let tail = payload.get(tail..).unwrap_or_default();
    tail.windows(MARK.len()).rposition(|window| window == MARK).map_or(0, |at| tail.len() - at - MARK.len())
}

/// The usage of a whole native answer: Bedrock's own count in the headers, else what the body says.
fn invoke_usage(headers: &HeaderMap, body: &[u8]) -> Option<Usage> {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let told = || Some(Usage::from(serde_json::from_slice::<WithUsage>(body).ok()?.usage));
    let Some(input) = count("x-amzn-bedrock-input-token-count") else { return told() };
    let written = count("x-amzn-bedrock-cache-write-input-token-count").unwrap_or(0);
    Some(total(Usage {
        input_tokens: input,
        output_tokens: count("x-amzn-bedrock-output-token-count").unwrap_or(0),
        cache_read_input_tokens: count("x-amzn-bedrock-cache-read-input-token-count").unwrap_or(0),
        cache_write_input_tokens: written,
        // No header tells how long it lives there, and an hour costs more than five minutes.
        cache_details: if written > 0 { told().map(|told| told.cache_details).unwrap_or_default() } else { Vec::new() },
        ..Usage::default()
    }))
}

/// The usage that a whole answer tells.
pub(super) fn usage(operation: Operation, headers: &HeaderMap, body: &[u8]) -> Option<Usage> {
    match operation {
        Operation::Converse | Operation::ConverseStream => converse_usage(body),
        // AWS counts for nothing.
        Operation::CountTokens => Some(Usage::default()),
        _ => invoke_usage(headers, body),
    }
}

/// The usage of a whole Converse answer.
fn converse_usage(body: &[u8]) -> Option<Usage> {
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

/// Usage as the models' own bodies tell it: Anthropic's names, or OpenAI's, whose count of the prompt includes what came
/// from the cache and what was written to it.
#[derive(Default, Deserialize)]
#[serde(default)]
struct NativeUsage {
    #[serde(alias = "prompt_tokens", alias = "inputTokens")]
    input_tokens: Option<u64>,
    #[serde(alias = "completion_tokens", alias = "outputTokens")]
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    #[serde(alias = "prompt_tokens_details")]
    input_tokens_details: Option<InputDetails>,
}

/// Anthropic's cache writes by lifetime.
#[derive(Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

impl CacheCreation {
    fn details(self) -> Vec<CacheDetail> {
        let written = [("5m", self.ephemeral_5m_input_tokens), ("1h", self.ephemeral_1h_input_tokens)];
        let detail = |(ttl, tokens): (&str, Option<u64>)| {
            Some(CacheDetail { ttl: ttl.to_owned(), input_tokens: tokens.filter(|tokens| *tokens > 0)? })
        };
        written.into_iter().filter_map(detail).collect()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: u64,
    /// Told by models that charge for it: GPT-5.6 and later.
    cache_write_tokens: u64,
}

impl NativeUsage {
    /// These counts, and those told before for what these leave out.
    fn after(self, before: Option<Usage>) -> Usage {
        let before = before.unwrap_or_default();
        let InputDetails { cached_tokens, cache_write_tokens } = self.input_tokens_details.unwrap_or_default();
        let not_fresh = cached_tokens.saturating_add(cache_write_tokens);
        let cache_read = self.cache_read_input_tokens.unwrap_or(before.cache_read_input_tokens);
        let cache_write = self.cache_creation_input_tokens.unwrap_or(before.cache_write_input_tokens);
        total(Usage {
            input_tokens: self.input_tokens.map_or(before.input_tokens, |input| input.saturating_sub(not_fresh)),
            output_tokens: self.output_tokens.unwrap_or(before.output_tokens),
            cache_read_input_tokens: cache_read.max(cached_tokens),
            cache_write_input_tokens: cache_write.max(cache_write_tokens),
            cache_details: self.cache_creation.map_or(before.cache_details, CacheCreation::details),
            ..Usage::default()
        })
    }
}

impl From<NativeUsage> for Usage {
    fn from(native: NativeUsage) -> Self {
        native.after(None)
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

    fn used(told: Option<Told>) -> Usage {
        let Some(Told::Usage(usage)) = told else { panic!("{told:?}") };
        usage
    }

    #[test]
    fn each_dialect_of_server_sent_events_tells_its_usage_at_its_own_end() {
        let mut messages = Meter::of(Operation::Messages);
        let start = br#"{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":7,"output_tokens":1}}}"#;
        assert_eq!(messages.observe("message_start", start), None);
        assert_eq!(messages.observe("message_delta", br#"{"usage":{"output_tokens":9}}"#), None);
        let usage = used(messages.observe("message_stop", br#"{"type":"message_stop"}"#));
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (5, 7, 9));

        let mut chat = Meter::of(Operation::ChatCompletions);
        assert_eq!(chat.observe("data", br#"{"choices":[{"delta":{"content":"a"}}],"usage":null}"#), None);
        let last = br#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#;
        assert_eq!(chat.observe("data", last), None);
        let usage = used(chat.observe("done", b"[DONE]"));
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (6, 4, 3));
        assert_eq!(Meter::of(Operation::ChatCompletions).observe("done", b"[DONE]"), Some(Told::Nothing));

        let mut responses = Meter::of(Operation::Responses);
        let created = br#"{"type":"response.created","response":{"usage":null}}"#;
        assert_eq!(responses.observe("response.created", created), None);
        let completed = br#"{"response":{"usage":{"input_tokens":10,"output_tokens":3,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":5}}}}"#;
        let usage = used(responses.observe("response.completed", completed));
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.cache_write_input_tokens), (1, 4, 5));
        assert_eq!((usage.output_tokens, usage.total_tokens), (3, 13));
    }

    #[test]
    fn a_converse_stream_tells_its_usage_in_the_metadata() {
        let mut meter = Meter::of(Operation::ConverseStream);
        assert_eq!(
            meter.observe("contentBlockDelta", br#"{"contentBlockIndex":0,"delta":{"text":"hello"},"p":"ab"}"#),
            None
        );
        let usage = used(meter.observe("metadata", br#"{"usage":{"inputTokens":7,"outputTokens":2,"totalTokens":9}}"#));
        assert_eq!((usage.input_tokens, usage.output_tokens), (7, 2));
    }

    #[test]
    fn a_native_stream_tells_its_usage_in_the_last_chunk() {
        let mut meter = Meter::of(Operation::InvokeModelWithResponseStream);
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":11,"output_tokens":1}}}"#;
        assert_eq!(meter.observe("chunk", &chunk(start)), None);
        assert_eq!(meter.partial(99).input_tokens, 11);
        let stop = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":11,"outputTokenCount":40,"invocationLatency":5,"firstByteLatency":1}}"#;
        let usage = used(meter.observe("chunk", &chunk(stop)));
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.total_tokens), (11, 40, 51));
    }

    #[test]
    fn what_the_cache_keeps_for_an_hour_is_told_apart_whatever_the_dialect() {
        let counts = r#""usage":{"input_tokens":1,"cache_creation_input_tokens":30,"output_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}"#;
        let expected: Vec<CacheDetail> =
            serde_json::from_str(r#"[{"ttl":"5m","inputTokens":10},{"ttl":"1h","inputTokens":20}]"#).unwrap();
        let body = format!("{{{counts}}}");
        let mut headers = HeaderMap::new();
        assert_eq!(invoke_usage(&headers, body.as_bytes()).unwrap().cache_details, expected);
        headers.insert("x-amzn-bedrock-input-token-count", 1.into());
        headers.insert("x-amzn-bedrock-cache-write-input-token-count", 30.into());
        assert_eq!(invoke_usage(&headers, body.as_bytes()).unwrap().cache_details, expected);

        let start = format!(r#"{{"type":"message_start","message":{{{counts}}}}}"#);
        let mut invoke = Meter::of(Operation::InvokeModelWithResponseStream);
        assert_eq!(invoke.observe("chunk", &chunk(&start)), None);
        let metrics = r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":1,"cacheWriteInputTokenCount":30}}"#;
        assert_eq!(used(invoke.observe("chunk", &chunk(metrics))).cache_details, expected);

        let mut messages = Meter::of(Operation::Messages);
        assert_eq!(messages.observe("message_start", start.as_bytes()), None);
        assert_eq!(messages.observe("message_delta", br#"{"usage":{"output_tokens":9}}"#), None);
        assert_eq!(used(messages.observe("message_stop", b"{}")).cache_details, expected);
    }

    #[test]
    fn a_cut_stream_is_charged_for_about_what_it_wrote() {
        let mut meter = Meter::of(Operation::ConverseStream);
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
