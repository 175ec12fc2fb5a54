"""The unmodified openai client on /v1/responses."""

import asyncio
import base64
import json

import openai
import pydantic
import pytest

from test_local import post
from test_openai import MODEL, png

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}
# Speaks responses on Bedrock: nothing is translated.
NATIVE = "gpt-5.6-sol"
THINKING = {"max_output_tokens": 4000, "extra_body": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}


@pytest.fixture(scope="module")
def client(gateway):
    # Every answer and every event is held to the types of the client, which it does not do by itself.
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0,
                         _strict_response_validation=True)


def outputs(response, kind):
    return [item for item in response.output if item.type == kind]


def test_a_response_has_text_usage_and_all_that_the_types_ask_for(client):
    response = client.responses.create(model=MODEL, input="Say hello", instructions="Be kind.", metadata={"a": "b"})
    assert response.id.startswith("resp_") and response.object == "response"
    assert response.status == "completed" and response.error is None
    assert "Say hello" in response.output_text
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert response.instructions == "Be kind." and response.metadata == {"a": "b"}
    assert response.tools == [] and response.tool_choice == "auto" and response.parallel_tool_calls


def test_a_stream_comes_in_typed_events(client):
    with client.responses.create(model=MODEL, input="Tell me a story [[words:40]]", stream=True) as stream:
        events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert events[-1].response.output_text == text and len(text.split()) >= 40


def test_the_clients_own_stream_helper_accumulates(client):
    with client.responses.stream(model=MODEL, input="Both, please [[tools:2]]", tools=[WEATHER], **THINKING) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.function_call_arguments.delta"]
        response = stream.get_final_response()
    calls = outputs(response, "function_call")
    assert len(calls) == 2 and calls[0].call_id != calls[1].call_id
    assert snapshots[-1] == calls[1].arguments
    for call in calls:
        assert set(json.loads(call.arguments)) == {"city", "days"}
    (thought,) = outputs(response, "reasoning")
    assert thought.summary[0].text and thought.encrypted_content


def test_tools_are_answered_by_going_on_from_the_response(client):
    response = client.responses.create(model=MODEL, input="What is the weather? [[tool]]", tools=[WEATHER], **THINKING)
    (call,) = outputs(response, "function_call")
    answer = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 21 degrees"}
    response = client.responses.create(
        model=MODEL, previous_response_id=response.id, input=[answer], tools=[WEATHER], **THINKING)
    assert "sunny, 21 degrees" in response.output_text


def test_tools_are_answered_by_sending_everything_again(client):
    conversation = [{"role": "user", "content": "What is the weather? [[tool]]"}]
    response = client.responses.create(
        model=MODEL, input=conversation, tools=[WEATHER], store=False, include=["reasoning.encrypted_content"], **THINKING)
    (call,) = outputs(response, "function_call")
    conversation += response.output
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "rainy"})
    raw = client.responses.with_raw_response.create(
        model=MODEL, input=conversation, tools=[WEATHER], store=False, **THINKING)
    assert "rainy" in raw.parse().output_text
    assert "x-gateway-translation" not in raw.headers


def test_a_response_is_parsed_into_the_callers_own_type(client):
    class Place(pydantic.BaseModel):
        city: str
        days: int

    response = client.responses.parse(model=MODEL, input="Where?", text_format=Place)
    assert isinstance(response.output_parsed, Place)
    with client.responses.stream(model=MODEL, input="Where?", text_format=Place) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Place)


def test_a_picture_is_accepted(client):
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": url, "detail": "auto"}]
    response = client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
    assert response.status == "completed" and response.output_text


def test_a_response_is_retrieved_listed_and_deleted(client):
    response = client.responses.create(model=MODEL, input="keep me")
    assert client.responses.retrieve(response.id).output_text == response.output_text
    (item,) = client.responses.input_items.list(response.id)
    assert item.role == "user" and item.content[0].text == "keep me"
    again = client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": item.id}], store=False)
    assert "keep me" in again.output_text
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_many_items_are_listed_page_by_page(client):
    texts = [f"message {number}" for number in range(25)]
    response = client.responses.create(model=MODEL, input=[{"role": "user", "content": text} for text in texts])
    listed = client.responses.input_items.list(response.id, order="asc", limit=10)
    assert [item.content[0].text for item in listed] == texts


def test_input_is_counted(client):
    counted = client.responses.input_tokens.count(model=MODEL, input="one two three", instructions="Count.")
    response = client.responses.create(model=MODEL, input="one two three", instructions="Count.")
    assert counted.input_tokens == response.usage.input_tokens > 0


def test_an_unknown_previous_response_is_a_bad_request(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="x", previous_response_id="resp_unknown")
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


def test_tools_that_openai_would_run_are_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="x", tools=[WEATHER, {"type": "file_search", "vector_store_ids": ["x"]}])
    assert caught.value.param == "tools[1].type"
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="x", tools=[{"type": "web_search"}])
    assert caught.value.param == "tools[0].type"


def agent(model, items):
    """What Codex sends: its own tools, those of an MCP server, a search that OpenAI runs, nothing to be stored."""
    weather = {**WEATHER, "strict": False}
    return {
        "model": model, "instructions": "You are a coding agent.", "input": items, "tool_choice": "auto",
        "tools": [
            {"type": "function", "name": "exec_command", "description": "Runs a command.", "strict": False,
             "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]}},
            {"type": "namespace", "name": "mcp__sky", "description": "The sky.", "tools": [weather]},
            {"type": "web_search", "external_web_access": False},
        ],
        "parallel_tool_calls": False, "reasoning": {"effort": "medium", "summary": "auto"}, "store": False, "stream": True,
        "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "text": {"verbosity": "low"},
        "extra_body": {"client_metadata": {"x": "y"}},
    }


@pytest.mark.parametrize("model", [MODEL, "nova-lite", NATIVE])
def test_an_agent_with_namespaces_and_a_search_of_openais_goes_round(client, model):
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather? [[tools]]"}]}]
    with client.responses.create(**agent(model, items)) as stream:
        events = list(stream)
    done = [event.item for event in events if event.type == "response.output_item.done"]
    calls = [item for item in done if item.type == "function_call"]
    assert calls and events[-1].type == "response.completed"
    assert {(call.namespace, call.name) for call in calls} <= {(None, "exec_command"), ("mcp__sky", "get_weather")}
    items += [item.model_dump(exclude_none=True) for item in done]
    items += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    with client.responses.create(**agent(model, items)) as stream:
        last = list(stream)[-1]
    assert "sunny" in last.response.output_text


@pytest.mark.parametrize("model", [MODEL, NATIVE])
def test_a_custom_tool_and_what_was_searched_for_go_round(client, model):
    patch = {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "regex", "definition": ".+"}}
    search = {"type": "tool_search", "execution": "client", "description": "Finds tools.",
              "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}}
    tools = [patch, search]
    items = [{"role": "user", "content": "Use patch"}]
    with client.responses.create(model=model, tools=tools, input=items, store=False, stream=True,
                                 include=["reasoning.encrypted_content"]) as stream:
        events = list(stream)
    call, = outputs(events[-1].response, "custom_tool_call")
    told = [event.input for event in events if event.type == "response.custom_tool_call_input.done"]
    assert told == [call.input] and call.name == "patch"
    items += [item.model_dump(exclude_none=True) for item in events[-1].response.output]
    items += [
        {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "patched"},
        {"role": "assistant", "content": "Done."},
        {"type": "tool_search_call", "call_id": "call_s", "execution": "client", "status": "completed",
         "arguments": {"query": "weather"}},
        {"type": "tool_search_output", "call_id": "call_s", "execution": "client", "status": "completed",
         "tools": [{**WEATHER, "defer_loading": True}]},
        {"role": "user", "content": "Now get_weather"},
    ]
    response = client.responses.create(model=model, tools=tools, input=items, store=False)
    call, = outputs(response, "function_call")
    assert call.name == "get_weather"


def test_errors_are_the_clients_own(client, gateway):
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="no-such-model", input="x")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="bgw_no_key").responses.create(model=MODEL, input="x")


def test_an_exception_within_a_stream_is_raised(client, gateway):
    post(f"{gateway.simulator}/_sim/faults", {
        "region": "us-east-1", "fault": "stream_exception", "exception": "modelStreamErrorException", "after_events": 3})
    with pytest.raises(openai.APIError):
        for _ in client.responses.create(model=MODEL, input="long [[words:40]]", stream=True):
            pass


def test_agents_can_use_the_async_client(gateway):
    async def ask():
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client:
            stream = await client.responses.create(model=MODEL, input="hi [[words:9]]", stream=True)
            return [event.type async for event in stream]

    assert asyncio.run(ask())[-1] == "response.completed"


def test_a_native_model_streams_calls_a_tool_and_goes_on(client):
    with client.responses.stream(model=NATIVE, input="What is the weather? [[tool]]", tools=[WEATHER],
                                 reasoning={"effort": "low", "summary": "auto"}) as stream:
        events = list(stream)
        response = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    (thought,) = outputs(response, "reasoning")
    assert thought.summary[0].text and thought.encrypted_content
    (call,) = outputs(response, "function_call")
    assert set(json.loads(call.arguments)) == {"city", "days"}
    answer = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny, 21 degrees"}
    raw = client.responses.with_raw_response.create(
        model=NATIVE, previous_response_id=response.id, input=[answer], tools=[WEATHER])
    second = raw.parse()
    assert "sunny, 21 degrees" in second.output_text and second.previous_response_id == response.id
    assert "x-gateway-translation" not in raw.headers
    # The next model is another one, and hears all of it but what the first one thought.
    raw = client.responses.with_raw_response.create(
        model=MODEL, previous_response_id=second.id, input="And now?", tools=[WEATHER])
    assert "And now?" in raw.parse().output_text
    assert raw.headers["x-gateway-translation"] == "dropped:previous_response_id"


def test_a_native_response_is_retrieved_listed_referred_to_and_deleted(client):
    response = client.responses.create(model=NATIVE, input="keep me")
    assert client.responses.retrieve(response.id) == response
    (item,) = client.responses.input_items.list(response.id)
    assert item.role == "user" and item.content[0].text == "keep me"
    said = response.output[-1]
    again = client.responses.create(model=NATIVE, store=False, input=[
        {"type": "item_reference", "id": item.id}, {"type": "item_reference", "id": said.id},
        {"role": "user", "content": "once more"}])
    assert "once more" in again.output_text and again.store is False
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_an_exception_within_a_native_stream_is_raised(client, gateway):
    post(f"{gateway.simulator}/_sim/faults", {
        "region": "us-east-1", "fault": "stream_exception", "exception": "throttlingException", "after_events": 3})
    with pytest.raises(openai.APIError) as caught:
        for _ in client.responses.create(model=NATIVE, input="long [[words:40]]", stream=True):
            pass
    assert caught.value.code == "rate_limit_exceeded"
