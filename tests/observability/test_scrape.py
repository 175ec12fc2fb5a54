"""What the gateway tells Prometheus is well formed, and agrees with the ledger and with what was sent."""

import socket
import ssl
import subprocess
import urllib.parse

import pytest

from processes import until


def test_the_scrape_passes_promtools_check(site):
    scrape = site.gateway.scrape()
    check = subprocess.run(["promtool", "check", "metrics"], input=scrape, capture_output=True, text=True)
    assert (check.returncode, check.stdout + check.stderr) == (0, "")


def test_prometheus_takes_every_scrape(site):
    [target] = [one for one in site.prometheus.api("targets")["activeTargets"] if one["labels"]["job"] == "bedrock-gateway"]
    assert (target["health"], target["lastError"]) == ("up", "")
    [(_, share)] = site.prometheus.query('avg_over_time(up{job="bedrock-gateway"}[5m])')
    assert share == 1


def test_every_request_that_was_sent_is_counted_once(site):
    series = site.prometheus.query("sum by (status) (gateway_requests_total)", at=site.ended)
    assert {int(labels["status"]): int(value) for labels, value in series} == site.answered


def ledger(site, by):
    rows = site.load.admin(f"usage?group_by={by}")["data"]
    assert rows
    return rows


def test_tokens_of_each_team_are_those_of_the_ledger(site):
    classes = ("input", "output", "cache_read", "cache_write")
    booked = {
        (row["team_name"], word): row[f"{word}_tokens"] for row in ledger(site, "team") for word in classes
        if row[f"{word}_tokens"]
    }
    series = site.prometheus.query("sum by (team, type) (gateway_tokens_total)")
    assert {(labels["team"], labels["type"]): int(value) for labels, value in series} == booked
    assert {word for _, word in booked} == set(classes), "the load has tokens of all classes"


def test_the_cost_of_each_team_is_that_of_the_ledger(site):
    booked = {row["team_name"]: float(row["cost_usd"]) for row in ledger(site, "team")}
    counted = {labels["team"]: value for labels, value in site.prometheus.query("sum by (team) (gateway_cost_usd_total)")}
    assert counted == pytest.approx(booked, abs=1e-9)
    assert len(booked) >= 4 and min(booked.values()) > 0
    unpriced = sum(row["unpriced_requests"] for row in ledger(site, "team"))
    [(_, counted)] = site.prometheus.query("sum (gateway_unpriced_requests_total)")
    assert counted == unpriced > 0


def test_the_end_of_the_certificate_is_what_a_client_is_shown(site):
    at = urllib.parse.urlsplit(site.gateway.url)
    with socket.create_connection((at.hostname, at.port), timeout=30) as plain:
        with ssl.create_default_context().wrap_socket(plain, server_hostname=at.hostname) as shaken:
            shown = ssl.cert_time_to_seconds(shaken.getpeercert()["notAfter"])
    assert site.gateway.value("gateway_tls_certificate_not_after_timestamp_seconds") == shown
    assert site.gateway.value("gateway_tls_certificate_last_reload_successful") == 1


def test_the_share_of_a_budget_is_what_the_administrator_is_told(site):
    told = {
        (row["team_name"], "key" if row["key_name"] else "team", row["period"]): float(row["spent_usd"]) / float(row["limit_usd"])
        for row in site.load.admin("budgets")["data"]
    }
    assert len(told) == 2 and max(told.values()) >= 0.8
    expected = pytest.approx(told, abs=1e-9)

    def is_shown():
        series = site.prometheus.query("gateway_budget_spent_usd / gateway_budget_limit_usd")
        return {(labels["team"], labels["scope"], labels["period"]): value for labels, value in series} == expected

    # A command of a page may just have changed a limit in the store: the gateway looks there once a second, and is scraped then.
    until("the shares are those of the administrator", is_shown, seconds=20)


def test_what_has_no_cost_by_its_nature_is_told_from_what_has_no_price(site):
    series = site.prometheus.query("sum by (model, reason) (gateway_unpriced_requests_total)")
    assert {(labels["model"], labels["reason"]) for labels, _ in series} == {("guardrail", "not_counted")}
