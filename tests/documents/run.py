"""Runs the commands of the documents, page by page from top to bottom, as a reader would.

    run.py BINARY [PAGE...]          all pages, or these
      --tools FOLDER                 programs of a Python environment with tests/documents/requirements.txt
      --docker                       Docker with Compose is here: builds images, starts containers, takes ports 8080, 9090, ...

A page has a folder and, unless it starts a gateway itself, a fresh `serve --local` of its own. What a fence says decides:

    ```sh  ```bash  ```python        run; a status other than 0, or of HTTP from 400 on, fails the page
    ```sh fails                      run; has to fail
    ```sh background                 started, and ended with the page, or by the next block that starts a gateway
    ```sh stopped                    run while the page's gateway is stopped, which is started again
    ```sh [...] needs THING          run where there is `postgres` (TEST_POSTGRES_URL), `aws`, `kubectl` (--tools), `docker` (--docker),
                                     `cluster` (all of --tools, Postgres, TEST_REDIS_URL and bwrap), `registry` (--docker,
                                     --tools, and the programs of registry.py)
    ```sh [...] without THING        run where there is none
    ```sh no-run: REASON             not run; the reason is told
    ```toml FILE                     written to that file
    ```text output                   lines that the block before it wrote, in this order; "..." stands for anything
    any other language               shown only

A fence without a language is an error: nobody would know whether it was run. What one block exports, the next ones have;
blocks of Python with no command between them are one program. A fence in a comment of the page (`<!-- -->`) is not shown to
readers: it sets up, or looks at, what the text around it takes for granted.

Run as written, but for: `cargo run -- ` is BINARY, and `cargo build` puts it where cargo would; `bgw_...` is the key that
`serve --local` printed; the ports 8080, 9090 and 4567 of 127.0.0.1 are free ones, and https://bedrock.example.com is the
gateway's; `sudo` installs below the page's folder; `aws` talks to moto, a simulated AWS, whose registry of images is that of
registry.py, and `kubectl` to cluster.py, where db.example.com and valkey.example.com are the stores of the tests (without it
`kubectl create` makes nothing: --dry-run=client). The folder is empty, and $REPOSITORY is where the repository is. The runbooks
are run by tests/observability, in front of a gateway under load.
"""

import argparse
import http.client
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "docs/*.md"]
TIMEOUT = 240  # for one block: far more than any takes, also where all cores are busy
TIMEOUT_DOCKER = 7200  # building the image is a release build, which took most of an hour where other builds ran
READY = 60
CLUSTER_STORE = "postgres://gateway:...@db.example.com/gateway?sslmode=require"
CLUSTER_SHARED = "rediss://default:...@valkey.example.com:6379"
REGISTRY = "$ACCOUNT.dkr.ecr.$REGION.amazonaws.com"
THINGS = ("postgres", "aws", "kubectl", "docker", "cluster", "registry")

WRAPPERS = {
    "bedrock-gateway": """
        [ "$1" = simulate ] && [[ " $* " != *" --listen "* ]] && set -- "$@" --listen "127.0.0.1:$PORT_4567"
        exec "$GATEWAY_BINARY" "$@"
    """,
    "cargo": """
        case "$*" in
          "build --release") mkdir -p target/release && exec ln -sf "$GATEWAY_BINARY" target/release/bedrock-gateway ;;
          "run "*) while [ "$1" != -- ]; do shift; done; shift; exec bedrock-gateway "$@" ;;
          *) echo "cargo $1 is not for a reader's page" >&2; exit 1 ;;
        esac
    """,
    "sudo": 'mkdir -p "$HOME/usr/local/bin"; exec "${@/#\\/usr\\/local\\//$HOME/usr/local/}"\n',
    "aws": """
        export AWS_ENDPOINT_URL=$MOTO_URL AWS_ACCESS_KEY_ID=AKIDMOTO AWS_SECRET_ACCESS_KEY=not-a-real-key AWS_PAGER=
        [ "$1" != iam ] || export AWS_DEFAULT_REGION=us-east-1  # which it needs with moto alone
        "$REAL_CURL" --silent --output /dev/null --retry 120 --retry-delay 1 --retry-connrefused $MOTO_URL  # until it is up
        exec "$REAL_AWS" "$@"
    """,
    "kubectl": """
        if [[ "$*" =~ ^(--namespace [a-z-]+ )?create ]]; then
          set -- "$@" --dry-run=client --output yaml
          [ -z "${CLUSTER_URL:-}" ] || exec kubectl apply --filename <("$REAL_KUBECTL" "$@")  # in JSON, which create does not send
        elif [ -n "${CLUSTER_URL:-}" ]; then
          "$REAL_CURL" --silent --output /dev/null --retry 120 --retry-delay 1 --retry-connrefused $CLUSTER_URL/api  # until it is up
          set -- --server "$CLUSTER_URL" "$@"
        fi
        exec "$REAL_KUBECTL" "$@"
    """,
    # DOCKER_RUN is what a page wants every container to be told, without its readers.
    "docker": """
        case "$1" in
          run) shift; set -- run $DOCKER_RUN "$@" ;;
          login)  # when the registry is up
            "$REAL_CURL" --silent --output /dev/null --retry 120 --retry-delay 1 --retry-connrefused "http://${@: -1}" ;;
        esac
        exec "$REAL_DOCKER" "$@"
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

    @property
    def words(self) -> tuple[str, str, str]:
        """How it is run, and the thing `needs` or `without` which."""
        found = re.fullmatch(rf"(fails|background|stopped|)(?:(?:^| )(needs|without) ({'|'.join(THINGS)}))?", self.mark)
        if not found:
            raise Wrong(f"line {self.line}: nobody knows the mark {self.mark!r}")
        return found[1], found[2] or "", found[3] or ""

    @property
    def is_run(self) -> bool:
        return self.language in ("sh", "bash", "python") and not self.mark.startswith("no-run")

    @property
    def starts_gateway(self) -> bool:
        return self.is_run and self.words[0] == "background" and "serve" in self.text


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
    things: set
    names: dict  # what pages call what is elsewhere here
    key: str = "bgw_none_yet"
    gateway: subprocess.Popen | None = None
    started: Block | None = None
    others: list = field(default_factory=list)
    ran: int = 0
    skipped: list = field(default_factory=list)

    def adapted(self, text: str) -> str:
        for said, port in self.ports.items():
            text = text.replace(f"127.0.0.1:{said}", f"127.0.0.1:{port}")
        for said, here in self.names.items():
            text = text.replace(said, here)
        text = text.replace("https://bedrock.example.com", f"http://127.0.0.1:{self.ports['8080']}")
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
            self.gateway, self.started = process, block
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

    @property
    def timeout(self) -> int:
        return TIMEOUT_DOCKER if "docker" in self.things else TIMEOUT

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
            ["bash", "-c", script], cwd=self.folder, env=self.env, text=True, timeout=self.timeout,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def python(self, group: list[Block]) -> subprocess.CompletedProcess:
        source = ""
        for block in group:  # at the page's own lines, for tracebacks
            source += "\n" * (block.line - source.count("\n")) + self.adapted(block.text)
        file = self.folder / self.page.name.replace(".md", ".py")
        file.write_text(source)
        return self.shell(f"python {file.name}")

    def without_gateway(self, block: Block) -> subprocess.CompletedProcess:
        status = end(self.gateway)
        if status != 0:
            raise Wrong(f"line {block.line}: the gateway ended with {status}")
        done = self.shell(self.adapted(block.text))
        if done.returncode == 0:
            self.start(self.started)
        return done

    def run(self) -> None:
        found = blocks(self.page)
        runs = [block for block in found if block.is_run]
        if runs and not any(block.starts_gateway for block in runs):
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
            elif block.is_run:
                how, which, thing = block.words
                if which and (which == "needs") != (thing in self.things):
                    if which == "needs":
                        self.skipped.append(f"{where}: there is no {thing}")
                    continue
                self.ran += 1
                if how == "background":
                    self.start(block)
                    continue
                if how == "stopped":
                    done = self.without_gateway(block)
                elif block.language != "python":
                    done = self.shell(self.adapted(block.text))
                else:
                    group = [block]
                    while at < len(found) and (found[at].language, found[at].mark) == ("python", ""):
                        group.append(found[at])
                        at, self.ran = at + 1, self.ran + 1
                    done = self.python(group)
                output = done.stdout
                if (done.returncode != 0) != (how == "fails"):
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


def end(process: subprocess.Popen) -> int:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


@contextmanager
def database():
    """The URL of a Postgres database of our own, or nothing where there is no Postgres."""
    base, name = os.environ.get("TEST_POSTGRES_URL"), f"documents_{secrets.token_hex(8)}"
    if not base:
        yield None
        return
    order = lambda text: subprocess.run(["psql", "-qX", base, "-c", text], check=True)
    order(f"CREATE DATABASE {name}")
    try:
        yield f"{base.rsplit('/', 1)[0]}/{name}"
    finally:
        order(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def server(folder: Path | None, script: str, *arguments, stderr=None):
    """The address of what this script of ours serves, or nothing."""
    if not folder:
        yield None
        return
    (port,) = free_ports(1)
    server = subprocess.Popen(
        [folder / "python", ROOT / "tests/documents" / script, str(port), *arguments], stdout=subprocess.DEVNULL,
        stderr=stderr, start_new_session=True,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        end(server)


def confines() -> bool:
    """Whether a process can be given a view of the machine of its own here, as a container is."""
    tried = shutil.which("bwrap") and subprocess.run(["bwrap", "--unshare-user", "--ro-bind", "/", "/", "true"], capture_output=True)
    return bool(tried) and tried.returncode == 0


def try_page(binary: Path, page: Path, given: dict) -> tuple[Path, str, str | None]:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bedrock-gateway-page-") as folder:
        folder = Path(folder)
        tools = folder / ".tools"
        tools.mkdir()
        for name, text in WRAPPERS.items():
            (tools / name).write_text("#!/usr/bin/env bash\n" + textwrap.dedent(text).strip() + "\n")
            (tools / name).chmod(0o755)
        said = ("8080", "9090", "4567")
        # Containers publish the ports that the page says.
        with_docker = "docker" in given["things"] and "needs docker" in page.read_text()
        ports = dict(zip(said, map(int, said) if with_docker else free_ports(3)))
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
            "REPOSITORY": str(ROOT),
        }
        env |= given["env"]
        run = Run(page, folder, env, ports, given["things"], given["names"])
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("pages", nargs="*")
    parser.add_argument("--tools", type=Path)
    parser.add_argument("--docker", action="store_true")
    asked = parser.parse_intermixed_args()
    chosen = [ROOT / name for name in asked.pages] or sorted(page for pattern in PAGES for page in ROOT.glob(pattern))
    failed = 0
    binary, shared = asked.binary.resolve(), os.environ.get("TEST_REDIS_URL")
    with ExitStack() as held:
        store, aws = held.enter_context(database()), held.enter_context(server(asked.tools, "aws.py", stderr=subprocess.DEVNULL))
        env, things, names = {}, set(), {}
        if store:
            env |= {"DATABASE_URL": store}
            things.add("postgres")
        if aws:
            tools = asked.tools.absolute()
            env |= {"MOTO_URL": aws, "REAL_AWS": str(tools / "aws"), "REAL_KUBECTL": str(tools / "kubectl")}
            things |= {"aws", "kubectl"}
        if aws and store and shared and confines():
            cluster = held.enter_context(server(asked.tools, "cluster.py", str(binary)))
            names |= {CLUSTER_STORE: held.enter_context(database()), CLUSTER_SHARED: shared}
            env |= {"CLUSTER_URL": cluster}
            things.add("cluster")
        if asked.docker:
            env |= {"REAL_DOCKER": shutil.which("docker") or "docker"}
            things.add("docker")
        if asked.docker and aws and shutil.which("docker-registry") and shutil.which("htpasswd"):
            pushed = held.enter_context(tempfile.TemporaryDirectory(prefix="bedrock-gateway-registry-"))
            registry = held.enter_context(server(asked.tools, "registry.py", aws, pushed, stderr=subprocess.DEVNULL))
            names |= {REGISTRY: registry.removeprefix("http://")}
            things.add("registry")
        given = {"env": env, "things": things, "names": names}
        pool = held.enter_context(ThreadPoolExecutor(max_workers=os.cpu_count()))
        for page, told, wrong in pool.map(lambda page: try_page(binary, page, given), chosen):
            print(f"{page.relative_to(ROOT)}: {'FAILED' if wrong else 'ok'}: {told}", flush=True)
            if wrong:
                failed += 1
                print(textwrap.indent(wrong, "    "))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
