"""Each alert has a page, and what a page tells to ask, run or look for is there."""

import itertools
import json
import os
import re
import subprocess

import pytest

from expressions import RUNBOOKS, alerts, recorded, runbook_pages, runbook_queries
from processes import ADMIN, ROOT

SECTIONS = ["What it means", "How to see it", "Likely causes", "What to do", "Afterwards"]


def test_each_alert_names_a_page_and_each_page_is_of_an_alert():
    named = {rule["alert"]: rule["annotations"]["runbook"] for rule in alerts()}
    assert named == {name: f"docs/runbooks/{name}.md" for name in runbook_pages()}
    index = (RUNBOOKS / "README.md").read_text()
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == set(named), "the list of pages"


@pytest.mark.parametrize("name", runbook_pages())
def test_a_page_has_its_parts_and_its_severity(name):
    text = runbook_pages()[name]
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.M) == SECTIONS
    severities = [rule["labels"]["severity"] for rule in alerts() if rule["alert"] == name]
    assert re.search(r"^Severity: (.*?)\.", text, re.M)[1] == ", ".join(severities)


def test_links_between_pages_lead_somewhere():
    for page in RUNBOOKS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert "://" in target or (RUNBOOKS / target).exists(), (page.name, target)


@pytest.mark.parametrize("name, expression", runbook_queries())
def test_prometheus_takes_what_a_page_has_it_asked(site, name, expression):
    site.prometheus.query(expression)


def test_metrics_that_pages_speak_of_are_announced(site):
    announced = set(re.findall(r"^# HELP (\S+)", site.gateway.scrape(), re.M)) | recorded()
    for name, text in runbook_pages().items():
        for metric in re.findall(r"(?<![\w:])(?:[a-z_]+:)?(?:gateway|gen_ai|process)_[a-z0-9_:]+", text):
            assert re.sub(r"_(bucket|sum|count)$", "", metric) in announced, (name, metric)


def test_log_lines_that_pages_look_for_are_written():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    for name, text in runbook_pages().items():
        for message in re.findall(r'\.message == \\?"([^"\\]+)', text) + re.findall(r"log: `([^`]+)`", text):
            assert f'"{message}' in source, (name, message)


def test_routes_that_pages_name_exist():
    paths = json.loads((ROOT / "openapi/openapi.json").read_text())["paths"]
    known = {re.sub(r"\{\w+\}", "*", path) for path in paths}
    for name, text in runbook_pages().items():
        named = re.findall(r"(?:\$GATEWAY|(?:GET|POST|PUT|PATCH|DELETE) )(/[\w/{}-]+)", text)
        named += [f"/admin/v1/{path}" for path in re.findall(r'^ *ask "?(\w+)', text, re.M)]
        for path in named:
            assert re.sub(r"\{\w+\}", "*", path) in known, (name, path)


def blocks():
    return [
        pytest.param(block, id=f"{name}-{n}") for name, text in runbook_pages().items()
        for n, block in enumerate(re.findall(r"^ *```bash\n(.*?)^ *```", text, re.M | re.S))
    ]


PREAMBLE = """set -euo pipefail
ask() { curl -sSf "$GATEWAY/admin/v1/$1" -H "Authorization: Bearer $ADMIN_KEY"; }
logs() { cat gateway.log; }
bedrock-gateway() { "$BEDROCK_GATEWAY_BIN" "$@"; }
"""


@pytest.mark.parametrize("block", blocks())
def test_commands_that_a_page_tells_to_run_work(site, block):
    """Those that have a placeholder, and `doctor`, which asks AWS, are held to what their help says."""
    for words in (line.split() for line in re.findall(r"bedrock-gateway ([a-z][^|)\n]*)", block)):
        subcommand = list(itertools.takewhile(lambda word: re.fullmatch(r"[a-z][a-z-]*", word), words))
        told = run([os.environ["BEDROCK_GATEWAY_BIN"], *subcommand, "--help"], site)
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"^ +(-\w, )?{option}\b", told, re.M), f"{subcommand} has no {option}"
    if re.search(r"<[A-Z]+>|\bdoctor\b", block):
        return
    run(["bash", "-c", PREAMBLE + block], site)


def run(command, site):
    env = os.environ | {"GATEWAY": site.gateway.url, "OPS": site.gateway.ops, "ADMIN_KEY": ADMIN, "KEY": site.load.keys["search"]}
    ran = subprocess.run(command, cwd=site.gateway.settings.parent, env=env, capture_output=True, text=True)
    assert ran.returncode == 0 and "jq: error" not in ran.stderr, (command, ran.stdout[-500:], ran.stderr[-1500:])
    return ran.stdout
