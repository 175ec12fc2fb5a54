"""The Dockerfile: linted, and its steps carried out in a folder that holds only what it copies."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tomllib

import pytest

import image
from conftest import ROOT, bare, run, tool

CARGO = tomllib.loads((ROOT / "Cargo.toml").read_text())
# The platform of this machine, whose dependencies are there.
HOST = re.search(r"^host: (.*)$", run("rustc", "-vV").stdout, re.MULTILINE)[1]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

# In place of cargo, where the whole build would take too long: the same manifest, lock file and sources are looked at, and
# the same program is checked, but not made. It knows the two commands of the Dockerfile and no other.
SHORT_CARGO = """#!/bin/sh
case "$*" in
  "build --release --locked") exec "$REAL_CARGO" fetch --quiet --locked --offline --target "$RUST_HOST" ;;
  "build --release --locked --offline") exec "$REAL_CARGO" check --quiet --locked --offline ;;
  *) echo "cargo $*: not a step that the short check knows" >&2; exit 1 ;;
esac
"""


def build_steps():
    return image.stages()[0]


def compiled():
    """Every file of the repository that the compiler read for the program: sources, and what they include."""
    listed = (TARGET / "debug/bedrock-gateway.d").read_text().split(": ", 1)[1]
    paths = (path.replace("\\ ", " ") for path in re.split(r"(?<!\\) ", listed.strip()))
    return {os.path.relpath(path, ROOT) for path in paths}


def test_the_linter_finds_nothing(tmp_path):
    done = run(tool("hadolint"), "--failure-threshold", "style", str(ROOT / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    wrong = tmp_path / "Dockerfile"
    wrong.write_text("FROM debian:latest\nRUN cd /tmp && apt-get install curl\n")
    assert run(tool("hadolint"), str(wrong)).returncode != 0


def test_the_base_images_are_pinned_and_go_together():
    build, final = (image.last(steps, "FROM") for steps in image.stages())
    version, codename = re.fullmatch(r"rust:(\d+\.\d+\.\d+)-(\w+) AS build", build).groups()
    assert version.startswith(CARGO["package"]["rust-version"])
    assert (codename, final) == ("bookworm", "gcr.io/distroless/cc-debian12:nonroot"), "not of the same Debian"


def test_the_program_runs_as_a_numbered_user_that_owns_its_volume():
    final = image.stages()[-1]
    user = image.last(final, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    folder = image.last(final, "VOLUME")
    assert folder == image.last(final, "WORKDIR")
    made = [step for step in final if step.name == "COPY" and step.words[-1] == folder]
    assert made[0].flags == {"from": "build", "chown": user}
    # What is made in the volume before it is declared stays; what comes after is lost.
    names = [step.name for step in final]
    assert names.index("VOLUME") > final.index(made[0])


def test_every_file_that_the_compiler_reads_is_in_the_image():
    missing = compiled() - image.build_folder(build_steps())
    assert not missing, f"the Dockerfile or .dockerignore leaves out {sorted(missing)}"


@pytest.mark.parametrize("left_out", ["src", "data", "migrations"])
def test_a_folder_that_is_not_copied_is_missed(left_out):
    steps = [step for step in build_steps() if (step.name, step.words[0]) != ("COPY", left_out)]
    assert len(steps) == len(build_steps()) - 1
    assert any(path.startswith(left_out) for path in compiled() - image.build_folder(steps))


def test_nothing_of_this_machine_gets_into_the_image():
    patterns = image.ignored()
    for path in ["target/debug/x", ".git/config", "bedrock-gateway.db", ".env", "gateway.toml", "bedrock-gateway-journal/1",
                 "srcs/x", "deploy/cloudformation/gateway.yaml"]:
        assert not image.let_in(path, patterns), path
    for path in ["Cargo.toml", "src/main.rs", "src/tenancy/admission/shared/scripts/admit.lua"]:
        assert image.let_in(path, patterns), path


def test_the_steps_of_the_build_stage_work_on_what_is_copied_alone(request):
    release = request.config.getoption("--release")
    # The same folder each time: what did not change is not checked again.
    place = TARGET / ("image-release" if release else "image-check")
    environment = bare({"REAL_CARGO": shutil.which("cargo"), "RUST_HOST": HOST})
    if release:
        shutil.rmtree(place, ignore_errors=True)
        environment.pop("CARGO_TARGET_DIR", None)
    else:
        shim = place / "bin/cargo"
        shim.parent.mkdir(parents=True, exist_ok=True)
        shim.write_text(SHORT_CARGO)
        shim.chmod(0o755)
        environment |= {"PATH": f"{shim.parent}:{environment['PATH']}", "CARGO_TARGET_DIR": str(TARGET)}
    folder = place / pathlib.PurePath(image.last(build_steps(), "WORKDIR")).relative_to("/")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    for step in build_steps():
        if step.name == "COPY":
            image.put(step, folder)
        elif step.name == "RUN":
            done = subprocess.run(
                ["sh", "-c", step.value], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, check=False,
            )
            assert done.returncode == 0, f"RUN {step.value}\n{done.stdout}"
        else:
            assert step.name in ("FROM", "WORKDIR"), f"{step.name} is not looked at"

    workdir = pathlib.PurePath(image.last(build_steps(), "WORKDIR"))
    for step in image.stages()[-1]:
        if step.name == "COPY" and step.flags.get("from") == "build":
            taken = pathlib.PurePath(step.words[0]).relative_to(workdir)
            made = taken == pathlib.PurePath("target/release", CARGO["package"]["name"]) and not release
            assert made or (folder / taken).exists(), f"no step makes {taken}"
    if release:
        done = run(str(folder / "target/release/bedrock-gateway"), "--version")
        assert done.stdout == f"bedrock-gateway {CARGO['package']['version']}\n"


def test_a_file_of_the_build_that_is_not_copied_is_missed(tmp_path):
    for step in build_steps():
        if step.name == "COPY":
            image.put(step, tmp_path)
    fetch = ["cargo", "fetch", "--quiet", "--locked", "--offline", "--target", HOST]
    done = run(*fetch, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for left_out in ["Cargo.toml", "Cargo.lock", "benches"]:
        (tmp_path / left_out).rename(tmp_path / "aside")
        assert run(*fetch, cwd=tmp_path).returncode != 0, left_out
        (tmp_path / "aside").rename(tmp_path / left_out)


def test_what_the_image_starts_and_asks_for_health_exists(program, config_check):
    final = image.stages()[-1]
    installed = [step.words[-1] for step in final if step.name == "COPY" and step.words[0].endswith("bedrock-gateway")]
    (path,) = installed
    assert image.entrypoint() == [path]
    assert run(program, *image.command(), "--help").returncode == 0
    health = image.health_command()
    assert health[0] == path
    assert run(program, *health[1:], "--help").returncode == 0
    assert run(program, "no-such-command", "--help").returncode != 0
    environment = image.environment()
    assert config_check(environment) == ""
    ports = {address.rsplit(":", 1)[1] for address in environment.values()}
    assert set(image.last(final, "EXPOSE").split()) == ports
    assert json.dumps(environment).count("0.0.0.0") == 2
