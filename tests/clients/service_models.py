"""What AWS's service models, as botocore has them, say of the simulator's operations: which requests a service refuses, and what its answers look like.

`requests` derives from the model of an operation, and of one good call of it, every request that breaks one constraint of the model.
`Answer` holds what was answered to the same model: members, types, values, statuses, codes. Nothing here is written down by hand but the
good calls and a value for each pattern (`SAMPLES`), which is itself held to the pattern.
"""

import base64
import copy
import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from functools import cache
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

import botocore.session
from botocore.eventstream import EventStreamBuffer

# Where AWS does not hold itself to its model: what is told here was seen in its answers and its documentation. By operation and path, in which
# numbers are left out.
AWS_ITSELF = {
    ("ListFoundationModels", "modelSummaries.modelName"): "is not within",  # "Titan Multimodal Embeddings G1"
    ("ListFoundationModels", "modelSummaries.inferenceTypesSupported"): "'INFERENCE_PROFILE'",
    ("ListFoundationModels", "modelSummaries.inputModalities"): "is not one of",  # VIDEO, SPEECH
    ("ListFoundationModels", "modelSummaries.outputModalities"): "is not one of",
    ("GetFoundationModel", "modelDetails.modelName"): "is not within",
    ("GetFoundationModel", "modelDetails.inferenceTypesSupported"): "'INFERENCE_PROFILE'",
    ("GetFoundationModel", "modelDetails.inputModalities"): "is not one of",
    ("GetFoundationModel", "modelDetails.outputModalities"): "is not one of",
    ("ListInferenceProfiles", "inferenceProfileSummaries.inferenceProfileName"): "does not match",  # "US Anthropic Claude 3.5 Haiku"
    ("ListInferenceProfiles", "inferenceProfileSummaries.models.modelArn"): "'arn:aws:bedrock:::foundation-model/",  # of global profiles
    ("GetInferenceProfile", "inferenceProfileName"): "does not match",
    ("GetInferenceProfile", "models.modelArn"): "'arn:aws:bedrock:::foundation-model/",
}
# A value for what has a pattern, by the shape or by the member that has it.
SAMPLES = {
    "S3Uri": "s3://jobs-in-east/folder/", "AccountId": "000000000000", "TagKey": "a", "TagValue": "b", "ToolName": "weather", "ToolUseId": "tooluse_1",
    "KmsKeyId": "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555", "KmsKeyArn":
    "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555", "GuardrailVersion": "1", "GuardrailIdentifier": "abc",
    "InvocationArn": "arn:aws:bedrock:us-east-1:000000000000:async-invoke/abcdefghij12", "ModelInvocationJobIdentifier": "abcdefghij12",
    "RoleArn": "arn:aws:iam::000000000000:role/batch", "arnType": "arn:aws:iam::000000000000:policy/a", "Url": "https://files.test/",
    "SecurityGroupId": "sg-12345678", "SubnetId": "subnet-12345678", "RequestMetadataKeyString": "team", "RequestMetadataValueString": "blue",
}
# What the layers in front of every operation of Bedrock answer; no operation's model lists them.
FRONT = {"SerializationException": 400, "UnknownOperationException": 404, "RequestEntityTooLargeException": 413, "ExpiredTokenException": 403,
         "InvalidSignatureException": 403, "UnrecognizedClientException": 403, "MissingAuthenticationTokenException": 403,
         "IncompleteSignatureException": 403, "ServiceUnavailableException": 503}
# The same of the services that speak XML, and the errors of S3's own list ("Error responses"), of which its model has nearly none.
COMMON = {
    "sts": {"ValidationError": 400, "AccessDenied": 403, "SignatureDoesNotMatch": 403, "InvalidClientTokenId": 403, "ExpiredToken": 403,
            "MissingAuthenticationToken": 403, "IncompleteSignature": 400, "Throttling": 400, "InternalFailure": 500, "ServiceUnavailable": 503,
            "MalformedInput": 400, "InvalidParameterValue": 400, "InvalidParameterCombination": 400},
    "s3": {"AccessDenied": 403, "AuthorizationHeaderMalformed": 400, "BadDigest": 400, "EntityTooLarge": 400, "EntityTooSmall": 400,
           "ExpiredToken": 400, "IllegalLocationConstraintException": 400, "IncompleteBody": 400, "InternalError": 500, "InvalidAccessKeyId": 403,
           "InvalidArgument": 400, "InvalidBucketName": 400, "InvalidDigest": 400, "InvalidPart": 400, "InvalidPartOrder": 400, "InvalidRange": 416,
           "InvalidRequest": 400, "KeyTooLongError": 400, "MalformedXML": 400, "MethodNotAllowed": 405, "MissingContentLength": 411,
           "NoSuchBucket": 404, "NoSuchBucketPolicy": 404, "NoSuchKey": 404, "NoSuchPublicAccessBlockConfiguration": 404, "NoSuchUpload": 404,
           "NotImplemented": 501, "PermanentRedirect": 301, "PreconditionFailed": 412, "RequestTimeout": 400, "RequestTimeTooSkewed": 403,
           "ServerSideEncryptionConfigurationNotFoundError": 404, "ServiceUnavailable": 503, "SignatureDoesNotMatch": 403, "SlowDown": 503, "AccessControlListNotSupported": 400, "KMS.DisabledException": 400, "KMS.NotFoundException": 400,
           "XAmzContentSHA256Mismatch": 400, "400": 400, "403": 403, "404": 404, "301": 301, "412": 412, "304": 304, "416": 416},
    "kms": {"ValidationException": 400, "SerializationException": 400, "AccessDeniedException": 400, "UnrecognizedClientException": 400,
            "InvalidSignatureException": 400, "ExpiredTokenException": 400, "ThrottlingException": 400},
}
COMMON["iam"] = COMMON["sts"]


@cache
def service(name):
    return botocore.session.get_session().get_service_model(name)


def pattern(shape):
    """As Java reads it, the whole of a text, letters and digits being ASCII."""
    text = shape.metadata.get("pattern")
    return text and re.compile(re.sub(r"\\p\{[A-Z]\}", lambda found: {"L": "a-zA-Z\u00c0-\u024f", "Z": " ", "N": "0-9"}[found[0][3]], text), re.ASCII)


def fits(shape, text):
    return pattern(shape) is None or pattern(shape).fullmatch(text) is not None


def sample(shape, member=""):
    """The least that a member of this shape may be."""
    kind, least = shape.type_name, int(shape.metadata.get("min", 0))
    if getattr(shape, "is_document_type", False):
        return {"type": "object"}
    if kind == "structure":
        names = shape.required_members or list(shape.members)[:1]
        return {name: sample(shape.members[name], name) for name in names}
    if kind == "list":
        return [sample(shape.member)] * max(least, 1)
    if kind == "map":
        return {sample(shape.key): sample(shape.value)}
    if kind == "string":
        if shape.metadata.get("enum"):
            return shape.metadata["enum"][0]
        for text in (SAMPLES.get(shape.name), SAMPLES.get(member), "a" * max(least, 1), "1" * max(least, 1), "amazon.nova-lite-v1:0"):
            if text is not None and fits(shape, text) and len(text) >= least:
                return text
        raise AssertionError(f"SAMPLES needs a {shape.name}: {shape.metadata}")
    return {"blob": b"a" * max(least, 1), "boolean": True, "timestamp": "2026-01-01T00:00:00Z"}.get(kind, max(least, 1) if kind != "float" else 0.5)


@dataclass(frozen=True)
class Case:
    """A request that breaks one constraint, and what is said of it."""
    kind: str
    path: str
    params: dict
    rule: str


WRONG = {"string": [5, True, [], {}], "integer": ["5", True, [], {}, 1.5], "long": ["5", True, [], {}], "float": ["0.5", True, [], {}],
         "double": ["0.5", [], {}], "boolean": ["true", 1, [], {}], "list": ["a", 5, {}], "map": ["a", 5, []], "structure": ["a", 5, []],
         "blob": [5, True, [], {}], "timestamp": [[], {}, True]}
WRONG_TEXT = {"integer": ["a", "1.5"], "long": ["a"], "timestamp": ["yesterday"]}


def broken(shape, value, path, seen, is_text):
    """(kind, path, rule, broken value), for `value` and all that is or could be below it. `is_text`: it is no JSON, but in a path, query, header."""
    kind, meta = shape.type_name, shape.metadata
    if getattr(shape, "is_document_type", False):
        return
    for wrong in WRONG_TEXT.get(kind, []) if is_text else WRONG[kind]:
        yield "type", path, "", wrong
    if kind == "structure":
        if shape.name in seen:
            return
        seen.add(shape.name)
        yield from of_structure(shape, value, path, seen, is_text)
    elif kind == "list":
        for bound, length, rule in bounds(shape, "length"):
            if length or not is_text:
                yield bound, path, rule, (value * length)[:length]
        for each, below, rule, wrong in broken(shape.member, value[0], f"{path}.1.member", seen, is_text):
            yield each, below, rule, [wrong, *value[1:]]
    elif kind == "map":
        for bound, length, rule in bounds(shape, "length"):
            key, first = next(iter(value.items()))
            yield bound, path, rule, {f"{key}{number}": first for number in range(length)}
        for each, _, rule, wrong in broken(shape.key, next(iter(value)), path, set(), True):
            if each != "type" and isinstance(wrong, str):
                yield each, path, rule.removeprefix("Member must "), {wrong: next(iter(value.values()))}
        for each, _, rule, wrong in broken(shape.value, next(iter(value.values())), path, seen, is_text):
            yield each, path, rule.removeprefix("Member must "), {next(iter(value)): wrong}
    elif kind == "string":
        if meta.get("enum"):
            yield "enum", path, f"Member must satisfy enum value set: [{', '.join(meta['enum'])}]", "none-of-these"
        if pattern(shape):
            bad = next(text for text in ("a b", "{bad}", "-!-", "\u2603", "\x01") if not fits(shape, text) and (not is_text or text.isascii()))
            bad = bad if len(bad) >= meta.get("min", 0) else bad * int(meta["min"])
            yield "pattern", path, f"Member must satisfy regular expression pattern: {meta['pattern']}", bad
        for bound, length, rule in bounds(shape, "length"):
            if length or not is_text:
                yield bound, path, rule, "a" * length
    elif kind == "blob":
        if not is_text:
            yield "base64", path, "", "%%%"
        for bound, length, rule in bounds(shape, "length"):
            if length < 100_000:
                yield bound, path, rule, b"a" * length
    elif kind in ("integer", "long", "float", "double"):
        for bound, number, rule in bounds(shape, "value"):
            yield bound, path, rule, number


def bounds(shape, what):
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    plain = lambda number: int(number) if float(number).is_integer() else number  # noqa: E731
    if least is not None and (what == "value" or least > 0):
        yield "minimum", plain(least) - 1, f"Member must have {what} greater than or equal to {plain(least)}"
    if most is not None:
        yield "maximum", plain(most) + 1, f"Member must have {what} less than or equal to {plain(most)}"


def of_structure(shape, value, path, seen, is_text):
    at = lambda name: f"{path}.{name}" if path else name  # noqa: E731
    for name in shape.required_members:
        if shape.members[name].serialization.get("location") == "uri":
            continue
        without = {key: each for key, each in value.items() if key != name}
        yield "required", at(name), "Member must not be null", without
        if not is_text:
            yield "required", at(name), "Member must not be null", {**without, name: None}
    if shape.is_tagged_union:
        first = next(iter(value))
        if not is_text:
            yield "union", path, "must set one of the following keys", {}
        others = [name for name in shape.members if name != first]
        if others:
            yield "union", path, "must set only one of the following keys", {**value, others[0]: sample(shape.members[others[0]], others[0])}
    for name, member in shape.members.items():
        below = value.get(name, sample(member, name))
        keep = {} if shape.is_tagged_union else value
        placed = is_text or member.serialization.get("location") is not None or shape.serialization.get("payload") == name
        for kind, where, rule, wrong in broken(member, below, at(name), seen, placed):
            yield kind, where, rule, {**keep, name: wrong}


def requests(operation, good):
    """Every request that breaks one constraint of the operation's model."""
    query = operation.service_model.protocol == "query"
    for kind, path, rule, params in of_structure(operation.input_shape, good, "", set(), query):
        yield Case(kind, path, params, rule)


def unknown_members(operation, good):
    """The good call with members that no model has, at the top and in its structures: AWS ignores them."""
    def extended(shape, value):
        if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
            known = {name: extended(shape.members[name], each) for name, each in value.items()}
            return known | ({} if shape.is_tagged_union else {"aMemberThatNobodyKnows": {"a": [1]}})
        if shape.type_name == "list":
            return [extended(shape.member, each) for each in value]
        return value
    return extended(operation.input_shape, copy.deepcopy(good))


# The wire

@dataclass
class Request:
    method: str
    target: str
    headers: dict
    body: bytes


def encoded(value):
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(value)


def written(operation, params):
    """The request of these parameters, whatever they are: as botocore's serializers would, had they no opinion."""
    protocol, shape = operation.service_model.protocol, operation.input_shape
    if protocol == "query":
        form = [("Action", operation.name), ("Version", operation.service_model.api_version)]
        form += flat(shape, params, "") if shape else []
        return Request("POST", "/", {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, urlencode(form).encode())
    if protocol == "json":
        target = f"{operation.service_model.metadata['targetPrefix']}.{operation.name}"
        return Request("POST", "/", {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}, json.dumps(params).encode())
    path, query, headers, body = operation.http["requestUri"], [], {}, {}
    payload = shape.serialization.get("payload") if shape else None
    known = shape.members if shape else {}
    for name, value in params.items():
        place = known[name].serialization if name in known else {}
        wire = place.get("name", name)
        match place.get("location"):
            case "uri":
                path = path.replace("{" + wire + "}", quote(str(value), safe=""))
            case "querystring":
                query.append((wire, str(value)))
            case "header":
                headers[wire] = str(value)
            case _ if name == payload:
                body = value
            case _ if isinstance(body, dict):
                body[wire] = value
    data = body if isinstance(body, bytes) else b"" if operation.http["method"] == "GET" else json.dumps(body, default=encoded).encode()
    if data and "Content-Type" not in headers:
        headers["Content-Type"] = "application/json"
    return Request(operation.http["method"], path + ("?" + urlencode(query) if query else ""), headers, data)


def flat(shape, value, prefix):
    """A structure, list or leaf of the query protocol."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, each in value.items():
            if name in shape.members:
                yield from flat(shape.members[name], each, f"{prefix}.{name}" if prefix else name)
    elif shape.type_name == "list" and isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield from flat(shape.member, each, f"{prefix}.member.{number}")
    else:
        yield prefix, str(value)


# Answers

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


class Answer:
    """What is wrong with an answer by the model of its operation."""

    def __init__(self, operation):
        self.operation, self.faults = operation, []
        self.protocol = operation.service_model.protocol

    def fault(self, path, text):
        known = AWS_ITSELF.get((self.operation.name, re.sub(r"\.\d+(?=\.|$)", "", path)))
        if known is not None and known in text:
            return
        self.faults.append(f"{self.operation.name} answers {path or 'its body'}: {text}")

    def success(self, status, headers, body):
        shape, headers = self.operation.output_shape, {name.lower(): value for name, value in headers.items()}
        expected = self.operation.http.get("responseCode", 200)
        if status != expected and not (status, self.operation.name) in {(206, "GetObject"), (206, "HeadObject"), (204, "DeleteObject")}:
            self.fault("", f"status {status}, not {expected}")
        self.identified(headers)
        if shape is None:
            return self
        for name, member in shape.members.items():
            if member.serialization.get("location") == "header":
                self.header(name, member, headers.get(member.serialization["name"].lower()), name in shape.required_members)
        payload = shape.serialization.get("payload")
        inside = {name for name, member in shape.members.items() if "location" not in member.serialization}
        if payload and shape.members[payload].type_name == "blob":
            return self
        if payload and shape.members[payload].serialization.get("eventstream"):
            return self.events(shape.members[payload], headers, body)
        if self.protocol in ("query", "rest-xml"):
            self.document(shape, payload, inside, headers, body)
        elif inside:
            if "json" not in headers.get("content-type", ""):
                self.fault("", f"content type {headers.get('content-type')}")
            self.value(shape, json.loads(body), "", inside)
        elif body.strip() not in (b"", b"{}"):
            self.fault("", f"{body[:80]} where the model has nothing")
        return self

    def identified(self, headers):
        name = "x-amz-request-id" if self.operation.service_model.service_name == "s3" else "x-amzn-requestid"
        if not headers.get(name):
            self.fault("", f"no {name}")
        try:
            parsedate_to_datetime(headers["date"])
        except (KeyError, ValueError):
            self.fault("", f"Date {headers.get('date')!r}")

    def header(self, name, shape, value, is_required):
        if value is None:
            if is_required:
                self.fault(name, "required, and not there")
            return
        if shape.type_name in ("integer", "long"):
            value = int(value) if value.isdigit() else self.fault(name, f"{value!r} is no number") or 0
        elif shape.type_name == "boolean":
            value = {"true": True, "false": False}.get(value) if value in ("true", "false") else self.fault(name, f"{value!r} is no boolean") or True
        elif shape.type_name == "timestamp":
            try:
                value = parsedate_to_datetime(value).timestamp()
            except ValueError:
                return self.fault(name, f"{value!r} is no time of HTTP")
            return None
        self.value(shape, value, name)

    def events(self, stream, headers, body):
        if headers.get("content-type") != "application/vnd.amazon.eventstream":
            self.fault("", f"content type {headers.get('content-type')}")
        buffer = EventStreamBuffer()
        buffer.add_data(body)
        seen = 0
        for message in buffer:
            seen += 1
            told, event = message.headers, message.headers.get(":event-type")
            if told.get(":message-type") != "event" or event not in stream.members or told.get(":content-type") != "application/json":
                self.fault("its stream", f"{told}")
                continue
            # `p` is padding, which no model has.
            self.value(stream.members[event], {key: each for key, each in json.loads(message.payload).items() if key != "p"}, event)
        if not seen:
            self.fault("its stream", "no event")
        return self

    def value(self, shape, value, path, only=None):
        """A value of JSON, or one that was read from XML."""
        kind, meta = shape.type_name, shape.metadata
        if getattr(shape, "is_document_type", False):
            return
        types = {"structure": dict, "list": list, "map": dict, "string": str, "blob": str, "boolean": bool, "integer": int, "long": int,
                 "float": (int, float), "double": (int, float), "timestamp": (int, float, str)}[kind]
        if not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean"):
            return self.fault(path, f"{value!r} is no {kind}")
        at = lambda name: f"{path}.{name}" if path else str(name)  # noqa: E731
        if kind == "structure":
            known = {member.serialization.get("name", name): (name, member) for name, member in shape.members.items() if only is None or name in only}
            for name, each in value.items():
                if name not in known:
                    self.fault(at(name), "a member that the model does not have")
                else:
                    self.value(known[name][1], each, at(name))
            for name in shape.required_members:
                if (only is None or name in only) and not any(known[key][0] == name for key in value if key in known):
                    self.fault(at(name), "required, and not there")
            if shape.is_tagged_union and len(value) != 1:
                self.fault(path, f"a union of {sorted(value)}")
        elif kind == "list":
            for number, each in enumerate(value):
                self.value(shape.member, each, at(number))
        elif kind == "map":
            for key, each in value.items():
                self.value(shape.key, key, at("<key>"))
                self.value(shape.value, each, at(key))
        elif kind == "string":
            if meta.get("enum") and value not in meta["enum"]:
                self.fault(path, f"{value!r} is not one of {meta['enum']}")
            if not fits(shape, value):
                self.fault(path, f"{value!r} does not match {meta['pattern']}")
        elif kind == "timestamp":
            iso = (shape.serialization.get("timestampFormat") or ("iso8601" if "xml" in self.protocol or self.protocol == "query" else "")) == "iso8601"
            if isinstance(value, str) != iso or (iso and not ISO.fullmatch(value)):
                self.fault(path, f"{value!r} is no time in its format")
            elif iso:
                datetime.fromisoformat(value[:19] + "+00:00").astimezone(timezone.utc)
        size = len(value) if kind in ("string", "list", "map") else value if kind in ("integer", "long", "float", "double") else None
        if size is not None and not float(meta.get("min", float("-inf"))) <= size <= float(meta.get("max", float("inf"))):
            self.fault(path, f"{size} is not within {meta.get('min')} to {meta.get('max')}")

    def document(self, shape, payload, inside, headers, body):
        if not inside:
            if body:
                self.fault("", f"{body[:80]} where the model has nothing")
            return
        if "xml" not in headers.get("content-type", ""):
            self.fault("", f"content type {headers.get('content-type')}")
        root = ElementTree.fromstring(body)
        if self.protocol == "query":
            bare = root.tag.rsplit("}")[-1]
            if bare != f"{self.operation.name}Response" or root.find("{*}ResponseMetadata/{*}RequestId") is None:
                self.fault("", f"<{bare}> without a RequestId")
            root = root.find("{*}" + f"{self.operation.name}Result")
            if root is None:
                return self.fault("", "no result")
        if payload:
            shape, inside = shape.members[payload], None
        if self.operation.name == "GetBucketLocation":
            # Its document is the text itself: botocore has a handler for it.
            return self.value(shape.members["LocationConstraint"], root.text, "LocationConstraint") if root.text else None
        self.value(shape, self.read(shape, root, ""), "", inside)

    def read(self, shape, element, path):
        """An element as JSON would have it; what the model does not have is kept, to be found out."""
        kind, text = shape.type_name, element.text or ""
        if kind == "structure":
            lists, found = {}, {}
            known = {}
            for name, member in shape.members.items():
                flattened = member.type_name == "list" and member.serialization.get("flattened")
                wire = (member.member.serialization.get("name") if flattened else None) or member.serialization.get("name", name)
                known[wire] = (member.serialization.get("name", name), member, flattened)
            for child in element:
                tag = child.tag.rsplit("}")[-1]
                if tag not in known:
                    found[tag] = child.text
                    continue
                name, member, flattened = known[tag]
                if flattened:
                    lists.setdefault(name, []).append(self.read(member.member, child, f"{path}.{tag}"))
                elif name in found:
                    self.fault(f"{path}.{tag}", "twice")
                else:
                    found[name] = self.read(member, child, f"{path}.{tag}")
            for name, member in shape.members.items():
                if member.serialization.get("xmlAttribute"):
                    wire = member.serialization["name"]
                    value = next((each for key, each in element.attrib.items() if key.rsplit("}")[-1] == wire.split(":")[-1]), None)
                    found |= {wire: value} if value is not None else {}
            return found | lists
        if kind == "list":
            wanted = shape.member.serialization.get("name", "member")
            for child in element:
                if child.tag.rsplit("}")[-1] != wanted:
                    self.fault(path, f"<{child.tag.rsplit('}')[-1]}>, not <{wanted}>")
            return [self.read(shape.member, child, path) for child in element]
        if kind == "boolean":
            return {"true": True, "false": False}.get(text, text)
        if kind in ("integer", "long"):
            return int(text) if re.fullmatch(r"-?\d+", text) else text
        return text

    def error(self, status, code, headers):
        """A refusal: its code is one of the operation's, or of the layers before it, with the status that it has there."""
        self.identified({name.lower(): value for name, value in headers.items()})
        name = self.operation.service_model.service_name
        own = {}
        for shape in self.operation.error_shapes:
            own[shape.metadata.get("error", {}).get("code", shape.name)] = shape.metadata.get("error", {}).get("httpStatusCode", 400)
        known = {**COMMON.get(name, FRONT), **own}
        if code not in known:
            self.fault("", f"{code} ({status}), which the operation does not have")
        elif known[code] != status:
            self.fault("", f"{code} with status {status}, not {known[code]}")
        return self
