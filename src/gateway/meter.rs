//! Reads what a streamed call used, and how it was served, out of frames whose bytes belong to the client.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::service::Service;
use super::statement::{Native, Statement, total};
use crate::converse::Usage;
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
    /// What it told of how it is served.
    service: Service,
    /// What it told of the model that a prompt router chose.
    chosen: Option<String>,
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
    /// For an answer whose head says so much of how it is served.
    pub(super) fn of(operation: Operation, service: Service) -> Self {
        let dialect = match operation {
            Operation::Converse | Operation::ConverseStream | Operation::CountTokens => Dialect::Converse,
            Operation::InvokeModel | Operation::InvokeModelWithResponseStream => Dialect::Invoke,
            Operation::Messages => Dialect::Messages,
            Operation::ChatCompletions => Dialect::ChatCompletions,
            Operation::Responses => Dialect::Responses,
        };
        Self { dialect, told: None, written: 0, service, chosen: None }
    }

    /// What the stream told so far but for its usage.
    pub(super) fn statement(&self) -> Statement {
        Statement { usage: None, service: self.service, chosen: self.chosen.clone() }
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
        if kind != "metadata" {
            return None;
        }
        let told = Statement::of_converse(payload);
        self.serves(told.service);
        self.chosen = told.chosen;
        told.usage.map(Told::Usage)
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
            self.serves(Service::in_dialect(inner.service_tier.as_ref().and_then(Value::as_str)));
            self.begins(inner.message);
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
                self.begins(start.and_then(|start| start.message));
            }
            "message_delta" => {
                // The counts so far, those of the whole answer in the last one.
                let delta = serde_json::from_slice::<Native>(payload).ok()?;
                self.told = Some(delta.usage?.after(self.told.take()));
            }
            "message_stop" => return Some(self.told.take().map_or(Told::Nothing, Told::Usage)),
            _ => {}
        }
        None
    }

    /// What was said first holds: the head is Bedrock's own word.
    fn serves(&mut self, told: Service) {
        self.service = self.service.or(told);
    }

    /// Anthropic's first event tells of the input.
    fn begins(&mut self, message: Option<Native>) {
        let Some(message) = message else { return };
        self.serves(message.service());
        self.told = message.usage.map(Usage::from);
    }

    fn chunk(&mut self, kind: &str, payload: &[u8]) -> Option<Told> {
        if kind == "done" {
            return Some(self.told.take().map_or(Told::Nothing, Told::Usage));
        }
        self.written += payload.len().saturating_sub(CHUNK_ENVELOPE);
        // `"usage":null` is in every chunk of a stream that ends by telling it.
        let tells = memmem(payload, br#""prompt_tokens""#);
        // The tier is told in every chunk, or in the last.
        let is_new = self.service.tier.is_none() && memmem(payload, br#""service_tier":""#);
        if (tells || is_new)
            && let Ok(native) = serde_json::from_slice::<Native>(payload)
        {
            self.serves(native.service());
            self.told = native.usage.map(Usage::from).or(self.told.take());
        }
        None
    }

    fn response_event(&mut self, kind: &str, payload: &[u8]) -> Option<Told> {
        #[derive(Deserialize)]
        struct Ended {
            response: Native,
        }
        if kind.strip_suffix("delta").is_some() {
            self.written += payload.len().saturating_sub(EVENT_ENVELOPE);
        }
        if !matches!(kind, "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled") {
            return None;
        }
        let response = serde_json::from_slice::<Ended>(payload).map(|ended| ended.response).unwrap_or_default();
        self.serves(response.service());
        let usage = response.usage;
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

#[derive(Deserialize)]
struct NativeChunk {
    /// Anthropic's `message_start`.
    message: Option<Native>,
    /// OpenAI's.
    service_tier: Option<Value>,
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
    use http::HeaderMap;

    use super::*;
    use crate::catalog::Tier;
    use crate::converse::CacheDetail;

    fn meter(operation: Operation) -> Meter {
        Meter::of(operation, Service::default())
    }

    fn chunk(inner: &str) -> Vec<u8> {
        format!(r#"{{"bytes":"{}","p":"abcdef"}}"#, STANDARD.encode(inner)).into_bytes()
    }

    fn used(told: Option<Told>) -> Usage {
        let Some(Told::Usage(usage)) = told else { panic!("{told:?}") };
        usage
    }

    #[test]
    fn each_dialect_of_server_sent_events_tells_its_usage_at_its_own_end() {
        let mut messages = meter(Operation::Messages);
        let start = br#"{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":7,"output_tokens":1}}}"#;
        assert_eq!(messages.observe("message_start", start), None);
        assert_eq!(messages.observe("message_delta", br#"{"usage":{"output_tokens":9}}"#), None);
        let usage = used(messages.observe("message_stop", br#"{"type":"message_stop"}"#));
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (5, 7, 9));

        let mut chat = meter(Operation::ChatCompletions);
        assert_eq!(chat.observe("data", br#"{"choices":[{"delta":{"content":"a"}}],"usage":null}"#), None);
        let last = br#"{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}"#;
        assert_eq!(chat.observe("data", last), None);
        let usage = used(chat.observe("done", b"[DONE]"));
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens), (6, 4, 3));
        assert_eq!(meter(Operation::ChatCompletions).observe("done", b"[DONE]"), Some(Told::Nothing));

        let mut responses = meter(Operation::Responses);
        let created = br#"{"type":"response.created","response":{"usage":null}}"#;
        assert_eq!(responses.observe("response.created", created), None);
        let completed = br#"{"response":{"usage":{"input_tokens":10,"output_tokens":3,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":5}}}}"#;
        let usage = used(responses.observe("response.completed", completed));
        assert_eq!((usage.input_tokens, usage.cache_read_input_tokens, usage.cache_write_input_tokens), (1, 4, 5));
        assert_eq!((usage.output_tokens, usage.total_tokens), (3, 13));
    }

    #[test]
    fn a_converse_stream_tells_its_usage_in_the_metadata() {
        let mut metering = meter(Operation::ConverseStream);
        assert_eq!(
            metering.observe("contentBlockDelta", br#"{"contentBlockIndex":0,"delta":{"text":"hello"},"p":"ab"}"#),
            None
        );
        let usage =
            used(metering.observe("metadata", br#"{"usage":{"inputTokens":7,"outputTokens":2,"totalTokens":9}}"#));
        assert_eq!((usage.input_tokens, usage.output_tokens), (7, 2));
    }

    #[test]
    fn a_native_stream_tells_its_usage_in_the_last_chunk() {
        let mut metering = meter(Operation::InvokeModelWithResponseStream);
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":11,"output_tokens":1}}}"#;
        assert_eq!(metering.observe("chunk", &chunk(start)), None);
        assert_eq!(metering.partial(99).input_tokens, 11);
        let stop = r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":11,"outputTokenCount":40,"invocationLatency":5,"firstByteLatency":1}}"#;
        let usage = used(metering.observe("chunk", &chunk(stop)));
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.total_tokens), (11, 40, 51));
    }

    #[test]
    fn what_the_cache_keeps_for_an_hour_is_told_apart_whatever_the_dialect() {
        let counts = r#""usage":{"input_tokens":1,"cache_creation_input_tokens":30,"output_tokens":1,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20}}"#;
        let expected: Vec<CacheDetail> =
            serde_json::from_str(r#"[{"ttl":"5m","inputTokens":10},{"ttl":"1h","inputTokens":20}]"#).unwrap();
        let body = format!("{{{counts}}}");
        let mut headers = HeaderMap::new();
        let whole = |headers: &HeaderMap| {
            Statement::of(Operation::InvokeModel, headers, body.as_bytes()).usage.unwrap().cache_details
        };
        assert_eq!(whole(&headers), expected);
        headers.insert("x-amzn-bedrock-input-token-count", 1.into());
        headers.insert("x-amzn-bedrock-cache-write-input-token-count", 30.into());
        assert_eq!(whole(&headers), expected);

        let start = format!(r#"{{"type":"message_start","message":{{{counts}}}}}"#);
        let mut invoke = meter(Operation::InvokeModelWithResponseStream);
        assert_eq!(invoke.observe("chunk", &chunk(&start)), None);
        let metrics = r#"{"amazon-bedrock-invocationMetrics":{"inputTokenCount":1,"cacheWriteInputTokenCount":30}}"#;
        assert_eq!(used(invoke.observe("chunk", &chunk(metrics))).cache_details, expected);

        let mut messages = meter(Operation::Messages);
        assert_eq!(messages.observe("message_start", start.as_bytes()), None);
        assert_eq!(messages.observe("message_delta", br#"{"usage":{"output_tokens":9}}"#), None);
        assert_eq!(used(messages.observe("message_stop", b"{}")).cache_details, expected);
    }

    #[test]
    fn a_cut_stream_is_charged_for_about_what_it_wrote() {
        let mut metering = meter(Operation::ConverseStream);
        for _ in 0..10 {
            let text = "x".repeat(30);
            let payload = format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{text}"}},"p":"abcdefghijklmnop"}}"#);
            metering.observe("contentBlockDelta", payload.as_bytes());
        }
        let usage = metering.partial(50);
        assert_eq!(usage.input_tokens, 50);
        assert!((90..=110).contains(&usage.output_tokens), "{usage:?}");
    }

    #[test]
    fn each_dialect_of_a_stream_tells_its_tier_at_its_own_place() {
        let tier = |meter: &Meter| meter.statement().service.tier;
        let mut converse = meter(Operation::ConverseStream);
        converse.observe(
            "metadata",
            br#"{"usage":{},"serviceTier":{"type":"flex"},"trace":{"promptRouter":{"invokedModelId":"a.b"}}}"#,
        );
        assert_eq!((tier(&converse), converse.statement().chosen.as_deref()), (Some(Tier::Flex), Some("a.b")));

        let mut messages = meter(Operation::Messages);
        messages.observe("message_start", br#"{"message":{"usage":{"input_tokens":1,"service_tier":"priority"}}}"#);
        assert_eq!(tier(&messages), Some(Tier::Priority));

        let mut chat = meter(Operation::ChatCompletions);
        chat.observe("data", br#"{"service_tier":"flex","choices":[],"usage":null}"#);
        assert_eq!(tier(&chat), Some(Tier::Flex));
        chat.observe("data", br#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#);
        assert!(matches!(chat.observe("done", b""), Some(Told::Usage(_))));
        assert_eq!(tier(&chat), Some(Tier::Flex));

        let mut responses = meter(Operation::Responses);
        responses.observe("response.completed", br#"{"response":{"service_tier":"priority","usage":null}}"#);
        assert_eq!(tier(&responses), Some(Tier::Priority));

        let mut invoke = meter(Operation::InvokeModelWithResponseStream);
        invoke.observe("chunk", &chunk(r#"{"service_tier":"flex","choices":[]}"#));
        assert_eq!(tier(&invoke), Some(Tier::Flex));
    }
}
