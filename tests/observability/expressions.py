"""What the dashboard, the rules and the runbooks ask Prometheus, and what docs/METRICS.md says can be asked."""

import json
import re

import yaml

from processes import PROMETHEUS, ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "bedrock-gateway.json"
RUNBOOKS = ROOT / "docs" / "runbooks"

#: What Prometheus adds by itself.
OWN_LABELS = {"job", "instance", "le", "alertname", "alertstate"}
OWN_METRICS = {"up", "ALERTS"}
#: The values of these are not ours to list.
OPEN_LABELS = {"team", "model", "region", "status", "gen_ai_request_model"} | OWN_LABELS


def dashboard():
    return json.loads(DASHBOARD.read_text())


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules():
    return [rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def recorded():
    return {rule["record"] for rule in rules() if "record" in rule}


def runbook_pages():
    return {page.stem: page.read_text() for page in RUNBOOKS.glob("*.md") if page.stem != "README"}


def runbook_queries():
    """Pairs of a page's name and an expression in it, from its blocks of `promql`."""
    return [
        (name, line) for name, text in runbook_pages().items()
        for block in re.findall(r"^ *```promql\n(.*?)^ *```", text, re.M | re.S) for line in block.strip().splitlines()
    ]


def everything_asked():
    """Pairs of a place and an expression."""
    asked = [(f"panel {panel['title']}", target["expr"]) for panel in panels() for target in panel["targets"]]
    asked += [(f"rule {rule.get('alert') or rule['record']}", rule["expr"]) for rule in rules()]
    return asked + [(f"runbook {name}", expression) for name, expression in runbook_queries()]


def names(expression):
    """The metrics that an expression asks for, those of histograms without their suffix."""
    text = re.sub(r'"[^"]*"', '""', expression)
    text = re.sub(r"\b(by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)", "", text)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", text)
    found = re.findall(r"(?<![\w$:])([a-zA-Z_][\w:]*)(?!\w|\s*\()", text)
    words = {"and", "or", "unless", "offset", "bool", "by"}
    found = (name for name in found if name not in words)
    return {name if ":" in name else re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def matchers(expression):
    """Triples of a metric, a label and a text that the label is compared with."""
    for metric, inside in re.findall(r"([a-zA-Z_][\w:]*)\{([^}]*)\}", expression):
        for label, operator, text in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', inside):
            for word in text.split("|") if "~" in operator else [text]:
                yield re.sub(r"_(bucket|sum|count)$", "", metric), label, word


def groupings(expression):
    """The labels that an expression adds up by or matches on."""
    for inside in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression):
        yield from (label.strip() for label in inside.split(",") if label.strip())


def documented_labels():
    """The labels of each metric, by docs/METRICS.md."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (?:counter|gauge|histogram) \| ([^|]*) \|", (ROOT / "docs/METRICS.md").read_text(), re.M)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}


def documented_values(metric, label):
    """The values that docs/METRICS.md says a label of a metric has: in the table of labels, or in the metric's own row."""
    text = (ROOT / "docs/METRICS.md").read_text()
    found = set()
    for name, values in re.findall(r"^\| `(\w+)` \| ([^|]*) \|$", text.split("| label | values |", 1)[1], re.M):
        if name == label:
            found |= set(re.findall(r"`([\w.]+)`", values))
    for told in re.findall(rf"^\| `{metric}` \|[^|]*\|[^|]*\| .*\bby [^|]*{label} \(([^)]*)\)", text, re.M):
        found |= set(told.split(", "))
    return found
