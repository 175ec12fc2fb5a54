"""The unmodified boto3 client, with endpoint and key changed: a bearer key over https."""

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from test_openai import png

HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
NOVA = "amazon.nova-lite-v1:0"


def client_for(tls_gateway, key, monkeypatch, service="bedrock-runtime"):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
    return boto3.client(
        service, endpoint_url=tls_gateway.url, region_name="us-east-1", verify=tls_gateway.authority,
        config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def client(tls_gateway, monkeypatch):
    return client_for(tls_gateway, tls_gateway.key, monkeypatch)


@pytest.fixture
def control(tls_gateway, monkeypatch):
    return client_for(tls_gateway, tls_gateway.key, monkeypatch, "bedrock")


def say(text):
    return [{"role": "user", "content": [{"text": text}]}]


def test_converse(client):
    reply = client.converse(modelId=HAIKU, messages=say("Say hello"))
    assert "Say hello" in reply["output"]["message"]["content"][0]["text"]
    assert reply["stopReason"] == "end_turn"
    assert reply["usage"]["totalTokens"] == reply["usage"]["inputTokens"] + reply["usage"]["outputTokens"] > 0
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-gateway-region"] == "us-east-1" and float(headers["x-gateway-cost-usd"]) > 0
    assert reply["ResponseMetadata"]["RequestId"]


@pytest.mark.parametrize("model", [HAIKU, NOVA, "anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5",
                                   "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"])
def test_converse_takes_every_spelling_of_a_model(client, model):
    assert client.converse(modelId=model, messages=say("hi"))["output"]["message"]["role"] == "assistant"


def test_converse_stream(client):
    reply = client.converse_stream(modelId=HAIKU, messages=say("A story [[words:30]]"))
    events = list(reply["stream"])
    kinds = [next(iter(event)) for event in events]
    assert kinds[0] == "messageStart" and kinds[-2:] == ["messageStop", "metadata"]
    text = "".join(event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event)
    assert len(text.split()) >= 30
    assert events[-1]["metadata"]["usage"]["outputTokens"] > 0


def test_converse_stream_with_tools(client):
    schema = {"json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
    tools = {"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": schema}}], "toolChoice": {"any": {}}}
    events = list(client.converse_stream(modelId=HAIKU, messages=say("hi"), toolConfig=tools)["stream"])
    start = next(event["contentBlockStart"] for event in events if "contentBlockStart" in event)
    assert start["start"]["toolUse"]["name"] == "get_weather"
    deltas = [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]
    arguments = json.loads("".join(delta["toolUse"]["input"] for delta in deltas if "toolUse" in delta))
    assert isinstance(arguments["city"], str)


def anthropic(text):
    return json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 200,
                       "messages": [{"role": "user", "content": text}]})


def test_invoke_model_passes_the_models_own_body(client):
    reply = client.invoke_model(modelId=HAIKU, body=anthropic("Say hello"))
    body = json.loads(reply["body"].read())
    assert body["type"] == "message" and "Say hello" in body["content"][0]["text"]
    headers = reply["ResponseMetadata"]["HTTPHeaders"]
    assert int(headers["x-amzn-bedrock-output-token-count"]) == body["usage"]["output_tokens"]


def test_invoke_model_with_response_stream(client):
    reply = client.invoke_model_with_response_stream(modelId=HAIKU, body=anthropic("Say hello"))
    events = [json.loads(event["chunk"]["bytes"]) for event in reply["body"]]
    assert events[0]["type"] == "message_start" and events[-1]["type"] == "message_stop"
    assert events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] > 0


def test_a_bad_key_is_an_unrecognized_client(tls_gateway, monkeypatch):
    client = client_for(tls_gateway, "bgw_unknown_secret", monkeypatch)
    with pytest.raises(ClientError) as caught:
        client.converse(modelId=HAIKU, messages=say("hi"))
    assert caught.value.response["Error"]["Code"] == "UnrecognizedClientException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_an_unknown_model_is_a_resource_not_found(client):
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.converse(modelId="anthropic.claude-haiku-9", messages=say("hi"))


def test_what_the_model_refuses_is_awss_own_validation_exception(client):
    with pytest.raises(client.exceptions.ValidationException) as caught:
        client.converse(modelId=HAIKU, messages=say("hi"), inferenceConfig={"temperature": 0.5, "topP": 0.5})
    assert "top_p" in caught.value.response["Error"]["Message"]
    with pytest.raises(client.exceptions.ValidationException, match="blank"):
        client.converse(modelId=HAIKU, messages=say("  "))


@pytest.mark.parametrize("model", ["../../etc/passwd", "a/b", "a\nb", "..", "x" * 2000])
def test_a_strange_model_id_is_a_clean_refusal(client, model):
    with pytest.raises(ClientError) as caught:
        client.converse(modelId=model, messages=say("hi"))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 404)


def test_count_tokens_is_what_converse_will_be_billed(client):
    counted = client.count_tokens(modelId=HAIKU, input={"converse": {"messages": say("Say hello")}})["inputTokens"]
    assert counted == client.converse(modelId=HAIKU, messages=say("Say hello"))["usage"]["inputTokens"]
    assert client.count_tokens(modelId=HAIKU, input={"invokeModel": {"body": anthropic("Say hello")}})["inputTokens"] > 0


@pytest.mark.parametrize("guardrail", ["gr1", "arn:aws:bedrock:us-west-2:000000000000:guardrail/gr1"])
def test_apply_guardrail(client, guardrail):
    def apply(text):
        return client.apply_guardrail(guardrailIdentifier=guardrail, guardrailVersion="1", source="INPUT",
                                      content=[{"text": {"text": text}}])
    reply = apply("hello")
    assert reply["action"] == "NONE" and reply["usage"]["topicPolicyUnits"] == 1
    assert reply["ResponseMetadata"]["HTTPHeaders"]["x-gateway-region"] == (
        "us-west-2" if guardrail.startswith("arn:") else "us-east-1")
    blocked = apply("[[blocked]]")
    assert blocked["action"] == "GUARDRAIL_INTERVENED" and blocked["outputs"][0]["text"]


def test_apply_guardrail_of_no_region_here_is_a_resource_not_found(client):
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.apply_guardrail(guardrailIdentifier="arn:aws:bedrock:eu-west-3:000000000000:guardrail/gr1",
                               guardrailVersion="1", source="INPUT", content=[{"text": {"text": "hi"}}])


def test_list_foundation_models(control):
    models = {model["modelId"]: model for model in control.list_foundation_models()["modelSummaries"]}
    haiku = models["anthropic.claude-haiku-4-5-20251001-v1:0"]
    assert haiku["modelArn"] == "arn:aws:bedrock:us-east-1::foundation-model/" + haiku["modelId"]
    assert haiku["inferenceTypesSupported"] == ["INFERENCE_PROFILE"] and haiku["responseStreamingSupported"] is True
    assert haiku["modelLifecycle"]["status"] == "ACTIVE"
    assert haiku["modelLifecycle"]["startOfLifeTime"].year == 2025
    by = control.list_foundation_models(byProvider="Amazon", byOutputModality="TEXT", byInferenceType="ON_DEMAND")
    assert 0 < len(by["modelSummaries"]) < len(models)
    with pytest.raises(control.exceptions.ValidationException):
        control.list_foundation_models(byOutputModality="SMELL")


def test_get_foundation_model(control):
    details = control.get_foundation_model(modelIdentifier=NOVA)["modelDetails"]
    assert (details["modelId"], details["providerName"]) == (NOVA, "Amazon")
    assert control.get_foundation_model(modelIdentifier=details["modelArn"])["modelDetails"] == details
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.get_foundation_model(modelIdentifier="amazon.nova-nothing-v1:0")


def test_list_inference_profiles_page_by_page(control):
    pages = control.get_paginator("list_inference_profiles").paginate(
        typeEquals="SYSTEM_DEFINED", PaginationConfig={"PageSize": 5})
    profiles = [profile for page in pages for profile in page["inferenceProfileSummaries"]]
    ids = [profile["inferenceProfileId"] for profile in profiles]
    assert HAIKU in ids and len(ids) == len(set(ids)) > 5
    assert control.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"] == []


def test_get_inference_profile(client, control):
    profile = control.get_inference_profile(inferenceProfileIdentifier=HAIKU)
    assert (profile["status"], profile["type"]) == ("ACTIVE", "SYSTEM_DEFINED")
    regions = [model["modelArn"].split(":")[3] for model in profile["models"]]
    assert regions == ["us-east-1", "us-east-2", "us-west-2"]
    by_arn = control.get_inference_profile(inferenceProfileIdentifier=profile["inferenceProfileArn"])
    assert by_arn["inferenceProfileId"] == HAIKU
    assert client.converse(modelId=profile["inferenceProfileArn"], messages=say("hi"))["stopReason"] == "end_turn"
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        control.get_inference_profile(inferenceProfileIdentifier="eu.amazon.nova-lite-v1:0")


def test_async_invoke(client):
    output = {"s3OutputDataConfig": {"s3Uri": "s3://bedrock-gateway/embeddings"}}
    model, text = "twelvelabs.marengo-embed-3-0-v1:0", {"inputType": "text", "text": {"inputText": "hello"}}
    arn = client.start_async_invoke(modelId=model, modelInput=text, outputDataConfig=output)["invocationArn"]
    assert arn.startswith("arn:aws:bedrock:us-east-1:000000000000:async-invoke/")
    first, second = (client.get_async_invoke(invocationArn=arn) for _ in range(2))
    assert (first["status"], second["status"]) == ("InProgress", "Completed")
    assert second["outputDataConfig"] == output and second["endTime"] >= second["submitTime"] == first["submitTime"]
    assert second["clientRequestToken"] == first["clientRequestToken"]  # boto3 makes one
    pages = client.get_paginator("list_async_invokes").paginate(
        statusEquals="Completed", sortBy="SubmissionTime", sortOrder="Ascending", PaginationConfig={"PageSize": 1})
    listed = [summary["invocationArn"] for page in pages for summary in page["asyncInvokeSummaries"]]
    assert listed.count(arn) == 1
    later = client.list_async_invokes(submitTimeAfter=second["submitTime"].replace(year=2100))
    assert later["asyncInvokeSummaries"] == []
    with pytest.raises(client.exceptions.ValidationException, match="outputDataConfig"):
        client.start_async_invoke(modelId=model, modelInput=text,
                                  outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://files-east/elsewhere"}})
    with pytest.raises(client.exceptions.ValidationException, match="invocation ARN"):
        client.get_async_invoke(invocationArn=arn[:-12] + "a" * 12)


WEATHER = {"tools": [{"toolSpec": {"name": "get_weather", "description": "The weather in a city.", "inputSchema": {"json": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}}]}


def test_a_tool_round_trip(client):
    messages = say("What is the weather? [[tool]]")
    reply = client.converse(modelId=HAIKU, messages=messages, toolConfig=WEATHER)
    assert reply["stopReason"] == "tool_use"
    [call] = [block["toolUse"] for block in reply["output"]["message"]["content"] if "toolUse" in block]
    assert call["name"] == "get_weather" and isinstance(call["input"]["city"], str)
    result = {"toolUseId": call["toolUseId"], "content": [{"text": "sunny, 21 degrees"}], "status": "success"}
    messages += [reply["output"]["message"], {"role": "user", "content": [{"toolResult": result}]}]
    reply = client.converse(modelId=HAIKU, messages=messages, toolConfig=WEATHER)
    assert "sunny, 21 degrees" in reply["output"]["message"]["content"][0]["text"]


def test_structured_output_holds_to_its_schema(client):
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
              "required": ["name", "age"], "additionalProperties": False}
    form = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(schema)}}}}
    reply = client.converse(modelId=HAIKU, messages=say("Who is it?"), outputConfig=form)
    person = json.loads(reply["output"]["message"]["content"][0]["text"])
    assert isinstance(person["name"], str) and isinstance(person["age"], int)


def test_a_picture_is_accepted(client):
    picture = {"image": {"format": "png", "source": {"bytes": png()}}}
    content = [{"text": "What is this?"}, picture]
    assert client.converse(modelId=HAIKU, messages=[{"role": "user", "content": content}])["stopReason"] == "end_turn"


def test_an_operation_that_is_not_served_is_an_unknown_operation(control):
    with pytest.raises(ClientError) as caught:
        control.list_guardrails()
    error = caught.value.response["Error"]
    assert error["Code"] == "UnknownOperationException" and "/guardrails" in error["Message"]
