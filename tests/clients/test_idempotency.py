"""Idempotency-Key with the unmodified openai and anthropic clients: what is repeated is told again, not made again."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest

MODEL = "claude-haiku-4-5"


@pytest.fixture(scope="module")
def client(gateway):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)


@pytest.fixture(scope="module")
def claude(gateway):
    return anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0)


@pytest.fixture
def named():
    return {"Idempotency-Key": str(uuid.uuid4())}


def ask(text):
    return [{"role": "user", "content": text}]


def test_a_completion_is_repeated_with_its_id(client, named):
    def create(text):
        return client.chat.completions.with_raw_response.create(
            model=MODEL, messages=ask(text), extra_headers=named)
    first, again = create("Say hello"), create("Say hello")
    assert first.parse() == again.parse() and first.parse().id
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    with pytest.raises(openai.ConflictError) as error:
        create("Say something else")
    assert error.value.code == "conflict" and error.value.param == "Idempotency-Key"


def test_a_stream_is_repeated_from_its_start(client, named):
    def chunks():
        return list(client.chat.completions.create(
            model=MODEL, messages=ask("Tell me a story [[words:40]]"), stream=True, extra_headers=named))
    first = chunks()
    assert len(first) > 10 and chunks() == first


def test_many_at_once_get_one_answer(client, named):
    def create(_):
        return client.chat.completions.create(model=MODEL, messages=ask("Say hello"), extra_headers=named).id
    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(create, range(20)))) == 1


def test_a_message_is_repeated_whole_and_streamed(claude, named):
    def create():
        return claude.messages.create(model=MODEL, max_tokens=100, messages=ask("Say hello"), extra_headers=named)
    first, again = create(), create()
    assert first == again and first._request_id == again._request_id
    with pytest.raises(anthropic.ConflictError):
        claude.messages.create(model=MODEL, max_tokens=101, messages=ask("Say hello"), extra_headers=named)

    headers = {"Idempotency-Key": named["Idempotency-Key"] + "-stream"}
    def text():
        with claude.messages.stream(
                model=MODEL, max_tokens=100, messages=ask("Tell me a story"), extra_headers=headers) as stream:
            return stream.get_final_message()
    assert text() == text()
