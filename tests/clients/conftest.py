"""A gateway in local mode, as a newcomer starts it, for the real clients."""

import os
import re
import subprocess
from dataclasses import dataclass

import pytest

import simulator_fidelity as fidelity


@dataclass(frozen=True)
class Gateway:
    url: str  # without /v1
    ops: str
    key: str
    simulator: str  # of the first Region
    authority: str | None  # file of the development certificate authority


def start(folder, *arguments):
    """Starts `serve --local` on free ports and reads what it prints until it is ready."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env["BEDROCK_GATEWAY__SERVER__LISTEN"] = "127.0.0.1:0"
    env["BEDROCK_GATEWAY__SERVER__OPS_LISTEN"] = "127.0.0.1:0"
    env["BEDROCK_GATEWAY__BATCH__BUCKET__US_EAST_1"] = "files-east"
    env["BEDROCK_GATEWAY__BATCH__POLL_SECONDS"] = "5"
    process = subprocess.Popen(
        [os.environ["BEDROCK_GATEWAY_BIN"], "serve", "--local", *arguments],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=(folder / "log").open("w"), text=True,
    )
    said = {}
    for line in process.stdout:
        if match := re.match(r"(base URL|key|metrics|simulator)\s+(\S+)", line):
            said[match[1]] = match[2]
        if match := re.match(r"export AWS_CA_BUNDLE=(\S+)", line):
            said["authority"] = match[1]
        if line.startswith("curl ") and "--tls" not in arguments or line.startswith("export AWS_BEARER"):
            break
    else:
        raise AssertionError((folder / "log").read_text())
    gateway = Gateway(
        url=said["base URL"].removesuffix("/v1"), ops=said["metrics"].removesuffix("/metrics"), key=said["key"],
        simulator=said["simulator"], authority=said.get("authority"),
    )
    return process, gateway


def stop(process):
    process.terminate()
    assert process.wait(timeout=30) == 0


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    process, gateway = start(tmp_path_factory.mktemp("plain"))
    yield gateway
    stop(process)


@pytest.fixture(scope="session")
def tls_gateway(tmp_path_factory):
    process, gateway = start(tmp_path_factory.mktemp("tls"), "--tls")
    yield gateway
    stop(process)


@pytest.fixture(scope="session")
def simulator(tmp_path_factory):
    """The simulator alone, which simulator_fidelity calls from then on."""
    folder = tmp_path_factory.mktemp("simulator")
    process = subprocess.Popen(
        [os.environ["BEDROCK_GATEWAY_BIN"], "simulate", "--listen", "127.0.0.1:0"],
        cwd=folder, stdout=subprocess.PIPE, stderr=(folder / "log").open("w"), text=True)
    said = next((match for line in process.stdout if (match := re.search(r"http://127\.0\.0\.1:\d+", line))), None)
    assert said, (folder / "log").read_text()
    fidelity.URL = said[0]
    yield
    process.terminate()
    assert process.wait(timeout=30) == 0
