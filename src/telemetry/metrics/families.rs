//! Every family, in the order in which `/metrics` and `docs/METRICS.md` tell them: its field, kind, name, labels, the
//! buckets of a histogram, and its help. The methods that count are beside this file.
//!
//! Labels are bounded sets; what callers or operators name goes through `labels.rs`. A new label multiplies the series of
//! its family, and each series of a histogram is kept once per bucket: few labels.
//!
//! Between two labels that anybody names stands one with fixed values: the `prometheus` crate tells series apart by a hash
//! of their values in a row, and would take team `a`, model `bc` for team `ab`, model `c`.

use prometheus::{CounterVec, Gauge, GaugeVec, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::instrument::{Declaration, Maker};

/// Seconds: from an answer out of memory to a long reasoning call.
const CALL_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0];

/// Seconds: from 50 microseconds, which a request costs at least, to what nobody should see.
const OVERHEAD_SECONDS: &[f64] =
    &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];

// The boundaries that OpenTelemetry advises: <https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/>.
// Those of a call and of its first token go on behind them: models that think take minutes, and a quantile beyond the
// last boundary would be told as that boundary.
const OPERATION_SECONDS: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36];
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const FIRST_TOKEN_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0];
const TOKEN_SECONDS: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];

/// What OpenTelemetry calls Bedrock: on every series of the `gen_ai_*` families.
const BEDROCK: &[(&str, &str)] = &[("gen_ai_provider_name", "aws.bedrock")];

/// A field for each family, and how it is made.
macro_rules! families {
    ($(
        $field:ident: $kind:ident $name:literal [$($label:literal),*]
        $(always $constant:ident)? $(in $buckets:ident)?
        $help:literal;
    )+) => {
        #[derive(Debug)]
        pub(super) struct Families {
            $(pub(super) $field: $kind,)+
        }

        impl Families {
            pub(super) fn declare(maker: &mut Maker) -> Result<Self, prometheus::Error> {
                Ok(Self {
                    $($field: maker.make(&Declaration {
                        $(always: $constant,)?
                        $(buckets: $buckets,)?
                        ..Declaration::plain($name, $help, &[$($label),*])
                    })?,)+
                })
            }
        }
    };
}

families! {
    // Requests.
    requests: IntCounterVec "gateway_requests_total" ["surface", "team", "operation", "model", "status"]
        "Requests answered, by surface, operation, team, model and HTTP status.";
    request_seconds: HistogramVec "gateway_request_duration_seconds" ["surface", "operation"] in CALL_SECONDS
        "Seconds from the head of a request to the last byte of its answer.";
    overhead_seconds: HistogramVec "gateway_overhead_seconds" ["surface", "operation"] in OVERHEAD_SECONDS
        "The gateway's own seconds of a request: its duration without the waits for AWS and for the client.";
    in_flight: IntGauge "gateway_requests_in_flight" []
        "Requests whose answer has not ended.";
    streams_open: IntGauge "gateway_streams_open" []
        "Streamed answers that have not ended.";
    body_bytes: IntGauge "gateway_request_bodies_bytes" []
        "Bytes that the bodies of requests take whose answer has not begun.";
    body_bytes_limit: IntGauge "gateway_request_bodies_limit_bytes" []
        "Bytes that these bodies may take together (server.max_buffered_mb): one beyond it is refused.";
    rejected: IntCounterVec "gateway_rejected_total" ["reason"]
        "Requests refused by the gateway itself, by reason.";
    panics: IntCounter "gateway_panics_total" []
        "Panics of this process, in requests and in background work: faults of the gateway, each told in the log.";

    // Calls on AWS, and what they used and cost.
    tokens: IntCounterVec "gateway_tokens_total" ["team", "region", "model", "type"]
        "Tokens booked, by team, model, Region and class (input, output, cache_read, cache_write).";
    cost: CounterVec "gateway_cost_usd_total" ["team", "tier", "model"]
        "US dollars booked, by team, model and service tier; calls without a known price are not in it.";
    unpriced: IntCounterVec "gateway_unpriced_requests_total" ["model", "reason"]
        "Calls booked without a cost, by model and reason (no_price, not_counted).";
    legacy: IntCounterVec "gateway_legacy_requests_total" ["model"]
        "Requests answered by a model that is on its way out: legacy, or with a known end.";
    attempts: IntCounterVec "gateway_upstream_attempts_total" ["region", "model", "outcome"]
        "Attempts at AWS, by Region, model and outcome (ok, throttled, unavailable, timeout, rejected, error).";
    cooling: GaugeVec "gateway_upstream_cooling" ["region", "model"]
        "1 while a model rests in a Region after throttling or an outage.";

    // The same calls under OpenTelemetry's names.
    operation_seconds: HistogramVec "gen_ai_client_operation_duration_seconds"
        ["gen_ai_operation_name", "gen_ai_request_model", "error_type"] always BEDROCK in OPERATION_SECONDS
        "Seconds from the admission of a call to its end, failed attempts and a stream's whole answer included.";
    token_usage: HistogramVec "gen_ai_client_token_usage"
        ["gen_ai_operation_name", "gen_ai_request_model", "gen_ai_token_type"] always BEDROCK in TOKENS
        "Tokens of a call by type: input, those read from or written to a cache included, and output.";
    first_token_seconds: HistogramVec "gen_ai_server_time_to_first_token_seconds"
        ["gen_ai_operation_name", "gen_ai_request_model"] always BEDROCK in FIRST_TOKEN_SECONDS
        "Seconds from the admission of a streamed call to its first event, failed attempts included.";
    token_seconds: HistogramVec "gen_ai_server_time_per_output_token_seconds"
        ["gen_ai_operation_name", "gen_ai_request_model"] always BEDROCK in TOKEN_SECONDS
        "Seconds for each output token after the first event of a streamed call that ended well.";

    // Budgets, the ledger, and what is shared.
    budget_remaining: GaugeVec "gateway_budget_remaining_usd" ["team"]
        "US dollars that are not spent of the budget that has the fewest left, of those of a team itself.";
    budget_limit: GaugeVec "gateway_budget_limit_usd" ["team", "scope", "period"]
        "US dollars of a budget for its period, by team, scope (team, key) and period; of several the one most used up.";
    budget_spent: GaugeVec "gateway_budget_spent_usd" ["team", "scope", "period"]
        "US dollars that are spent of the same budget since its period began, by all replicas as far as this one was told.";
    budget_thresholds: IntCounterVec "gateway_budget_thresholds_total" ["team", "threshold"]
        "How often 50, 80 or 100 percent of a budget of a team or of one of its keys were reached.";
    hold_overruns: IntCounterVec "gateway_hold_overruns_total" ["team"]
        "Calls that cost more than was held of their budgets.";
    ledger_lag: Gauge "gateway_ledger_lag_seconds" []
        "Age of the oldest call that is not yet in the ledger.";
    ledger_lost: IntCounter "gateway_ledger_entries_lost_total" []
        "Calls that will never be in the ledger: there was no room for them while the store was away.";
    journal_errors: IntCounter "gateway_journal_errors_total" []
        "Writes to the journal that failed; a crash may lose the calls they were for.";
    journal_damaged: IntCounter "gateway_journal_damaged_segments_total" []
        "Segments of the journal that something could not be read of; the calls that could be are booked.";
    shared_up: GaugeVec "gateway_shared_store_up" []
        "Whether the store that limits and budgets are shared through could be reached last (1) or not (0).";
    shared_errors: IntCounterVec "gateway_shared_store_errors_total" []
        "Scripts and connections of the shared store that failed or took too long.";

    // Batches.
    batch_jobs: GaugeVec "gateway_batch_jobs" ["state"]
        "Batch jobs that this process looks after, by AWS's state in snake case; queued are those that wait for a slot.";
    batch_records: IntCounterVec "gateway_batch_records_total" ["outcome"]
        "Records of batches that ended, by outcome (completed, failed, cancelled, expired).";
    webhooks: IntCounterVec "gateway_webhook_deliveries_total" ["team", "result"]
        "Tries to tell a team's webhook of a batch, by result (delivered, retried, gone, given_up).";

    // What should have been told of requests, and was not.
    spans_dropped: IntCounterVec "gateway_spans_dropped_total" ["reason"]
        "Spans of traces that were not exported, by reason (queue, export).";
    captures_dropped: IntCounterVec "gateway_captures_dropped_total" ["reason"]
        "Requests that should have been captured and were not, by reason (memory, queue, write).";

    // What the gateway goes by.
    catalog_refreshes: IntCounterVec "gateway_catalog_refreshes_total" ["region", "result"]
        "Looks at which models and inference profiles AWS has in a Region, by result (ok, denied, throttled, ...).";
    catalog_age: GaugeVec "gateway_catalog_age_seconds" ["region"]
        "Seconds since AWS last told what it has in a Region.";
    config_reloads: IntCounterVec "gateway_config_reloads_total" ["result"]
        "Readings of the configuration after the start, by result (applied, unchanged, refused).";
    config_read_at: Gauge "gateway_config_last_reload_timestamp_seconds" []
        "Unix time at which the configuration in force was read.";
    config_is_good: IntGauge "gateway_config_last_reload_successful" []
        "1 when the configuration could be used when it was read last, 0 when it was refused and the one before is in force.";
    certificate_not_after: GaugeVec "gateway_tls_certificate_not_after_timestamp_seconds" []
        "Unix time at which the certificate of the clients' port ends; none without TLS.";
    certificate_is_good: GaugeVec "gateway_tls_certificate_last_reload_successful" []
        "1 when the certificate's files could be used when they were read last, 0 when they were refused; none without TLS.";
    build: GaugeVec "gateway_build_info" ["version"]
        "1, for the version that is running.";
}
