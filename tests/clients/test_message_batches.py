"""Message batches by the unmodified anthropic client: made, watched, read, listed, cancelled, deleted."""

import time

import anthropic
import pytest

CLAUDE = "claude-haiku-4-5"
NOVA = "nova-lite"


@pytest.fixture(scope="module")
def client(gateway):
    return anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0)


def request(custom_id, model, text, **more):
    params = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": custom_id, "params": params}


def ended(client, batch, seconds=120):
    deadline = time.monotonic() + seconds
    while batch.processing_status != "ended":
        assert time.monotonic() < deadline, batch
        time.sleep(0.2)
        batch = client.messages.batches.retrieve(batch.id)
    return batch


def results(client, batch):
    found = {result.custom_id: result.result for result in client.messages.batches.results(batch.id)}
    assert len(found) == sum(batch.request_counts.model_dump().values())
    return found


def test_a_small_batch_of_two_models_runs_and_each_request_has_its_result(client):
    weather = {"name": "get_weather", "description": "The weather.", "input_schema": {"type": "object", "properties": {}}}
    batch = client.messages.batches.create(requests=[
        request("claude", CLAUDE, "Say one"), request("nova", NOVA, "Say two"),
        request("tools", CLAUDE, "Say three", tools=[weather]),
        request("hot", NOVA, "hi", temperature=7.5), request("streamed", CLAUDE, "hi", stream=True),
    ])
    assert batch.id.startswith("msgbatch_") and batch.type == "message_batch"
    assert batch.processing_status == "in_progress" and batch.results_url is None and batch.ended_at is None
    assert (batch.expires_at - batch.created_at).total_seconds() == 24 * 3600
    batch = ended(client, batch)
    assert batch.results_url and batch.ended_at >= batch.created_at
    assert batch.request_counts.succeeded + batch.request_counts.errored == 5
    found = results(client, batch)
    assert found["claude"].type == "succeeded" and "Say one" in found["claude"].message.content[0].text
    assert found["nova"].message.model == NOVA and found["nova"].message.usage.output_tokens > 0
    assert found["tools"].type == "succeeded"
    assert found["streamed"].type == "errored" and found["streamed"].error.error.type == "invalid_request_error"


def test_a_large_batch_runs_as_a_job_and_loses_nothing(client):
    requests = [request(f"r-{i}", CLAUDE if i % 2 else NOVA, f"Say {i}") for i in range(240)]
    batch = ended(client, client.messages.batches.create(requests=requests))
    assert batch.request_counts.succeeded == 240
    found = results(client, batch)
    assert all(f"Say {i}" in found[f"r-{i}"].message.content[0].text for i in range(240))


def test_what_is_wrong_is_told_at_once_and_named(client):
    good = request("a", CLAUDE, "hi")
    for requests, field in [([], "requests"), ([good, good], "requests.1.custom_id"),
                            ([request("a b", CLAUDE, "hi")], "requests.0.custom_id"),
                            ([{"custom_id": "x", "params": {"max_tokens": 1}}], "requests.0.params.model")]:
        with pytest.raises(anthropic.BadRequestError) as error:
            client.messages.batches.create(requests=requests)
        assert field in str(error.value)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.create(requests=[request("a", "no-such-model", "hi")])


def test_batches_are_listed_in_pages_cancelled_and_deleted(client):
    made = [client.messages.batches.create(requests=[request("a", CLAUDE, f"Say {i}")]).id for i in range(3)]
    listed = [batch.id for batch in client.messages.batches.list(limit=2)]
    assert listed[:3] == made[::-1] and len(set(listed)) == len(listed)
    cancelled = client.messages.batches.cancel(made[0])
    assert cancelled.processing_status in ("canceling", "ended")
    batch = ended(client, client.messages.batches.retrieve(made[0]))
    assert batch.request_counts.processing == 0
    for id in made:
        ended(client, client.messages.batches.retrieve(id))
        assert client.messages.batches.delete(id).type == "message_batch_deleted"
        with pytest.raises(anthropic.NotFoundError):
            client.messages.batches.retrieve(id)


def test_betas_are_for_all_requests(client):
    batch = client.beta.messages.batches.create(requests=[request("a", CLAUDE, "hi")], betas=["context-1m-2025-08-07"])
    assert ended(client, client.messages.batches.retrieve(batch.id)).request_counts.succeeded == 1
