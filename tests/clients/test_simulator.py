"""boto3 cannot tell the simulator from AWS: every check of simulator_fidelity.py, against `bedrock-gateway simulate`."""

import os
import re
import subprocess

import pytest

import simulator_fidelity as fidelity

CHECKS = {name.removeprefix("check_"): check for name, check in vars(fidelity).items() if name.startswith("check_")}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory):
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


@pytest.mark.parametrize("check", CHECKS)
def test_boto3_against_the_simulator(simulator, monkeypatch, check):
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    fidelity.simulator("DELETE", "/_sim/faults")
    CHECKS[check]()
