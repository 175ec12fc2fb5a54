"""AWS's own job API by the unmodified boto3 client, over files uploaded by OpenAI's: by bearer key over https, and signed
over http."""

import io
import json
import time

import openai
import pytest
from botocore.exceptions import ClientError

import test_boto3
import test_sigv4

NOVA = "amazon.nova-lite-v1:0"
HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
FILES = "s3://bedrock-gateway/files/"


@pytest.fixture
def signed(gateway, monkeypatch):
    return test_sigv4.client_for(gateway, monkeypatch, "bedrock")


@pytest.fixture(scope="module")
def files(gateway):
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.key, max_retries=0).files


def upload(files, records):
    lines = "\n".join(json.dumps(record) for record in records)
    return files.create(file=("in.jsonl", io.BytesIO(lines.encode())), purpose="batch").id


def converse(id, text):
    messages = [{"role": "user", "content": [{"text": text}]}]
    return {"recordId": id, "modelInput": {"messages": messages, "inferenceConfig": {"maxTokens": 50}}}


def native(id, text):
    messages = [{"role": "user", "content": text}]
    return {"recordId": id, "modelInput": {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": messages}}


def job(file, model=NOVA, kind="Converse", **more):
    return {
        "jobName": "a-job", "roleArn": "arn:aws:iam::000000000000:role/mine", "modelId": model, "modelInvocationType": kind,
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": FILES + file}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": FILES}}, **more,
    }


def ended(client, arn, seconds=120):
    deadline = time.monotonic() + seconds
    while "endTime" not in (told := client.get_model_invocation_job(jobIdentifier=arn)):
        assert time.monotonic() < deadline, told
        time.sleep(0.2)
    return told


def output(files, told):
    uri = told["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"]
    lines = files.content(uri.removeprefix(FILES)).text.splitlines()
    return {line["recordId"]: line for line in map(json.loads, lines)}


@pytest.mark.parametrize("count", [3, 150])
@pytest.mark.parametrize("model, kind, record", [(NOVA, "Converse", converse), (HAIKU, "InvokeModel", native)])
def test_a_job_of_any_size_runs(signed, files, count, model, kind, record):
    records = [record(f"REC{i:08}", f"Say {i}") for i in range(count)]
    arn = signed.create_model_invocation_job(**job(upload(files, records), model, kind, tags=[{"key": "a", "value": "b"}]))["jobArn"]
    assert ":000000000000:model-invocation-job/" in arn
    told = ended(signed, arn)
    assert told["status"] == "Completed" and told["jobName"] == "a-job" and told["modelInvocationType"] == kind
    assert (told["totalRecordCount"], told["successRecordCount"], told["errorRecordCount"]) == (count, count, 0)
    lines = output(files, told)
    assert len(lines) == count
    for sent in records:
        assert lines[sent["recordId"]]["modelInput"] == sent["modelInput"]
        assert "modelOutput" in lines[sent["recordId"]]


def test_a_token_names_one_job(signed, files):
    wanted = job(upload(files, [converse("a", "hi")]), clientRequestToken="my-token-1")
    arn = signed.create_model_invocation_job(**wanted)["jobArn"]
    assert signed.create_model_invocation_job(**wanted)["jobArn"] == arn
    assert ended(signed, arn)["clientRequestToken"] == "my-token-1"


def test_jobs_are_listed_and_found_by_name(signed, files):
    file = upload(files, [converse("a", "hi")])
    arns = [signed.create_model_invocation_job(**job(file) | {"jobName": f"listed-{i}"})["jobArn"] for i in range(3)]
    for arn in arns:
        ended(signed, arn)
    pages = signed.get_paginator("list_model_invocation_jobs").paginate(
        nameContains="listed", sortBy="CreationTime", sortOrder="Ascending", PaginationConfig={"PageSize": 2})
    assert [summary["jobArn"] for page in pages for summary in page["invocationJobSummaries"]] == arns
    done = signed.list_model_invocation_jobs(statusEquals="Completed", nameContains="listed")["invocationJobSummaries"]
    assert len(done) == 3
    with pytest.raises(ClientError) as error:
        signed.stop_model_invocation_job(jobIdentifier=arns[0])
    assert error.value.response["Error"]["Code"] == "ConflictException"


def test_errors_are_aws_exceptions(signed, files):
    file = upload(files, [converse("a", "hi")])
    elsewhere = {"s3OutputDataConfig": {"s3Uri": "s3://my-bucket/out/"}}
    for wanted, words in [(job(file) | {"jobName": "a_b"}, "jobName"), (job("file-none"), "does not exist"),
                          (job(file, timeoutDurationInHours=999), "timeoutDurationInHours"),
                          (job(file) | {"outputDataConfig": elsewhere}, FILES)]:
        with pytest.raises(ClientError) as error:
            signed.create_model_invocation_job(**wanted)
        assert error.value.response["Error"]["Code"] == "ValidationException"
        assert words in error.value.response["Error"]["Message"]
    with pytest.raises(signed.exceptions.ResourceNotFoundException):
        signed.get_model_invocation_job(jobIdentifier="abcdefghijkl")


def test_a_bearer_key_over_https_does_as_well(tls_gateway, monkeypatch):
    control = test_boto3.client_for(tls_gateway, tls_gateway.key, monkeypatch, "bedrock")
    assert control.list_model_invocation_jobs()["invocationJobSummaries"] == []
    with pytest.raises(ClientError) as error:
        control.create_model_invocation_job(**job("file-none"))
    assert error.value.response["Error"]["Code"] == "ValidationException"
