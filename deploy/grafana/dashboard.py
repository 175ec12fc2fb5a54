#!/usr/bin/env python3
"""Writes dashboards/bedrock-gateway.json. One line here is a screenful there; a test holds the two together.

    deploy/grafana/dashboard.py            writes it
    deploy/grafana/dashboard.py --check    says whether it is what would be written (exit code 1 if not)

Calls have the labels team, model and Region, each where it applies: the choices at the top of the dashboard count for
panels whose metric has the label. Process and ledger are of all of them.
"""

import json
import pathlib
import sys

from panels import (
    BY_MODEL,
    GEN_AI_MODEL,
    MODEL,
    RATE,
    REGION,
    TEAM,
    gauges,
    grown,
    heatmap,
    of,
    place,
    quantile,
    quantiles,
    rate,
    series,
    stat,
    states,
    table,
    value_mapping,
    variable,
)

FILE = pathlib.Path(__file__).with_name("dashboards") / "bedrock-gateway.json"

UP_OR_AWAY = [value_mapping(**{"0": ("away", "red"), "1": ("up", "green")})]
FAILED = 'status=~"5..|408|424"'
CALLS = 'surface!="none"'
GOOD = 'outcome="ok"'
# All is every value, and none: a request that was refused has no model.
ANY = {"allValue": ".*"}


def overview():
    yield stat(
        "Requests",
        "Requests a second, of the teams and models that are chosen.",
        rate("gateway_requests_total", CALLS, TEAM, MODEL),
        "reqps",
    )
    yield stat(
        "Failed",
        "The share of all requests of the last 5 minutes that failed through no fault of the client: 5xx, and a "
        "timeout or error of AWS's.",
        f"max ({of('job:gateway_requests_failed:ratio_rate5m')})",
        "percentunit",
        steps=((None, "green"), (0.005, "orange"), (0.07, "red")),
    )
    yield stat(
        "In flight", "Requests whose answer has not ended.", f"sum ({of('gateway_requests_in_flight')})", "short"
    )
    yield stat("Open streams", "Streamed answers that have not ended.", f"sum ({of('gateway_streams_open')})", "short")
    yield stat(
        "Replicas",
        "Replicas that Prometheus reaches.",
        f"sum ({of('up')})",
        "short",
        steps=((None, "red"), (1, "green")),
    )
    yield stat(
        "Alerts",
        "Alerts that fire now; docs/runbooks has a page for each.",
        'count(ALERTS{alertstate="firing"}) or vector(0)',
        "short",
        steps=((None, "green"), (1, "orange")),
    )
    yield series(
        "Requests by route",
        "By surface and operation.",
        (rate("gateway_requests_total", CALLS, TEAM, MODEL, by="surface, operation"), "{{surface}} {{operation}}"),
        "reqps",
        stacked=True,
    )
    yield series(
        "Requests by status",
        "429 and other refusals included. A stream that broke after its first byte is a 200, and a "
        "client that left before it a 499.",
        (rate("gateway_requests_total", CALLS, TEAM, MODEL, by="status"), "{{status}}"),
        "reqps",
        stacked=True,
    )
    yield series(
        "Failed",
        "The share of requests that failed through no fault of the client, by surface.",
        (
            f"{rate('gateway_requests_total', CALLS, FAILED, TEAM, MODEL, by='surface')} / "
            f"{rate('gateway_requests_total', CALLS, TEAM, MODEL, by='surface')}",
            "{{surface}}",
        ),
        "percentunit",
    )
    yield series(
        "In flight",
        "Answers that have not ended, by replica.",
        [
            (of("gateway_requests_in_flight"), "requests {{instance}}"),
            (of("gateway_streams_open"), "streams {{instance}}"),
        ],
        "short",
    )
    yield table(
        "Alerts that fire",
        "Their pages are in docs/runbooks.",
        'ALERTS{alertstate="firing"}',
        size=(16, 8),
        order="Severity",
        names={
            "alertname": "Alert",
            "severity": "Severity",
            "audience": "Audience",
            "team": "Team",
            "model": "Model",
            "region": "Region",
            "instance": "Instance",
        },
    )


def usage():
    costs = of("gateway_cost_usd_total", TEAM, MODEL)
    yield stat(
        "Cost today",
        "US dollars since midnight of the browser's time zone, worked out from what was scraped: the ledger "
        "(`GET /admin/v1/usage`) is exact. Calls without a known price are not in it.",
        grown("gateway_cost_usd_total", TEAM, MODEL),
        "currencyUSD",
        timeFrom="now/d",
        hideTimeOverride=True,
    )
    yield stat(
        "Cost", "US dollars within the time that is shown.", grown("gateway_cost_usd_total", TEAM, MODEL), "currencyUSD"
    )
    yield stat(
        "Tokens today",
        "Of all classes, since midnight.",
        grown("gateway_tokens_total", TEAM, MODEL, REGION),
        "short",
        timeFrom="now/d",
        hideTimeOverride=True,
    )
    yield stat(
        "Tokens",
        "Of all classes, within the time that is shown.",
        grown("gateway_tokens_total", TEAM, MODEL, REGION),
        "short",
    )
    yield stat(
        "Requests", "Within the time that is shown.", grown("gateway_requests_total", CALLS, TEAM, MODEL), "short"
    )
    yield stat(
        "Without a cost",
        "Calls that were booked without a cost within the time that is shown: because the price is not known, or because "
        "they are not charged by tokens. Which it was is told under Budgets.",
        f"{grown('gateway_unpriced_requests_total', MODEL)} or vector(0)",
        "short",
        steps=((None, "green"), (1, "orange")),
    )
    classes = [("input", "Input"), ("output", "Output"), ("cache_read", "Cache read"), ("cache_write", "Cache write")]
    columns = [grown("gateway_requests_total", 'model!=""', TEAM, MODEL, by="team, model")]
    columns += [
        grown("gateway_tokens_total", f'type="{word}"', TEAM, MODEL, REGION, by="team, model") for word, _ in classes
    ]
    columns += [grown("gateway_cost_usd_total", TEAM, MODEL, by="team, model")]
    names = {"team": "Team", "model": "Model", "Value #A": "Requests"}
    names |= {f"Value #{letter}": text for letter, (_, text) in zip("BCDE", classes)} | {"Value #F": "Cost"}
    yield table(
        "Usage by team and model",
        "Requests, tokens by class and cost within the time that is shown. Records of batch "
        "jobs have tokens and cost, but are no requests.",
        columns,
        size=(24, 9),
        order="Cost",
        names=names,
        units=[("Cost", "currencyUSD")],
    )
    hourly = {"bars": True, "stacked": True, "interval": "1h"}
    yield series(
        "Cost by team",
        "US dollars, by the hour or the step that is shown.",
        (f"sum by (team) (increase({costs}[$__interval]))", "{{team}}"),
        "currencyUSD",
        **hourly,
    )
    yield series(
        "Cost by model",
        "US dollars, by the hour or the step that is shown.",
        (f"sum by (model) (increase({costs}[$__interval]))", "{{model}}"),
        "currencyUSD",
        **hourly,
    )
    yield series(
        "Cost by tier",
        "The service tier that Bedrock served; batch is that of jobs.",
        (f"sum by (tier) (increase({costs}[$__interval]))", "{{tier}}"),
        "currencyUSD",
        **hourly,
    )
    yield gauges(
        "Cost today by team",
        "US dollars since midnight.",
        (grown("gateway_cost_usd_total", TEAM, MODEL, by="team"), "{{team}}"),
        "currencyUSD",
        size=(12, 7),
        timeFrom="now/d",
        hideTimeOverride=True,
    )
    yield gauges(
        "Cost by model",
        "US dollars within the time that is shown.",
        (grown("gateway_cost_usd_total", TEAM, MODEL, by="model"), "{{model}}"),
        "currencyUSD",
        size=(12, 7),
    )


def tokens():
    yield series(
        "Tokens by class",
        "Tokens a second as they are booked, at the end of each call.",
        (rate("gateway_tokens_total", TEAM, MODEL, REGION, by="type"), "{{type}}"),
        "short",
        stacked=True,
    )
    yield series(
        "Tokens by team",
        "Of all classes, a second.",
        (rate("gateway_tokens_total", TEAM, MODEL, REGION, by="team"), "{{team}}"),
        "short",
        stacked=True,
    )
    yield series(
        "Tokens by model",
        "Of all classes, a second.",
        (rate("gateway_tokens_total", TEAM, MODEL, REGION, by="model"), "{{model}}"),
        "short",
        stacked=True,
    )
    read = rate("gateway_tokens_total", 'type="cache_read"', TEAM, MODEL, REGION, by="model")
    all_read = rate("gateway_tokens_total", 'type=~"input|cache_read|cache_write"', TEAM, MODEL, REGION, by="model")
    yield series(
        "Read from the cache",
        "The share of the input that was read from a prompt cache, by model.",
        (f"{read} / {all_read}", "{{model}}"),
        "percentunit",
    )
    yield series(
        "Tokens of a call",
        "How many tokens a call reads, cached ones included, and writes: for half of the calls, "
        "and for one in twenty.",
        [
            (
                quantile(q, "gen_ai_client_token_usage", GEN_AI_MODEL, by="gen_ai_token_type"),
                f"p{q * 100:.0f} {{{{gen_ai_token_type}}}}",
            )
            for q in (0.5, 0.95)
        ],
        "short",
    )
    yield series(
        "Tokens by Region",
        "Of all classes, a second, by the Region that answered.",
        (rate("gateway_tokens_total", TEAM, MODEL, REGION, by="region"), "{{region}}"),
        "short",
        stacked=True,
    )


def latency():
    yield series(
        "Duration of requests",
        "From the head of a request to the last byte of its answer, whole streams included.",
        quantiles("gateway_request_duration_seconds", CALLS),
        "s",
    )
    yield series(
        "Duration by route",
        "For one request in twenty.",
        (
            quantile(0.95, "gateway_request_duration_seconds", CALLS, by="surface, operation"),
            "{{surface}} {{operation}}",
        ),
        "s",
    )
    yield heatmap(
        "Requests by duration",
        "How many requests took how long.",
        f"sum by (le) (increase({of('gateway_request_duration_seconds_bucket', CALLS)}[{RATE}]))",
        "s",
        size=(8, 8),
    )
    yield series(
        "Time to the first token",
        "From the admission of a streamed call to its first event, failed attempts included.",
        quantiles("gen_ai_server_time_to_first_token_seconds", GEN_AI_MODEL),
        "s",
    )
    yield series(
        "Time to the first token by model",
        "For one stream in twenty.",
        (quantile(0.95, "gen_ai_server_time_to_first_token_seconds", GEN_AI_MODEL, by=BY_MODEL), f"{{{{{BY_MODEL}}}}}"),
        "s",
    )
    yield series(
        "Time for an output token",
        "Of streams, for each token after their first event, by model: for half of the "
        "streams, and for one in twenty.",
        [
            (
                quantile(q, "gen_ai_server_time_per_output_token_seconds", GEN_AI_MODEL, by=BY_MODEL),
                f"p{q * 100:.0f} {{{{{BY_MODEL}}}}}",
            )
            for q in (0.5, 0.95)
        ],
        "s",
    )
    yield series(
        "Duration of calls",
        "From the admission of a call to its end, failed attempts and whole streams included, "
        "by model: for one call in twenty.",
        (quantile(0.95, "gen_ai_client_operation_duration_seconds", GEN_AI_MODEL, by=BY_MODEL), f"{{{{{BY_MODEL}}}}}"),
        "s",
    )
    yield series(
        "Overhead",
        "What the gateway itself takes: the time of a request without what it waited for AWS and for " "the client.",
        quantiles("gateway_overhead_seconds", CALLS),
        "s",
    )
    yield heatmap(
        "Requests by overhead",
        "How many requests took how much of the gateway's own time.",
        f"sum by (le) (increase({of('gateway_overhead_seconds_bucket', CALLS)}[{RATE}]))",
        "s",
        size=(8, 8),
    )


def upstream():
    attempts = "gateway_upstream_attempts_total"
    yield series(
        "Attempts by outcome",
        "Attempts at AWS a second. A request has one or more: the next Region is tried where one " "fails.",
        (rate(attempts, REGION, MODEL, by="outcome"), "{{outcome}}"),
        "reqps",
        stacked=True,
    )
    yield series(
        "Answers by Region",
        "Attempts that AWS answered well, a second.",
        (rate(attempts, REGION, MODEL, GOOD, by="region"), "{{region}}"),
        "reqps",
        stacked=True,
    )
    yield series(
        "Attempts for an answer",
        "1 where the first Region answers; more where calls have to go on to another.",
        (
            f"{rate(attempts, REGION, MODEL, by='model')} / {rate(attempts, REGION, MODEL, GOOD, by='model')}",
            "{{model}}",
        ),
        "short",
        least=None,
    )
    yield series(
        "Failed attempts by Region",
        "The share that AWS did not answer: unavailable, timeouts and errors.",
        (of("job_region:gateway_upstream_failed:ratio_rate5m", REGION), "{{region}}"),
        "percentunit",
    )
    yield series(
        "Throttled attempts by Region",
        "Attempts a second that AWS throttled.",
        (rate(attempts, REGION, MODEL, 'outcome="throttled"', by="region, model"), "{{region}} {{model}}"),
        "reqps",
    )
    yield series(
        "Throttled attempts by model",
        "The share over all Regions. Above half, another Region does not help any more.",
        (of("job_model:gateway_upstream_throttled:ratio_rate5m", MODEL), "{{model}}"),
        "percentunit",
    )
    yield states(
        "Resting",
        "Models that rest in a Region after throttling or an outage, on any replica. `GET /admin/v1/upstreams` "
        "says why, and when the next call may try.",
        (f"max by (region, model) ({of('gateway_upstream_cooling', REGION, MODEL)})", "{{region}} {{model}}"),
        size=(16, 8),
        mappings=[value_mapping(**{"1": ("resting", "orange")})],
    )
    yield series(
        "Age of the catalog",
        "Since AWS last told which models and inference profiles a Region has.",
        (f"max by (region) ({of('gateway_catalog_age_seconds', REGION)})", "{{region}}"),
        "s",
    )


def limits():
    yield series(
        "Refused by the gateway",
        "Requests a second, by reason.",
        (rate("gateway_rejected_total", by="reason"), "{{reason}}"),
        "reqps",
        stacked=True,
    )
    yield gauges(
        "Refused by reason",
        "Requests within the time that is shown.",
        (grown("gateway_rejected_total", by="reason"), "{{reason}}"),
        "short",
    )
    yield series(
        "429 by team",
        "Requests a second that were answered 429: limits, budgets on other than Bedrock's paths, and AWS's "
        "own throttling.",
        (rate("gateway_requests_total", 'status="429"', TEAM, MODEL, by="team"), "{{team}}"),
        "reqps",
        stacked=True,
    )


def budgets():
    share = f"{of('gateway_budget_spent_usd', TEAM)} / {of('gateway_budget_limit_usd', TEAM)}"
    yield gauges(
        "Spent of budgets",
        "The share of each budget that is spent since its period began; of the budgets of a team's keys that of the one "
        "most used up. It is there for budgets that have paid for a call since the process began.",
        (f"max by (team, scope, period) ({share})", "{{team}} {{scope}} {{period}}"),
        "percentunit",
    )
    yield gauges(
        "Left of budgets",
        "US dollars that are not spent of the team's budget that has the fewest left. It is there for "
        "budgets that have paid for a call since the process began.",
        (f"min by (team) ({of('gateway_budget_remaining_usd', TEAM)})", "{{team}}"),
        "currencyUSD",
    )
    yield series(
        "Left of budgets over time",
        "US dollars. It leaps up when a period begins anew.",
        (f"min by (team) ({of('gateway_budget_remaining_usd', TEAM)})", "{{team}}"),
        "currencyUSD",
        least=None,
    )
    yield table(
        "Thresholds that were reached",
        "How often a budget of the team or of one of its keys came to 50, 80 or 100 percent "
        "within the time that is shown.",
        grown("gateway_budget_thresholds_total", TEAM, by="team, threshold"),
        size=(8, 8),
        order="Times",
        names={"team": "Team", "threshold": "Percent", "Value": "Times"},
    )
    yield gauges(
        "Calls above their hold",
        "Calls that cost more than was held of their budgets, within the time that is shown.",
        (grown("gateway_hold_overruns_total", TEAM, by="team"), "{{team}}"),
        "short",
        size=(4, 8),
    )
    yield gauges(
        "Calls without a cost",
        "Calls within the time that is shown that were booked without a cost: no_price is a gap in the catalog, "
        "not_counted are guardrails and asynchronous invocations, which are not charged by tokens.",
        (grown("gateway_unpriced_requests_total", MODEL, by="model, reason"), "{{model}} {{reason}}"),
        "short",
    )
    yield gauges(
        "Models that will end",
        "Calls within the time that is shown on models that are on their way out.",
        (grown("gateway_legacy_requests_total", MODEL, by="model"), "{{model}}"),
        "short",
        size=(4, 8),
    )


def batch():
    yield series(
        "Jobs by state",
        "Jobs of AWS's that are not over; queued are those that wait for a place.",
        (f"sum by (state) ({of('gateway_batch_jobs')})", "{{state}}"),
        "short",
        stacked=True,
    )
    yield series(
        "Records",
        "Records that ended, a second, online or in a job.",
        (rate("gateway_batch_records_total", by="outcome"), "{{outcome}}"),
        "short",
        stacked=True,
    )
    yield gauges(
        "Records by outcome",
        "Within the time that is shown.",
        (grown("gateway_batch_records_total", by="outcome"), "{{outcome}}"),
        "short",
        size=(4, 8),
    )
    yield gauges(
        "Webhooks",
        "Tries to tell a team's webhook of the end of a batch, within the time that is shown.",
        (grown("gateway_webhook_deliveries_total", TEAM, by="result"), "{{result}}"),
        "short",
        size=(4, 8),
    )


def books():
    yield series(
        "Ledger lag",
        "Age of the oldest call that is not in the ledger yet, by replica.",
        (of("gateway_ledger_lag_seconds"), "{{instance}}"),
        "s",
        size=(6, 7),
    )
    yield stat(
        "Lost calls",
        "Calls within the time that is shown that the ledger will never have.",
        grown("gateway_ledger_entries_lost_total"),
        "short",
        steps=((None, "green"), (1, "red")),
        size=(3, 7),
    )
    yield stat(
        "Journal errors",
        "Writes to the journal that failed within the time that is shown; a crash would lose the calls they "
        "were for.",
        grown("gateway_journal_errors_total"),
        "short",
        steps=((None, "green"), (1, "red")),
        size=(3, 7),
    )
    yield stat(
        "Damaged journal",
        "Segments of the journal within the time that is shown that something could not be read of.",
        grown("gateway_journal_damaged_segments_total"),
        "short",
        steps=((None, "green"), (1, "orange")),
        size=(3, 7),
    )
    yield stat(
        "Shared store",
        "The Redis or Valkey that limits and budgets are shared through, as the replica sees it that is worst "
        "off; none without `shared.url`.",
        f"min ({of('gateway_shared_store_up')})",
        "short",
        steps=((None, "red"), (1, "green")),
        mappings=UP_OR_AWAY,
        size=(3, 7),
    )
    yield series(
        "Errors of the shared store",
        "A second, by replica.",
        (f"rate({of('gateway_shared_store_errors_total')}[{RATE}])", "{{instance}}"),
        "short",
        size=(6, 7),
    )


def process():
    yield series(
        "Processor",
        "Cores in use, by replica.",
        (f"rate({of('process_cpu_seconds_total')}[{RATE}])", "{{instance}}"),
        "short",
    )
    yield series(
        "Memory", "Resident bytes, by replica.", (of("process_resident_memory_bytes"), "{{instance}}"), "bytes"
    )
    yield series(
        "File descriptors",
        "The share of the limit that is in use, by replica. At the limit no connection is taken.",
        (f"{of('process_open_fds')} / {of('process_max_fds')}", "{{instance}}"),
        "percentunit",
    )
    yield table(
        "Replicas",
        "Version and age of each.",
        [
            f"max by (instance, version) ({of('gateway_build_info')})",
            f"max by (instance) (time() - {of('process_start_time_seconds')})",
        ],
        size=(8, 7),
        order="Running for",
        units=[("Running for", "s")],
        names={"instance": "Instance", "version": "Version", "Value #B": "Running for"},
    )
    yield gauges(
        "Reloads of the configuration",
        "Within the time that is shown, by result.",
        (grown("gateway_config_reloads_total", by="result"), "{{result}}"),
        "short",
        size=(8, 7),
    )
    yield stat(
        "Configuration",
        "Whether the file could be used when it was read last, on the replica that is worst off.",
        f"min ({of('gateway_config_last_reload_successful')})",
        "short",
        steps=((None, "red"), (1, "green")),
        mappings=[value_mapping(**{"0": ("refused", "red"), "1": ("in force", "green")})],
        size=(4, 7),
    )
    yield stat(
        "Certificate",
        "How long the certificate of the clients' port is still good, on the replica where it ends first; none without TLS.",
        f"min ({of('gateway_tls_certificate_not_after_timestamp_seconds')} - time())",
        "s",
        steps=((None, "red"), (2 * 86400, "orange"), (14 * 86400, "green")),
        size=(4, 7),
    )
    yield stat(
        "Renewal of the certificate",
        "Whether its files could be used when they were read last, on the replica that is worst off; none without TLS.",
        f"min ({of('gateway_tls_certificate_last_reload_successful')})",
        "short",
        steps=((None, "red"), (1, "green")),
        mappings=[value_mapping(**{"0": ("refused", "red"), "1": ("in use", "green")})],
        size=(4, 7),
    )
    yield stat(
        "Panics",
        "Within the time that is shown: faults of the program.",
        grown("gateway_panics_total"),
        "short",
        steps=((None, "green"), (1, "red")),
        size=(4, 7),
    )
    yield stat(
        "Lost spans",
        "Spans of traces that were not exported within the time that is shown.",
        f"{grown('gateway_spans_dropped_total')} or vector(0)",
        "short",
        steps=((None, "green"), (1, "orange")),
        size=(4, 7),
    )
    yield stat(
        "Lost captures",
        "Requests that should have been captured within the time that is shown, and were not.",
        f"{grown('gateway_captures_dropped_total')} or vector(0)",
        "short",
        steps=((None, "green"), (1, "orange")),
        size=(4, 7),
    )
    yield series(
        "Bodies of requests",
        "Bytes of bodies whose answer has not begun, and what they may take together, by replica. What is beyond it is "
        "refused; peaks between two scrapes are not seen.",
        [
            (of("gateway_request_bodies_bytes"), "taken {{instance}}"),
            (of("gateway_request_bodies_limit_bytes"), "limit {{instance}}"),
        ],
        "bytes",
        size=(8, 7),
    )


ROWS = [
    ("Overview", overview),
    ("Usage and cost", usage),
    ("Tokens", tokens),
    ("Latency", latency),
    ("AWS", upstream),
    ("Limits and refusals", limits),
    ("Budgets", budgets),
    ("Batches", batch),
    ("Ledger, journal, shared store", books),
    ("Process", process),
]


def dashboard():
    source = {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "regex": "",
        "refresh": 1,
        "current": {"text": "Prometheus", "value": "prometheus"},
        "options": [],
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "skipUrlSync": False,
    }
    return {
        "uid": "bedrock-gateway",
        "title": "Bedrock gateway",
        "tags": ["bedrock-gateway"],
        "editable": True,
        "description": "Who uses what at what cost, and why something is slow or refused.",
        "schemaVersion": 41,
        "version": 1,
        "timezone": "browser",
        "refresh": "30s",
        "graphTooltip": 1,
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "links": [],
        "annotations": {"list": []},
        "fiscalYearStartMonth": 0,
        "liveNow": False,
        "preload": False,
        "templating": {
            "list": [
                source,
                # All of these, and no more: others have processes and targets, too.
                variable("job", "Job", "label_values(gateway_requests_in_flight, job)"),
                variable("team", "Team", 'label_values(gateway_requests_total{job=~"$job"}, team)', **ANY),
                variable("model", "Model", 'label_values(gateway_requests_total{job=~"$job"}, model)', **ANY),
                variable("region", "Region", 'label_values(gateway_upstream_attempts_total{job=~"$job"}, region)', **ANY),
            ]
        },
        "panels": place(ROWS),
    }


def main():
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    if "--check" in sys.argv[1:]:
        if FILE.read_text() != text:
            sys.exit(f"{FILE} is not what dashboard.py writes: run it")
    else:
        FILE.write_text(text)


if __name__ == "__main__":
    main()
