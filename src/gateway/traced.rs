//! The span of a call: what it says is read from the call's body and from its answer without parsing the whole. Only calls that
//! are traced come here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Origin;
use crate::converse::Usage;
use crate::error::Error;
use crate::scan::{elements, members};
use crate::telemetry::traces::{Asking, CallEnd, CallSpan, Wishes};
use crate::tenancy::Caller;
use crate::tenancy::ledger::Entry;
use crate::upstream::{Call, Operation, mask};

/// The span of a call, where its request is traced.
#[derive(Debug, Default)]
pub(super) struct Traced(Option<Box<CallSpan>>);

/// What is known of a call when it ends.
pub(super) struct Told<'a> {
    pub(super) region: &'a str,
    pub(super) model: &'a str,
    pub(super) attempts: u32,
    pub(super) tier: &'static str,
    /// What it failed with, if it did.
    pub(super) error: Option<&'a Error>,
}

impl Traced {
    /// A call on `model` begins; `operation` is what the conventions call it.
    pub(super) fn begin(origin: &Origin, caller: &Caller, operation: &'static str, model: &str) -> Self {
        let Some(scope) = origin.trail.traced() else { return Self(None) };
        let asking = Asking {
            operation,
            model: &mask(model),
            of: (origin.surface, origin.operation),
            caller: (&caller.team.name, caller.key.id.as_str()),
        };
        Self(Some(Box::new(scope.call(&asking))))
    }

    /// The span, to hang attempts under.
    pub(super) fn span(&self) -> Option<&CallSpan> {
        self.0.as_deref()
    }

    /// The span, if anybody will see it.
    fn recorded(&mut self) -> Option<&mut CallSpan> {
        self.0.as_deref_mut().filter(|span| span.is_recording())
    }

    /// That is what it is asked, as it is sent.
    pub(super) fn asks(&mut self, call: &Call) {
        if let Some(span) = self.recorded() {
            span.wishes(wishes(call));
        }
    }

    /// That is the whole answer.
    pub(super) fn answered(&mut self, operation: Operation, body: &[u8]) {
        if let Some(span) = self.recorded() {
            span.finished(finish_reasons(operation, body));
        }
    }

    /// That is a frame of a streamed answer.
    pub(super) fn streamed(&mut self, kind: &str, payload: &[u8]) {
        if let Some(span) = self.recorded() {
            span.finished(finish_reasons_in(kind, payload));
        }
    }

    /// The first event of a stream came.
    pub(super) fn first_event(&mut self) {
        if let Some(span) = self.recorded() {
            span.first_event();
        }
    }

    /// The call has ended, and was booked so, if anything was asked of AWS.
    pub(super) fn end(self, told: &Told<'_>, booked: Option<(&Entry, &Usage)>) {
        let Some(span) = self.0.filter(|span| span.is_recording()) else { return };
        let Told { region, model, attempts, tier, error } = *told;
        let error = error.map(|error| error.aws().map_or_else(|| error.kind().into(), |exception| exception.name));
        let (outcome, tokens, usage_source) = match booked {
            Some((entry, usage)) => {
                let (read, written) = (usage.cache_read_input_tokens, usage.cache_write_input_tokens);
                let tokens = [usage.prompt_tokens(), usage.output_tokens, read, written];
                (entry.outcome.as_str(), tokens, entry.usage_source.into())
            }
            None => (error.unwrap_or("cancelled"), [0; 4], ""),
        };
        let cost = booked.and_then(|(entry, _)| entry.cost).map(|cost| cost.0);
        let model = &mask(model);
        span.end(&CallEnd { region, model, attempts, tokens, usage_source, cost, tier, outcome, error });
    }
}

/// How `call` wants to be answered, in the fields of any dialect.
fn wishes(call: &Call) -> Wishes {
    let mut wishes = Wishes { max_tokens: super::outline::wish(call).max_tokens, ..Wishes::default() };
    wishes.stream = matches!(call.operation, Operation::ConverseStream | Operation::InvokeModelWithResponseStream);
    for (key, value) in members(&call.body) {
        match key {
            b"inferenceConfig" | b"textGenerationConfig" => {
                members(value).for_each(|(key, value)| sampling(&mut wishes, key, value));
            }
            b"stream" => wishes.stream |= value == b"true",
            _ => sampling(&mut wishes, key, value),
        }
    }
    wishes
}

fn sampling(wishes: &mut Wishes, key: &[u8], value: &[u8]) {
    let number = || std::str::from_utf8(value).ok()?.parse::<f64>().ok();
    match key {
        b"temperature" => wishes.temperature = number(),
        b"top_p" | b"topP" => wishes.top_p = number(),
        _ => {}
    }
}

/// Why the model stopped, by the whole answer.
fn finish_reasons(operation: Operation, body: &[u8]) -> Vec<String> {
    let mut reasons = Vec::new();
    if operation == Operation::Responses {
        status(body, &mut reasons);
    } else {
        collect(body, &mut reasons);
    }
    reasons
}

/// Why the model stopped, if this frame of a stream says so.
fn finish_reasons_in(kind: &str, payload: &[u8]) -> Vec<String> {
    let mut reasons = Vec::new();
    match kind {
        "chunk" => {
            let wrapped = members(payload).find(|(key, _)| *key == b"bytes").map(|(_, value)| value);
            let wrapped = wrapped.and_then(|text| text.strip_prefix(b"\"")?.strip_suffix(b"\""));
            if let Some(inner) = wrapped.and_then(|text| STANDARD.decode(text).ok()) {
                collect(&inner, &mut reasons);
            }
        }
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
            if let Some((_, response)) = members(payload).find(|(key, _)| *key == b"response") {
                status(response, &mut reasons);
            }
        }
        "messageStop" | "message_delta" | "data" => collect(payload, &mut reasons),
        _ => {}
    }
    reasons
}

/// Where a dialect says it.
fn collect(object: &[u8], reasons: &mut Vec<String>) {
    for (key, value) in members(object) {
        match key {
            b"stopReason" | b"stop_reason" | b"finish_reason" | b"completionReason" => push(value, reasons),
            b"delta" | b"messageStop" => collect(value, reasons),
            b"choices" | b"results" => elements(value).for_each(|choice| collect(choice, reasons)),
            _ => {}
        }
    }
}

/// Where a response of OpenAI's says it.
fn status(response: &[u8], reasons: &mut Vec<String>) {
    for (_, value) in members(response).filter(|(key, _)| *key == b"status") {
        push(value, reasons);
    }
}

/// Takes a word, and nothing that could be more than that.
fn push(value: &[u8], reasons: &mut Vec<String>) {
    let word = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or_default();
    let is_word = (1..=40).contains(&word.len()) && word.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'_');
    if is_word && let Ok(word) = std::str::from_utf8(word) {
        reasons.push(word.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    #[test]
    fn wishes_are_found_in_every_dialect() {
        let of = |operation, body: &str| {
            wishes(&Call { operation, headers: HeaderMap::new(), body: Bytes::from(body.to_owned()) })
        };
        let all = Wishes { stream: true, max_tokens: Some(7), temperature: Some(0.5), top_p: Some(1.0) };
        let converse =
            r#"{"messages":[{"temperature":9}],"inferenceConfig":{"maxTokens":7,"temperature":0.5,"topP":1}}"#;
        assert_eq!(of(Operation::ConverseStream, converse), all);
        assert_eq!(
            of(Operation::ChatCompletions, r#"{"stream":true,"max_tokens":7,"temperature":0.5,"top_p":1.0}"#),
            all
        );
        assert_eq!(of(Operation::InvokeModel, r#"{"temperature":"hot","stream":"no"}"#), Wishes::default());
    }

    #[test]
    fn reasons_are_found_in_every_dialect_and_are_words() {
        let whole = |operation, body: &str| finish_reasons(operation, body.as_bytes());
        assert_eq!(
            whole(Operation::Converse, r#"{"output":{"stopReason":"no"},"stopReason":"end_turn"}"#),
            ["end_turn"]
        );
        assert_eq!(whole(Operation::InvokeModel, r#"{"stop_reason":"max_tokens"}"#), ["max_tokens"]);
        assert_eq!(whole(Operation::InvokeModel, r#"{"results":[{"completionReason":"FINISH"}]}"#), ["FINISH"]);
        let choices = r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"length"}]}"#;
        assert_eq!(whole(Operation::ChatCompletions, choices), ["stop", "length"]);
        assert_eq!(whole(Operation::Responses, r#"{"status":"incomplete","output":[]}"#), ["incomplete"]);
        assert_eq!(
            whole(Operation::InvokeModel, r#"{"stop_reason":"two words","finish_reason":null}"#),
            Vec::<String>::new()
        );

        let frame = |kind, payload: &str| finish_reasons_in(kind, payload.as_bytes());
        assert_eq!(frame("messageStop", r#"{"stopReason":"tool_use","p":"abc"}"#), ["tool_use"]);
        assert_eq!(frame("message_delta", r#"{"delta":{"stop_reason":"end_turn"}}"#), ["end_turn"]);
        assert_eq!(
            frame("data", r#"{"choices":[{"delta":{"content":"a"},"finish_reason":null}]}"#),
            Vec::<String>::new()
        );
        assert_eq!(frame("response.completed", r#"{"response":{"status":"completed"}}"#), ["completed"]);
        let chunk = STANDARD.encode(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#);
        assert_eq!(frame("chunk", &format!(r#"{{"bytes":"{chunk}","p":"ab"}}"#)), ["end_turn"]);
        assert_eq!(frame("contentBlockDelta", r#"{"delta":{"stopReason":"x"}}"#), Vec::<String>::new());
    }
}
