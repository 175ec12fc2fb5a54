"""What is in deploy/, the Dockerfile and docker-compose.yml: checked without Docker, a cluster or an AWS account."""

import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
# What cut streams and the last rows of the ledger may take after the drain, whatever the settings.
LAST_WORDS = 30
# What no process may have from whoever runs the tests.
OWN = ("AWS_", "BEDROCK_GATEWAY_")

sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "deploy/cloudformation"))


def pytest_addoption(parser):
    parser.addoption("--release", action="store_true", help="build the image's program as the Dockerfile does, for long")


def tool(name):
    """A program that came with a package of requirements.txt."""
    return str(pathlib.Path(sys.executable).parent / name)


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def bare(environment=None):
    """The environment of these tests without what is meant for a gateway, and with what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    return kept | (environment or {})


def defaults():
    """The settings that hold where nothing else is said."""
    return tomllib.loads((ROOT / "config.example.toml").read_text())


def longest_end(server):
    """Seconds from SIGTERM to the end of the process, at the most, with these settings of [server]."""
    server = defaults()["server"] | server
    return server["notice_seconds"] + server["drain_seconds"] + LAST_WORDS


@pytest.fixture(scope="session")
def program():
    return os.environ["BEDROCK_GATEWAY_BIN"]


@pytest.fixture(scope="session")
def config_check(program):
    """Asks the program what it thinks of settings; the problems, or nothing."""
    def check(environment, file=None):
        arguments = ["--config", str(file)] if file else []
        done = run(program, "config", "check", *arguments, env={"PATH": os.environ["PATH"], **environment})
        return "" if done.returncode == 0 else done.stderr
    return check
