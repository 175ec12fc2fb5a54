"""deploy/kubernetes: built by kustomize, held to the schemas of Kubernetes' API and of the Prometheus operator, and checked
for what no schema says: that names meet, that pods are restricted, that the gateway takes the configuration."""

import copy
import json
import re
import subprocess
import sys
import tomllib

import jsonschema
import kubernetes_validate
import pytest
import yaml

import image
from conftest import ROOT, defaults, longest_end, run, tool

# The oldest and the newest Kubernetes that are looked at.
VERSIONS = ["1.31", "1.37"]
FOLDERS = {"base": "deploy/kubernetes/base", "example": "deploy/kubernetes/overlays/example"}
# Objects of the Prometheus operator, whose schema is another's.
OPERATORS = "monitoring.coreos.com/v1"

# In a process of its own: the package takes seconds to load, and brings more than its schemas.
MODELS = """
import json, sys
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
json.dump(ServiceMonitor.model_json_schema(by_alias=True), sys.stdout)
"""


def build(folder):
    done = run(tool("kubectl"), "kustomize", str(ROOT / folder))
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=FOLDERS.values(), ids=FOLDERS)
def objects(request):
    return build(request.param)


@pytest.fixture(scope="module")
def example():
    return build(FOLDERS["example"])


@pytest.fixture(scope="module")
def monitor_schema():
    """The schema of a ServiceMonitor, with every field that it does not know forbidden."""
    text = subprocess.run([sys.executable, "-c", MODELS], capture_output=True, text=True, check=True).stdout
    schema = json.loads(text)
    for part in [schema, *schema["$defs"].values()]:
        if "properties" in part:
            part["additionalProperties"] = False
    return schema


def one(objects, kind, name="bedrock-gateway"):
    (found,) = (thing for thing in objects if (thing["kind"], thing["metadata"]["name"]) == (kind, name))
    return found


def pod(objects):
    return one(objects, "Deployment")["spec"]["template"]["spec"]


def container(objects):
    (only,) = pod(objects)["containers"]
    return only


def labels(objects):
    return one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]


def config(objects):
    """The text of the configuration that the pod's volume holds."""
    (volume,) = (volume for volume in pod(objects)["volumes"] if "configMap" in volume)
    return one(objects, "ConfigMap", volume["configMap"]["name"])["data"]["config.toml"]


def selects(selector, of):
    return selector and selector.items() <= of.items()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_as_the_api_asks(objects, version):
    for thing in objects:
        if thing["apiVersion"] != OPERATORS:
            kubernetes_validate.validate(thing, version, strict=True)


def test_what_is_not_as_the_api_asks_is_refused(example):
    wrong = copy.deepcopy(one(example, "Deployment"))
    wrong["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_the_service_monitor_is_as_the_operator_asks_and_meets_the_ops_service(example, monitor_schema):
    monitor = one(example, "ServiceMonitor")
    jsonschema.validate(monitor, monitor_schema)
    wrong = copy.deepcopy(monitor)
    wrong["spec"]["endpoints"][0]["intervall"] = "15s"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, monitor_schema)
    met = [thing for thing in example if thing["kind"] == "Service"
           and selects(monitor["spec"]["selector"]["matchLabels"], thing["metadata"]["labels"])]
    assert [service["metadata"]["name"] for service in met] == ["bedrock-gateway-ops"]
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in met[0]["spec"]["ports"]}
    # The rules and the dashboard go by the name of the job.
    assert met[0]["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "bedrock-gateway"


def test_pods_are_restricted(objects):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and a little more."""
    spec, only = pod(objects), container(objects)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    user = image.last(image.stages()[-1], "USER").split(":")
    assert [str(spec["securityContext"][key]) for key in ("runAsUser", "runAsGroup")] == user
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert all(set(volume) - {"name"} <= {"configMap", "emptyDir", "secret"} for volume in spec["volumes"])
    assert spec["automountServiceAccountToken"] is False
    assert only["resources"]["limits"]["memory"] and only["resources"]["requests"]


def test_the_gateway_takes_the_configuration_that_the_pod_gives_it(objects, config_check, tmp_path):
    only = container(objects)
    mounts = {mount["mountPath"]: mount["name"] for mount in only["volumeMounts"]}
    path = only["args"][only["args"].index("--config") + 1]
    folder, name = path.rsplit("/", 1)
    assert (mounts[folder], name) == ("config", "config.toml")
    file = tmp_path / name
    file.write_text(config(objects))
    secrets = {
        "store-url": "postgres://gateway:secret@db/gateway", "shared-url": "rediss://valkey:6379",
        "sealing-key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
    }
    given = {entry["name"]: secrets[entry["valueFrom"]["secretKeyRef"]["key"]] for entry in only["env"]}
    assert len(given) == len(secrets)
    assert config_check(image.environment() | given, file) == ""
    assert "BEDROCK_GATEWAY__STORE__URI" in config_check({"BEDROCK_GATEWAY__STORE__URI": "x"}, file)
    # The journal is on the volume, which is the image's.
    journal = tomllib.loads(config(objects))["store"]["journal"]
    assert journal.rsplit("/", 1)[0] in mounts and journal.startswith(image.last(image.stages()[-1], "VOLUME"))


def test_a_pod_may_end_its_streams_before_it_is_killed(objects):
    server = tomllib.loads(config(objects))["server"]
    assert pod(objects)["terminationGracePeriodSeconds"] > longest_end(server)
    assert "lifecycle" not in container(objects), "the gateway waits by itself (server.notice_seconds)"


def test_probes_ask_the_ops_port_which_the_image_listens_on(objects):
    only = container(objects)
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    listening = {address.rsplit(":", 1)[1] for address in image.environment().values()}
    assert {str(port) for port in ports.values()} == listening
    for probe, path in {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}.items():
        assert only[probe]["httpGet"] == {"path": path, "port": "ops"}


def test_names_meet(objects):
    deployment, account = one(objects, "Deployment"), one(objects, "ServiceAccount")
    pods = labels(objects)
    ports = {port["name"] for port in container(objects)["ports"]}
    assert pod(objects)["serviceAccountName"] == account["metadata"]["name"]
    assert selects(deployment["spec"]["selector"]["matchLabels"], pods)
    for name in ("bedrock-gateway", "bedrock-gateway-ops"):
        service = one(objects, "Service", name)["spec"]
        assert selects(service["selector"], pods)
        assert {port["targetPort"] for port in service["ports"]} <= ports
    assert selects(one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"], pods)
    network = one(objects, "NetworkPolicy")["spec"]
    assert selects(network["podSelector"]["matchLabels"], pods)
    assert {port["port"] for rule in network["ingress"] for port in rule["ports"]} == ports
    target = one(objects, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"], "the autoscaler says how many"
    for spread in pod(objects)["topologySpreadConstraints"]:
        assert selects(spread["labelSelector"]["matchLabels"], pods)


def test_the_ops_port_is_open_to_nobody_unnamed(objects):
    for rule in one(objects, "NetworkPolicy")["spec"]["ingress"]:
        if "ops" in {port["port"] for port in rule["ports"]}:
            assert rule["from"]


def test_the_example_adds_what_the_base_lacks(example):
    assert {thing["metadata"].get("namespace") for thing in example} == {"bedrock-gateway"}
    annotations = one(example, "ServiceAccount")["metadata"]["annotations"]
    assert re.fullmatch(r"arn:aws:iam::0{12}:role/\S+", annotations["eks.amazonaws.com/role-arn"])
    assert re.search(r"/bedrock-gateway:\d+\.\d+\.\d+$", container(example)["image"])
    ingress = one(example, "Ingress")
    attributes = ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/load-balancer-attributes"]
    idle = int(re.search(r"idle_timeout\.timeout_seconds=(\d+)", attributes)[1])
    assert defaults()["aws"]["call_timeout_s"] < idle < tomllib.loads(config(example))["server"]["keep_alive_s"]
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    backend = path["backend"]["service"]
    ports = one(example, "Service", backend["name"])["spec"]["ports"]
    assert backend["port"]["name"] in {port["name"] for port in ports}
