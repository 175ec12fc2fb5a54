"""The dashboard is what its script writes, has a form that Grafana takes, and shows something of all that happened."""

import collections
import copy
import math
import re
import subprocess
import sys

import pytest
import yaml

from expressions import dashboard, documented_labels, groupings, names, panels
from grafana_schema import faults
from processes import ROOT

GRAFANA = ROOT / "deploy" / "grafana"

#: Panels that are rightly empty, and why. Without a shared store those of `SHARED` are, too.
EMPTY = {"Lost captures": "a file that cannot be written keeps a gateway from starting, and a disk that is full is not to be had"}
SHARED = {"Shared store", "Errors of the shared store"}

#: Panel types of Grafana's core that are not on their way out.
TYPES = {"row", "stat", "timeseries", "bargauge", "table", "heatmap", "state-timeline"}
METRICS = {"gateway_requests", "gateway_tokens", "gateway_cost", "gateway_budget", "gen_ai_client", "gen_ai_server"}
UNITS = {"short", "reqps", "percentunit", "currencyUSD", "s", "bytes"}


def choices(**chosen):
    """What the variables of the dashboard and of Grafana stand for: everything, unless something is chosen."""
    values = {"job": "bedrock-gateway"}
    for one in dashboard()["templating"]["list"]:
        if "allValue" in one:
            values[one["name"]] = one["allValue"]
    return values | chosen | {"__rate_interval": "1m", "__interval": "1m", "__range": "5m"}


def filled(expression, values):
    text = re.sub(r"\$(\w+)", lambda match: values[match[1]], expression)
    # It stands for events that need not have happened. In the load they have.
    return re.sub(r" or vector\(0\)$", "", text)


def answer(site, target, values):
    """What a query shows: values that are numbers, of whatever series."""
    expression = filled(target["expr"], values)
    if target.get("instant"):
        series = [[value] for _, value in site.prometheus.query(expression)]
    else:
        series = [values for _, values in site.prometheus.query_range(expression, site.began, site.ended)]
    return [value for values in series for value in values if not math.isnan(value)]


def queries():
    return [
        pytest.param(panel, target, id=f"{panel['id']}-{panel['title']}-{target['refId']}")
        for panel in panels() for target in panel["targets"]
    ]


@pytest.mark.parametrize("panel, target", queries())
def test_a_query_shows_something(site, panel, target):
    shown = answer(site, target, choices())
    if panel["title"] in EMPTY or panel["title"] in SHARED and not site.gateway.has_shared_store:
        assert not shown, "it is in the list of what is rightly empty, and is not"
    else:
        assert shown, target["expr"]


def test_the_choice_of_a_team_leaves_the_others_out(site):
    panel = next(panel for panel in panels() if panel["title"] == "Cost today by team")
    [target] = panel["targets"]
    expression = filled(target["expr"], choices(team="support"))
    assert [labels["team"] for labels, _ in site.prometheus.query(expression)] == ["support"]


def test_the_cost_that_is_shown_has_the_first_call_of_each_team_in_it(site):
    [panel] = [panel for panel in panels() if panel["title"] == "Cost"]
    [(_, shown)] = site.prometheus.query(filled(panel["targets"][0]["expr"], choices()))
    booked = sum(float(row["cost_usd"]) for row in site.load.admin("usage?group_by=team")["data"])
    # Prometheus extrapolates to the ends of the time that is asked for.
    assert shown == pytest.approx(booked, rel=0.1)


def test_what_is_shown_of_processes_is_of_gateways_alone(site):
    for title in ("Replicas", "Memory", "File descriptors", "Processor"):
        for panel in (panel for panel in panels() if panel["title"] == title):
            for target in panel["targets"]:
                [(labels, value)] = site.prometheus.query(filled(target["expr"], choices()))
                assert value > 0 and labels.get("instance") in (None, site.gateway.ops.removeprefix("http://")), title


def test_what_can_be_chosen_is_what_there_is(site):
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] != "query":
            continue
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        metric, label = filled(asked[1], choices()), asked[2]
        values = site.prometheus.api(f"label/{label}/values", **{"match[]": metric})
        assert len(values) >= (1 if label == "job" else 2), variable["name"]


def test_it_is_what_its_script_writes():
    subprocess.run([sys.executable, GRAFANA / "dashboard.py", "--check"], check=True)


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids)) > 50
    taken = collections.Counter()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            taken.update((x, y) for y in range(place["y"], place["y"] + place["h"]))
    assert max(taken.values()) == 1


def test_grafanas_own_schemas_take_all_of_it():
    assert faults(dashboard()) == []


def changed(path, value):
    """The dashboard with another value at this place."""
    changed = copy.deepcopy(dashboard())
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize("path, value, told", [
    (["schemaVersions"], 41, ".schemaVersions is no member"),
    (["panels", 1, "gridPos", "w"], "8", "grid_pos.w is '8'"),
    (["panels", 1, "targets", 0, "exprs"], "up", ".exprs is no member"),
    (["panels", 1, "options", "colorMode"], "colour", "color_mode is 'colour'"),
    (["panels", 1, "fieldConfig", "defaults", "color", "mode"], "rainbow", "color.mode is 'rainbow'"),
    (["templating", "list", 1, "refresh"], 7, ".refresh is 7"),
])
def test_what_grafanas_schemas_do_not_have_is_seen(path, value, told):
    [fault] = faults(changed(path, value))
    assert told in fault


def kept(expression):
    """The labels that the series of an expression have."""
    if " by (" in expression:
        return set(groupings(expression))
    labels = documented_labels()
    # What is recorded has the labels that its name begins with.
    own = (set(name.split(":")[0].split("_")) if ":" in name else labels.get(name, set()) for name in names(expression))
    return {"instance"}.union(*own)


def test_legends_name_labels_that_their_queries_keep():
    for panel in panels():
        for target in panel["targets"]:
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept(target["expr"]), (panel["title"], target["legendFormat"])


def test_usage_and_latency_are_told_by_team_and_by_model():
    told = collections.defaultdict(set)
    for panel in panels():
        for target in panel["targets"]:
            for label in groupings(target["expr"]):
                told[label.removeprefix("gen_ai_request_")] |= {name for name in METRICS if name in target["expr"]}
    assert told["team"] >= {"gateway_requests", "gateway_tokens", "gateway_cost", "gateway_budget"}
    assert told["model"] >= {"gateway_requests", "gateway_tokens", "gateway_cost", "gen_ai_client", "gen_ai_server"}


def test_panels_say_what_they_show_in_which_unit():
    for panel in dashboard()["panels"]:
        assert panel["type"] in TYPES, panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["description"].endswith((".", ";")), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]


def test_every_variable_that_a_query_uses_is_there():
    there = {variable["name"] for variable in dashboard()["templating"]["list"]}
    used = {name for panel in panels() for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
    assert {name for name in used if not name.startswith("__")} == there - {"datasource"}


def test_provisioning_leads_to_the_dashboard_and_to_prometheus():
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    [variable] = [one for one in dashboard()["templating"]["list"] if one["type"] == "datasource"]
    assert (source["type"], source["uid"]) == (variable["query"], variable["current"]["value"])
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/bedrock-gateway.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
