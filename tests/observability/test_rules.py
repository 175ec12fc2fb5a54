"""The rules are well formed, name what there is, and each alert is shown to fire and not to."""

import collections
import math
import re
import subprocess

import pytest
import yaml

from expressions import (
    OPEN_LABELS, OWN_LABELS, OWN_METRICS, alerts, documented_labels, documented_values, everything_asked, groupings,
    matchers, names, recorded, rules,
)
from processes import PROMETHEUS


def promtool(*arguments):
    ran = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_promtool_finds_nothing_wrong():
    assert "is valid prometheus config" in promtool("check", "config", "prometheus.yml")
    assert f"{len(rules())} rules found" in promtool("check", "rules", "--lint-fatal", "rules.yml")


def test_promtools_tests_of_the_rules_pass(rule_tests):
    said, _ = rule_tests.communicate(timeout=300)
    assert rule_tests.returncode == 0 and said.count("SUCCESS") == len(files_of_tests()), said


def files_of_tests():
    return sorted(PROMETHEUS.glob("*_test.yml"))


def test_rules_are_tested_in_the_order_in_which_they_stand():
    groups = [group["name"] for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]]
    for path in files_of_tests():
        assert yaml.safe_load(path.read_text())["group_eval_order"] == groups, path.name


def test_each_alert_fires_in_one_test_and_does_not_in_another():
    fires, rests = set(), set()
    for test in (test for path in files_of_tests() for test in yaml.safe_load(path.read_text())["tests"]):
        for case in test.get("alert_rule_test", []):
            if case.get("exp_alerts"):
                fires |= {(case["alertname"], alert["exp_labels"]["severity"]) for alert in case["exp_alerts"]}
            else:
                rests.add(case["alertname"])
    assert fires == {(rule["alert"], rule["labels"]["severity"]) for rule in alerts()}
    assert rests == {rule["alert"] for rule in alerts()}


def test_each_alert_says_how_urgent_it_is_and_what_it_is_about():
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, rule["alert"]
        assert set(rule["labels"]) <= {"severity", "audience"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, rule["alert"]
        for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]):
            by = set(groupings(rule["expr"]))
            assert label in by or label == "instance", f"{rule['alert']} has no label {label}"


def test_every_metric_that_is_asked_for_is_announced(site):
    announced = set(re.findall(r"^# HELP (\S+)", site.gateway.scrape(), re.M))
    known = announced | recorded() | OWN_METRICS
    unknown = {(place, name) for place, expression in everything_asked() for name in names(expression) - known}
    assert not unknown
    assert announced == set(documented_labels()), "docs/METRICS.md lists what is announced"


def test_every_label_that_is_asked_for_is_one_of_its_metric():
    labels = documented_labels()
    anywhere = set().union(*labels.values()) | OWN_LABELS
    wrong = []
    for place, expression in everything_asked():
        wrong += [(place, label) for label in groupings(expression) if label not in anywhere]
        for metric, label, word in matchers(expression):
            if metric in labels and label not in labels[metric] | OWN_LABELS:
                wrong.append((place, metric, label))
            if label not in OPEN_LABELS and word not in documented_values(metric, label):
                wrong.append((place, metric, label, word))
    assert not wrong


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.get("alert") or rule["record"]) for rule in rules()])
def test_prometheus_takes_the_expression_of_a_rule(site, rule):
    series = site.prometheus.query(rule["expr"])
    if "record" in rule:
        assert any(not math.isnan(value) for _, value in series), rule["expr"]


def test_prometheus_evaluates_all_rules(site):
    groups = site.prometheus.api("rules")["groups"]
    health = collections.Counter(rule["health"] for group in groups for rule in group["rules"])
    assert health == {"ok": len(rules())}


def test_what_happened_is_told_and_nothing_else(site):
    """The load has a budget nearly spent and calls on a model that will end; what else failed has not lasted."""
    told = {labels["alertname"] for labels, _ in site.prometheus.query('ALERTS{alertstate="firing"}', at=site.ended)}
    assert told == {"BudgetNearlySpent"} | ({"LegacyModelUsed"} if site.load.legacy else set())
