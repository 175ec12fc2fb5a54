"""Runs the commands of the documents, page by page from top to bottom, as a reader would.

    run.py BINARY [PAGE...]          all pages, or these

A page has a folder and, unless it starts a gateway itself, a fresh `serve --local` of its own. What a fence says decides:

    ```sh  ```bash  ```python        run; a status other than 0, or of HTTP from 400 on, fails the page
    ```sh fails                      run; has to fail
    ```sh background                 started, and ended with the page, or by the next block that starts a gateway
    ```sh no-run: REASON             not run; the reason is told
    ```toml FILE                     written to that file
    ```text output                   lines that the block before it wrote, in this order; "..." stands for anything
    any other language               shown only

A fence without a language is an error: nobody would know whether it was run. What one block exports, the next ones have;
blocks of Python with no command between them are one program. Run as written, but for: `cargo run -- ` is BINARY, `bgw_...`
the key that `serve --local` printed, and the ports 8080, 9090 and 4567 of 127.0.0.1 are free ones. The runbooks are run by
tests/observability, in front of a gateway under load.
"""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/*.md"]
TIMEOUT = 240  # for one block: far more than any takes, also where all cores are busy
READY = 60

WRAPPERS = {
    "bedrock-gateway": """
        [ "$1" = simulate ] && [[ " $* " != *" --listen "* ]] && set -- "$@" --listen "127.0.0.1:$PORT_4567"
        exec "$GATEWAY_BINARY" "$@"
    """,
    "cargo": """
        [ "$1" = run ] || { echo "cargo $1 is not for a reader's page" >&2; exit 1; }
        while [ "$1" != -- ]; do shift; done
        shift
        exec bedrock-gateway "$@"
    """,
    "curl": 'exec "$REAL_CURL" --fail-with-body "$@"\n',
}


class Wrong(Exception):
    """What a page says is not so."""


@dataclass
class Block:
    line: int
    language: str
    mark: str
    text: str


def blocks(page: Path) -> list[Block]:
    found, fence = [], None
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if match := re.match(r"\s*(`{3,})\s*(\S*)\s*(.*)$", line):
            ticks, language, mark = match.groups()
            if fence is None:
                fence = (ticks, Block(number, language, mark.strip(), ""))
                if not language:
                    raise Wrong(f"line {number}: a fence without a language")
                continue
            if ticks == fence[0] and not language:
                fence[1].text = textwrap.dedent(fence[1].text)
                found.append(fence[1])
                fence = None
                continue
        if fence:
            fence[1].text += line + "\n"
    if fence:
        raise Wrong(f"line {fence[1].line}: a fence without an end")
    return found


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def is_ready(ops_port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", ops_port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@dataclass
class Run:
    """One page."""

    page: Path
    folder: Path
    env: dict
    ports: dict
    key: str = "bgw_none_yet"
    gateway: subprocess.Popen | None = None
    others: list = field(default_factory=list)
    ran: int = 0
    skipped: list = field(default_factory=list)

    def adapted(self, text: str) -> str:
        for said, port in self.ports.items():
            text = text.replace(f"127.0.0.1:{said}", f"127.0.0.1:{port}")
        return text.replace("bgw_...", self.key)

    def as_written(self, text: str) -> str:
        for said, port in self.ports.items():
            text = text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{said}")
        return text

    def start(self, block: Block) -> None:
        is_gateway = re.search(r"(?:cargo run.* -- |bedrock-gateway )serve\b", block.text)
        if is_gateway and self.gateway:
            end(self.gateway)
        log = self.folder / f"background-{block.line}.log"
        script = self.adapted(block.text.strip())
        process = subprocess.Popen(
            ["bash", "-c", f'. "{self.exported()}"\nexec {script}'], cwd=self.folder, env=self.env,
            stdout=log.open("w"), stderr=subprocess.STDOUT, start_new_session=True,
        )
        if is_gateway:
            self.gateway = process
        else:
            self.others.append(process)
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline and process.poll() is None:
            said = log.read_text()
            if is_gateway and (key := re.search(r"^key\s+(bgw_\S+)$", said, re.M)):
                self.key = key[1]
            up = is_ready(self.ports["9090"]) if is_gateway else is_taken(self.ports["4567"])
            if up and ("--local" not in script or "For boto3" in said):
                return
            time.sleep(0.02)
        raise Wrong(f"line {block.line}: is not up after {READY} s\n{log.read_text()}")

    def exported(self) -> Path:
        """What the page's commands have set so far."""
        state = self.folder / ".exported"
        if not state.exists():
            state.touch()
        return state

    def shell(self, script: str) -> subprocess.CompletedProcess:
        state = self.exported()
        script = f'set -aeo pipefail\n. "{state}"\n{script}\n{{ export -p; declare -f; }} > "{state}"\n'
        return subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.env, text=True, timeout=TIMEOUT,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def python(self, group: list[Block]) -> subprocess.CompletedProcess:
        source = ""
        for block in group:  # at the page's own lines, for tracebacks
            source += "\n" * (block.line - source.count("\n")) + self.adapted(block.text)
        file = self.folder / self.page.name.replace(".md", ".py")
        file.write_text(source)
        return self.shell(f"python {file.name}")

    def run(self) -> None:
        found = blocks(self.page)
        starts = any(b.mark == "background" and "serve" in b.text for b in found)
        runs = [b for b in found if b.language in ("sh", "bash", "python") and not b.mark.startswith("no-run")]
        if runs and not starts:
            self.start(Block(0, "sh", "background", "bedrock-gateway serve --local"))
        output, at = "", 0
        while at < len(found):
            block, at = found[at], at + 1
            where = f"line {block.line}"
            if block.mark.startswith("no-run"):
                if not re.match(r"no-run: \S", block.mark):
                    raise Wrong(f"{where}: no-run without a reason")
                self.skipped.append(f"{where}: {block.mark.removeprefix('no-run: ')}")
            elif (block.language, block.mark) == ("text", "output"):
                compare(block, self.as_written(output))
            elif block.language == "toml" and block.mark:
                (self.folder / block.mark).write_text(self.adapted(block.text))
            elif block.language in ("sh", "bash", "python"):
                if block.mark not in ("", "background", "fails"):
                    raise Wrong(f"{where}: nobody knows the mark {block.mark!r}")
                self.ran += 1
                if block.mark == "background":
                    self.start(block)
                    continue
                if block.language != "python":
                    done = self.shell(self.adapted(block.text))
                else:
                    group = [block]
                    while at < len(found) and (found[at].language, found[at].mark) == ("python", ""):
                        group.append(found[at])
                        at, self.ran = at + 1, self.ran + 1
                    done = self.python(group)
                output = done.stdout
                if (done.returncode != 0) != (block.mark == "fails"):
                    raise Wrong(f"{where}: status {done.returncode}\n{block.text}\n{self.as_written(output)}")


def compare(block: Block, output: str) -> None:
    """Spaces are one, and lines may stand between."""
    squeeze = lambda text: " ".join(text.split())
    lines = [squeeze(line) for line in output.splitlines()]
    at = 0
    for line in filter(None, map(squeeze, block.text.splitlines())):
        if line == "...":
            continue
        pattern = ".*".join(map(re.escape, line.split("...")))
        while at < len(lines) and not re.fullmatch(pattern, lines[at]):
            at += 1
        if at == len(lines):
            raise Wrong(f"line {block.line}: the output has no line, or not after the ones before it:\n{line}\nbut\n{output}")
        at += 1


def end(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def try_page(binary: Path, page: Path) -> tuple[Path, str, str | None]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bedrock-gateway-page-") as folder:
        folder = Path(folder)
        tools = folder / ".tools"
        tools.mkdir()
        for name, text in WRAPPERS.items():
            (tools / name).write_text("#!/usr/bin/env bash\n" + textwrap.dedent(text).strip() + "\n")
            (tools / name).chmod(0o755)
        ports = dict(zip(("8080", "9090", "4567"), free_ports(3)))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BEDROCK_GATEWAY"))}
        env |= {
            "PATH": f"{tools}:{Path(sys.executable).parent}:{env['PATH']}",
            "HOME": str(folder),
            "GATEWAY_BINARY": str(binary),
            "REAL_CURL": shutil.which("curl") or "curl",
            "PORT_4567": str(ports["4567"]),
            "BEDROCK_GATEWAY__SERVER__LISTEN": f"127.0.0.1:{ports['8080']}",
            "BEDROCK_GATEWAY__SERVER__OPS_LISTEN": f"127.0.0.1:{ports['9090']}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        run = Run(page, folder, env, ports)
        wrong = None
        try:
            run.run()
        except Wrong as error:
            wrong = str(error)
        except subprocess.TimeoutExpired as error:
            wrong = f"not over after {error.timeout:.0f} s: {error.cmd[-1]}"
        finally:
            for process in [run.gateway, *run.others]:
                if process:
                    end(process)
        told = f"{run.ran} run, {len(run.skipped)} not, {time.monotonic() - began:.1f} s"
        told += "".join(f"\n    not run: {reason}" for reason in run.skipped)
        return page, told, wrong


def main() -> int:
    binary, *names = sys.argv[1:]
    chosen = [ROOT / name for name in names] or sorted(page for pattern in PAGES for page in ROOT.glob(pattern))
    failed = 0
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for page, told, wrong in pool.map(lambda page: try_page(Path(binary).resolve(), page), chosen):
            print(f"{page.relative_to(ROOT)}: {'FAILED' if wrong else 'ok'}: {told}", flush=True)
            if wrong:
                failed += 1
                print(textwrap.indent(wrong, "    "))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
