"""docker-compose.yml: held to the Compose specification, and its gateway and simulator started as it starts them, as plain
processes, with the Postgres and the Valkey of the tests where there are some."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
import urllib.request

import pytest
import yaml

import image
from conftest import ROOT, bare, longest_end, run, tool

TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
PROGRAM = image.entrypoint()[0]
# What the head of the file tells a newcomer to type, as arguments of the program.
TOLD = [line.split()[1:] for line in re.findall(r"docker compose exec gateway (.*)", TEXT)]


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text)[1])


def test_it_is_as_the_compose_specification_asks(tmp_path):
    check = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = run(*check, str(ROOT / "docker-compose.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / "compose.yml"
    wrong.write_text(TEXT.replace("stop_grace_period", "stop_grace"))
    assert run(*check, str(wrong)).returncode != 0


def test_images_are_pinned_and_ports_are_for_this_machine_alone():
    for name, service in SERVICES.items():
        if "build" in service:
            assert (ROOT / service["build"] / "Dockerfile").is_file()
        else:
            assert re.search(r":v?\d+\.\d+(\.\d+)?(-alpine)?$", service["image"]), f"{name}: {service['image']}"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_who_waits_for_another_waits_for_something_that_tells_its_health():
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in SERVICES[other], other


def test_what_is_mounted_is_there_and_every_volume_is_declared():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).is_dir(), f"{name}: there is no {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"


def test_open_streams_may_end_before_the_gateway_is_killed():
    assert seconds(SERVICES["gateway"]["stop_grace_period"]) > longest_end({})


def mounted(service, inside):
    """The file or folder of the repository that the service sees there."""
    for source, target, *_ in (volume.split(":") for volume in SERVICES[service]["volumes"]):
        if inside == target or inside.startswith(f"{target}/"):
            return ROOT / source / inside.removeprefix(target).lstrip("/")
    raise AssertionError(f"{service} has no {inside}")


def test_prometheus_finds_the_gateway_and_grafana_finds_prometheus():
    settings = yaml.safe_load(mounted("prometheus", "/etc/prometheus/prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in settings["scrape_configs"]}
    ops = image.environment()["BEDROCK_GATEWAY__SERVER__OPS_LISTEN"].rsplit(":", 1)[1]
    assert jobs["bedrock-gateway"] == [f"gateway:{ops}"]
    for rules in settings["rule_files"]:
        assert mounted("prometheus", f"/etc/prometheus/{rules}").is_file()
    provisioning = mounted("grafana", "/etc/grafana/provisioning")
    (source,) = (one for path in provisioning.glob("datasources/*.y*ml")
                 for one in yaml.safe_load(path.read_text())["datasources"])
    port = SERVICES["prometheus"]["ports"][0].rsplit(":", 1)[1]
    assert source["url"] == f"http://prometheus:{port}"
    (provider,) = (one for path in provisioning.glob("dashboards/*.y*ml")
                   for one in yaml.safe_load(path.read_text())["providers"])
    assert list(mounted("grafana", provider["options"]["path"]).glob("*.json"))


class Machine:
    """Carries services out as processes: what has a name in the composition's network has an address here."""

    def __init__(self, program, folder):
        self.program, self.folder, self.addresses, self.running = program, folder, {}, []

    def local(self, text):
        """With addresses of this machine."""
        for there, here in self.addresses.items():
            text = text.replace(there, here)
        return text

    def environment(self, service):
        said = SERVICES[service].get("environment", {})
        return bare({name: self.local(value) for name, value in (image.environment() | said).items()})

    def arguments(self, service):
        return [self.local(word) for word in SERVICES[service].get("command", image.command())]

    def start(self, service, ready):
        """Starts the service, and waits for it to say `ready`, a pattern."""
        log = self.folder / f"{service}.log"
        process = subprocess.Popen(
            [self.program, *self.arguments(service)], env=self.environment(service), cwd=self.folder,
            stdout=log.open("w"), stderr=subprocess.STDOUT,
        )
        self.running.append(process)
        return wait(lambda: re.search(ready, log.read_text()), lambda: process.poll() is None, log.read_text)

    def healthy(self, service):
        """Whether the service's own health check says so."""
        check = SERVICES[service].get("healthcheck", {}).get("test", ["CMD", *image.health_command()])
        kind, path, *arguments = check
        assert (kind, path) == ("CMD", PROGRAM)
        return run(self.program, *map(self.local, arguments), env=self.environment(service), cwd=self.folder).returncode == 0

    def exec(self, service, arguments):
        done = run(self.program, *arguments, env=self.environment(service), cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kill(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()


def wait(look, lives, told):
    """Looks until there is something to see."""
    end = time.monotonic() + 30
    while time.monotonic() < end and lives():
        if seen := look():
            return seen
        time.sleep(0.05)
    raise AssertionError(told())


def database(machine):
    """A database of the tests' Postgres, else a SQLite file, for what the composition calls Postgres."""
    url = SERVICES["gateway"]["environment"]["BEDROCK_GATEWAY__STORE__URL"]
    base, psql = os.environ.get("TEST_POSTGRES_URL"), shutil.which("psql")
    if not base or not psql:
        machine.addresses[url] = f"sqlite://{machine.folder}/store.db"
        return lambda: None
    name = f"compose_{secrets.token_hex(8)}"
    order = lambda text: subprocess.run([psql, "-qX", base, "-c", text], check=True)  # noqa: E731
    order(f"CREATE DATABASE {name}")
    machine.addresses[url] = f"{base.rsplit('/', 1)[0]}/{name}"
    return lambda: order(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def machine(program, tmp_path):
    machine = Machine(program, tmp_path)
    drop = database(machine)
    machine.addresses["redis://valkey:6379"] = os.environ.get("TEST_REDIS_URL", "")
    # Ports that are free, whichever they are.
    listening = {"0.0.0.0:4567": "127.0.0.1:0", "0.0.0.0:8080": "127.0.0.1:0", "0.0.0.0:9090": "127.0.0.1:0"}
    machine.addresses |= listening
    yield machine
    machine.kill()
    drop()


def ask(url, key=None, body=None):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, headers=headers, data=body and json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def test_a_newcomer_gets_a_key_and_an_answer_and_a_batch(machine):
    simulator = machine.start("simulator", r"on http://(\S+);")[1]
    machine.addresses |= {"0.0.0.0:4567": simulator, "127.0.0.1:4567": simulator, "simulator:4567": simulator}
    assert machine.healthy("simulator")

    ready = json.loads(machine.start("gateway", r'.*"ops_address".*')[0])
    fields = ready.get("fields", ready)
    machine.addresses |= {"0.0.0.0:8080": fields["address"], "0.0.0.0:9090": fields["ops_address"]}
    assert machine.healthy("gateway")
    if "TEST_REDIS_URL" in os.environ:
        assert "shared store: up" in ask(f"http://{fields['ops_address']}/readyz?verbose")

    team, key = (machine.exec("gateway", words) for words in TOLD)
    assert team and key.splitlines()[-1].startswith("bgw_")
    key = key.splitlines()[-1]

    base = f"http://{fields['address']}"
    chat = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Hello!"}]}
    answer = json.loads(ask(f"{base}/v1/chat/completions", key, chat))
    assert answer["choices"][0]["message"]["content"]
    metrics = ask(f"http://{fields['ops_address']}/metrics").splitlines()
    assert [line for line in metrics if line.startswith("gateway_requests_total{") and line.endswith(" 1")
            and 'team="demo"' in line and 'status="200"' in line]

    records = machine.folder / "records.jsonl"
    line = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": chat}
    records.write_text(json.dumps(line) + "\n")
    (machine.folder / "key").write_text(key)
    batch = machine.exec("gateway", ["batches", "submit", str(records), "--url", base, "--key-file",
                                     str(machine.folder / "key"), "--watch", "--json"])
    assert '"completed"' in batch

    gateway = machine.running[-1]
    gateway.send_signal(signal.SIGTERM)
    assert gateway.wait(timeout=60) == 0
    assert not machine.healthy("gateway")
