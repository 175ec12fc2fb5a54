"""docs/DEPLOY.md: what it names exists, and the commands of the program that it gives are commands."""

import itertools
import re
import shlex

import yaml

import policies
from conftest import ROOT, run

TEXT = (ROOT / "docs/DEPLOY.md").read_text()
BLOCKS = re.findall(r"^ *```(?:sh|bash)[^\n]*\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)


def lines():
    """The command lines, those that go on put together."""
    for block in BLOCKS:
        for line in re.sub(r" *\\\n *", " ", block).splitlines():
            if line.strip():
                yield line.strip()


def called(line):
    """The arguments of the program in this line, if it is called there: as a command, or as what a container is to run."""
    words = shlex.split(re.sub(r"^(\w+=|for \w+ in )\$\(", "", line), comments=True)  # what is inside of $(...)
    if words[:1] == ["kubectl"]:
        words = words[words.index("--"):] if "--" in words else []
    name = r"(/usr/local/bin/)?bedrock-gateway" if words[:2] != ["docker", "run"] else r"bedrock-gateway:[\d.]+"
    behind = (words[at + 1:] for at, word in enumerate(words) if re.fullmatch(name, word))
    return next((rest for rest in behind if rest and re.fullmatch(r"[a-z-]+", rest[0]) and rest[0][0] != "-"), None)


def test_every_command_of_the_program_and_its_options_exist(program):
    seen = [arguments for line in lines() if (arguments := called(line))]
    assert {arguments[0] for arguments in seen} >= {"serve", "config", "doctor", "iam-policy", "teams", "keys"}
    for arguments in seen:
        path = list(itertools.takewhile(lambda word: not word.startswith("-"), arguments))
        # What stands behind a command may be its argument; then it is a command without it.
        told = run(program, *path[:2], "--help").stdout or run(program, *path[:1], "--help").stdout
        assert told, f"{arguments}: no such command"
        for option in (word for word in arguments if word.startswith("--")):
            assert re.search(rf"{option}\b", told), f"{arguments}: {option} is not known"


def test_every_file_that_is_named_is_there():
    named = set(re.findall(r"(?<![\w/])(?:deploy|tests|docs)/[\w./-]*\w", TEXT))
    assert len(named) > 6
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_every_parameter_of_a_stack_that_is_given_is_one_and_none_that_is_needed_is_left_out():
    for name in ("stores", "gateway"):
        (line,) = (line for line in lines() if "deploy --region" in line and f"{name}.yaml" in line)
        given = set(re.findall(r" ([A-Z]\w+)=", line))
        if "$STORES" in line:  # the outputs of the other stack
            given |= set(policies.load((ROOT / "deploy/cloudformation/stores.yaml").read_text())["Outputs"])
        parameters = policies.load((ROOT / f"deploy/cloudformation/{name}.yaml").read_text())["Parameters"]
        assert given <= set(parameters)
        assert {key for key, said in parameters.items() if "Default" not in said} <= given


def test_the_table_of_ends_says_what_is_set():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["gateway"]
    assert f"`stop_grace_period: {compose['stop_grace_period']}`" in TEXT
    deployment = yaml.safe_load((ROOT / "deploy/kubernetes/base/deployment.yaml").read_text())
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert f"`terminationGracePeriodSeconds: {grace}`" in TEXT
    template = (ROOT / "deploy/cloudformation/gateway.yaml").read_text()
    assert re.search(r"StopTimeout: (\d+)", template)[1] == re.search(r"`StopTimeout: (\d+)`", TEXT)[1]
