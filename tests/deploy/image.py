"""The Dockerfile and .dockerignore, read as a builder reads them, as far as this project uses them."""

import fnmatch
import io
import json
import pathlib
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass

from dockerfile_parse import DockerfileParser

ROOT = pathlib.Path(__file__).parents[2]


@dataclass(frozen=True)
class Step:
    name: str  # RUN, COPY, ...
    value: str

    @property
    def words(self):
        """Its arguments, without flags."""
        return [word for word in shlex.split(self.value) if not word.startswith("--")]

    @property
    def flags(self):
        flags = (word for word in shlex.split(self.value) if word.startswith("--"))
        return dict(flag.removeprefix("--").split("=", 1) for flag in flags)


def stages():
    """The steps of each stage, from its FROM on."""
    parser = DockerfileParser(fileobj=io.BytesIO((ROOT / "Dockerfile").read_bytes()))
    found = []
    for part in parser.structure:
        if part["instruction"] == "COMMENT":
            continue
        step = Step(part["instruction"], part["value"])
        if step.name == "FROM":
            found.append([])
        found[-1].append(step)
    return found


def last(steps, name):
    """The arguments of the last step of that name."""
    return [step.value for step in steps if step.name == name][-1]


def environment():
    """What ENV gives to the program."""
    return dict(word.split("=", 1) for step in stages()[-1] if step.name == "ENV" for word in step.words)


def entrypoint():
    return json.loads(last(stages()[-1], "ENTRYPOINT"))


def command():
    return json.loads(last(stages()[-1], "CMD"))


def health_command():
    return json.loads(re.search(r"CMD (\[.*\])$", last(stages()[-1], "HEALTHCHECK"))[1])


def ignored():
    lines = (line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def let_in(path, patterns):
    """Whether this path of the repository reaches the builder: the last pattern that fits it, or a folder above, decides."""
    inside = True
    for pattern in patterns:
        negated, pattern = pattern.startswith("!"), pattern.removeprefix("!").strip("/")
        ways = [path, *(str(parent) for parent in pathlib.PurePath(path).parents if str(parent) != ".")]
        if any(fnmatch.fnmatchcase(way, pattern) and way.count("/") == pattern.count("/") for way in ways):
            inside = negated
    return inside


def tracked():
    """The files of the repository, new ones that are not committed yet among them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode().split("\0")
    return [path for path in listed if path and (ROOT / path).is_file()]


def copied(step, patterns):
    """The files that a COPY from the context takes, and where it puts them in the builder."""
    *sources, target = step.words
    files = {}
    for source in sources:
        below = f"{source}/"
        for path in tracked():
            if let_in(path, patterns) and (path == source or path.startswith(below)):
                inner = path.removeprefix(below) if path.startswith(below) else pathlib.PurePath(source).name
                whole = path.startswith(below) or target.endswith("/")
                files[path] = str(pathlib.PurePath(target) / inner) if whole else target
    assert files, f"COPY {step.value}: there is nothing to copy"
    return files


def build_folder(steps):
    """What the build stage has of the repository when its last step is done: paths of the repository."""
    patterns = ignored()
    return {path for step in steps if step.name == "COPY" for path in copied(step, patterns)}


def put(step, folder):
    """Carries a COPY out. Files keep their time, as with a builder."""
    for path, target in copied(step, ignored()).items():
        destination = folder / target
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, destination)
