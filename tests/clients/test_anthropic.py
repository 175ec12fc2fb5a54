"""The unmodified anthropic client, with base URL and key changed: to Claude, whose bytes pass, and to a model that needs a
translation."""

import asyncio
import base64
import json
import struct
import urllib.request
import zlib

import anthropic
import pytest
from conftest import start, stop

CLAUDE = "claude-haiku-4-5"
OPUS = "claude-opus-5-5"  # by the runtime's own messages path
NOVA = "nova-lite"
BOTH = pytest.mark.parametrize("model", [CLAUDE, NOVA])
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}


@pytest.fixture(scope="module")
def client(gateway):
    return anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0)


def ask(text):
    return [{"role": "user", "content": text}]


def png():
    """One red pixel."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00")) + chunk(b"IEND", b""))


def pdf():
    """One empty page."""
    return (b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
            b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n")


@BOTH
def test_a_message_has_text_and_usage(client, model):
    message = client.messages.create(model=model, max_tokens=1000, messages=ask("Say hello"), system="Be kind.")
    assert message.type == "message" and message.role == "assistant" and message.stop_reason == "end_turn"
    assert "Say hello" in message.content[0].text
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    assert message._request_id


def test_the_clients_own_version_is_served_by_the_messages_path(client):
    message = client.messages.create(model=OPUS, max_tokens=1000, messages=ask("Say hello"))
    assert "Say hello" in message.content[0].text
    with client.messages.stream(model=OPUS, max_tokens=1000, messages=ask("Say hello")) as stream:
        assert stream.get_final_message().content[0].text == message.content[0].text


@BOTH
def test_answers_tell_where_they_came_from(client, model):
    raw = client.messages.with_raw_response.create(
        model=model, max_tokens=100, messages=ask("hi"), extra_headers={"x-request-id": "my-own-id"})
    assert raw.headers["request-id"] == raw.headers["x-request-id"] == "my-own-id"
    assert raw.headers["x-gateway-region"] == "us-east-1" and raw.headers["x-gateway-attempts"] == "1"
    assert float(raw.headers["x-gateway-cost-usd"]) > 0
    assert "x-gateway-translation" not in raw.headers


@BOTH
def test_raw_events_come_in_order(client, model):
    stream = client.messages.create(
        model=model, max_tokens=1000, messages=ask("Tell me a story [[words:40]]"), stream=True)
    events = list(stream)
    kinds = [event.type for event in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds[1] == "content_block_start" and kinds[-3] == "content_block_stop"
    text = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert len(text.split()) >= 40 and kinds.count("content_block_delta") > 10
    assert events[-2].delta.stop_reason == "end_turn" and events[-2].usage.output_tokens > 0


@BOTH
def test_the_clients_own_stream_helper_accumulates(client, model):
    with client.messages.stream(model=model, max_tokens=1000, messages=ask("hello there")) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert "hello there" in text and message.content[0].text == text
    assert message.usage.output_tokens > 0 and message.stop_reason == "end_turn"


@BOTH
def test_a_tool_round_trip(client, model):
    messages = ask("What is the weather? [[tool]]")
    message = client.messages.create(model=model, max_tokens=1000, messages=messages, tools=[WEATHER])
    assert message.stop_reason == "tool_use"
    call = next(block for block in message.content if block.type == "tool_use")
    assert call.name == "get_weather" and isinstance(call.input["city"], str) and isinstance(call.input["days"], int)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny, 21 degrees"}
    messages += [message.to_param(), {"role": "user", "content": [result]}]
    message = client.messages.create(model=model, max_tokens=1000, messages=messages, tools=[WEATHER])
    assert "sunny, 21 degrees" in message.content[0].text


@BOTH
def test_streamed_tools_are_accumulated_whole(client, model):
    with client.messages.stream(
            model=model, max_tokens=1000, messages=ask("Both, please [[tools:2]]"), tools=[WEATHER]) as stream:
        message = stream.get_final_message()
    calls = [block for block in message.content if block.type == "tool_use"]
    assert len(calls) == 2 and len({call.id for call in calls}) == 2
    assert all(set(call.input) >= {"city", "days"} for call in calls)


@BOTH
def test_tool_choice(client, model):
    forced = {"type": "tool", "name": "get_weather"}
    message = client.messages.create(
        model=model, max_tokens=1000, messages=ask("hi"), tools=[WEATHER], tool_choice=forced)
    assert [block.name for block in message.content if block.type == "tool_use"] == ["get_weather"]
    message = client.messages.create(
        model=model, max_tokens=1000, messages=ask("hi [[tool]]"), tools=[WEATHER], tool_choice={"type": "none"})
    assert not [block for block in message.content if block.type == "tool_use"]


@BOTH
def test_the_clients_tool_runner_loops(client, model):
    @anthropic.beta_tool
    def get_weather(city: str, days: int) -> str:
        """The weather in a city.

        Args:
            city: Which city.
            days: How many days.
        """
        return "sunny, 21 degrees"

    runner = client.beta.messages.tool_runner(
        model=model, max_tokens=1000, messages=ask("What is the weather? [[tool]]"), tools=[get_weather])
    last = runner.until_done()
    assert "sunny, 21 degrees" in last.content[0].text


@BOTH
def test_structured_output(client, model):
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
              "required": ["city", "population"], "additionalProperties": False}
    message = client.messages.create(
        model=model, max_tokens=1000, messages=ask("A city, please"),
        output_config={"format": {"type": "json_schema", "schema": schema}})
    answer = json.loads(message.content[0].text)
    assert isinstance(answer["city"], str) and isinstance(answer["population"], int)
    assert message.stop_reason == "end_turn"


@BOTH
def test_vision(client, model):
    source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png()).decode()}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    message = client.messages.create(
        model=model, max_tokens=1000, messages=[{"role": "user", "content": content}])
    assert message.content[0].text


@BOTH
@pytest.mark.parametrize("source", [
    {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(pdf()).decode()},
    {"type": "text", "media_type": "text/plain", "data": "The grass is green."},
])
def test_documents(client, model, source):
    content = [{"type": "document", "title": "Q3: report.pdf", "source": source}, {"type": "text", "text": "Sum it up"}]
    message = client.messages.create(
        model=model, max_tokens=1000, messages=[{"role": "user", "content": content}])
    assert message.content[0].text


def test_thinking_comes_signed_and_goes_back_unchanged(client):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    messages = ask("What is the weather? [[tool]]")
    with client.messages.stream(
            model=CLAUDE, max_tokens=4000, messages=messages, tools=[WEATHER], thinking=thinking) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content][0] == "thinking" and message.content[0].signature
    call = next(block for block in message.content if block.type == "tool_use")
    messages += [message.to_param(), {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}]
    message = client.messages.create(
        model=CLAUDE, max_tokens=4000, messages=messages, tools=[WEATHER], thinking=thinking)
    assert "sunny" in message.content[-1].text


def test_thinking_of_other_models_is_shown(client):
    message = client.messages.create(
        model="openai.gpt-oss-120b-1:0", max_tokens=1000, messages=ask("think [[reason]]"),
        output_config={"effort": "low"})
    assert [block.type for block in message.content] == ["thinking", "text"]


@BOTH
def test_prompt_caching_is_counted_apart(client, model):
    system = [{"type": "text", "text": f"The rules for {model}. " * 2500, "cache_control": {"type": "ephemeral"}}]
    first, second = (client.messages.create(
        model=model, max_tokens=100, messages=ask("hi"), system=system).usage for _ in range(2))
    assert first.cache_creation_input_tokens > 1000 and first.cache_creation_input_tokens == second.cache_read_input_tokens
    assert first.cache_creation.ephemeral_5m_input_tokens == first.cache_creation_input_tokens
    assert second.input_tokens == first.input_tokens < 100


@BOTH
def test_stop_sequences_and_length(client, model):
    message = client.messages.create(
        model=model, max_tokens=100, messages=ask("alpha beta gamma"), stop_sequences=["beta"])
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == "beta"
    message = client.messages.create(model=model, max_tokens=5, messages=ask("long [[words:200]]"))
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 5


@BOTH
def test_unknown_betas_are_left_out_with_a_report(client, model):
    raw = client.beta.messages.with_raw_response.create(
        model=model, max_tokens=100, messages=ask("hi"), betas=["made-up-2030-01-01"])
    assert raw.headers["x-gateway-translation"] == "filtered:anthropic-beta"
    assert raw.parse().content[0].text
    with pytest.raises(anthropic.BadRequestError, match="anthropic-beta"):
        client.beta.messages.create(
            model=model, max_tokens=100, messages=ask("hi"), betas=["made-up-2030-01-01"],
            extra_headers={"x-gateway-strict": "1"})


def test_tokens_are_counted_as_they_are_then_used(client):
    count = client.messages.count_tokens(model=CLAUDE, messages=ask("How long is this?"), tools=[WEATHER])
    message = client.messages.create(
        model=CLAUDE, max_tokens=100, messages=ask("How long is this?"), tools=[WEATHER])
    assert count.input_tokens == message.usage.input_tokens > 0
    with pytest.raises(anthropic.BadRequestError, match="does not count tokens"):
        client.messages.count_tokens(model=NOVA, messages=ask("hi"))


def test_models_are_paged_and_looked_up(client):
    models = {model.id: model for model in client.models.list(limit=5)}
    assert len(models) > 5
    haiku = models["anthropic.claude-haiku-4-5-20251001-v1:0"]
    assert haiku.type == "model" and haiku.display_name and haiku.created_at.year >= 2025
    assert client.models.retrieve(CLAUDE).max_tokens > 0
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("no-such-model")


def test_a_bad_key_is_an_authentication_error(gateway):
    for key in ["bgw_unknown_secret", "sk-ant-something"]:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0).models.list()
        assert caught.value.type == "authentication_error" and caught.value.request_id
    client = anthropic.Anthropic(base_url=gateway.url, auth_token=gateway.key, api_key=None, max_retries=0)
    assert client.models.list().data


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="claude-haiku-4-6", max_tokens=10, messages=ask("hi"))
    assert caught.value.type == "not_found_error" and "claude-haiku-4-5" in caught.value.message


@BOTH
@pytest.mark.parametrize(("field", "change"), [
    ("messages", {"messages": "hello"}),
    ("messages", {"messages": []}),
    ("messages", {"messages": [{"role": "robot", "content": "hi"}]}),
    ("max_tokens", {"max_tokens": 0}),
    ("max_tokens", {"max_tokens": None}),
    ("stream", {"stream": "yes"}),
    ("tools[0].type", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ("mcp_servers", {"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]}),
    ("service_tier", {"service_tier": "warp"}),
])
def test_bad_input_names_the_field(client, model, field, change):
    body = {"model": model, "max_tokens": 100, "messages": ask("hi")} | change
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.post("/v1/messages", body=body, cast_to=object)
    assert caught.value.type == "invalid_request_error"
    assert field in caught.value.body["error"]["message"], caught.value.body


@BOTH
def test_an_error_within_a_stream_is_raised_by_its_type(tmp_path, model):
    process, gateway = start(tmp_path)
    order = {"fault": "stream_exception", "exception": "throttlingException", "after_events": 4}
    request = urllib.request.Request(
        f"{gateway.simulator}/_sim/faults", json.dumps(order).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=20).close()
    client = anthropic.Anthropic(base_url=gateway.url, api_key=gateway.key, max_retries=0)
    seen = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        for event in client.messages.create(
                model=model, max_tokens=1000, messages=ask("a story [[words:40]]"), stream=True):
            seen.append(event.type)
    assert seen[0] == "message_start" and "message_stop" not in seen
    assert caught.value.type == "rate_limit_error"
    stop(process)


def test_the_async_client_streams_side_by_side(gateway):
    async def one(client, n):
        model = [CLAUDE, NOVA][n % 2]
        async with client.messages.stream(model=model, max_tokens=1000, messages=ask(f"call {n}")) as stream:
            return (await stream.get_final_message()).content[0].text

    async def all_of_them():
        async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.key) as client:
            return await asyncio.gather(*[one(client, n) for n in range(20)])

    for n, text in enumerate(asyncio.run(all_of_them())):
        assert f"call {n}" in text
