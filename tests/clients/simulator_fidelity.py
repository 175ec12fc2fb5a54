"""Can boto3 tell the simulator from AWS? Calls every operation of a running simulator with the AWS SDK and checks what it parses.

    SIM_URL=http://127.0.0.1:4567 python tests/clients/simulator_fidelity.py      (or the URL as argument)
    python tests/clients/simulator_fidelity.py --shapes                           (prints src/simulator/validate/shapes.json anew)

Needs boto3. Exits with 1 when a check fails.
"""

import base64
import gzip
import hashlib
import io
import json
import os
import struct
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import boto3
import botocore
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, EventStreamError, ReadTimeoutError
from urllib3.exceptions import ProtocolError

import service_models

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
BARE_HAIKU = "anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-lite-v1:0"
OPUS = "us.anthropic.claude-opus-5"
GPT = "openai.gpt-oss-120b-1:0"
KEY, SECRET, BEARER = "AKIDSIMULATOR", "simulator-secret-not-a-real-key", "sim-bearer-token"
TOOL = {"toolSpec": {"name": "weather", "description": "Weather of a city", "inputSchema": {"json": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}}}}
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
URL = ""


def client(service="bedrock-runtime", region="us-east-1", key=KEY, secret=SECRET, token=None, **config):
    settings = Config(retries={"total_max_attempts": 1}, read_timeout=20, **config)
    made = boto3.client(service, region_name=region, endpoint_url=URL, aws_access_key_id=key, aws_secret_access_key=secret,
                        aws_session_token=token, config=settings)
    made.meta.events.register("after-call.*.*", in_shape)
    return made


def in_shape(http_response, parsed, model, **_):
    """Every answer has the shape that botocore's model gives it."""
    answer = service_models.Answer(model)
    if http_response.status_code < 300:
        body = b"" if model.has_streaming_output or model.has_event_stream_output else http_response.content
        if not model.has_event_stream_output:
            answer.success(http_response.status_code, http_response.headers, body)
    else:
        answer.error(http_response.status_code, parsed["Error"]["Code"], http_response.headers)
    assert not answer.faults, "\n".join(answer.faults)


def user(*content):
    return {"role": "user", "content": [{"text": part} if isinstance(part, str) else part for part in content]}


def assistant(*content):
    return {"role": "assistant", "content": [{"text": part} if isinstance(part, str) else part for part in content]}


def converse(*messages, model=HAIKU, **fields):
    return client().converse(modelId=model, messages=list(messages), **fields)


def stream(*messages, model=HAIKU, **fields):
    return list(client().converse_stream(modelId=model, messages=list(messages), **fields)["stream"])


def invoke(body, model=HAIKU, **fields):
    reply = client().invoke_model(modelId=model, body=body if isinstance(body, (bytes, str)) else json.dumps(body), **fields)
    return json.loads(reply["body"].read()), reply


def invoke_stream(body, model=HAIKU):
    events = client().invoke_model_with_response_stream(modelId=model, body=json.dumps(body))["body"]
    return [json.loads(event["chunk"]["bytes"]) for event in events]


def claude(text="hello", **fields):
    return {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 2000, "messages": [{"role": "user", "content": text}], **fields}


def refused(name, message, call, status=None):
    """`call` fails with AWS's exception `name`, whose message contains `message`."""
    try:
        call()
    except ClientError as error:
        code, told = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        assert code == name, f"{code} ({told}) instead of {name}"
        assert message in told, f"{message!r} is not in {told!r}"
        if status is not None:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert error.response["ResponseMetadata"]["RequestId"]
        return error
    raise AssertionError(f"accepted, {name} expected")


def refused_body(name, message, body, model=HAIKU, operation="converse", **headers):
    """As `refused`, but with a body that boto3 itself would not send: signed by botocore, sent raw."""
    status, reply, answer_headers = raw(f"/model/{model.replace(':', '%3A')}/{operation}", body, headers)
    code = answer_headers.get("x-amzn-errortype", "").split(":")[0]
    assert code == name, f"{status} {code} {reply} instead of {name}"
    assert message in reply.get("message", ""), f"{message!r} is not in {reply!r}"


def raw(path, body, headers=None, region="us-east-1", sign=True):
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = AWSRequest("POST", URL + path, data=data, headers={"Content-Type": "application/json", **(headers or {})})
    if sign:
        SigV4Auth(Credentials(KEY, SECRET), "bedrock", region).add_auth(request)
    prepared = request.prepare()
    plain = urllib.request.Request(prepared.url, data=data, headers=dict(prepared.headers.items()), method="POST")
    try:
        with urllib.request.urlopen(plain, timeout=20) as reply:
            return reply.status, json.loads(reply.read()), {name.lower(): value for name, value in reply.headers.items()}
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text else {}, {name.lower(): value for name, value in error.headers.items()}


def simulator(method, path, body=None):
    request = urllib.request.Request(URL + path, method=method, data=json.dumps(body).encode() if body else None)
    with urllib.request.urlopen(request, timeout=20) as reply:
        text = reply.read()
        return json.loads(text) if text else None


def fault(name, **fields):
    simulator("POST", "/_sim/faults", {"fault": name, "region": "us-east-1", **fields})


def joined(events):
    """The message that a Converse stream builds, checked for order on the way."""
    kinds = [next(iter(event)) for event in events]
    assert kinds[0] == "messageStart" and kinds[-2:] == ["messageStop", "metadata"], kinds
    blocks = {}
    for event in events:
        start, delta = event.get("contentBlockStart"), event.get("contentBlockDelta")
        if start:
            blocks[start["contentBlockIndex"]] = {"toolUse": dict(start["start"]["toolUse"], input="")}
        if delta:
            kind, value = next(iter(delta["delta"].items()))
            block = blocks.setdefault(delta["contentBlockIndex"], {})
            if kind == "toolUse":
                block["toolUse"]["input"] += value["input"]
            elif kind == "reasoningContent":
                for name, text in value.items():
                    block.setdefault("reasoningText", {}).setdefault(name, "")
                    block["reasoningText"][name] += text
            else:
                block["text"] = block.get("text", "") + value
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"])
        if "reasoningText" in block:
            block["reasoningContent"] = {"reasoningText": block.pop("reasoningText")}
    assert kinds.count("contentBlockStop") == len(blocks)
    return [blocks[index] for index in sorted(blocks)]


# Converse

def check_converse_answers_with_usage():
    reply = converse(user("hello"))
    assert reply["output"]["message"] == assistant("You said: hello")
    assert reply["stopReason"] == "end_turn" and reply["metrics"]["latencyMs"] > 0
    usage = reply["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"] > 0


def check_converse_stream_says_the_same():
    for text in ["hello", "hi [[words:60]]", "weather [[tools:2]] \"quoted\" \u00e9\n \U0001f600"]:
        fields = {"toolConfig": {"tools": [TOOL]}} if "tools" in text else {}
        whole = converse(user(text), **fields)
        events = stream(user(text), **fields)
        assert joined(events) == whole["output"]["message"]["content"]
        assert events[-2]["messageStop"]["stopReason"] == whole["stopReason"]
        assert events[-1]["metadata"]["usage"] == whole["usage"]
        starts = [event["contentBlockStart"]["start"] for event in events if "contentBlockStart" in event]
        assert all("toolUse" in start for start in starts), "only tool blocks are announced"


def check_max_tokens_and_stop_sequences():
    reply = converse(user("hi [[words:50]]"), inferenceConfig={"maxTokens": 5})
    assert (reply["stopReason"], reply["usage"]["outputTokens"]) == ("max_tokens", 5)
    reply = converse(user("one STOP two"), inferenceConfig={"stopSequences": ["STOP"]}, additionalModelResponseFieldPaths=["/stop_sequence", "/nothing"])
    assert reply["stopReason"] == "stop_sequence" and reply["output"]["message"]["content"] == [{"text": "You said: one "}]
    assert reply["additionalModelResponseFields"] == {"stop_sequence": "STOP"}
    assert converse(user("[[stop:content_filtered]] hm"))["stopReason"] == "content_filtered"


def check_tools_round_trip():
    config = {"tools": [TOOL], "toolChoice": {"any": {}}}
    reply = converse(user("Paris"), toolConfig=config)
    call = reply["output"]["message"]["content"][0]["toolUse"]
    assert reply["stopReason"] == "tool_use" and call["name"] == "weather" and call["input"]["city"] == "Paris"
    answer = {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"json": {"degrees": 21}}], "status": "success"}}
    history = [user("Paris"), reply["output"]["message"], user(answer)]
    assert converse(*history, toolConfig={"tools": [TOOL]})["output"]["message"]["content"][0]["text"] == 'The tool said: {"degrees":21}'


def check_reasoning_and_its_signature():
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    fields = {"additionalModelRequestFields": thinking, "inferenceConfig": {"maxTokens": 3000}}
    content = converse(user("why"), **fields)["output"]["message"]["content"]
    assert content[0]["reasoningContent"]["reasoningText"]["signature"] and content[1]["text"]
    assert joined(stream(user("why"), **fields)) == content
    assert converse(user("why"), {"role": "assistant", "content": content}, user("and"), **fields)["stopReason"] == "end_turn"
    content[0]["reasoningContent"]["reasoningText"]["text"] += " altered"
    refused("ValidationException", "Invalid `signature` in `thinking` block",
            lambda: converse(user("why"), {"role": "assistant", "content": content}, user("and"), **fields))


def check_structured_output():
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name", "age"], "additionalProperties": False}
    text_format = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(schema), "name": "person"}}}
    reply = converse(user("Ada"), outputConfig={"textFormat": text_format})
    assert json.loads(reply["output"]["message"]["content"][0]["text"]) == {"name": "Ada", "age": 1}


def check_media_system_and_echoes():
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    document = {"document": {"format": "txt", "name": "notes", "source": {"bytes": b"notes"}}}
    reply = converse(user("look", image, document), system=[{"text": "Be brief."}], serviceTier={"type": "default"},
                     performanceConfig={"latency": "standard"}, requestMetadata={"team": "blue"})
    assert "(1 images, 1 documents)" in reply["output"]["message"]["content"][0]["text"]
    assert reply["serviceTier"] == {"type": "default"} and reply["performanceConfig"] == {"latency": "standard"}


def check_service_tiers():
    assert converse(user("hello"), model=GPT, serviceTier={"type": "flex"})["serviceTier"] == {"type": "flex"}
    assert stream(user("hello"), model=GPT, serviceTier={"type": "priority"})[-1]["metadata"]["serviceTier"] == {"type": "priority"}
    assert converse(user("hello"), serviceTier={"type": "reserved"})["serviceTier"] == {"type": "default"}, "nothing is reserved"
    refused("ValidationException", "service tier flex is not supported", lambda: converse(user("hello"), serviceTier={"type": "flex"}), 400)
    body = {"messages": [{"role": "user", "content": "hello"}]}
    _, reply = invoke(body, model=GPT, serviceTier="flex")
    assert reply["serviceTier"] == "flex"


def check_prompt_cache_is_written_then_read():
    system = [{"text": "word " * 5000 + os.urandom(4).hex()}, {"cachePoint": {"type": "default"}}]
    first, second = (converse(user("hello"), system=system)["usage"] for _ in range(2))
    assert first["cacheWriteInputTokens"] > 4096 and first["cacheReadInputTokens"] == 0 and first["cacheDetails"][0]["ttl"] == "5m"
    assert second["cacheReadInputTokens"] == first["cacheWriteInputTokens"] and second["inputTokens"] == first["inputTokens"] < 100


def check_guardrails():
    config = {"guardrailIdentifier": "abc123", "guardrailVersion": "DRAFT", "trace": "enabled"}
    reply = converse(user("[[blocked]]"), guardrailConfig=config)
    assert reply["stopReason"] == "guardrail_intervened" and reply["trace"]["guardrail"]["inputAssessment"]["abc123"]["wordPolicy"]
    apply = client().apply_guardrail
    reply = apply(guardrailIdentifier="abc123", guardrailVersion="1", source="INPUT", content=[{"text": {"text": "a [[blocked]] word"}}])
    assert reply["action"] == "GUARDRAIL_INTERVENED" and reply["outputs"][0]["text"] and reply["usage"]["wordPolicyUnits"] == 1
    reply = apply(guardrailIdentifier="abc123", guardrailVersion="DRAFT", source="OUTPUT", content=[{"text": {"text": "fine"}}])
    assert reply["action"] == "NONE" and reply["outputs"] == []


def check_every_chat_family_converses():
    for model in [NOVA, GPT, OPUS, "deepseek.v3-v1:0", "us.meta.llama3-3-70b-instruct-v1:0", "mistral.mistral-large-3-675b-instruct"]:
        region = "us-west-2"
        reply = client(region=region).converse(modelId=model, messages=[user("hello")])
        assert reply["output"]["message"]["content"][0]["text"] == "You said: hello", model
    reply = converse(user("why"), model=GPT, additionalModelRequestFields={"reasoning_effort": "high"})
    assert "signature" not in reply["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"]


def check_identifiers():
    arn = f"arn:aws:bedrock:us-east-1:000000000000:inference-profile/{HAIKU}"
    for model in [HAIKU, arn, f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}", "global." + BARE_HAIKU]:
        assert converse(user("hello"), model=model)["stopReason"] == "end_turn"
    for model, name, message in [
        (BARE_HAIKU, "ValidationException", "with on-demand throughput isn\u2019t supported. Retry your request with the ID or ARN of an inference profile"),
        ("no.such-model-v1:0", "ValidationException", "The provided model identifier is invalid."),
        ("eu." + BARE_HAIKU, "ValidationException", "The provided model identifier is invalid."),
        ("anthropic.claude-3-haiku-20240307-v1:0", "ResourceNotFoundException", "reached the end of its life"),
        ("amazon.titan-embed-text-v2:0", "ValidationException", "This action doesn't support the model that you provided."),
    ]:
        refused(name, message, lambda: converse(user("hello"), model=model))


def check_converse_refuses_what_aws_refuses():
    tools = {"toolConfig": {"tools": [TOOL]}}
    call = assistant({"toolUse": {"toolUseId": "a", "name": "weather", "input": {}}})
    result = {"toolResult": {"toolUseId": "b", "content": [{"text": "5"}]}}
    document = {"document": {"format": "txt", "name": "notes", "source": {"bytes": b"notes"}}}
    for message, turns, fields in [
        ("The text field in the ContentBlock object at messages.0.content.0 is blank.", [user(" ")], {}),
        ("must start with a user message", [assistant("a")], {}),
        ("must alternate between user and assistant roles", [user("a"), user("b")], {}),
        ("The toolConfig field must be defined when using toolUse and toolResult content blocks.", [user("a"), call, user(result)], {}),
        ("Expected toolResult blocks at messages.2.content for the following Ids: a", [user("a"), call, user("b")], tools),
        ("Expected toolResult blocks at messages.2.content for the following Ids: a", [user("a"), call, user(result)], tools),
        ("A text block must be included when using documents.", [user(document)], {}),
        ("`temperature` and `top_p` cannot both be specified", [user("a")], {"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}),
        ("The maximum tokens you requested exceeds the model limit of 64000.", [user("a")], {"inferenceConfig": {"maxTokens": 64001}}),
        ("The tool weather is already defined at toolConfig.tools.0.", [user("a")], {"toolConfig": {"tools": [TOOL, TOOL]}}),
        ("top_q: Extra inputs are not permitted", [user("a")], {"additionalModelRequestFields": {"top_q": 1}}),
        ("SystemContentBlock object at system.0 is blank", [user("a")], {"system": [{"text": " "}]}),
    ]:
        refused("ValidationException", message, lambda: converse(*turns, **fields), 400)
        refused("ValidationException", message, lambda: stream(*turns, **fields), 400)
    refused("ValidationException", "`temperature` is deprecated", lambda: converse(user("a"), model=OPUS, inferenceConfig={"temperature": 1.0}))
    refused("ValidationException", "does not support assistant message prefill", lambda: converse(user("a"), assistant("b"), model=OPUS))
    point = {"cachePoint": {"type": "default"}}
    refused("AccessDeniedException", "did not allow prompt caching", lambda: converse(user("a", point), model=GPT), 403)


def check_shapes_are_enforced():
    text = [{"role": "user", "content": [{"text": "a"}]}]
    for name, message, body in [
        ("ValidationException", "1 validation error detected: Value '2' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than or equal to 1",
         {"messages": text, "inferenceConfig": {"temperature": 2}}),
        ("ValidationException", "Value 'robot' at 'messages.1.member.role' failed to satisfy constraint: Member must satisfy enum value set: [user, assistant, system]",
         {"messages": [{"role": "robot", "content": [{"text": "a"}]}]}),
        ("ValidationException", "ContentBlock object at messages.0.content.0 must set one of the following keys: text", {"messages": [{"role": "user", "content": [{}]}]}),
        ("ValidationException", "Value null at 'messages.1.member.content' failed to satisfy constraint: Member must not be null", {"messages": [{"role": "user"}]}),
        ("ValidationException", "Member must satisfy regular expression pattern: [a-zA-Z0-9_-]+", {"messages": text, "toolConfig": {"tools": [{"toolSpec": {"name": "a.b", "inputSchema": {"json": {"type": "object"}}}}]}}),
        ("SerializationException", "STRING_VALUE can not be converted to an Integer", {"messages": text, "inferenceConfig": {"maxTokens": "5"}}),
        ("SerializationException", "", b"{not json"),
    ]:
        refused_body(name, message, body)
    assert raw(f"/model/{HAIKU.replace(':', '%3A')}/converse", {"messages": text, "unknownMember": 1})[0] == 200


# InvokeModel

def check_claude_native():
    body, reply = invoke(claude())
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    assert body["content"] == [{"type": "text", "text": "You said: hello"}] and body["stop_reason"] == "end_turn" and body["type"] == "message"
    assert headers["x-amzn-bedrock-input-token-count"] == str(body["usage"]["input_tokens"])
    assert headers["x-amzn-bedrock-output-token-count"] == str(body["usage"]["output_tokens"])
    assert int(headers["x-amzn-bedrock-invocation-latency"]) > 0 and reply["contentType"] == "application/json"


def check_claude_native_stream():
    tool = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    request = claude("weather in Z\u00fcrich \"now\"", tools=[tool], thinking={"type": "enabled", "budget_tokens": 1024})
    whole, _ = invoke(request)
    events = invoke_stream(request)
    kinds = [event["type"] for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    blocks = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(dict(event["content_block"]))
        if event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            key = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature", "input_json_delta": "partial_json"}[delta["type"]]
            block[key] = block.get(key, "") + delta[key]
    for block in blocks:
        if "partial_json" in block:
            block["input"] = json.loads(block.pop("partial_json"))
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"] and blocks == whole["content"]
    metrics = events[-1]["amazon-bedrock-invocationMetrics"]
    assert metrics["inputTokenCount"] == whole["usage"]["input_tokens"] and metrics["outputTokenCount"] == whole["usage"]["output_tokens"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def check_other_native_families():
    nova = {"messages": [{"role": "user", "content": [{"text": "hello"}]}], "inferenceConfig": {"maxTokens": 50}}
    body, _ = invoke(nova, NOVA)
    assert body["output"]["message"]["content"] == [{"text": "You said: hello"}] and body["usage"]["inputTokens"]
    events = invoke_stream(nova, NOVA)
    assert "messageStart" in events[0] and events[-1]["metadata"]["usage"] == body["usage"] and "amazon-bedrock-invocationMetrics" in events[-1]
    chat = {"messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 50, "reasoning_effort": "low"}
    body, _ = invoke(chat, GPT)
    text = body["choices"][0]["message"]["content"]
    assert text.startswith("<reasoning>") and text.endswith("</reasoning>You said: hello") and body["usage"]["total_tokens"]
    chunks = invoke_stream(chat, GPT)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == text
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    llama = {"prompt": "<|start_header_id|>user<|end_header_id|>\n\nhello<|eot_id|>", "max_gen_len": 20}
    body, _ = invoke(llama, "us.meta.llama3-3-70b-instruct-v1:0")
    assert body["generation"] == "You said: hello" and body["stop_reason"] == "stop"


def check_embeddings_and_rerank():
    body, reply = invoke({"inputText": "hello world", "dimensions": 512}, "amazon.titan-embed-text-v2:0")
    assert len(body["embedding"]) == 512 and abs(sum(x * x for x in body["embedding"]) - 1) < 1e-6
    assert reply["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == str(body["inputTextTokenCount"])
    assert len(invoke({"inputText": "hello"}, "amazon.titan-embed-text-v1")[0]["embedding"]) == 1536
    texts = {"texts": ["a", "b"], "input_type": "search_document"}
    assert len(invoke(texts, "cohere.embed-english-v3")[0]["embeddings"]) == 2
    assert len(invoke({**texts, "embedding_types": ["int8"]}, "us.cohere.embed-v4:0")[0]["embeddings"]["int8"]) == 2
    refused("ValidationException", "Malformed input request: #: required key [input_type] not found", lambda: invoke({"texts": ["a"]}, "cohere.embed-english-v3"))
    for model in ["cohere.rerank-v3-5:0", "amazon.rerank-v1:0"]:
        request = {"query": "red car", "documents": ["a blue house", "a red car"], "top_n": 1}
        results = client(region="us-west-2").invoke_model(modelId=model, body=json.dumps({**request, "api_version": 2}))["body"].read()
        assert json.loads(results)["results"][0]["index"] == 1


def check_media_embeddings():
    picture = base64.b64encode(PNG).decode()
    body, reply = invoke({"inputText": "red", "inputImage": picture, "embeddingConfig": {"outputEmbeddingLength": 384}}, "amazon.titan-embed-image-v1")
    assert len(body["embedding"]) == 384 and body["message"] is None
    params = {"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 1024}
    nova = {"schemaVersion": "nova-multimodal-embed-v1", "taskType": "SINGLE_EMBEDDING"}
    for content, kind in [({"text": {"truncationMode": "END", "value": "hello"}}, "TEXT"), ({"image": {"format": "png", "source": {"bytes": picture}}}, "IMAGE")]:
        body, _ = invoke({**nova, "singleEmbeddingParams": {**params, **content}}, "amazon.nova-2-multimodal-embeddings-v1:0")
        assert body["embeddings"][0]["embeddingType"] == kind and len(body["embeddings"][0]["embedding"]) == 1024
    body, _ = invoke({"inputType": "text", "text": {"inputText": "hello"}}, "twelvelabs.marengo-embed-3-0-v1:0")
    assert len(body["data"][0]["embedding"]) == 512
    refused("ValidationException", "required key [truncationMode] not found",
            lambda: invoke({**nova, "singleEmbeddingParams": {**params, "text": {"value": "a"}}}, "amazon.nova-2-multimodal-embeddings-v1:0"))
    cohere, reply = invoke({"texts": ["a b c"], "input_type": "search_query", "output_dimension": 256}, "us.cohere.embed-v4:0")
    assert len(cohere["embeddings"][0]) == 256 and "usage" not in cohere
    assert reply["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == "3"


def check_images():
    def draw(model="stability.stable-image-core-v1:1", **body):
        reply = client(region="us-west-2").invoke_model(modelId=model, body=json.dumps(body))
        return json.loads(reply["body"].read())

    for wanted, start in [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff")]:
        body = draw(prompt="a panda", output_format=wanted, aspect_ratio="16:9", seed=5)
        assert base64.b64decode(body["images"][0]).startswith(start) and body["seeds"] == [5] and body["finish_reasons"] == [None]
    assert draw(prompt="[[blocked]]") == {"finish_reasons": ["Filter reason: prompt"]}
    start = base64.b64encode(PNG).decode()
    assert draw("stability.sd3-5-large-v1:0", prompt="a", mode="image-to-image", image=start, strength=0.7)["images"]
    refused("ValidationException", "#/aspect_ratio: 7:3 is not a valid enum value", lambda: draw(prompt="a", aspect_ratio="7:3"), 400)
    refused("ValidationException", "extraneous key [n] is not permitted", lambda: draw(prompt="a", n=2))
    refused("ValidationException", "This action doesn't support the model", lambda: client(region="us-west-2").converse(modelId="stability.stable-image-core-v1:1", messages=[user("a")]))


# Asynchronous invocations

def check_async_invokes():
    runtime = client()
    model, where = "twelvelabs.marengo-embed-3-0-v1:0", {"s3OutputDataConfig": {"s3Uri": "s3://some-bucket/out"}}
    video = {"inputType": "video", "video": {"mediaSource": {"s3Location": {"uri": "s3://some-bucket/a.mp4"}}}}
    mark = os.urandom(6).hex()

    def start(model=model, token=mark, body=video, output=where):
        return runtime.start_async_invoke(clientRequestToken=token, modelId=model, modelInput=body, outputDataConfig=output)["invocationArn"]

    arn = start()
    assert arn == start(), "the same token means the same invocation"
    refused("ConflictException", "different parameters", lambda: start(output={"s3OutputDataConfig": {"s3Uri": "s3://some-bucket/other"}}), 400)
    first = runtime.get_async_invoke(invocationArn=arn)
    assert first["status"] == "InProgress" and "endTime" not in first and first["clientRequestToken"] == mark
    assert first["modelArn"].endswith(f"foundation-model/{model}") and first["outputDataConfig"] == where
    second = runtime.get_async_invoke(invocationArn=arn)
    assert second["status"] == "Completed" and second["endTime"] >= second["submitTime"] == first["submitTime"]
    other = start(token=mark + "b")
    simulator("POST", "/_sim/async-invokes/complete")
    assert runtime.get_async_invoke(invocationArn=other)["status"] == "Completed"
    failing = start(token=mark + "c", body={"inputType": "text", "text": {"inputText": "[[fail]]"}})
    assert [runtime.get_async_invoke(invocationArn=failing)["status"] for _ in range(2)] == ["InProgress", "Failed"]
    pages = list(runtime.get_paginator("list_async_invokes").paginate(sortBy="SubmissionTime", sortOrder="Ascending", PaginationConfig={"PageSize": 2}))
    listed = [summary["invocationArn"] for page in pages for summary in page["asyncInvokeSummaries"]]
    assert len(pages) > 1 and [arn_ for arn_ in listed if arn_ in (arn, other, failing)] == [arn, other, failing]
    newest = runtime.list_async_invokes(statusEquals="Failed", maxResults=1)["asyncInvokeSummaries"]
    assert newest[0]["invocationArn"] == failing and newest[0]["failureMessage"]
    assert runtime.list_async_invokes(submitTimeBefore=first["submitTime"].replace(year=2001))["asyncInvokeSummaries"] == []
    assert client(region="us-west-2").list_async_invokes()["asyncInvokeSummaries"] == []
    refused("ValidationException", "doesn't support asynchronous invocation", lambda: start(NOVA, mark + "d"))
    refused("ValidationException", "model identifier is invalid", lambda: start("us." + model, mark + "d"))
    refused("ValidationException", "at 'outputDataConfig.s3OutputDataConfig.s3Uri' failed to satisfy constraint", lambda: start(token=mark + "d", output={"s3OutputDataConfig": {"s3Uri": "https://x"}}))
    refused("ValidationException", "inputType", lambda: start(token=mark + "d", body={"inputType": "smell"}))
    refused("ValidationException", "ARN is invalid", lambda: runtime.get_async_invoke(invocationArn=arn[:-12] + "a" * 12))
    calls = simulator("GET", "/_sim/calls")["calls"]
    assert {"StartAsyncInvoke", "GetAsyncInvoke", "ListAsyncInvokes"} <= {call["operation"] for call in calls}
    fault("throttle")
    refused("ThrottlingException", "", lambda: start(token=mark + "e"), 429)


def check_invoke_refuses_what_aws_refuses():
    for message, body in [
        ("Malformed input request, please reformat your input and try again.", b"{"),
        ("max_tokens: Field required", {key: value for key, value in claude().items() if key != "max_tokens"}),
        ("anthropic_version: Field required", {key: value for key, value in claude().items() if key != "anthropic_version"}),
        ("model: Extra inputs are not permitted", claude(model="x")),
        ("messages: at least one message is required", claude(messages=[])),
    ]:
        refused("ValidationException", message, lambda: invoke(body))
    refused("ValidationException", "extraneous key [max_tokens] is not permitted", lambda: invoke({"messages": [user("a")], "max_tokens": 5}, NOVA))
    refused("ValidationException", "Member must have length less than or equal to 25000000", lambda: raise_raw(b" " * 25_000_001))


def raise_raw(body):
    status, reply, headers = raw(f"/model/{HAIKU.replace(':', '%3A')}/invoke", body)
    metadata = {"HTTPStatusCode": status, "RequestId": headers["x-amzn-requestid"]}
    raise ClientError({"Error": {"Code": headers["x-amzn-errortype"].split(":")[0], "Message": reply["message"]}, "ResponseMetadata": metadata}, "InvokeModel")


def check_count_tokens():
    fields = {"messages": [user("hello there")], "system": [{"text": "Be brief."}]}
    counted = client().count_tokens(modelId=BARE_HAIKU, input={"converse": fields})["inputTokens"]
    assert counted == converse(user("hello there"), system=fields["system"])["usage"]["inputTokens"]
    native = client().count_tokens(modelId=BARE_HAIKU, input={"invokeModel": {"body": json.dumps(claude("hello there"))}})
    assert native["inputTokens"] == invoke(claude("hello there"))[0]["usage"]["input_tokens"]
    for model in [NOVA, "anthropic.claude-opus-5", "anthropic.claude-sonnet-5-5", GPT]:
        refused("ValidationException", "doesn't support counting tokens", lambda: client().count_tokens(modelId=model, input={"converse": fields}))
    refused("ValidationException", "model identifier is invalid", lambda: client().count_tokens(modelId=HAIKU, input={"converse": fields}))
    both = {"converse": fields, "invokeModel": {"body": json.dumps(claude())}}
    refused_body("ValidationException", "must set only one of", {"input": {"converse": both["converse"], "invokeModel": {"body": base64.b64encode(both["invokeModel"]["body"].encode()).decode()}}},
                 BARE_HAIKU, "count-tokens")


def server_sent(path, body, headers=None):
    request = urllib.request.Request(URL + path, data=json.dumps({**body, "stream": True}).encode(), method="POST",
                                     headers={"Authorization": f"Bearer {BEARER}", "Content-Type": "application/json", **(headers or {})})
    with urllib.request.urlopen(request, timeout=20) as reply:
        assert reply.headers["Content-Type"] == "text/event-stream"
        lines = reply.read().decode().splitlines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def check_openai_and_anthropic_paths():
    chat = {"model": GPT, "messages": [{"role": "user", "content": "hello"}]}
    status, whole, _ = raw("/openai/v1/chat/completions", chat)
    assert status == 200 and whole["choices"][0]["message"]["content"] == "You said: hello"
    data = server_sent("/openai/v1/chat/completions", {**chat, "stream_options": {"include_usage": True}})
    assert data[-1] == "[DONE]" and json.loads(data[-2])["usage"] == whole["usage"]
    status, error, _ = raw("/openai/v1/chat/completions", {**chat, "messages": []})
    assert status == 400 and error["error"]["type"] == "invalid_request_error"
    version = {"anthropic-version": "2023-06-01"}
    messages = {"model": HAIKU, "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
    status, whole, _ = raw("/anthropic/v1/messages", messages, version)
    assert status == 200 and whole["content"][0]["text"] == "You said: hello"
    events = [json.loads(line) for line in server_sent("/anthropic/v1/messages", messages, version)]
    assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"
    fault("stream_exception", exception="throttlingException", after_events=2)
    events = [json.loads(line) for line in server_sent("/anthropic/v1/messages", messages, version)]
    assert len(events) == 3 and events[-1]["error"]["type"] == "rate_limit_error"


def check_the_openai_sdk_reads_responses():
    from openai import BadRequestError, OpenAI
    openai = OpenAI(base_url=URL + "/openai/v1", api_key=BEARER, max_retries=0)
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    asked = {"model": "us.openai.gpt-5.6-sol", "input": "weather in Oslo", "tools": [tool], "reasoning": {"effort": "low", "summary": "auto"}}
    whole = openai.responses.create(**asked)
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call"] and whole.usage.total_tokens
    events = list(openai.responses.create(**asked, stream=True))
    assert events[-1].type == "response.completed" and events[-1].response.output_text == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    call = whole.output[-1]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "5"}
    told = openai.responses.create(model=asked["model"], previous_response_id=whole.id, input=[output], tools=[tool])
    assert told.output_text == "The tool said: 5" and openai.responses.retrieve(told.id).id == told.id
    openai.responses.delete(told.id)
    try:
        openai.responses.create(**{**asked, "background": True})
        raise AssertionError("accepted")
    except BadRequestError as error:
        assert error.param == "background", error
    fault("stream_exception", exception="throttlingException", after_events=2)
    events = list(openai.responses.create(**asked, stream=True))
    assert len(events) == 3 and (events[2].type, events[2].code, events[2].sequence_number) == ("error", "throttlingException", 2)


# Control plane

def check_foundation_models():
    control = client("bedrock")
    models = {model["modelId"]: model for model in control.list_foundation_models()["modelSummaries"]}
    assert models[NOVA]["inferenceTypesSupported"] == ["ON_DEMAND"] and models[BARE_HAIKU]["inferenceTypesSupported"] == ["INFERENCE_PROFILE"]
    assert "anthropic.claude-3-haiku-20240307-v1:0" not in models
    listed = control.list_foundation_models(byProvider="Anthropic", byOutputModality="TEXT")["modelSummaries"]
    assert listed and all(model["providerName"] == "Anthropic" for model in listed)
    details = control.get_foundation_model(modelIdentifier=NOVA)["modelDetails"]
    assert details == models[NOVA] and details["modelLifecycle"]["status"] == "ACTIVE"
    refused("ResourceNotFoundException", "Could not resolve the foundation model", lambda: control.get_foundation_model(modelIdentifier="no.such-model"), 404)


def check_inference_profiles():
    control = client("bedrock")
    pages = list(control.get_paginator("list_inference_profiles").paginate(typeEquals="SYSTEM_DEFINED", PaginationConfig={"PageSize": 7}))
    profiles = [profile for page in pages for profile in page["inferenceProfileSummaries"]]
    assert len(pages) > 2 and len({profile["inferenceProfileId"] for profile in profiles}) == len(profiles)
    assert len(profiles) == len(control.list_inference_profiles(maxResults=1000)["inferenceProfileSummaries"])
    profile = control.get_inference_profile(inferenceProfileIdentifier=HAIKU)
    regions = {model["modelArn"].split(":")[3] for model in profile["models"]}
    assert regions == {"us-east-1", "us-east-2", "us-west-2"} and profile["type"] == "SYSTEM_DEFINED" and profile["status"] == "ACTIVE"
    assert control.get_inference_profile(inferenceProfileIdentifier=profile["inferenceProfileArn"])["inferenceProfileId"] == HAIKU
    north = client("bedrock", region="ca-central-1").get_inference_profile(inferenceProfileIdentifier=HAIKU)
    assert "ca-central-1" in {model["modelArn"].split(":")[3] for model in north["models"]}
    refused("ResourceNotFoundException", "could not be found", lambda: client("bedrock", region="eu-west-1").get_inference_profile(inferenceProfileIdentifier=HAIKU), 404)
    refused("ValidationException", "pagination token", lambda: control.list_inference_profiles(nextToken="nonsense"))


def check_model_availability():
    control = client("bedrock")
    told = control.get_foundation_model_availability(modelId=NOVA)
    assert (told["regionAvailability"], told["authorizationStatus"], told["agreementAvailability"]["status"]) == ("AVAILABLE", "AUTHORIZED", "AVAILABLE")
    simulator("POST", "/_sim/faults", {"fault": "deny_model", "model": "nova-lite", "region": "us-east-1"})
    assert control.get_foundation_model_availability(modelId=NOVA)["authorizationStatus"] == "NOT_AUTHORIZED"
    refused("AccessDeniedException", "You don't have access to the model", lambda: converse(user("hello"), model=NOVA), 403)
    simulator("POST", "/_sim/faults", {"fault": "allow_model", "model": "nova-lite", "region": "us-east-1"})
    assert converse(user("hello"), model=NOVA)["stopReason"] == "end_turn"
    refused("ResourceNotFoundException", "", lambda: control.get_foundation_model_availability(modelId="no.such-model"), 404)
    refused("ResourceNotFoundException", "was not found", lambda: control.get_provisioned_model_throughput(provisionedModelId="abcdefghijkl"), 404)
    refused("ResourceNotFoundException", "was not found", lambda: control.get_imported_model(modelIdentifier="abcdefghijkl"), 404)


def check_faults_of_the_control_plane():
    control = client("bedrock")
    fault("throttle", plane="control", times=2)
    refused("ThrottlingException", "", control.list_foundation_models, 429)
    refused("ThrottlingException", "", control.list_inference_profiles, 429)
    fault("deny", operation="GetInferenceProfile")
    assert control.list_foundation_models()["modelSummaries"]
    refused("AccessDeniedException", "", lambda: control.get_inference_profile(inferenceProfileIdentifier=HAIKU), 403)
    fault("outage_with_503")
    refused("ServiceUnavailableException", "", control.list_foundation_models, 503)
    refused("ServiceUnavailableException", "", lambda: converse(user("hello")), 503)
    assert client(region="us-west-2").converse(modelId=HAIKU, messages=[user("hello")])["stopReason"] == "end_turn"
    fault("outage")
    try:
        converse(user("hello"))
        raise AssertionError("an answer came")
    except (ConnectionClosedError, botocore.exceptions.EndpointConnectionError, botocore.exceptions.HTTPClientError):
        pass
    fault("end_outage")
    assert converse(user("hello"))["stopReason"] == "end_turn"


def check_quotas_throttle_and_tell_why():
    region = "eu-north-1"
    simulator("POST", "/_sim/quotas", {"region": region, "id": "eu." + BARE_HAIKU, "tokens_per_minute": 1000, "requests_per_minute": 2})
    runtime = client(region=region)

    def call(limit):
        return runtime.converse(modelId="eu." + BARE_HAIKU, messages=[user("hello")], inferenceConfig={"maxTokens": limit})

    refused("ThrottlingException", "Too many tokens, please wait before trying again.", lambda: call(1000), 429)
    usage = call(100)["usage"]
    taken = simulator("GET", "/_sim/quotas")["quotas"][0]["tokens_taken"]
    assert 0 < taken <= usage["inputTokens"] + 5 * usage["outputTokens"], taken
    call(100)
    refused("ThrottlingException", "Too many requests, please wait before trying again.", lambda: call(100), 429)
    simulator("DELETE", "/_sim/quotas")
    call(1000)


# Who calls

ROLE = "arn:aws:iam::000000000000:role/team/blue"


def check_sts():
    sts = client("sts", region="eu-west-1")
    who = sts.get_caller_identity()
    assert (who["Account"], who["Arn"]) == ("000000000000", "arn:aws:iam::000000000000:user/simulator")
    role = sts.assume_role(RoleArn=ROLE, RoleSessionName="gateway", DurationSeconds=900, Tags=[{"Key": "team", "Value": "blue green"}],
                           TransitiveTagKeys=["team"], ExternalId="some-id")
    assert role["AssumedRoleUser"]["Arn"] == "arn:aws:sts::000000000000:assumed-role/blue/gateway"
    told = role["Credentials"]
    assert 880 < told["Expiration"].timestamp() - time.time() <= 900
    assert any(session["role_arn"] == ROLE and session["tags"] == {"team": "blue green"} for session in simulator("GET", "/_sim/sessions")["sessions"])
    keys = {"key": told["AccessKeyId"], "secret": told["SecretAccessKey"], "token": told["SessionToken"]}
    assert client(**keys).converse(modelId=HAIKU, messages=[user("hello")])["stopReason"] == "end_turn"
    assert client("bedrock", **keys).list_foundation_models()["modelSummaries"]
    assert client("sts", **keys).get_caller_identity()["Arn"] == role["AssumedRoleUser"]["Arn"]
    for wrong in [{**keys, "token": None}, {**keys, "token": "other"}]:
        refused("UnrecognizedClientException", "The security token included in the request is invalid.",
                lambda: client(**wrong).converse(modelId=HAIKU, messages=[user("hello")]), 403)
    chained = client("sts", **keys)
    refused("ValidationError", "1 hour session limit for roles assumed by role chaining",
            lambda: chained.assume_role(RoleArn=ROLE, RoleSessionName="next", DurationSeconds=7200), 400)
    assert chained.assume_role(RoleArn=ROLE, RoleSessionName="next")["Credentials"]["SessionToken"]


def check_sts_refuses_what_aws_refuses():
    sts = client("sts")
    for code, message, fields, status in [
        ("ValidationError", "regular expression pattern: [\\w+=,.@-]*", {"RoleSessionName": "a b"}, 400),
        ("ValidationError", "MaxSessionDuration", {"DurationSeconds": 3601}, 400),
        ("InvalidParameterValue", "Duplicate tag keys", {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]}, 400),
        ("AccessDenied", "is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111111111111:role/other",
         {"RoleArn": "arn:aws:iam::111111111111:role/other"}, 403),
    ]:
        refused(code, message, lambda: sts.assume_role(**{"RoleArn": ROLE, "RoleSessionName": "gateway", **fields}), status)
    refused("InvalidClientTokenId", "security token", lambda: client("sts", key="AKIDNOBODY").get_caller_identity(), 403)
    refused("SignatureDoesNotMatch", "signature", lambda: client("sts", secret="wrong").get_caller_identity(), 403)
    fault("throttle", operation="AssumeRole")
    refused("Throttling", "", lambda: sts.assume_role(RoleArn=ROLE, RoleSessionName="gateway"), 400)


def check_web_identity():
    sts = client("sts")
    reply = sts.assume_role_with_web_identity(RoleArn=ROLE, RoleSessionName="pod", WebIdentityToken="sim-web-identity-token")
    assert reply["Credentials"]["SessionToken"] and reply["Provider"] and reply["Audience"] == "sts.amazonaws.com"
    refused("InvalidIdentityToken", "could not be validated",
            lambda: sts.assume_role_with_web_identity(RoleArn=ROLE, RoleSessionName="pod", WebIdentityToken="forged"), 400)


def check_policies_are_enforced():
    arn = f"arn:aws:bedrock:us-east-1:000000000000:inference-profile/{HAIKU}"
    models = [f"arn:aws:bedrock:{region}::foundation-model/{BARE_HAIKU}" for region in ("us-east-1", "us-east-2", "us-west-2")]

    def allow(resources):
        simulator("POST", "/_sim/policy", {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "bedrock:InvokeModel", "Resource": resources}]})

    try:
        allow([arn, *models])
        assert converse(user("hello"))["stopReason"] == "end_turn"
        refused("AccessDeniedException", "bedrock:InvokeModelWithResponseStream", lambda: stream(user("hello")), 403)
        refused("AccessDeniedException", "bedrock:ListFoundationModels", client("bedrock").list_foundation_models, 403)
        allow([arn, *models[:2]])
        refused("AccessDeniedException", f"on resource: {models[2]} because no identity-based policy allows", lambda: converse(user("hello")), 403)
    finally:
        with urllib.request.urlopen(urllib.request.Request(URL + "/_sim/policy", method="POST", data=b"null"), timeout=20):
            pass


def check_iam():
    iam = client("iam")
    role = iam.get_role(RoleName="batch")["Role"]
    assert (role["Arn"], role["Path"], role["MaxSessionDuration"]) == ("arn:aws:iam::000000000000:role/batch", "/", 3600)
    assert "sts:AssumeRole" in role["AssumeRolePolicyDocument"]["Statement"][0]["Action"]
    source = "arn:aws:iam::000000000000:role/batch"
    document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::files/*"},
                                                        {"Effect": "Deny", "Action": "s3:GetObjectAcl", "Resource": "*"}]}
    results = iam.simulate_principal_policy(PolicySourceArn=source, PolicyInputList=[json.dumps(document)], ResourceArns=["arn:aws:s3:::files/a"],
                                            ActionNames=["s3:GetObject", "s3:GetObjectAcl", "s3:PutObject"])
    assert [result["EvalDecision"] for result in results["EvaluationResults"]] == ["allowed", "explicitDeny", "implicitDeny"]
    assert results["IsTruncated"] is False
    refused("InvalidInput", "does not clearly define entity type", lambda: iam.simulate_principal_policy(PolicySourceArn="arn:aws:nothing:at:all::x", ActionNames=["s3:GetObject"]), 400)


def check_buckets_and_keys():
    key = "arn:aws:kms:eu-west-1:000000000000:key/11111111-2222-3333-4444-555555555555"
    simulator("POST", "/_sim/kms-keys", {"arn": key, "state": "Enabled"})
    simulator("POST", "/_sim/buckets", {"name": "files-west", "region": "eu-west-1", "encryption": {"kms": key}})
    simulator("POST", "/_sim/buckets", {"name": "foreign", "owner": "111111111111"})
    west, east = client("s3", region="eu-west-1"), client("s3")
    assert west.head_bucket(Bucket="files-west")["BucketRegion"] == "eu-west-1"
    rule = west.get_bucket_encryption(Bucket="files-west")["ServerSideEncryptionConfiguration"]["Rules"][0]["ApplyServerSideEncryptionByDefault"]
    assert rule == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    assert west.get_public_access_block(Bucket="files-west")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] is True
    assert east.get_bucket_location(Bucket="files-west")["LocationConstraint"] == "eu-west-1"
    refused("NoSuchBucketPolicy", "", lambda: west.get_bucket_policy_status(Bucket="files-west"), 404)
    refused("NoSuchBucket", "", lambda: west.get_bucket_policy(Bucket="nothing-here"), 404)
    refused("404", "", lambda: west.head_bucket(Bucket="nothing-here"), 404)
    refused("403", "", lambda: east.head_bucket(Bucket="foreign"), 403)
    refused("InvalidAccessKeyId", "", lambda: client("s3", region="eu-west-1", key="AKIDNOBODY").get_bucket_policy(Bucket="files-west"), 403)
    refused("SignatureDoesNotMatch", "", lambda: client("s3", region="eu-west-1", secret="wrong").get_bucket_policy(Bucket="files-west"), 403)
    assert east.head_bucket(Bucket="files-west")["BucketRegion"] == "eu-west-1", "botocore follows the redirect by its Region"
    kms = client("kms", region="eu-west-1")
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Enabled"
    refused("NotFoundException", "does not exist", lambda: kms.describe_key(KeyId=key.replace("1111", "9999")), 400)
    refused("UnrecognizedClientException", "", lambda: client("kms", region="eu-west-1", key="AKIDNOBODY").describe_key(KeyId=key), 400)


def bucket(name, **fields):
    simulator("POST", "/_sim/buckets", {"name": name, **fields})
    return name


def s3(region="us-east-1", **config):
    return client("s3", region=region, signature_version="s3v4", **config)


def check_objects_are_put_read_copied_and_deleted():
    b, c = bucket("objects"), s3()
    put = c.put_object(Bucket=b, Key="a b/ü&<1>.txt", Body=b"hello world", ContentType="text/plain; charset=utf-8", CacheControl="no-store",
                       Metadata={"team": "blue", "n": "1"})
    assert put["ETag"] == '"5eb63bbbe01eeed093cb22bb8f5acdc3"' and put["ServerSideEncryption"] == "AES256" and put["ChecksumCRC32"], put
    got = c.get_object(Bucket=b, Key="a b/ü&<1>.txt")
    assert got["Body"].read() == b"hello world" and got["ContentLength"] == 11 and got["ETag"] == put["ETag"]
    assert (got["ContentType"], got["CacheControl"], got["Metadata"]) == ("text/plain; charset=utf-8", "no-store", {"team": "blue", "n": "1"})
    assert got["ChecksumCRC32"] == put["ChecksumCRC32"] and abs(got["LastModified"].timestamp() - time.time()) < 60
    head = c.head_object(Bucket=b, Key="a b/ü&<1>.txt")
    assert head["ContentLength"] == 11 and head["Metadata"] == got["Metadata"] and head["AcceptRanges"] == "bytes"
    for text, body, told in [("bytes=0-4", b"hello", "bytes 0-4/11"), ("bytes=6-", b"world", "bytes 6-10/11"), ("bytes=-3", b"rld", "bytes 8-10/11")]:
        part = c.get_object(Bucket=b, Key="a b/ü&<1>.txt", Range=text)
        assert part["ResponseMetadata"]["HTTPStatusCode"] == 206 and part["Body"].read() == body and part["ContentRange"] == told
    error = refused("InvalidRange", "", lambda: c.get_object(Bucket=b, Key="a b/ü&<1>.txt", Range="bytes=11-"), 416)
    assert error.response["Error"]["ActualObjectSize"] == "11"
    refused("304", "", lambda: c.get_object(Bucket=b, Key="a b/ü&<1>.txt", IfNoneMatch=put["ETag"]), 304)
    refused("PreconditionFailed", "", lambda: c.get_object(Bucket=b, Key="a b/ü&<1>.txt", IfMatch='"other"'), 412)
    refused("PreconditionFailed", "", lambda: c.put_object(Bucket=b, Key="a b/ü&<1>.txt", Body=b"x", IfNoneMatch="*"), 412)
    copied = c.copy_object(Bucket=b, Key="copy", CopySource={"Bucket": b, "Key": "a b/ü&<1>.txt"})["CopyObjectResult"]
    assert copied["ETag"] == put["ETag"] and c.get_object(Bucket=b, Key="copy")["Metadata"] == got["Metadata"]
    refused("InvalidRequest", "to itself", lambda: c.copy_object(Bucket=b, Key="copy", CopySource=f"{b}/copy"), 400)
    c.copy_object(Bucket=b, Key="copy", CopySource=f"{b}/copy", MetadataDirective="REPLACE", Metadata={"new": "yes"})
    assert c.head_object(Bucket=b, Key="copy")["Metadata"] == {"new": "yes"}
    assert c.delete_object(Bucket=b, Key="copy")["ResponseMetadata"]["HTTPStatusCode"] == 204
    c.delete_object(Bucket=b, Key="copy")
    refused("NoSuchKey", "does not exist", lambda: c.get_object(Bucket=b, Key="copy"), 404)
    refused("404", "", lambda: c.head_object(Bucket=b, Key="copy"), 404)
    refused("NoSuchKey", "", lambda: c.copy_object(Bucket=b, Key="x", CopySource=f"{b}/copy"), 404)
    refused("NoSuchBucket", "", lambda: c.put_object(Bucket="nothing-here", Key="k", Body=b""), 404)
    refused("NotImplemented", "", lambda: c.put_object(Bucket=b, Key="k", Body=b"", Tagging="a=b"), 501)
    refused("AccessControlListNotSupported", "", lambda: c.put_object(Bucket=b, Key="k", Body=b"", ACL="public-read"), 400)


def check_object_checksums():
    b, c = bucket("checksums"), s3()
    for algorithm in ["CRC32", "SHA256"]:
        put = c.put_object(Bucket=b, Key=algorithm, Body=b"hello", ChecksumAlgorithm=algorithm)
        got = c.get_object(Bucket=b, Key=algorithm, ChecksumMode="ENABLED")
        assert got["Body"].read() == b"hello" and got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"], got
    told = s3(request_checksum_calculation="when_required").put_object(Bucket=b, Key="none", Body=b"hello")
    assert told["ChecksumCRC64NVME"] and told["ChecksumType"] == "FULL_OBJECT"
    refused("BadDigest", "CRC32", lambda: c.put_object(Bucket=b, Key="k", Body=b"hello", ChecksumCRC32="AAAAAA=="), 400)
    refused("BadDigest", "Content-MD5", lambda: c.put_object(Bucket=b, Key="k", Body=b"hello", ContentMD5="XrY7u+Ae7tCTyyK7j1rNww=="), 400)
    refused("InvalidDigest", "", lambda: c.put_object(Bucket=b, Key="k", Body=b"hello", ContentMD5="short"), 400)
    refused("NoSuchKey", "", lambda: c.get_object(Bucket=b, Key="k"), 404)


def check_multipart_uploads():
    b, c = bucket("parts"), s3()
    data = bytes(range(256)) * 45_000  # 11.5 MB
    c.upload_fileobj(io.BytesIO(data), b, "big", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
    parts = [data[at:at + (5 << 20)] for at in range(0, len(data), 5 << 20)]
    etag = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in parts)).hexdigest()
    assert c.head_object(Bucket=b, Key="big")["ETag"] == f'"{etag}-3"'
    out = io.BytesIO()
    c.download_fileobj(b, "big", out, Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=1 << 20))
    assert out.getvalue() == data
    second = c.get_object(Bucket=b, Key="big", PartNumber=2)
    assert second["PartsCount"] == 3 and second["Body"].read() == parts[1]

    upload = c.create_multipart_upload(Bucket=b, Key="k", ContentType="application/jsonl", Metadata={"a": "b"})["UploadId"]
    where = {"Bucket": b, "Key": "k", "UploadId": upload}
    small = c.upload_part(**where, PartNumber=1, Body=b"small")["ETag"]
    copy = c.upload_part_copy(**where, PartNumber=2, CopySource=f"{b}/big", CopySourceRange="bytes=0-5242879")["CopyPartResult"]["ETag"]
    last = c.upload_part(**where, PartNumber=7, Body=b"end")["ETag"]
    assert [upload["Key"] for upload in c.list_multipart_uploads(Bucket=b)["Uploads"]] == ["k"]
    listed = c.list_parts(**where, MaxParts=2)
    assert [(part["PartNumber"], part["Size"]) for part in listed["Parts"]] == [(1, 5), (2, 5 << 20)] and listed["IsTruncated"]
    assert [part["PartNumber"] for part in c.list_parts(**where, PartNumberMarker=listed["NextPartNumberMarker"])["Parts"]] == [7]

    def complete(*parts):
        return c.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in parts]})
    refused("EntityTooSmall", "", lambda: complete((1, small), (2, copy), (7, last)), 400)
    refused("InvalidPartOrder", "", lambda: complete((7, last), (2, copy)), 400)
    refused("InvalidPart", "", lambda: complete((2, small)), 400)
    refused("InvalidPart", "", lambda: complete((3, last)), 400)
    refused("MalformedXML", "", lambda: complete(), 400)
    assert complete((2, copy), (7, last))["ETag"].endswith('-2"')
    got = c.get_object(Bucket=b, Key="k")
    assert got["Body"].read() == data[:5 << 20] + b"end" and got["ContentType"] == "application/jsonl" and got["Metadata"] == {"a": "b"}
    refused("NoSuchUpload", "", lambda: complete((2, copy), (7, last)), 404)
    where["UploadId"] = c.create_multipart_upload(Bucket=b, Key="k")["UploadId"]
    c.upload_part(**where, PartNumber=1, Body=b"x")
    c.abort_multipart_upload(**where)
    refused("NoSuchUpload", "", lambda: c.upload_part(**where, PartNumber=1, Body=b"x"), 404)
    refused("NoSuchUpload", "", lambda: c.list_parts(**where), 404)
    refused("NoSuchUpload", "", lambda: c.abort_multipart_upload(**where), 404)
    assert "Uploads" not in c.list_multipart_uploads(Bucket=b)
    assert c.head_object(Bucket=b, Key="k")["ContentLength"] == (5 << 20) + 3


def check_multipart_checksums():
    b, c = bucket("sums"), s3()
    for algorithm, kind in [("CRC32", None), ("CRC32", "FULL_OBJECT"), ("SHA256", "COMPOSITE")]:
        asked = {"ChecksumAlgorithm": algorithm, **({"ChecksumType": kind} if kind else {})}
        where = {"Bucket": b, "Key": "k", "UploadId": c.create_multipart_upload(Bucket=b, Key="k", **asked)["UploadId"]}
        name = f"Checksum{algorithm}"
        parts = []
        for number, data in [(1, b"x" * (5 << 20)), (2, b"yz")]:
            told = c.upload_part(**where, PartNumber=number, Body=data, ChecksumAlgorithm=algorithm)
            parts.append({"PartNumber": number, "ETag": told["ETag"], name: told[name]})
        if kind != "FULL_OBJECT":
            bare = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
            refused("InvalidRequest", "must include the checksum for each part", lambda: c.complete_multipart_upload(**where, MultipartUpload={"Parts": bare}), 400)
        done = c.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        assert done["ChecksumType"] == (kind or "COMPOSITE") and done[name].endswith("-2") == (kind != "FULL_OBJECT"), done
        got = c.get_object(Bucket=b, Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == b"x" * (5 << 20) + b"yz" and got[name] == done[name]


def check_listings():
    b, c = bucket("lists"), s3()
    keys = ["a", "b/1", "b/2 +&", "b/x/1", "c/ü", "d"]
    for key in reversed(keys):
        c.put_object(Bucket=b, Key=key, Body=b"123")
    listed = c.list_objects_v2(Bucket=b)
    assert [entry["Key"] for entry in listed["Contents"]] == keys and listed["KeyCount"] == 6 and not listed["IsTruncated"]
    assert listed["Contents"][0]["Size"] == 3 and listed["Contents"][0]["ETag"] == '"202cb962ac59075b964b07152d234b70"'
    rolled = c.list_objects_v2(Bucket=b, Delimiter="/")
    assert [entry["Key"] for entry in rolled["Contents"]] == ["a", "d"] and [entry["Prefix"] for entry in rolled["CommonPrefixes"]] == ["b/", "c/"]
    assert [entry["Key"] for entry in c.list_objects_v2(Bucket=b, Prefix="b/", Delimiter="/")["Contents"]] == ["b/1", "b/2 +&"]
    assert [entry["Key"] for entry in c.list_objects_v2(Bucket=b, StartAfter="b/2 +&")["Contents"]] == ["b/x/1", "c/ü", "d"]
    pages = list(c.get_paginator("list_objects_v2").paginate(Bucket=b, PaginationConfig={"PageSize": 2}))
    assert [[entry["Key"] for entry in page["Contents"]] for page in pages] == [keys[:2], keys[2:4], keys[4:]]
    assert c.list_objects_v2(Bucket=b, Prefix="none")["KeyCount"] == 0
    refused("InvalidArgument", "continuation token", lambda: c.list_objects_v2(Bucket=b, ContinuationToken="nonsense"), 400)
    told = c.delete_objects(Bucket=b, Delete={"Objects": [{"Key": key} for key in [*keys[:3], "never there"]]})
    assert [entry["Key"] for entry in told["Deleted"]] == [*keys[:3], "never there"]
    assert "Deleted" not in c.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "d"}], "Quiet": True})
    assert [entry["Key"] for entry in c.list_objects_v2(Bucket=b)["Contents"]] == ["b/x/1", "c/ü"]


def fetch(url, method="GET", body=None, headers=None):
    request = urllib.request.Request(url, method=method, data=body, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def check_presigned_urls():
    b, c = bucket("presigned"), s3()
    put = c.generate_presigned_url("put_object", {"Bucket": b, "Key": "a b+c"}, ExpiresIn=60)
    assert fetch(put, "PUT", b"from a browser")[0] == 200
    get = c.generate_presigned_url("get_object", {"Bucket": b, "Key": "a b+c", "ResponseContentType": "text/x"}, ExpiresIn=60)
    assert fetch(get) == (200, "from a browser")
    status, text = fetch(get.replace("Signature=", "Signature=0"))
    assert status == 403 and "SignatureDoesNotMatch" in text
    status, text = fetch(get.replace("a%20b%2Bc", "other"))
    assert status == 403 and "SignatureDoesNotMatch" in text, text
    status, text = fetch(get, headers={"x-amz-meta-a": "b"})
    assert status == 403 and "not signed" in text
    long = c.generate_presigned_url("get_object", {"Bucket": b, "Key": "a b+c"}, ExpiresIn=604801)
    status, text = fetch(long)
    assert status == 400 and "AuthorizationQueryParametersError" in text


def check_s3_signatures_and_regions():
    b, c = bucket("signed", region="eu-west-1"), s3("eu-west-1")
    c.put_object(Bucket=b, Key="k", Body=b"here")
    refused("InvalidAccessKeyId", "", lambda: client("s3", region="eu-west-1", key="AKIDNOBODY").get_object(Bucket=b, Key="k"), 403)
    refused("SignatureDoesNotMatch", "", lambda: client("s3", region="eu-west-1", secret="wrong").get_object(Bucket=b, Key="k"), 403)
    refused("SignatureDoesNotMatch", "", lambda: client("s3", region="eu-west-1", secret="wrong").put_object(Bucket=b, Key="k", Body=b"x" * 300_000), 403)
    east = s3()
    assert east.get_object(Bucket=b, Key="k")["Body"].read() == b"here", "botocore follows the redirect by its Region"
    refusals = [call for call in simulator("GET", "/_sim/calls")["calls"] if call["subject"] == "signed/k" and call["exception"] == "PermanentRedirect"]
    assert refusals and refusals[-1]["status"] == 301 and refusals[-1]["operation"] == "GetObject"


def check_s3_permissions():
    b, c = bucket("allowed"), s3()
    for key in ["mine/1", "other/1"]:
        c.put_object(Bucket=b, Key=key, Body=b"x")
    arn = f"arn:aws:s3:::{b}"
    simulator("POST", "/_sim/policy", {"Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], "Resource": f"{arn}/mine/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": arn, "Condition": {"StringLike": {"s3:prefix": "mine/*"}}}]})
    try:
        assert c.get_object(Bucket=b, Key="mine/1")["Body"].read() == b"x"
        refused("AccessDenied", "s3:GetObject", lambda: c.get_object(Bucket=b, Key="other/1"), 403)
        refused("AccessDenied", "", lambda: c.get_object(Bucket=b, Key="mine/nothing"), 403)
        assert c.list_objects_v2(Bucket=b, Prefix="mine/")["KeyCount"] == 1
        refused("AccessDenied", "s3:ListBucket", lambda: c.list_objects_v2(Bucket=b), 403)
        refused("AccessDenied", "s3:GetObject", lambda: c.copy_object(Bucket=b, Key="mine/2", CopySource=f"{b}/other/1"), 403)
        upload = c.create_multipart_upload(Bucket=b, Key="mine/2")["UploadId"]
        refused("AccessDenied", "s3:AbortMultipartUpload", lambda: c.abort_multipart_upload(Bucket=b, Key="mine/2", UploadId=upload), 403)
        told = c.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "mine/1"}, {"Key": "other/1"}]})
        assert told["Deleted"] == [{"Key": "mine/1"}] and told["Errors"][0]["Code"] == "AccessDenied"
    finally:
        urllib.request.urlopen(urllib.request.Request(URL + "/_sim/policy", method="POST", data=b"null"))
    assert c.get_object(Bucket=b, Key="other/1")["Body"].read() == b"x"


def check_objects_under_a_kms_key():
    key = "arn:aws:kms:us-east-1:000000000000:key/22222222-2222-3333-4444-555555555555"
    simulator("POST", "/_sim/kms-keys", {"arn": key, "state": "Enabled"})
    b, c = bucket("sealed", encryption={"kms": key}), s3()
    put = c.put_object(Bucket=b, Key="k", Body=b"hello")
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", key) and put["ETag"] != '"5d41402abc4b2a76b9719d911017c592"'
    assert c.get_object(Bucket=b, Key="k")["Body"].read() == b"hello"
    simulator("POST", "/_sim/kms-keys", {"arn": key, "state": "Disabled"})
    refused("KMS.DisabledException", "", lambda: c.get_object(Bucket=b, Key="k"), 400)
    refused("KMS.DisabledException", "", lambda: c.put_object(Bucket=b, Key="k", Body=b""), 400)


def check_faults_of_s3():
    b, c = bucket("faulty"), s3()
    c.put_object(Bucket=b, Key="k", Body=b"x" * 300_000)
    fault("throttle", plane="s3", operation="GetObject")
    refused("SlowDown", "", lambda: c.get_object(Bucket=b, Key="k"), 503)
    fault("internal_error", plane="s3")
    refused("InternalError", "", lambda: c.put_object(Bucket=b, Key="k2", Body=b""), 500)
    fault("cut_body", plane="s3", after_bytes=100_000)
    c.put_object(Bucket=b, Key="k2", Body=b"")
    body = c.get_object(Bucket=b, Key="k")["Body"]
    try:
        body.read()
        raise AssertionError("the whole object came")
    except (botocore.exceptions.ResponseStreamingError, botocore.exceptions.IncompleteReadError, ProtocolError):
        pass
    assert len(c.get_object(Bucket=b, Key="k")["Body"].read()) == 300_000
    fault("deny_action", action="s3:PutObject")
    refused("AccessDenied", "", lambda: c.put_object(Bucket=b, Key="k2", Body=b"x"), 403)
    assert c.head_object(Bucket=b, Key="k2")["ContentLength"] == 0
    fault("allow_action", action="s3:PutObject")
    c.put_object(Bucket=b, Key="k2", Body=b"x")
    fault("outage_with_503", plane="s3")
    refused("ServiceUnavailable", "", lambda: c.get_object(Bucket=b, Key="k"), 503)
    assert converse(user("hello"))["stopReason"] == "end_turn", "Bedrock is there"
    fault("end_outage", plane="s3")
    assert c.head_object(Bucket=b, Key="k")["ContentLength"] == 300_000


def check_gates_hold_calls():
    b, c = bucket("gated"), s3()
    gate = simulator("POST", "/_sim/gates", {"operation": "PutObject", "when": "before"})
    done = threading.Thread(target=lambda: c.put_object(Bucket=b, Key="k", Body=b"x"))
    done.start()
    held = simulator("GET", f"/_sim/gates/{gate['id']}?milliseconds=20000")["held"]
    assert (held["operation"], held["region"], held["subject"]) == ("PutObject", "us-east-1", "gated/k")
    refused("404", "", lambda: s3().head_object(Bucket=b, Key="k"), 404)
    simulator("DELETE", f"/_sim/gates/{gate['id']}")
    done.join(20)
    assert c.head_object(Bucket=b, Key="k")["ContentLength"] == 1


def job(name, uri="s3://jobs-in-east/in/a.jsonl", region="us-east-1", **fields):
    """A new batch job; its ARN."""
    made = {"jobName": name, "roleArn": "arn:aws:iam::000000000000:role/batch", "modelId": NOVA, "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri, "s3InputFormat": "JSONL"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://jobs-in-east/out/"}}, **fields}
    return client("bedrock", region=region).create_model_invocation_job(**made)["jobArn"]


def jobs(order, **fields):
    return simulator("POST", "/_sim/jobs", {"order": order, "region": "us-east-1", **fields})


def job_files():
    simulator("POST", "/_sim/buckets", {"name": "jobs-in-east"})
    lines = [{"recordId": f"record-{at}", "modelInput": {"messages": [user(f"say {at}")]}} for at in range(100)]
    lines.append({"modelInput": {"messages": "nothing"}})
    client("s3").put_object(Bucket="jobs-in-east", Key="in/a.jsonl", Body="".join(json.dumps(line) + "\n" for line in lines).encode())


def check_batch_jobs_from_states_to_output():
    job_files()
    jobs("manual")
    bedrock = client("bedrock")
    arn = job("whole-way", clientRequestToken="whole-way-1", timeoutDurationInHours=30, tags=[{"key": "team", "value": "blue"}])
    assert arn == job("whole-way", clientRequestToken="whole-way-1", timeoutDurationInHours=30, tags=[{"key": "team", "value": "blue"}])
    states = []
    for _ in range(5):
        told = bedrock.get_model_invocation_job(jobIdentifier=arn)
        states.append(told["status"])
        jobs("advance")
    assert states == ["Submitted", "Validating", "Scheduled", "InProgress", "Completed"], states
    assert (told["jobName"], told["modelId"], told["modelInvocationType"], told["timeoutDurationInHours"]) == ("whole-way", NOVA, "Converse", 30)
    assert [told[name] for name in ("totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount")] == [101, 101, 100, 1]
    assert (told["jobExpirationTime"] - told["submitTime"]).total_seconds() == 30 * 3600 and told["endTime"] >= told["submitTime"]
    folder, s3 = f"out/{arn[-12:]}", client("s3")
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="jobs-in-east", Prefix=folder)["Contents"]]
    assert keys == [f"{folder}/a.jsonl.out", f"{folder}/manifest.json.out"]
    lines = [json.loads(line) for line in s3.get_object(Bucket="jobs-in-east", Key=keys[0])["Body"].read().splitlines()]
    assert len(lines) == 101 and [line["recordId"] for line in lines] != [f"record-{at}" for at in range(101)]
    by_id = {line["recordId"]: line for line in lines}
    assert by_id["record-42"]["modelOutput"]["output"]["message"] == assistant("You said: say 42")
    errors = [line for line in lines if "error" in line]
    assert [line["error"]["errorCode"] for line in errors] == [400] and "modelOutput" not in errors[0] and errors[0]["recordId"]
    manifest = json.loads(s3.get_object(Bucket="jobs-in-east", Key=keys[1])["Body"].read())
    assert (manifest["totalRecordCount"], manifest["errorRecordCount"]) == (101, 1) and manifest["outputTokenCount"] > manifest["totalRecordCount"]
    mine = [entry for entry in simulator("GET", "/_sim/jobs")["jobs"] if entry["arn"] == arn]
    assert (len(mine), mine[0]["creates"], mine[0]["tokens"]["output"]) == (1, 2, manifest["outputTokenCount"])


def check_batch_jobs_by_themselves():
    job_files()
    jobs("automatic", milliseconds=20)
    bedrock, arn = client("bedrock"), job("by-itself", modelInvocationType="InvokeModel", modelId=HAIKU)
    for _ in range(400):
        told = bedrock.get_model_invocation_job(jobIdentifier=arn)
        if "endTime" in told:
            break
        time.sleep(0.05)
    assert (told["status"], told["errorRecordCount"]) == ("Completed", 101), "bodies of Converse are none of Claude's"


def check_batch_jobs_listed_and_stopped():
    job_files()
    jobs("manual")
    arns = [job(f"listed-{at}") for at in range(3)]
    bedrock = client("bedrock")
    page = bedrock.list_model_invocation_jobs(nameContains="listed", maxResults=2, sortBy="CreationTime", sortOrder="Descending")
    rest = bedrock.list_model_invocation_jobs(nameContains="listed", maxResults=2, nextToken=page["nextToken"])
    assert [entry["jobArn"] for entry in page["invocationJobSummaries"] + rest["invocationJobSummaries"]] == arns[::-1]
    assert "nextToken" not in rest
    bedrock.stop_model_invocation_job(jobIdentifier=arns[0])
    assert bedrock.get_model_invocation_job(jobIdentifier=arns[0][-12:])["status"] == "Stopping"
    jobs("complete")
    assert bedrock.list_model_invocation_jobs(nameContains="listed", statusEquals="Stopped")["invocationJobSummaries"][0]["jobArn"] == arns[0]
    refused("ConflictException", "Stopped", lambda: bedrock.stop_model_invocation_job(jobIdentifier=arns[0]), 400)
    missing = arns[0][:-12] + "abcdefghijkl"
    refused("ResourceNotFoundException", "", lambda: bedrock.get_model_invocation_job(jobIdentifier=missing), 404)


def check_batch_jobs_refused():
    job_files()
    jobs("manual")
    simulator("POST", "/_sim/buckets", {"name": "jobs-in-west", "region": "us-west-2"})
    for name, message, fields in [
        ("ValidationException", "identifier is invalid", {"modelId": "no.such-model"}),
        ("ValidationException", "doesn't support batch inference", {"modelId": "us.anthropic.claude-opus-4-8"}),
        ("ValidationException", "'s3://jobs-in-east/a b.jsonl' at 'inputDataConfig.s3InputDataConfig.s3Uri'", {"uri": "s3://jobs-in-east/a b.jsonl"}),
        ("ValidationException", "us-west-2", {"uri": "s3://jobs-in-west/a.jsonl"}),
        ("ValidationException", "Could not assume provided IAM role", {"roleArn": "arn:aws:iam::111111111111:role/batch"}),
        ("ValidationException", "less than or equal to 168", {"timeoutDurationInHours": 169}),
    ]:
        refused(name, message, lambda fields=fields: job("refused", **fields), 400)
    job("taken")
    refused("ConflictException", "currently in use", lambda: job("taken"), 400)
    simulator("POST", "/_sim/quotas", {"region": "us-east-1", "id": "amazon.nova-micro-v1:0", "jobs": {"max_jobs": 1}})
    job("slot-1", modelId="amazon.nova-micro-v1:0")
    refused("ServiceQuotaExceededException", "limit of 1", lambda: job("slot-2", modelId="amazon.nova-micro-v1:0"), 400)
    simulator("DELETE", "/_sim/quotas")
    fault("lose_answer", operation="CreateModelInvocationJob")
    try:
        job("lost-answer", clientRequestToken="lost-1")
        raise AssertionError("an answer came")
    except (ConnectionClosedError, botocore.exceptions.HTTPClientError):
        pass
    assert job("lost-answer", clientRequestToken="lost-1")
    jobs("fail", message="The service had an internal error.")
    arn = job("told-to-fail")
    jobs("complete")
    told = client("bedrock").get_model_invocation_job(jobIdentifier=arn)
    assert (told["status"], told["message"]) == ("Failed", "The service had an internal error.")


def check_signatures():
    def call(**who):
        return client(**who).converse(modelId=HAIKU, messages=[user("hello")])

    assert call(token="any-session-token")["stopReason"] == "end_turn"
    refused("InvalidSignatureException", "The request signature we calculated does not match the signature you provided.", lambda: call(secret="wrong"), 403)
    refused("UnrecognizedClientException", "The security token included in the request is invalid.", lambda: call(key="AKIDNOBODY"), 403)
    refused("InvalidSignatureException", "Credential should be scoped to a valid region.", lambda: call(region="mars-north-1"), 403)
    status, reply, headers = raw("/model/x/converse", {}, sign=False)
    assert (status, headers["x-amzn-errortype"], reply["message"]) == (403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    assert headers["date"] and headers["x-amzn-requestid"]
    status, _, headers = raw("/no/such/path", {})
    assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


def check_bearer_tokens():
    body = {"messages": [user("hello")]}
    path = f"/model/{HAIKU.replace(':', '%3A')}/converse"
    status, reply, _ = raw(path, body, {"Authorization": f"Bearer {BEARER}"}, sign=False)
    assert status == 200 and reply["stopReason"] == "end_turn"
    status, _, _ = raw(path, body, {"Authorization": f"Bearer {BEARER}", "x-sim-region": "eu-west-1"}, sign=False)
    assert status == 400, "us. profiles are not offered in eu-west-1"
    status, reply, _ = raw(path, body, {"Authorization": "Bearer wrong"}, sign=False)
    assert (status, reply["Message"]) == (403, "Authentication failed: Please make sure your API Key is valid.")


# Faults

def check_rejections():
    for name, exception, status in [
        ("throttle", "ThrottlingException", 429), ("unavailable", "ServiceUnavailableException", 503), ("internal_error", "InternalServerException", 500),
        ("model_timeout", "ModelTimeoutException", 408), ("model_not_ready", "ModelNotReadyException", 429), ("quota_exceeded", "ServiceQuotaExceededException", 400),
        ("expired_credentials", "ExpiredTokenException", 403),
    ]:
        fault(name, times=2)
        # Converse has no quota to exceed: its model does not list the exception.
        refused(exception, "", lambda: invoke(claude()) if name == "quota_exceeded" else converse(user("hello")), status)
        refused(exception, "", lambda: invoke_stream(claude()), status)
        assert converse(user("hello"))["stopReason"] == "end_turn"
    fault("reject", exception="ModelErrorException", status=424, message="no", members={"originalStatusCode": 500, "resourceName": "m"})
    error = refused("ModelErrorException", "no", lambda: converse(user("hello")), 424)
    assert error.response["originalStatusCode"] == 500
    fault("throttle", retry_after=3)
    error = refused("ThrottlingException", "", lambda: converse(user("hello")))
    assert error.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "3"


def check_stream_faults():
    for name, code in [("throttlingException", "throttlingException"), ("modelStreamErrorException", "modelStreamErrorException"),
                       ("internalServerException", "internalServerException"), ("validationException", "validationException"),
                       ("serviceUnavailableException", "serviceUnavailableException")]:
        fault("stream_exception", exception=name, after_events=3)
        seen = []
        try:
            for event in client().converse_stream(modelId=HAIKU, messages=[user("hello [[words:30]]")])["stream"]:
                seen.append(event)
            raise AssertionError("the stream ended well")
        except EventStreamError as error:
            assert error.response["Error"]["Code"] == code and error.response["Error"]["Message"], error.response
        assert len(seen) == 3
    for name in ["cut_stream", "corrupt_frame"]:
        fault(name, after_events=2)
        try:
            stream(user("hello [[words:30]]"))
            raise AssertionError("the stream ended well")
        except (ProtocolError, ConnectionClosedError, botocore.exceptions.ResponseStreamingError, botocore.eventstream.ParserError):
            pass
    fault("reset_connection")
    try:
        converse(user("hello"))
        raise AssertionError("an answer came")
    except (ConnectionClosedError, botocore.exceptions.EndpointConnectionError, botocore.exceptions.HTTPClientError):
        pass
    fault("slow_first_byte", milliseconds=3000)
    settings = Config(retries={"total_max_attempts": 1}, read_timeout=1)
    impatient = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=URL, aws_access_key_id=KEY, aws_secret_access_key=SECRET, config=settings)
    try:
        impatient.converse(modelId=HAIKU, messages=[user("hello")])
        raise AssertionError("an answer came in time")
    except ReadTimeoutError:
        pass


def check_calls_are_recorded():
    simulator("DELETE", "/_sim/calls")
    usage = converse(user("hello"))["usage"]
    body = client().converse_stream(modelId=HAIKU, messages=[user("hello [[words:20000]]")])["stream"]
    next(iter(body))
    body.close()
    refused("ValidationException", "", lambda: converse(user(" ")))
    for _ in range(50):
        record = simulator("GET", "/_sim/calls")
        if len(record["calls"]) == 3:
            break
        time.sleep(0.1)
    first, outcomes = record["calls"][0], sorted(call["outcome"] for call in record["calls"])
    assert outcomes == ["completed", "cut", "refused"], outcomes
    assert (first["operation"], first["region"], first["model_id"]) == ("Converse", "us-east-1", HAIKU)
    assert first["tokens"]["input"] == usage["inputTokens"] and first["tokens"]["output"] == usage["outputTokens"]
    total = record["totals"][0]
    assert (total["completed"], total["cut"], total["refused"]) == (1, 1, 1)


# The wire

def check_frames_have_good_checksums_and_padding():
    body = json.dumps({"messages": [user("hello [[words:20]]")]}).encode()
    request = urllib.request.Request(f"{URL}/model/{HAIKU.replace(':', '%3A')}/converse-stream", data=body, method="POST",
                                     headers={"Authorization": f"Bearer {BEARER}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        assert reply.headers["Content-Type"] == "application/vnd.amazon.eventstream" and reply.headers["x-amzn-requestid"]
        data = reply.read()
    lengths = set()
    while data:
        total, headers, prelude = struct.unpack(">III", data[:12])
        frame, data = data[:total], data[total:]
        assert zlib.crc32(frame[:8]) == prelude and zlib.crc32(frame[:-4]) == struct.unpack(">I", frame[-4:])[0]
        lengths.add(len(json.loads(frame[12 + headers:-4])["p"]))
    assert len(lengths) > 3


def check_events_arrive_one_by_one():
    fault("stall_stream", after_events=4, milliseconds=1500)
    events = client().converse_stream(modelId=HAIKU, messages=[user("hello [[words:30]]")])["stream"]
    started, waits = time.monotonic(), []
    for _ in events:
        waits.append(time.monotonic() - started)
    assert waits[3] < 1.0 < waits[4], waits[:6]


# The shapes

def request_shapes():
    """The constraints of requests in botocore's service models, in the form of shapes.json. Names of shapes begin with their service's
    but the runtime's; what an operation reads elsewhere than in the body is under its name behind `@`. What is no JSON of Bedrock's has
    members as its refusals name them, beginning in lower case, and `names` as they are sent."""
    found = {}

    def lowered(name):
        return name[:1].lower() + name[1:]

    def walk(known, prefix, name):
        if prefix + name in found:
            return
        shape = known[name]
        if shape.get("document"):
            found[prefix + name] = {"type": "document"}
            return
        kept = found[prefix + name] = {"type": shape["type"]}
        kept.update({key: shape[key] for key in ("min", "max", "pattern", "enum", "sensitive", "union") if key in shape})
        members = {member: target["shape"] for member, target in shape.get("members", {}).items() if not target.get("location")}
        if shape["type"] == "structure":
            required = [member for member in shape.get("required", []) if member in members]
            said = str if prefix in ("", "bedrock#") else lowered
            kept.update({"required": [said(member) for member in required]} if required else {})
            kept["members"] = {said(member): prefix + target for member, target in members.items()}
            kept.update({"names": {said(member): member for member in members}} if said is lowered else {})
        parts = {part: shape[part]["shape"] for part in ("member", "key", "value") if part in shape}
        kept.update({part: prefix + target for part, target in parts.items()})
        for target in [*members.values(), *parts.values()]:
            walk(known, prefix, target)

    def elsewhere(known, prefix, name, operation):
        """The members in path, query and headers; of a path the number of the segment."""
        places, members, shape = {}, {}, known[operation["input"]["shape"]]
        segments = operation["http"]["requestUri"].strip("/").split("/")
        for member, target in shape.get("members", {}).items():
            place, wire = target.get("location"), target.get("locationName", member)
            if place is not None:
                places[member] = [place, str(segments.index("{" + wire + "}")) if place == "uri" else wire.lower() if place == "header" else wire]
                members[member] = prefix + target["shape"]
                walk(known, prefix, target["shape"])
        if members:
            required = [member for member in shape.get("required", []) if member in members]
            found["@" + name] = {"type": "structure", **({"required": required} if required else {}), "members": members, "places": places}

    for folder, prefix, names in (
        ("bedrock-runtime/2023-09-30", "", "ApplyGuardrail Converse ConverseStream CountTokens GetAsyncInvoke InvokeModel InvokeModelWithResponseStream "
         "ListAsyncInvokes StartAsyncInvoke"),
        ("bedrock/2023-04-20", "bedrock#", "CreateModelInvocationJob GetCustomModel GetFoundationModel GetFoundationModelAvailability GetImportedModel "
         "GetInferenceProfile GetModelInvocationJob GetProvisionedModelThroughput ListFoundationModels ListInferenceProfiles ListModelInvocationJobs "
         "StopModelInvocationJob"),
        ("sts/2011-06-15", "sts#", "AssumeRole AssumeRoleWithWebIdentity"),
        ("iam/2010-05-08", "iam#", "GetRole SimulatePrincipalPolicy"),
        ("kms/2014-11-01", "kms#", "DescribeKey"),
    ):
        service = Path(botocore.__file__).parent / "data" / folder / "service-2.json.gz"
        model = json.loads(gzip.decompress(service.read_bytes()))
        for name in names.split():
            operation = model["operations"][name]
            elsewhere(model["shapes"], prefix, name, operation)
            # A body that is no JSON is the model's, not the service's.
            if operation["http"]["method"] == "POST" and "payload" not in model["shapes"][operation["input"]["shape"]]:
                walk(model["shapes"], prefix, operation["input"]["shape"])
        if prefix == "":
            walk(model["shapes"], prefix, "RequestMetadata")
    return found


def check_shapes_equal_botocore():
    ours = json.loads((Path(__file__).parents[2] / "src/simulator/validate/shapes.json").read_text())
    assert ours == request_shapes(), "run with --shapes and write the output to src/simulator/validate/shapes.json"


def main():
    global URL
    if sys.argv[1:] == ["--shapes"]:
        shapes = request_shapes()
        print("{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(shapes[name])}" for name in sorted(shapes)) + "\n}")
        return 0
    URL = (sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SIM_URL", "http://127.0.0.1:4567")).rstrip("/")
    os.environ.pop("AWS_BEARER_TOKEN_BEDROCK", None)
    checks = [(name, check) for name, check in globals().items() if name.startswith("check_")]
    failed = 0
    for name, check in checks:
        simulator("DELETE", "/_sim/faults")
        try:
            check()
        except Exception:  # noqa: BLE001 - every failure is told, whatever it is
            failed += 1
            print(f"FAILED {name[6:].replace('_', ' ')}\n{traceback.format_exc()}")
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
