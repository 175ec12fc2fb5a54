"""The unmodified openai client, with base URL and key changed."""

import base64
import json
import struct
import zlib

import openai
import pytest

MODEL = "claude-haiku-4-5"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}


@pytest.fixture(scope="module")
def client(gateway):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)


def ask(text):
    return [{"role": "user", "content": text}]


def png():
    """One red pixel."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00")) + chunk(b"IEND", b""))


def test_chat_answers_with_text_and_usage(client):
    reply = client.chat.completions.create(model=MODEL, messages=ask("Say hello"))
    assert reply.object == "chat.completion"
    assert reply.model == MODEL
    assert reply.choices[0].message.role == "assistant"
    assert "Say hello" in reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


def test_answers_tell_where_they_came_from(client):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask("hi"), extra_headers={"x-request-id": "my-own-id"})
    assert raw.headers["x-request-id"] == "my-own-id"
    assert raw.headers["x-gateway-region"] == "us-east-1"
    assert raw.headers["x-gateway-model"] == "anthropic.claude-haiku-4-5-20251001-v1:0"
    assert raw.headers["x-gateway-attempts"] == "1"
    assert float(raw.headers["x-gateway-cost-usd"]) > 0
    assert "x-gateway-translation" not in raw.headers


def test_a_stream_has_role_text_finish_and_usage_in_order(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=ask("Tell me a story [[words:40]]"), stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(text.split()) >= 40
    assert len(chunks) > 10
    finishes = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert finishes[-1] == "stop" and not any(finishes[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_has_no_usage_chunk_unless_asked(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=ask("hi"), stream=True))
    assert all(chunk.choices for chunk in chunks) and all(chunk.usage is None for chunk in chunks)


def test_a_tool_round_trip(client):
    messages = ask("What is the weather? [[tool]]")
    reply = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0]
    assert call.type == "function" and call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int)
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny, 21 degrees"}]
    reply = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert "sunny, 21 degrees" in reply.choices[0].message.content


def test_streamed_tool_calls_have_indexes_from_zero_and_whole_arguments(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=ask("Both, please [[tools:2]]"), tools=[WEATHER], stream=True)
    calls = {}
    for chunk in stream:
        for delta in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            call = calls.setdefault(delta.index, {"id": None, "name": None, "arguments": ""})
            call["id"] = call["id"] or delta.id
            call["name"] = call["name"] or delta.function.name
            call["arguments"] += delta.function.arguments or ""
    assert sorted(calls) == [0, 1]
    assert len({call["id"] for call in calls.values()}) == 2
    for call in calls.values():
        assert call["name"] == "get_weather"
        assert set(json.loads(call["arguments"])) >= {"city", "days"}


def test_the_clients_own_stream_helper_accumulates(client):
    with client.chat.completions.stream(model=MODEL, messages=ask("hello there")) as stream:
        for _ in stream:
            pass
        assert "hello there" in stream.get_final_completion().choices[0].message.content


def test_a_forced_tool_is_called(client):
    choice = {"type": "function", "function": {"name": "get_weather"}}
    reply = client.chat.completions.create(model=MODEL, messages=ask("hi"), tools=[WEATHER], tool_choice=choice)
    assert reply.choices[0].message.tool_calls[0].function.name == "get_weather"


def test_a_picture_is_accepted_whatever_its_label_says(client):
    url = "data:image/jpeg;base64," + base64.b64encode(png()).decode()
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert reply.choices[0].message.content


def test_stop_and_length_are_honoured(client):
    reply = client.chat.completions.create(model=MODEL, messages=ask("alpha beta gamma"), stop="beta")
    assert "beta" not in reply.choices[0].message.content and reply.choices[0].finish_reason == "stop"
    reply = client.chat.completions.create(model=MODEL, messages=ask("long [[words:200]]"), max_tokens=5)
    assert reply.choices[0].finish_reason == "length" and reply.usage.completion_tokens == 5


def test_what_is_changed_is_reported_and_strict_mode_refuses_it(client):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=ask("hi"), temperature=1.7, logit_bias={"50256": -100})
    assert raw.headers["x-gateway-translation"].split(",") == ["clamped:temperature", "dropped:logit_bias"]
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(
            model=MODEL, messages=ask("hi"), temperature=1.7, extra_headers={"x-gateway-strict": "1"})


def test_models_are_listed_and_looked_up(client):
    ids = [model.id for model in client.models.list()]
    assert "anthropic.claude-haiku-4-5-20251001-v1:0" in ids
    assert client.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_bad_key_is_an_authentication_error(gateway):
    for key in ["bgw_unknown_secret", "sk-something", "x"]:
        with pytest.raises(openai.AuthenticationError) as caught:
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0).models.list()
        assert caught.value.code == "invalid_api_key"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="claude-haiku-4-6", messages=ask("hi"))
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert "claude-haiku-4-5" in caught.value.message


@pytest.mark.parametrize(("field", "change"), [
    ("messages", {"messages": "hello"}),
    ("messages", {"messages": []}),
    ("messages[0].role", {"messages": [{"role": "robot", "content": "hi"}]}),
    ("temperature", {"temperature": "warm"}),
    ("max_tokens", {"max_tokens": 0}),
    ("max_tokens", {"max_tokens": -5}),
    ("n", {"n": 0}),
    ("tools[0].function", {"tools": [{"type": "function"}]}),
])
def test_bad_input_names_the_field(client, field, change):
    body = {"model": MODEL, "messages": ask("hi")} | change
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert (caught.value.param or "").startswith(field), caught.value.body


def test_the_async_client_streams_side_by_side(gateway):
    import asyncio

    async def one(client, n):
        stream = await client.chat.completions.create(model=MODEL, messages=ask(f"call {n}"), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client:
            return await asyncio.gather(*[one(client, n) for n in range(20)])

    for n, text in enumerate(asyncio.run(all_of_them())):
        assert f"call {n}" in text
