"""What the gateway tells Prometheus is well formed, and agrees with the ledger and with what was sent."""

import subprocess

import pytest


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
