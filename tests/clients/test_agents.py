"""Agent frameworks that speak Responses, as their users set them up: base URL and key changed, nothing else."""

import asyncio
import base64
from typing import Annotated

import agents
import langchain_openai
import openai
import pydantic
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool

from test_openai import png

MODEL = "claude-haiku-4-5"
# Speaks responses on Bedrock: nothing is translated.
NATIVE = "gpt-5.6-sol"
BOTH = pytest.mark.parametrize("name", [MODEL, NATIVE])


@agents.function_tool
def get_weather(city: str, days: int) -> str:
    """The weather in a city."""
    return f"sunny in {city} for {days} days"


@pytest.fixture(scope="module", autouse=True)
def no_tracing():
    # Traces would go to OpenAI.
    agents.set_tracing_disabled(True)


def model(gateway, name=MODEL):
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    return agents.OpenAIResponsesModel(model=name, openai_client=client)


@BOTH
def test_an_agent_uses_its_tool_and_answers(gateway, name):
    agent = agents.Agent(name="Weather", instructions="Be kind.", model=model(gateway, name), tools=[get_weather])
    result = agents.Runner.run_sync(agent, "What is the weather? [[tool]]", max_turns=4)
    assert "sunny in" in result.final_output
    kinds = [item.type for item in result.new_items]
    assert "tool_call_item" in kinds and "tool_call_output_item" in kinds


@BOTH
def test_an_agent_streams_and_goes_on_from_its_own_items(gateway, name):
    agent = agents.Agent(name="Weather", model=model(gateway, name), tools=[get_weather])

    async def run():
        result = agents.Runner.run_streamed(agent, "What is the weather? [[tool]]")
        kinds = [event.data.type async for event in result.stream_events() if event.type == "raw_response_event"]
        return result, kinds

    result, kinds = asyncio.run(run())
    assert "response.output_text.delta" in kinds and kinds.count("response.completed") == 2
    again = result.to_input_list() + [{"role": "user", "content": "And tomorrow?"}]
    # Another loop needs another client.
    agent = agents.Agent(name="Weather", model=model(gateway, name), tools=[get_weather])
    assert "And tomorrow?" in agents.Runner.run_sync(agent, again).final_output


@BOTH
def test_an_agent_goes_on_from_the_previous_response(gateway, name):
    agent = agents.Agent(name="Friend", model=model(gateway, name))
    first = agents.Runner.run_sync(agent, "hello")
    second = agents.Runner.run_sync(agent, "and again", previous_response_id=first.last_response_id)
    assert "and again" in second.final_output and second.last_response_id != first.last_response_id


@BOTH
def test_an_agents_typed_output_is_held_to_its_schema(gateway, name):
    class Place(pydantic.BaseModel):
        city: str
        days: int

    agent = agents.Agent(name="Where", model=model(gateway, name), output_type=Place)
    assert isinstance(agents.Runner.run_sync(agent, "Where?").final_output, Place)


def chat(gateway, name=MODEL, **settings):
    return langchain_openai.ChatOpenAI(
        model=name, base_url=f"{gateway.url}/v1", api_key=gateway.key, use_responses_api=True, max_retries=0, **settings)


@BOTH
def test_langchain_calls_tools_and_streams(gateway, name):
    @tool
    def weather(city: Annotated[str, "Where."], days: int) -> str:
        """The weather in a city."""
        return f"sunny in {city}"

    bound = chat(gateway, name).bind_tools([weather])
    messages = [HumanMessage("What is the weather? [[tool]]")]
    messages.append(bound.invoke(messages))
    (call,) = messages[-1].tool_calls
    messages.append(ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]))
    assert "sunny in" in bound.invoke(messages).text
    assert "sunny in" in "".join(chunk.text for chunk in bound.stream(messages))


@BOTH
def test_langchain_goes_on_from_the_previous_response(gateway, name):
    llm = chat(gateway, name, use_previous_response_id=True)
    first = llm.invoke([HumanMessage("hello")])
    second = llm.invoke([HumanMessage("hello"), first, HumanMessage("and again")])
    assert "and again" in second.text


@BOTH
def test_langchain_thinks_and_sends_its_reasoning_back(gateway, name):
    llm = chat(gateway, name, reasoning={"effort": "low", "summary": "auto"}, max_tokens=4000, store=False,
               include=["reasoning.encrypted_content"], output_version="responses/v1")
    first = llm.invoke([HumanMessage("Think about it.")])
    assert any(block["type"] == "reasoning" and block["summary"] for block in first.content)
    assert "once more" in llm.invoke([HumanMessage("Think about it."), first, HumanMessage("once more")]).text


def on_chat(gateway, name=MODEL):
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    return agents.OpenAIChatCompletionsModel(model=name, openai_client=client)


@pytest.mark.parametrize("make", [model, on_chat], ids=["responses", "chat"])
def test_an_agent_sees_a_picture(gateway, make):
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    content = [{"type": "input_text", "text": "What is this?"}, {"type": "input_image", "image_url": url, "detail": "auto"}]
    agent = agents.Agent(name="Viewer", model=make(gateway))
    assert agents.Runner.run_sync(agent, [{"role": "user", "content": content}]).final_output


@pytest.mark.parametrize("make", [model, on_chat], ids=["responses", "chat"])
def test_an_agents_errors_are_those_of_the_openai_client(gateway, make):
    agent = agents.Agent(name="Nobody", model=make(gateway, "no-such-model"))
    with pytest.raises(openai.NotFoundError):
        agents.Runner.run_sync(agent, "hi")


def test_an_agent_on_chat_streams_its_text_and_runs_its_tools(gateway):
    async def run():
        agent = agents.Agent(name="Weather", model=on_chat(gateway), tools=[get_weather])
        result = agents.Runner.run_streamed(agent, "The weather? [[tool]]")
        text, items = "", []
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                text += event.data.delta
            elif event.type == "run_item_stream_event":
                items.append(event.name)
        return text, items, result.final_output

    text, items, final = asyncio.run(run())
    assert items.count("tool_called") == items.count("tool_output") == 1
    assert "sunny in" in final and final in text


@pytest.mark.parametrize("make", [model, on_chat], ids=["responses", "chat"])
def test_one_agent_hands_off_to_another(gateway, make):
    weather = agents.Agent(name="Weather", model=make(gateway))
    desk = agents.Agent(name="Desk", model=make(gateway), handoffs=[weather])
    assert agents.Runner.run_sync(desk, "Who knows? [[tool]]").last_agent.name == "Weather"
