//! Traces by OTLP: one span for each request, call and attempt, made by OpenTelemetry's SDK and exported over HTTP.
//!
//! Only here are the crates of OpenTelemetry named. Where no collector is set, [`Traces`] is empty and no span is ever
//! made. What spans say is listed in `attributes.rs`: nothing of prompts, answers, keys, ARNs or account ids.

mod attempt;
mod attributes;
mod call;
mod export;
mod request;
mod spans;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanExporter as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use attempt::{AttemptSpan, Trying};
pub use attributes::{ATTRIBUTES, Attribute, EVENTS};
pub use call::{Asking, CallEnd, CallSpan, Scope, Wishes};
pub use request::{Arriving, RequestEnd, RequestSpan};

use super::Metrics;
use crate::config::{Sampling, Telemetry};
use crate::error::{Error, Result};
use crate::ids;

/// How long one export may take, tries included, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes spans, if anybody wants them. A cheap clone.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<SdkTracer>);

impl Traces {
    /// By the settings. Spans are exported on `tracker` until `stop`; those that ended by then are waited for, some
    /// seconds at most. Nothing is sent yet, so a collector that is away does not show here.
    ///
    /// # Errors
    /// When the client for the collector cannot be made.
    pub fn start(
        settings: &Telemetry,
        metrics: &Metrics,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self> {
        let Some(url) = settings.traces_url() else { return Ok(Self(None)) };
        let sampling = settings.sampling();
        let (mut exporter, resource) = (exporter(settings, &url)?, resource(settings));
        exporter.set_resource(&resource);
        let queue = export::Queue::start(exporter, metrics.clone(), tracker, stop);
        let provider = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler(sampling));
        let provider = provider.with_span_processor(queue).build();
        let scope = InstrumentationScope::builder("bedrock-gateway").with_version(env!("CARGO_PKG_VERSION")).build();
        tracing::info!(url, ratio = sampling.ratio, heeds_parent = sampling.heeds_parent, "requests are traced");
        Ok(Self(Some(provider.tracer_with_scope(scope))))
    }

    /// A request came in: its span, under the one that its `traceparent` names, if it has a good one.
    pub fn request(&self, arriving: Arriving<'_>, headers: &HeaderMap) -> Option<RequestSpan> {
        let tracer = self.0.as_ref()?;
        // Of two, neither can be believed: <https://www.w3.org/TR/trace-context/#traceparent-header>.
        let is_single = headers.get_all("traceparent").iter().nth(1).is_none();
        let parent = if is_single {
            TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers))
        } else {
            Context::new()
        };
        Some(RequestSpan::begin(tracer, &parent, arriving))
    }
}

fn sampler(sampling: Sampling) -> Sampler {
    let by_ratio = Sampler::TraceIdRatioBased(sampling.ratio);
    if sampling.heeds_parent { Sampler::ParentBased(Box::new(by_ratio)) } else { by_ratio }
}

/// Who the spans are of.
fn resource(settings: &Telemetry) -> Resource {
    let otel = &settings.otel;
    let mut attributes = BTreeMap::from([
        ("service.name".to_owned(), "bedrock-gateway".to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id".to_owned(), ids::fresh("")),
    ]);
    attributes.extend(otel.resource.iter().cloned());
    if let Some(name) = &otel.service_name {
        attributes.insert("service.name".to_owned(), name.clone());
    }
    let attributes = attributes.into_iter().map(|(key, value)| KeyValue::new(key, value));
    Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector)).with_attributes(attributes).build()
}

/// What sends spans. The SDK would read the standard variables by itself; what it is told here wins.
fn exporter(settings: &Telemetry, url: &str) -> Result<SpanExporter> {
    let mut headers = HeaderMap::new();
    let of_environment = settings.otel.headers.iter().map(|(name, value)| (name, value));
    for (name, value) in of_environment.chain(&settings.otlp_headers) {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value.expose())) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }
    let timeout = settings.otel.timeout.unwrap_or(TIMEOUT);
    // What is secret goes to the collector and to nobody that it points to.
    let client = reqwest::Client::builder()
        .timeout(timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(Error::internal)?;
    SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .with_timeout(timeout)
        .with_http_client(Poster { client, headers })
        .build()
        .map_err(Error::internal)
}

/// A client that adds its headers last.
struct Poster {
    client: reqwest::Client,
    headers: HeaderMap,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Poster(..)")
    }
}

impl HttpClient for Poster {
    fn send_bytes<'a, 'b>(
        &'a self,
        mut request: http::Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        request.headers_mut().extend(self.headers.clone());
        self.client.send_bytes(request)
    }
}
