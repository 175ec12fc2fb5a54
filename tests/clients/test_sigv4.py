"""The unmodified boto3 client over plain http: a gateway key as an access key pair, which signs."""

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from test_boto3 import HAIKU, NOVA, anthropic, say


def client_for(gateway, monkeypatch, service="bedrock-runtime", secret=None, region="eu-west-3"):
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    _, key_id, key_secret = gateway.key.split("_", 2)
    assert gateway.url.startswith("http://")
    return boto3.client(
        service, endpoint_url=gateway.url, region_name=region, aws_access_key_id=key_id,
        aws_secret_access_key=secret or key_secret, config=Config(retries={"total_max_attempts": 1}))


@pytest.fixture
def client(gateway, monkeypatch):
    return client_for(gateway, monkeypatch)


@pytest.mark.parametrize("model", [HAIKU, NOVA, "claude-haiku-4-5",
                                   "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"])
def test_converse_with_every_spelling_of_a_model(client, model):
    reply = client.converse(modelId=model, messages=say("Say héllo – twice"), requestMetadata={"a": "b  c"})
    assert reply["usage"]["totalTokens"] > 0


def test_converse_stream(client):
    kinds = [next(iter(event)) for event in client.converse_stream(modelId=HAIKU, messages=say("hi"))["stream"]]
    assert kinds[0] == "messageStart" and kinds[-2:] == ["messageStop", "metadata"]


def test_invoke_model(client):
    reply = client.invoke_model(modelId=HAIKU, body=anthropic("Say hello"), trace="DISABLED")
    assert json.loads(reply["body"].read())["content"][0]["type"] == "text"
    events = client.invoke_model_with_response_stream(modelId=HAIKU, body=anthropic("hi"))["body"]
    assert [json.loads(event["chunk"]["bytes"])["type"] for event in events][-1] == "message_stop"


def test_lists_with_queries(gateway, monkeypatch):
    control = client_for(gateway, monkeypatch, "bedrock")
    found = control.list_foundation_models(byProvider="Amazon", byOutputModality="TEXT")["modelSummaries"]
    assert found and all(model["providerName"] == "Amazon" for model in found)
    page = control.list_inference_profiles(maxResults=2)
    assert len(page["inferenceProfileSummaries"]) == 2
    rest = control.list_inference_profiles(maxResults=2, nextToken=page["nextToken"])
    assert rest["inferenceProfileSummaries"] != page["inferenceProfileSummaries"]


def test_errors_are_awss(gateway, client, monkeypatch):
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.converse(modelId="no-such-model", messages=say("hi"))
    with pytest.raises(client.exceptions.ValidationException):
        client.converse(modelId=HAIKU, messages=say(" "))
    with pytest.raises(ClientError) as refused:
        client_for(gateway, monkeypatch, secret="wrong").converse(modelId=HAIKU, messages=say("hi"))
    assert refused.value.response["Error"]["Code"] == "InvalidSignatureException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_any_region_may_be_signed_for(gateway, monkeypatch):
    for region in ["us-east-1", "ap-southeast-7", "us-gov-west-1"]:
        assert client_for(gateway, monkeypatch, region=region).converse(modelId=NOVA, messages=say("hi"))["stopReason"]
