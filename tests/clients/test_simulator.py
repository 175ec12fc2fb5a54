"""boto3 cannot tell the simulator from AWS: every check of simulator_fidelity.py, against `bedrock-gateway simulate`."""

import pytest

import simulator_fidelity as fidelity

CHECKS = {name.removeprefix("check_"): check for name, check in vars(fidelity).items() if name.startswith("check_")}


@pytest.mark.parametrize("check", CHECKS)
def test_boto3_against_the_simulator(simulator, monkeypatch, check):
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    fidelity.simulator("DELETE", "/_sim/faults")
    CHECKS[check]()
