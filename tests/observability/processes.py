"""A gateway in local mode and a Prometheus that scrapes it every second, on ports that are free."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ADMIN = "bgw_bootstrap1_" + "0123456789abcdef" * 4

SETTINGS = """
[aws]
regions = ["us-east-1", "us-west-2"]
max_attempts = 2

[telemetry]
# Nobody is there: spans are made, and cannot be exported.
otlp_endpoint = "http://127.0.0.1:9"

[fetch]
allow_networks = ["127.0.0.0/8", "::1/128"]

[batch]
bucket = { us-east-1 = "files-east" }
poll_seconds = 1
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition, seconds=60):
    """The first true answer of `condition`; asked often, because nothing tells when it changes."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"it never came to this: {what}"
        time.sleep(0.05)
    return answer


def ask(url, method="GET", body=None, headers=None):
    """Status and body. An answer of any status is one; a broken connection is not."""
    request = urllib.request.Request(url, method=method, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read()


class Gateway:
    """`serve --local --tls` with an administrator, buckets and, where `TEST_REDIS_URL` says one, a shared store. What this
    process and its children trust from then on is its authority alone."""

    def __init__(self, folder):
        self.settings = folder / "gateway.toml"
        self.log = folder / "gateway.log"
        shared = os.environ.get("TEST_REDIS_URL", "")
        self.settings.write_text(SETTINGS + (f'\n[shared]\nurl = "{shared}"\n' if shared else ""))
        self.has_shared_store = bool(shared)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BEDROCK_GATEWAY__"))}
        env["BEDROCK_GATEWAY__SERVER__LISTEN"] = "127.0.0.1:0"
        env["BEDROCK_GATEWAY__SERVER__OPS_LISTEN"] = "127.0.0.1:0"
        env["BEDROCK_GATEWAY__AUTH__ADMIN_KEY_SHA256"] = hashlib.sha256(ADMIN.encode()).hexdigest()
        self.process = subprocess.Popen(
            [os.environ["BEDROCK_GATEWAY_BIN"], "serve", "--local", "--tls", "--config", str(self.settings)],
            cwd=folder, env=env, stdout=subprocess.PIPE, stderr=self.log.open("w"), text=True,
        )
        said = {}
        for line in self.process.stdout:
            if match := re.match(r"(base URL|key|metrics|simulator)\s+(\S+)", line):
                said[match[1]] = match[2]
            if match := re.match(r"export AWS_CA_BUNDLE=(\S+)", line):
                os.environ["SSL_CERT_FILE"] = os.environ["CURL_CA_BUNDLE"] = match[1]
            if line.startswith("export AWS_BEARER"):
                break
        else:
            raise AssertionError(self.log.read_text())
        self.url = said["base URL"].removesuffix("/v1")
        self.ops = said["metrics"].removesuffix("/metrics")
        self.simulator = said["simulator"]

    def scrape(self):
        status, text = ask(f"{self.ops}/metrics")
        assert status == 200, text
        return text.decode()

    def value(self, metric):
        """Of a metric now, its series added up."""
        return sum(float(value) for value in re.findall(rf"^{metric}(?:{{.*}})? (\S+)$", self.scrape(), re.M))

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, self.log.read_text()[-3000:]


class Prometheus:
    """Prometheus with the rules of `deploy/prometheus`, evaluated each second, and its targets: a gateway, and itself."""

    def __init__(self, folder, ops):
        self.log = folder / "prometheus.log"
        shutil.copy(PROMETHEUS / "rules.yml", folder)
        settings = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        settings["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        port = free_port()
        targets = {"bedrock-gateway": ops.removeprefix("http://"), "prometheus": f"127.0.0.1:{port}"}
        for job in settings["scrape_configs"]:
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
        rules = yaml.safe_load((folder / "rules.yml").read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
        (folder / "rules.yml").write_text(yaml.safe_dump(rules, sort_keys=False))
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
             f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=self.log.open("w"),
        )
        until("Prometheus is ready", self.is_ready)

    def is_ready(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return ask(f"{self.url}/-/ready")[0] == 200
        except OSError:
            return False

    def api(self, path, **parameters):
        _, text = ask(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(text)
        if answer["status"] != "success":
            raise ValueError(answer["error"])
        return answer["data"]

    def query(self, expression, at=None):
        """The series of the answer as pairs of labels and value, now or `at` a moment; ValueError where the expression makes
        no sense."""
        data = self.api("query", query=expression, **({"time": at} if at else {}))
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in data["result"]]

    def query_range(self, expression, start, end):
        """The same over time: pairs of labels and list of values."""
        data = self.api("query_range", query=expression, start=start, end=end, step="1s")
        return [(series["metric"], [float(value) for _, value in series["values"]]) for series in data["result"]]

    def has_scraped_after(self, moment):
        [(_, last)] = self.query('timestamp(up{job="bedrock-gateway"})') or [({}, 0.0)]
        return last > moment

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
