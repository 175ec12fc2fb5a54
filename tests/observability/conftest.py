"""The site that all tests look at: a gateway that has answered, refused and failed, and a Prometheus that watched it."""

import subprocess
import time
from dataclasses import dataclass

import pytest

from load import Load, Receiver
from processes import PROMETHEUS, Gateway, Prometheus, until


@dataclass(frozen=True)
class Site:
    gateway: Gateway
    prometheus: Prometheus
    load: Load
    began: float
    #: Everything that was sent until then has been scraped.
    ended: float
    #: How many requests of which status that was.
    answered: dict


@pytest.fixture(scope="session", autouse=True)
def rule_tests():
    """`promtool test rules`, begun at the start: it takes as long as the load."""
    tests = subprocess.Popen(
        ["promtool", "test", "rules", *(path.name for path in sorted(PROMETHEUS.glob("*_test.yml")))],
        cwd=PROMETHEUS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    yield tests
    tests.kill()


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    load = Load(gateway)
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), gateway.ops)
    try:
        began = time.time()
        load.prepare()
        for _ in range(2):
            load.round(seen=lambda: prometheus.query("gateway_batch_jobs"))
            scraped(prometheus)
        # A webhook that was refused is called again after five seconds.
        until("webhooks were taken", lambda: len(Receiver.seen) >= 4 and min(Receiver.seen.values()) >= 2)
        scraped(prometheus)
        yield Site(gateway, prometheus, load, began, time.time(), dict(load.answered))
    finally:
        prometheus.stop()
        load.stop()
        gateway.stop()


def scraped(prometheus):
    """Waits until what has happened so far was scraped twice."""
    now = time.time()
    until("Prometheus has scraped", lambda: prometheus.has_scraped_after(now + 1))
