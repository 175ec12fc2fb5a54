//! What all spans are made of. Those of a request are in `request.rs`, of a call on a model in `call.rs`, of an attempt at
//! AWS in `attempt.rs`. They end when they are told how it ended, at the latest when they are dropped.

use std::borrow::Cow;

use http::HeaderValue;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::attributes as a;

/// A span, and what makes others under it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) span: Span,
    pub(super) tracer: SdkTracer,
}

impl Open {
    pub(super) fn begin(
        tracer: &SdkTracer,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: &Context,
    ) -> Self {
        let span = tracer.build_with_context(SpanBuilder::from_name(name).with_kind(kind), parent);
        Self { span, tracer: tracer.clone() }
    }

    pub(super) fn below(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Self {
        let parent = Context::new().with_remote_span_context(self.span.span_context().clone());
        Self::begin(&self.tracer, name, kind, &parent)
    }

    /// Whether anybody will see it: what is dear to find out need not be looked at otherwise.
    pub(super) fn is_recording(&self) -> bool {
        self.span.is_recording()
    }

    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if self.is_recording() {
            self.span.set_attribute(KeyValue::new(key, value));
        }
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        if self.is_recording() {
            self.span.set_attribute(KeyValue::new(key, value.to_owned()));
        }
    }

    pub(super) fn count(&mut self, key: &'static str, value: u64) {
        self.set(key, i64::try_from(value).unwrap_or(i64::MAX));
    }

    pub(super) fn failed(&mut self, error: &str) {
        self.text(a::ERROR, error);
        self.span.set_status(Status::error(error.to_owned()));
    }
}

/// `00-TRACE-SPAN-FLAGS`
pub(super) fn traceparent(context: &SpanContext) -> Option<HeaderValue> {
    if !context.is_valid() {
        return None;
    }
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    let text = format!("00-{}-{}-{:02x}", context.trace_id(), context.span_id(), flags);
    HeaderValue::from_str(&text).ok()
}
