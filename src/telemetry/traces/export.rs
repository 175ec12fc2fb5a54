//! Spans on their way to the collector: a bounded queue, and one task that empties it in groups. Whoever ends a span never
//! waits; what finds no room, or no collector, is counted and gone.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter as _, SpanProcessor};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::Metrics;

/// Spans that wait at most: some 8 MB.
const QUEUE: usize = 8192;
/// Spans of one export at most.
const BATCH: usize = 512;
/// How long a span waits for others before it is exported.
const PERIOD: Duration = Duration::from_secs(1);
/// How long the last exports may take when the gateway stops.
const LAST: Duration = Duration::from_secs(3);
/// A collector that stays away is told of this often.
const COMPLAIN: Duration = Duration::from_mins(5);

/// Takes spans that have ended.
#[derive(Debug)]
pub(super) struct Queue {
    sender: Sender<SpanData>,
    metrics: Metrics,
}

impl Queue {
    /// The way in; what comes in is exported on `tracker` until `stop`, and what is there by then.
    pub(super) fn start(
        exporter: SpanExporter,
        metrics: Metrics,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let exporting = Exporting { exporter, metrics: metrics.clone(), stop, over: OnceLock::new(), away: None };
        tracker.spawn(exporting.run(receiver));
        Self { sender, metrics }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.sender.try_send(span).is_err() {
            self.metrics.spans_dropped("queue", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    /// The task ends by its own token.
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

struct Exporting {
    exporter: SpanExporter,
    metrics: Metrics,
    stop: CancellationToken,
    /// Until when there is time, once it has to stop.
    over: OnceLock<Instant>,
    away: Option<Away>,
}

/// A collector that does not take what it is sent.
struct Away {
    complained: Instant,
    lost: usize,
}

impl Exporting {
    async fn run(mut self, mut spans: Receiver<SpanData>) {
        let mut batch = Vec::new();
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => break,
                count = spans.recv_many(&mut batch, BATCH) => if count == 0 { return },
            }
            let gather = async {
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    if spans.recv_many(&mut batch, room).await == 0 {
                        break;
                    }
                }
            };
            tokio::select! {
                () = gather => {}
                () = sleep(PERIOD) => {}
                () = self.stop.cancelled() => {}
            }
            self.export(std::mem::take(&mut batch)).await;
        }
        spans.close();
        while spans.recv_many(&mut batch, BATCH).await > 0 {
            self.export(std::mem::take(&mut batch)).await;
        }
    }

    async fn export(&mut self, batch: Vec<SpanData>) {
        let count = batch.len();
        let exported = tokio::select! {
            biased;
            exported = self.exporter.export(batch) => exported.map_err(|error| error.to_string()),
            () = self.is_over() => Err("the gateway stops".to_owned()),
        };
        match (exported, &mut self.away) {
            (Ok(()), None) => {}
            (Ok(()), Some(away)) => {
                tracing::info!(lost = away.lost, "the collector of traces takes spans again");
                self.away = None;
            }
            (Err(error), away) => {
                self.metrics.spans_dropped("export", count as u64);
                let now = Instant::now();
                let is_new = away.is_none();
                let away = away.get_or_insert(Away { complained: now, lost: 0 });
                away.lost += count;
                if is_new || now.duration_since(away.complained) >= COMPLAIN {
                    away.complained = now;
                    tracing::warn!(error, lost = away.lost, "the collector of traces does not take spans");
                }
            }
        }
    }

    /// Waits until nothing may be waited for any more.
    async fn is_over(&self) {
        self.stop.cancelled().await;
        sleep_until(*self.over.get_or_init(|| Instant::now() + LAST)).await;
    }
}
