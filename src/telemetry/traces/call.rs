//! The span of a call on a model, by OpenTelemetry's conventions for generative AI, from its admission to its booking.

use std::sync::Arc;

use opentelemetry::trace::{Span as _, SpanContext, SpanKind, TraceContextExt as _};
use opentelemetry::{Array, Context, Value};
use opentelemetry_sdk::trace::SdkTracer;

use super::attempt::{AttemptSpan, Trying};
use super::attributes as a;
use super::spans::Open;

/// Where the calls of a request hang.
#[derive(Clone, Debug)]
pub struct Scope {
    tracer: SdkTracer,
    parent: SpanContext,
}

/// What a call asks for. Texts have no account ids.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// By the conventions for generative AI.
    pub operation: &'static str,
    /// Bedrock's id of the model.
    pub model: &'a str,
    /// As the metric labels.
    pub of: (&'static str, &'static str),
    /// The team's name and the key's id.
    pub caller: (&'a str, &'a str),
}

impl Scope {
    /// Below this span.
    pub(super) fn below(open: &Open) -> Self {
        Self { tracer: open.tracer.clone(), parent: open.span.span_context().clone() }
    }

    /// A call begins.
    pub fn call(&self, asking: &Asking<'_>) -> CallSpan {
        let parent = Context::new().with_remote_span_context(self.parent.clone());
        if !self.parent.is_sampled() {
            return CallSpan(Open::begin(&self.tracer, asking.operation, SpanKind::Client, &parent));
        }
        let name = [asking.operation, asking.model].join(" ");
        let mut open = Open::begin(&self.tracer, name, SpanKind::Client, &parent);
        open.set(a::GEN_OPERATION, asking.operation);
        open.set(a::PROVIDER, "aws.bedrock");
        open.text(a::REQUEST_MODEL, asking.model);
        open.set(a::SURFACE, asking.of.0);
        open.set(a::OPERATION, asking.of.1);
        open.text(a::TEAM, asking.caller.0);
        open.text(a::KEY, asking.caller.1);
        CallSpan(open)
    }
}

/// The span of a call on a model, of kind CLIENT:
/// <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/>.
#[derive(Debug)]
pub struct CallSpan(Open);

/// How a call is to be answered, as far as its body says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wishes {
    /// Whether the answer is streamed.
    pub stream: bool,
    /// The most tokens of the answer.
    pub max_tokens: Option<u64>,
    /// How freely the model chooses.
    pub temperature: Option<f64>,
    /// Among how much of what is likely.
    pub top_p: Option<f64>,
}

/// What is known of a call when it is booked.
#[derive(Clone, Copy, Debug)]
pub struct CallEnd<'a> {
    /// The Region that served, or was asked last.
    pub region: &'a str,
    /// The model that answered.
    pub model: &'a str,
    /// Attempts made.
    pub attempts: u32,
    /// Tokens of the prompt, of the answer, read from and written to the cache.
    pub tokens: [u64; 4],
    /// How the tokens are known.
    pub usage_source: &'a str,
    /// Millionths of a US dollar.
    pub cost: Option<i64>,
    /// The service tier.
    pub tier: &'a str,
    /// `ok`, `cancelled`, or the error's kind.
    pub outcome: &'a str,
    /// What it failed with.
    pub error: Option<&'a str>,
}

impl CallSpan {
    /// Whether anybody will see it.
    pub fn is_recording(&self) -> bool {
        self.0.is_recording()
    }

    /// That is how it is to be answered.
    pub fn wishes(&mut self, wishes: Wishes) {
        self.0.set(a::REQUEST_STREAM, wishes.stream);
        if let Some(tokens) = wishes.max_tokens {
            self.0.count(a::MAX_TOKENS, tokens);
        }
        for (key, number) in [(a::TEMPERATURE, wishes.temperature), (a::TOP_P, wishes.top_p)] {
            if let Some(number) = number {
                self.0.set(key, number);
            }
        }
    }

    /// The first event of a stream came.
    pub fn first_event(&mut self) {
        if self.is_recording() {
            self.0.span.add_event(a::FIRST_EVENT, Vec::new());
        }
    }

    /// The model stopped for these reasons.
    pub fn finished(&mut self, reasons: Vec<String>) {
        if !reasons.is_empty() {
            let reasons = reasons.into_iter().map(Into::into).collect();
            self.0.set(a::FINISH_REASONS, Value::Array(Array::String(reasons)));
        }
    }

    /// An attempt begins.
    pub fn attempt(&self, trying: &Trying<'_>) -> Arc<AttemptSpan> {
        Arc::new(AttemptSpan::begin(&self.0, trying))
    }

    /// The call is booked.
    pub fn end(mut self, end: &CallEnd<'_>) {
        let open = &mut self.0;
        if !open.is_recording() {
            return;
        }
        for (key, text) in [
            (a::REGION, end.region),
            (a::RESPONSE_MODEL, end.model),
            (a::USAGE_SOURCE, end.usage_source),
            (a::TIER, end.tier),
            (a::OUTCOME, end.outcome),
        ] {
            if !text.is_empty() {
                open.text(key, text);
            }
        }
        open.set(a::ATTEMPTS, i64::from(end.attempts));
        for (key, tokens) in
            [a::INPUT_TOKENS, a::OUTPUT_TOKENS, a::CACHE_READ, a::CACHE_WRITE].into_iter().zip(end.tokens)
        {
            open.count(key, tokens);
        }
        if let Some(cost) = end.cost {
            open.set(a::COST, cost);
        }
        if let Some(error) = end.error {
            open.failed(error);
        }
        open.span.end();
    }
}
