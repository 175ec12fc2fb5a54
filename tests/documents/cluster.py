"""A cluster for the commands of the pages: what `kubectl` asks of Kubernetes' API, and pods that are processes of this machine.

    cluster.py PORT PROGRAM          the API on 127.0.0.1, until it is ended

The API holds objects to Kubernetes' own schemas (of the ServiceMonitor it only keeps what comes), the Deployment's pods start as
the image starts them: read-only root, the image's environment, their user, secrets, configuration and volumes, each at an address
of its own, asked by its probes. There is no network between them to be closed, no load balancer, no metrics server: of the
autoscaler only the least number of pods is heard. AWS is the simulator.
"""

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import kubernetes_validate
from aiohttp import ClientError, ClientSession, ClientTimeout, WSMsgType, web

sys.path.insert(0, str(Path(__file__).parents[1] / "deploy"))
import image  # noqa: E402

VERSION = "1.37"
OPERATORS = "monitoring.coreos.com/v1"
KINDS = {
    "v1": {"Namespace": "namespaces", "Pod": "pods", "Secret": "secrets", "ConfigMap": "configmaps", "Service": "services",
           "ServiceAccount": "serviceaccounts"},
    "apps/v1": {"Deployment": "deployments"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"},
    OPERATORS: {"ServiceMonitor": "servicemonitors"},
}
# What of this machine a pod sees, besides the program: the libraries, which are the image's, and how to find others.
SEEN = ["/usr/lib", "/lib", "/lib64", "/etc/ssl", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/proc"]
# https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/ (websockets of `exec`)
EXEC = "v5.channel.k8s.io"
STDOUT, STDERR, STATUS = b"\x01", b"\x02", b"\x03"


def refusal(code: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                              "message": message}, status=code)


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def selected(objects: list, query) -> list:
    """Those that `labelSelector` and `fieldSelector` choose, of which kubectl sends equalities of names here."""
    labels = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if part)
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    return [one for one in objects if labels.items() <= one["metadata"].get("labels", {}).items()
            and name in ("", one["metadata"]["name"])]


@dataclass
class Pod:
    """A pod with its one container."""

    shown: dict
    address: str
    folder: Path
    command: list
    process: asyncio.subprocess.Process | None = None

    @property
    def container(self) -> dict:
        return self.shown["spec"]["containers"][0]

    def ready(self, is_ready: bool) -> None:
        self.shown["status"] = {
            "phase": "Running", "podIP": self.address, "startTime": now(),
            "conditions": [{"type": "Ready", "status": str(is_ready)}],
            "containerStatuses": [{"name": self.container["name"], "ready": is_ready, "image": self.container["image"],
                                   "imageID": "", "restartCount": 0, "state": {"running": {"startedAt": now()}}}],
        }


@dataclass
class Cluster:
    program: Path
    folder: Path
    aws: dict
    http: ClientSession
    objects: dict = field(default_factory=dict)  # by plural, namespace and name
    pods: list = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    version: int = 0

    def all(self, plural: str, namespace: str | None) -> list:
        return [one for (kind, where, _), one in self.objects.items() if kind == plural and namespace in (None, where)]

    async def tell(self, one: dict) -> None:
        """To those who watch."""
        self.version += 1
        one["metadata"]["resourceVersion"] = str(self.version)
        async with self.changed:
            self.changed.notify_all()

    async def keep(self, plural: str, one: dict) -> None:
        meta = one["metadata"]
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
        self.objects[plural, meta.get("namespace"), meta["name"]] = one
        await self.tell(one)
        if plural == "deployments":
            asyncio.get_running_loop().create_task(self.roll_out(one))

    def replicas(self, deployment: dict) -> int:
        meta = deployment["metadata"]
        least = [one["spec"].get("minReplicas", 1) for one in self.all("horizontalpodautoscalers", meta["namespace"])
                 if one["spec"]["scaleTargetRef"]["name"] == meta["name"]]
        return max([deployment["spec"].get("replicas", 1), *least])

    async def roll_out(self, deployment: dict) -> None:
        """Brings the pods up, and says in the Deployment's status how far it is."""
        await self.report(deployment, "ReplicaSetUpdated")
        try:
            while len(self.pods) < self.replicas(deployment):
                pod = self.pod(deployment, len(self.pods))
                self.pods.append(pod)
                await self.start(pod)
                await asyncio.sleep(deployment["spec"].get("minReadySeconds", 0))
                await self.report(deployment, "ReplicaSetUpdated")
            await self.report(deployment, "NewReplicaSetAvailable")
        except Exception as error:  # noqa: BLE001: whatever it is, the page has to hear of it
            print(f"the rollout failed: {error!r}", file=sys.stderr, flush=True)
            await self.report(deployment, "ProgressDeadlineExceeded", str(error))

    async def report(self, deployment: dict, reason: str, message: str = "") -> None:
        ready = sum(pod.process is not None and pod.shown["status"]["conditions"][0]["status"] == "True" for pod in self.pods)
        deployment["spec"]["replicas"] = self.replicas(deployment)
        failed = reason == "ProgressDeadlineExceeded"
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"], "replicas": len(self.pods), "updatedReplicas": len(self.pods),
            "readyReplicas": ready, "availableReplicas": ready,
            "conditions": [{"type": "Progressing", "status": str(not failed), "reason": reason, "message": message,
                            "lastUpdateTime": now(), "lastTransitionTime": now()}],
        }
        await self.tell(deployment)

    def pod(self, deployment: dict, number: int) -> Pod:
        template, namespace = deployment["spec"]["template"], deployment["metadata"]["namespace"]
        name = f"{deployment['metadata']['name']}-{number}"
        shown = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], "status": {"phase": "Pending"},
                 "metadata": template["metadata"] | {"name": name, "namespace": namespace, "creationTimestamp": now()}}
        address = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
        folder = self.folder / name
        folder.mkdir()
        pod = Pod(shown, address, folder, [])
        pod.command = self.boundary(pod)
        self.objects["pods", namespace, name] = shown
        return pod

    def value(self, namespace: str, entry: dict) -> str | None:
        if "value" in entry:
            return entry["value"]
        asked = entry["valueFrom"]["secretKeyRef"]
        secret = self.objects.get(("secrets", namespace, asked["name"]), {}).get("data", {})
        if asked["key"] not in secret:
            if asked.get("optional"):
                return None
            raise LookupError(f"secret {asked['name']} has no {asked['key']}")
        return base64.b64decode(secret[asked["key"]]).decode()

    def boundary(self, pod: Pod) -> list:
        """The command that makes what the container sees, without what is to run in it."""
        namespace, spec, container = pod.shown["metadata"]["namespace"], pod.shown["spec"], pod.container
        account = self.objects["serviceaccounts", namespace, spec["serviceAccountName"]]
        if "eks.amazonaws.com/role-arn" not in account["metadata"].get("annotations", {}):
            raise LookupError("the pods have no AWS identity")
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **image.environment()}
        environment = {name: value.replace("0.0.0.0", pod.address) for name, value in environment.items()} | self.aws
        given = {entry["name"]: self.value(namespace, entry) for entry in container["env"]}
        environment |= {name: value for name, value in given.items() if value is not None}
        user = {**spec["securityContext"], **container["securityContext"]}
        command = ["bwrap", "--die-with-parent", "--unshare-user", "--clearenv"]
        command += ["--uid", str(user["runAsUser"]), "--gid", str(user["runAsGroup"])]
        for seen in filter(os.path.exists, SEEN):
            command += ["--ro-bind", seen, seen]
        command += ["--dev", "/dev", "--ro-bind", str(self.program), image.entrypoint()[0]]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for mount in container["volumeMounts"]:
            place = pod.folder / mount["name"]
            place.mkdir()
            if source := volumes[mount["name"]].get("configMap"):
                for name, text in self.objects["configmaps", namespace, source["name"]]["data"].items():
                    (place / name).write_text(text)
            command += ["--ro-bind" if mount.get("readOnly") else "--bind", str(place), mount["mountPath"]]
        for name, value in environment.items():
            command += ["--setenv", name, value]
        if user.get("readOnlyRootFilesystem"):
            command += ["--remount-ro", "/"]
        return [*command, "--chdir", image.last(image.stages()[-1], "WORKDIR"), "--"]

    async def start(self, pod: Pod) -> None:
        log = pod.folder / "log"
        pod.process = await asyncio.create_subprocess_exec(
            *pod.command, *image.entrypoint(), *pod.container["args"], stdin=asyncio.subprocess.DEVNULL,
            stdout=log.open("w"), stderr=asyncio.subprocess.STDOUT)
        pod.ready(False)
        startup = pod.container["startupProbe"]
        for _ in range(startup["failureThreshold"] * startup["periodSeconds"] * 10):
            if pod.process.returncode is not None:
                break
            if all([await self.passes(pod, probe) for probe in ("startupProbe", "livenessProbe", "readinessProbe")]):
                pod.ready(True)
                return
            await asyncio.sleep(0.1)
        raise ChildProcessError(f"{pod.shown['metadata']['name']}: {log.read_text()[-4000:]}")

    async def passes(self, pod: Pod, probe: str) -> bool:
        asked = pod.container[probe]["httpGet"]
        (port,) = (port["containerPort"] for port in pod.container["ports"] if port["name"] == asked["port"])
        try:
            async with self.http.get(f"http://{pod.address}:{port}{asked['path']}") as answer:
                return answer.status == 200
        except (ClientError, TimeoutError):
            return False

    async def stop(self) -> None:
        """Without the minutes that a pod has to end in good order."""
        for pod in self.pods:
            if pod.process:
                await killed(pod.process)


async def killed(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


class Api:
    """https://kubernetes.io/docs/reference/using-api/api-concepts/"""

    def __init__(self, cluster: Cluster):
        self.cluster = cluster

    async def versions(self, _) -> web.Response:
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def groups(self, _) -> web.Response:
        found = []
        for version in KINDS:
            if "/" in version:
                one = {"groupVersion": version, "version": version.split("/")[1]}
                found.append({"name": version.split("/")[0], "versions": [one], "preferredVersion": one})
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": found})

    async def resources(self, request) -> web.Response:
        version = self.group(request)
        found = [{"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": kind != "Namespace",
                  "verbs": ["create", "get", "list", "watch"]} for kind, plural in KINDS.get(version, {}).items()]
        return web.json_response({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": found})

    @staticmethod
    def group(request) -> str:
        return "/".join(request.match_info[part] for part in ("group", "version") if part in request.match_info) or "v1"

    async def documents(self, _) -> web.Response:
        paths = {("apis/" if "/" in version else "api/") + version: {"serverRelativeURL": f"/openapi/v3/{version}"}
                 for version in KINDS}
        return web.json_response({"paths": paths})

    async def document(self, request) -> web.Response:
        """Tells that this server looks at what it is sent itself, so that kubectl does not."""
        version = request.match_info["of"]
        group, _, short = version.rpartition("/")
        paths = {f"/{plural}/{{name}}": {"patch": {
            "parameters": [{"name": "fieldValidation", "in": "query"}], "responses": {},
            "x-kubernetes-group-version-kind": {"group": group, "version": short, "kind": kind},
        }} for kind, plural in KINDS[version].items()}
        return web.json_response({"openapi": "3.0.0", "info": {"title": "", "version": VERSION}, "paths": paths})

    async def create(self, request) -> web.Response:
        if request.content_type != "application/json":
            return refusal(415, "UnsupportedMediaType", f"{request.content_type} is not read here")
        plural, namespace, one = request.match_info["plural"], request.match_info.get("namespace"), await request.json()
        version = self.group(request)
        if one.get("apiVersion") != version or KINDS.get(version, {}).get(one.get("kind")) != plural:
            return refusal(404, "NotFound", f"no {plural} of {version}")
        if namespace and ("namespaces", None, namespace) not in self.cluster.objects:
            return refusal(404, "NotFound", f'namespaces "{namespace}" not found')
        name = one["metadata"]["name"]
        if (plural, namespace, name) in self.cluster.objects:
            return refusal(409, "AlreadyExists", f'{plural} "{name}" already exists')
        if version != OPERATORS:
            try:
                kubernetes_validate.validate(one, VERSION, strict=request.query.get("fieldValidation") == "Strict")
            except kubernetes_validate.ValidationError as error:
                return refusal(400, "BadRequest", f"{one['kind']} {name}: {error}")
        if namespace:
            one["metadata"]["namespace"] = namespace
        if one["kind"] == "Secret":
            more = {key: base64.b64encode(text.encode()).decode() for key, text in one.pop("stringData", {}).items()}
            one["data"] = one.get("data", {}) | more
        await self.cluster.keep(plural, one)
        return web.json_response(one, status=201)

    async def get(self, request) -> web.Response:
        plural, name = request.match_info["plural"], request.match_info["name"]
        one = self.cluster.objects.get((plural, request.match_info.get("namespace"), name))
        return web.json_response(one) if one else refusal(404, "NotFound", f'{plural} "{name}" not found')

    async def list(self, request) -> web.StreamResponse:
        version, plural = self.group(request), request.match_info["plural"]
        kinds = {there: kind for kind, there in KINDS.get(version, {}).items()}
        if plural not in kinds:
            return refusal(404, "NotFound", f"no {plural} of {version}")
        if request.query.get("watch") in ("1", "true"):
            return await self.watch(request, plural, kinds[plural])
        found = selected(self.cluster.all(plural, request.match_info.get("namespace")), request.query)
        return web.json_response({"kind": f"{kinds[plural]}List", "apiVersion": version, "items": found,
                                  "metadata": {"resourceVersion": str(self.cluster.version)}})

    async def watch(self, request, plural: str, kind: str) -> web.StreamResponse:
        """https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists"""
        answer = web.StreamResponse(headers={"content-type": "application/json"})
        await answer.prepare(request)
        seen, cluster = int(request.query.get("resourceVersion") or 0), self.cluster
        at_first = request.query.get("sendInitialEvents") == "true"
        while True:
            events = [("ADDED" if at_first else "MODIFIED", one)
                      for one in selected(cluster.all(plural, request.match_info.get("namespace")), request.query)
                      if int(one["metadata"].get("resourceVersion", 0)) > seen]
            seen = cluster.version
            if at_first:
                end = {"resourceVersion": str(seen), "annotations": {"k8s.io/initial-events-end": "true"}}
                events.append(("BOOKMARK", {"kind": kind, "apiVersion": self.group(request), "metadata": end}))
                at_first = False
            for event, one in events:
                await answer.write(json.dumps({"type": event, "object": one}).encode() + b"\n")
            async with cluster.changed:
                await cluster.changed.wait_for(lambda: cluster.version > seen)

    async def exec(self, request) -> web.StreamResponse:
        """https://kubernetes.io/docs/reference/generated/kubernetes-api/ (connectGetNamespacedPodExec)"""
        name = request.match_info["name"]
        found = [pod for pod in self.cluster.pods if pod.shown["metadata"]["name"] == name]
        if not found or request.query.get("container") not in (None, found[0].container["name"]):
            return refusal(404, "NotFound", f'pods "{name}" not found, or no such container')
        socket = web.WebSocketResponse(protocols=[EXEC])
        await socket.prepare(request)
        process = await asyncio.create_subprocess_exec(
            *found[0].command, *request.query.getall("command"), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)

        async def pass_on(channel: bytes, stream: asyncio.StreamReader) -> None:
            while part := await stream.read(65536):
                await socket.send_bytes(channel + part)

        await asyncio.gather(pass_on(STDOUT, process.stdout), pass_on(STDERR, process.stderr))
        code = await process.wait()
        status = {"metadata": {}, "status": "Success"}
        if code:
            status = {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "message": f"exit code {code}",
                      "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]}}
        await socket.send_bytes(STATUS + json.dumps(status).encode())
        await socket.close()
        return socket

    def routes(self) -> list:
        found = [web.get("/api", self.versions), web.get("/apis", self.groups), web.get("/api/{version}", self.resources),
                 web.get("/apis/{group}/{version}", self.resources), web.get("/openapi/v3", self.documents),
                 web.get("/openapi/v3/{of:.+}", self.document)]
        for base in ("/api/v1", "/apis/{group}/{version}"):
            for where in ("", "/namespaces/{namespace}"):
                every, one = f"{base}{where}/{{plural}}", f"{base}{where}/{{plural}}/{{name}}"
                found += [web.post(every, self.create), web.get(every, self.list), web.get(one, self.get)]
        exec_ = "/api/v1/namespaces/{namespace}/pods/{name}/exec"
        return [web.get(exec_, self.exec), web.post(exec_, self.exec), *found]


async def main() -> None:
    port, program = int(sys.argv[1]), Path(sys.argv[2])
    ended = asyncio.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(one, ended.set)
    simulator = await asyncio.create_subprocess_exec(program, "simulate", "--listen", "127.0.0.1:0", stdout=asyncio.subprocess.PIPE)
    aws = {}
    while len(aws) < 3:
        if found := re.match(rb"export (AWS_\w+)=(\S+)", await simulator.stdout.readline()):
            aws[found[1].decode()] = found[2].decode()
    with tempfile.TemporaryDirectory(prefix="bedrock-gateway-cluster-") as folder:
        async with ClientSession(timeout=ClientTimeout(total=5)) as http:
            cluster = Cluster(program, Path(folder), aws, http)
            app = web.Application(client_max_size=2**24)
            app.add_routes(Api(cluster).routes())
            runner = web.AppRunner(app, shutdown_timeout=1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await ended.wait()
            await cluster.stop()
            await runner.cleanup()
    await killed(simulator)


if __name__ == "__main__":
    asyncio.run(main())
