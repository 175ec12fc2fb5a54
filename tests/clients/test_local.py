"""What somebody does who tries local mode: orders faults from the simulator, sends the wrong signal."""

import json
import signal
import time
import urllib.error
import urllib.request

import pytest
from conftest import start, stop


def post(url, body, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return reply.headers


def chat(gateway):
    body = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "hi"}]}
    return post(f"{gateway.url}/v1/chat/completions", body, authorization=f"Bearer {gateway.key}")


def test_the_simulator_that_is_printed_takes_orders_for_faults(tmp_path):
    process, gateway = start(tmp_path)
    post(f"{gateway.simulator}/_sim/faults", {"region": "us-east-1", "fault": "throttle"})
    headers = chat(gateway)
    assert (headers["x-gateway-region"], headers["x-gateway-attempts"]) == ("us-west-2", "2")
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(f"{gateway.simulator}/_sim/faults", {"fault": "thrott"})
    assert refused.value.code == 400 and b"stall_stream" in refused.value.read()
    stop(process)


def test_a_hangup_has_the_configuration_read_again_and_does_not_end_it(tmp_path):
    process, gateway = start(tmp_path)
    process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 20
    while "the configuration was read again" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.05)
    assert chat(gateway)["x-gateway-region"] == "us-east-1"
    stop(process)
