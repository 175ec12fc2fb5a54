"""The unmodified openai client running batches: upload, create, poll, read."""

import json
import time

import openai
import pytest

NOVA = "nova-lite"
CLAUDE = "claude-haiku-4-5"
OVER = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture(scope="module")
def client(gateway):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)


def upload(client, records, name="records.jsonl"):
    text = "".join(json.dumps(record) + "\n" for record in records)
    return client.files.create(file=(name, text.encode()), purpose="batch")


def record(name, url, body):
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def chat(name, model, text, **more):
    body = {"model": model, "max_tokens": 30, "messages": [{"role": "user", "content": text}], **more}
    return record(name, "/v1/chat/completions", body)


def finished(client, batch):
    deadline = time.monotonic() + 120
    while batch.status not in OVER:
        assert time.monotonic() < deadline, batch
        time.sleep(0.3)
        batch = client.batches.retrieve(batch.id)
    return batch


def lines(client, file):
    told = [json.loads(line) for line in client.files.content(file).text.splitlines()]
    by_id = {line["custom_id"]: line for line in told}
    assert len(by_id) == len(told)
    return by_id


def test_a_small_batch_of_two_models_end_to_end(client):
    file = upload(client, [
        chat("claude", CLAUDE, "Say one."),
        chat("nova", NOVA, "Say two."),
        chat("bad", NOVA, "Say three.", temperature="warm"),
    ])
    assert (file.purpose, file.object) == ("batch", "file")
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"run": "1"},
    )
    assert batch.status == "validating" and batch.metadata == {"run": "1"} and batch.output_file_id is None
    batch = finished(client, batch)
    assert batch.status == "completed", batch
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (3, 2, 1)
    good = lines(client, batch.output_file_id)
    assert set(good) == {"claude", "nova"}
    for told in good.values():
        completion = openai.types.chat.ChatCompletion.model_validate(told["response"]["body"])
        assert completion.choices[0].message.content and completion.usage.completion_tokens > 0
    refused = lines(client, batch.error_file_id)["bad"]
    assert refused["response"]["status_code"] == 400
    assert refused["response"]["body"]["error"]["param"] == "temperature"


def test_a_batch_of_a_hundred_is_a_job_of_awss(client):
    file = upload(client, [chat(f"r{n}", NOVA, f"Say {n}.") for n in range(100)])
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = finished(client, batch)
    assert batch.status == "completed", batch
    assert batch.model_extra["gateway"]["shards"][0]["kind"] == "job"
    assert set(lines(client, batch.output_file_id)) == {f"r{n}" for n in range(100)}
    assert batch.error_file_id is None


def test_vectors_and_responses_have_batches_as_well(client):
    vectors = upload(client, [
        record(f"r{n}", "/v1/embeddings", {"model": "titan-embed-text-v2", "input": f"text {n}"}) for n in range(3)
    ])
    answers = upload(client, [
        record("one", "/v1/responses", {"model": NOVA, "input": "Say one.", "max_output_tokens": 30, "store": False}),
    ])
    embeddings = client.batches.create(
        input_file_id=vectors.id, endpoint="/v1/embeddings", completion_window="24h",
    )
    responses = client.batches.create(input_file_id=answers.id, endpoint="/v1/responses", completion_window="48h")
    embeddings, responses = finished(client, embeddings), finished(client, responses)
    vector = lines(client, embeddings.output_file_id)["r2"]["response"]["body"]["data"][0]["embedding"]
    assert len(vector) == 1024
    body = lines(client, responses.output_file_id)["one"]["response"]["body"]
    response = openai.types.responses.Response.model_validate(body)
    assert response.status == "completed" and response.output_text


def test_a_bad_line_fails_the_batch_and_is_named(client):
    file = client.files.create(file=("bad.jsonl", b'{"custom_id": "a"}\nnope\n'), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    batch = finished(client, batch)
    assert batch.status == "failed" and batch.failed_at
    assert 2 in {error.line for error in batch.errors.data}


def test_batches_are_listed_and_cancelled(client):
    file = upload(client, [chat(f"r{n}", NOVA, f"Say {n}.") for n in range(100)])
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    assert finished(client, batch).status == "cancelled"
    listed = [one.id for one in client.batches.list(limit=2)]
    assert listed[0] == batch.id and len(listed) == len(set(listed)) >= 2


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_of_nobody")
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="1h")
    assert refused.value.param == "completion_window"
