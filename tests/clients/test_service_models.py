"""The simulator refuses what AWS's service models refuse, and answers in their shapes: a table of operations and constraints.

The table is derived from botocore's models by service_models.py. That every answer of every check of simulator_fidelity.py is in shape, too,
is seen to by `client` there.
"""

import http.client
import json
import os
from urllib.parse import urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

import service_models as models
import simulator_fidelity as fidelity

VIDEO = {"inputType": "video", "video": {"mediaSource": {"s3Location": {"uri": "s3://some-bucket/a.mp4"}}}}
WHERE = {"s3OutputDataConfig": {"s3Uri": "s3://some-bucket/out"}}
TURN = [{"role": "user", "content": [{"text": "hello"}]}]
CONVERSE = {
    "modelId": fidelity.HAIKU, "messages": TURN, "system": [{"text": "Be brief."}], "inferenceConfig": {"maxTokens": 50, "temperature": 0.5},
    "toolConfig": {"tools": [fidelity.TOOL], "toolChoice": {"auto": {}}}, "requestMetadata": {"team": "blue"}, "additionalModelResponseFieldPaths": ["/stop_sequence"],
    "performanceConfig": {"latency": "standard"}, "serviceTier": {"type": "default"},
}
INVOKE = {"modelId": fidelity.HAIKU, "body": json.dumps(fidelity.claude()).encode(), "contentType": "application/json", "accept": "application/json"}
FILES = {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": "s3://jobs-in-east/in/a.jsonl"}}
RESULTS = {"s3OutputDataConfig": {"s3Uri": "s3://jobs-in-east/out/"}}
BATCH = "arn:aws:iam::000000000000:role/batch"

# Of every operation that the simulator has (S3's apart, whose model has no constraints), a call that is good.
GOOD = {
    ("bedrock-runtime", "Converse"): CONVERSE,
    ("bedrock-runtime", "ConverseStream"): CONVERSE,
    ("bedrock-runtime", "InvokeModel"): INVOKE,
    ("bedrock-runtime", "InvokeModelWithResponseStream"): INVOKE,
    ("bedrock-runtime", "CountTokens"): {"modelId": fidelity.BARE_HAIKU, "input": {"converse": {"messages": TURN}}},
    ("bedrock-runtime", "ApplyGuardrail"): {
        "guardrailIdentifier": "abc123", "guardrailVersion": "1", "source": "INPUT", "content": [{"text": {"text": "a [[blocked]] word"}}]},
    ("bedrock-runtime", "StartAsyncInvoke"): {"modelId": "twelvelabs.marengo-embed-3-0-v1:0", "modelInput": VIDEO, "outputDataConfig": WHERE},
    ("bedrock-runtime", "GetAsyncInvoke"): lambda: {"invocationArn": fidelity.client().start_async_invoke(
        modelId="twelvelabs.marengo-embed-3-0-v1:0", modelInput=VIDEO, outputDataConfig=WHERE)["invocationArn"]},
    ("bedrock-runtime", "ListAsyncInvokes"): {"maxResults": 1, "statusEquals": "InProgress", "sortBy": "SubmissionTime", "sortOrder": "Ascending",
                                              "submitTimeAfter": "2020-01-01T00:00:00Z", "submitTimeBefore": "2120-01-01T00:00:00Z"},
    ("bedrock", "CreateModelInvocationJob"): lambda: {
        "jobName": f"job-{os.urandom(6).hex()}", "roleArn": BATCH, "modelId": fidelity.NOVA, "inputDataConfig": FILES, "outputDataConfig": RESULTS,
        "clientRequestToken": os.urandom(6).hex(), "timeoutDurationInHours": 24, "tags": [{"key": "team", "value": "blue"}]},
    ("bedrock", "GetModelInvocationJob"): lambda: {"jobIdentifier": fidelity.job(f"job-{os.urandom(6).hex()}")},
    ("bedrock", "ListModelInvocationJobs"): {"maxResults": 5, "nameContains": "job", "sortBy": "CreationTime", "sortOrder": "Descending"},
    ("bedrock", "StopModelInvocationJob"): lambda: {"jobIdentifier": fidelity.job(f"job-{os.urandom(6).hex()}")},
    ("bedrock", "ListFoundationModels"): {},
    ("bedrock", "GetFoundationModel"): {"modelIdentifier": fidelity.NOVA},
    ("bedrock", "ListInferenceProfiles"): {"maxResults": 1000, "typeEquals": "SYSTEM_DEFINED"},
    ("bedrock", "GetInferenceProfile"): {"inferenceProfileIdentifier": fidelity.HAIKU},
    ("bedrock", "GetFoundationModelAvailability"): {"modelId": fidelity.NOVA},
    ("bedrock", "GetProvisionedModelThroughput"): {"provisionedModelId": "provisioned1"},
    ("bedrock", "GetCustomModel"): {"modelIdentifier": "customcustom"},
    ("bedrock", "GetImportedModel"): {"modelIdentifier": "importimport"},
    ("sts", "GetCallerIdentity"): {},
    ("sts", "AssumeRole"): {"RoleArn": fidelity.ROLE, "RoleSessionName": "gateway", "DurationSeconds": 900, "ExternalId": "ab",
                            "Tags": [{"Key": "team", "Value": "blue"}], "TransitiveTagKeys": ["team"]},
    ("sts", "AssumeRoleWithWebIdentity"): {"RoleArn": fidelity.ROLE, "RoleSessionName": "gateway", "WebIdentityToken": "simulator-token"},
    ("iam", "GetRole"): {"RoleName": "batch"},
    ("iam", "SimulatePrincipalPolicy"): {"PolicySourceArn": BATCH, "ActionNames": ["s3:GetObject"], "ResourceArns": ["arn:aws:s3:::files/a"]},
    ("kms", "DescribeKey"): {"KeyId": "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555"},
}
# Resources of these are in the simulator's settings alone, so that of them only the refusals are in the table.
MISSING = {"GetProvisionedModelThroughput", "GetCustomModel", "GetImportedModel", "AssumeRoleWithWebIdentity", "DescribeKey"}
KINDS = ("required", "type", "enum", "pattern", "minimum", "maximum", "union", "base64")


def operation(service, name):
    return models.service(service).operation_model(name)


def good(service, name):
    params = GOOD[service, name]
    return params() if callable(params) else params


def cases(service, name, params):
    model = operation(service, name)
    return list(models.requests(model, params)) if model.input_shape else []


def send(service, request, connection):
    """Signs as the service wants it and sends; (status, headers, body)."""
    headers = dict(request.headers)
    if service.startswith("bedrock"):
        headers["Authorization"] = f"Bearer {fidelity.BEARER}"
    elif b"WithWebIdentity" not in request.body:
        plain = botocore.awsrequest.AWSRequest(request.method, fidelity.URL + request.target, data=request.body, headers=headers)
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(fidelity.KEY, fidelity.SECRET), service, "us-east-1").add_auth(plain)
        headers = dict(plain.headers.items())
    connection.request(request.method, request.target, request.body, headers)
    reply = connection.getresponse()
    return reply.status, dict(reply.getheaders()), reply.read()


def refusal(service, headers, body):
    """Code and message of a refusal."""
    if service.startswith("bedrock"):
        told = json.loads(body) if body else {}
        code = next((value for name, value in headers.items() if name.lower() == "x-amzn-errortype"), "")
        return code.split(":")[0], told.get("message", "")
    if service == "kms":
        told = json.loads(body)
        return told["__type"].rsplit("#")[-1], told.get("message", "")
    error = models.ElementTree.fromstring(body).find("{*}Error")
    return error.findtext("{*}Code"), error.findtext("{*}Message")


@pytest.fixture(scope="module")
def connection(simulator):
    fidelity.simulator("DELETE", "/_sim/faults")
    fidelity.job_files()
    fidelity.jobs("manual")
    fidelity.simulator("POST", "/_sim/quotas", {"region": "*", "id": "*", "jobs": {"max_jobs": 100_000}})
    connection = http.client.HTTPConnection(urlsplit(fidelity.URL).netloc, timeout=20)
    yield connection
    connection.close()
    fidelity.simulator("DELETE", "/_sim/quotas")


def spoken(service, text):
    """As the service writes the path of a member: the query protocol's begin in lower case, and so do those of KMS."""
    return text if service.startswith("bedrock") else ".".join(part[:1].lower() + part[1:] for part in text.split("."))


def judged(service, name, case, connection):
    """What is wrong with how a broken request was refused."""
    model = operation(service, name)
    request = models.written(model, case.params)
    status, headers, body = send(service, request, connection)
    about = f"{name} {case.kind} at {case.path or 'the body'}: {request.target} {request.body[:300]!r}: {status} {body[:400]!r}"
    if status < 400:
        return [f"accepted: {about}"]
    code, message = refusal(service, headers, body)
    faults = models.Answer(model).error(status, code, headers).faults
    wanted = {
        "type": ("SerializationException", "MalformedInput", "ValidationException", "ValidationError"), "base64": ("SerializationException",),
    }.get(case.kind, ("ValidationException", "ValidationError"))
    if code not in wanted:
        faults.append(f"{code} instead of {wanted}")
    if case.kind == "union" and case.rule not in message:
        faults.append(f"not told that it {case.rule}")
    if case.kind not in ("union", "type", "base64"):
        at = f"at '{spoken(service, case.path)}' failed to satisfy constraint: "
        if at not in message or case.rule not in message:
            faults.append(f"not told {at}{case.rule}")
    return [f"{fault}: {about}" for fault in faults]


def table():
    """The operations with a constraint of each kind, without asking the simulator for resources."""
    rows = []
    for service, name in GOOD:
        params = {} if callable(GOOD[service, name]) else GOOD[service, name]
        model = operation(service, name)
        made = {**({} if model.input_shape is None else models.sample(model.input_shape)), **params}
        rows += [(service, name, kind) for kind in KINDS if any(case.kind == kind for case in cases(service, name, made))]
    return rows


@pytest.mark.parametrize(("service", "name", "kind"), table())
def test_what_a_model_forbids_is_refused(connection, service, name, kind):
    broken = [case for case in cases(service, name, good(service, name)) if case.kind == kind]
    faults = [fault for case in broken for fault in judged(service, name, case, connection)]
    assert broken and not faults, f"{len(faults)} of {len(broken)}:\n" + "\n".join(faults)


@pytest.mark.parametrize(("service", "name"), [key for key in GOOD if key[1] not in MISSING])
def test_what_is_good_is_answered_in_the_shape_of_its_model(connection, service, name):
    model = operation(service, name)
    sent = [good(service, name)]
    if service.startswith("bedrock") and model.http["method"] == "POST" and "InvokeModel" not in name and model.input_shape:
        sent.append(models.unknown_members(model, good(service, name)))
    for params in sent:
        status, headers, body = send(service, models.written(model, params), connection)
        assert status < 300, f"{name}: {status} {body!r}"
        assert not (faults := models.Answer(model).success(status, headers, body).faults), "\n".join(faults)


@pytest.mark.parametrize(("service", "name"), [key for key in GOOD if key[0].startswith("bedrock")])
def test_only_the_methods_of_the_models_are_taken(connection, service, name):
    request = models.written(operation(service, name), good(service, name))
    known = {each.http["method"] for each in map(models.service(service).operation_model, models.service(service).operation_names)
             if each.http["requestUri"].split("{")[0] == operation(service, name).http["requestUri"].split("{")[0]}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - known:
        status, headers, body = send(service, models.Request(method, request.target, request.headers, request.body), connection)
        assert (status, refusal(service, headers, b"")[0]) == (404, "UnknownOperationException"), f"{method} {name}: {status} {body!r}"
