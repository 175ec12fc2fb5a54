"""LangChain's OpenAI classes, with base URL and key changed, on both of OpenAI's APIs for conversations."""

import base64
import json

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from test_openai import MODEL, png

API = pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])


@tool
def get_weather(city: str, days: int) -> str:
    """The weather in a city."""
    return f"sunny in {city} for {days} days"


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def chat(gateway, responses, **settings):
    return ChatOpenAI(model=MODEL, base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0,
                      use_responses_api=responses, **settings)


@API
def test_an_answer_has_text_and_usage(gateway, responses):
    reply = chat(gateway, responses).invoke([SystemMessage("Be brief."), HumanMessage("Say hello")])
    assert "Say hello" in reply.text
    assert reply.usage_metadata["total_tokens"] == (
        reply.usage_metadata["input_tokens"] + reply.usage_metadata["output_tokens"]) > 0


@API
def test_a_stream_adds_up_to_the_answer_and_its_usage(gateway, responses):
    chunks = list(chat(gateway, responses, stream_usage=True).stream("Tell me a story [[words:40]]"))
    assert len(chunks) > 10
    whole = sum(chunks[1:], chunks[0])
    assert len(whole.text.split()) >= 40
    assert whole.usage_metadata["output_tokens"] > 0


@API
def test_tools_are_called_and_their_results_come_back(gateway, responses):
    model = chat(gateway, responses).bind_tools([get_weather])
    messages = [HumanMessage("What is the weather? [[tool]]")]
    reply = model.invoke(messages)
    [call] = reply.tool_calls
    assert call["name"] == "get_weather" and set(call["args"]) == {"city", "days"}
    messages += [reply, ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])]
    assert "sunny in" in model.invoke(messages).text


@API
def test_streamed_tool_calls_are_put_together(gateway, responses):
    model = chat(gateway, responses).bind_tools([get_weather])
    chunks = list(model.stream("Both, please [[tools:2]]"))
    calls = sum(chunks[1:], chunks[0]).tool_calls
    assert [call["name"] for call in calls] == ["get_weather"] * 2
    assert all(set(call["args"]) == {"city", "days"} for call in calls)
    assert calls[0]["id"] != calls[1]["id"]


@API
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output_is_an_object_of_the_class(gateway, responses, method):
    model = chat(gateway, responses).with_structured_output(Person, method=method)
    assert isinstance(model.invoke("Who is it?"), Person)


@API
def test_a_picture_is_seen(gateway, responses):
    picture = {"type": "image", "base64": base64.b64encode(png()).decode(), "mime_type": "image/png"}
    content = [{"type": "text", "text": "What is this?"}, picture]
    assert chat(gateway, responses).invoke([HumanMessage(content)]).text


@API
def test_errors_are_those_of_the_openai_client(gateway, responses):
    with pytest.raises(openai.NotFoundError, match="claude-haiku-4-5"):
        chat(gateway, responses).model_copy(update={"model_name": "claude-haiku-4-6"}).invoke("hi")
    wrong = ChatOpenAI(model=MODEL, base_url=f"{gateway.url}/v1", api_key="bgw_unknown_secret", max_retries=0,
                       use_responses_api=responses)
    with pytest.raises(openai.AuthenticationError):
        wrong.invoke("hi")


def test_a_conversation_goes_on_from_the_stored_response(gateway):
    model = chat(gateway, True, use_previous_response_id=True)
    first = model.invoke([HumanMessage("My name is Ada")])
    reply = model.invoke([HumanMessage("My name is Ada"), first, HumanMessage("And now?")])
    assert isinstance(reply, AIMessage) and "And now?" in reply.text


def test_documents_are_embedded_in_their_order(gateway):
    # Without this setting LangChain sends token ids, which only the model that they were made for can read.
    embeddings = OpenAIEmbeddings(model="titan-embed-text-v2", base_url=f"{gateway.url}/v1", api_key=gateway.key,
                                  dimensions=256, check_embedding_ctx_length=False)
    vectors = embeddings.embed_documents(["a", "b", "a"])
    assert [len(vector) for vector in vectors] == [256] * 3
    assert vectors[0] == vectors[2] != vectors[1]
    assert json.dumps(vectors[0]) == json.dumps(embeddings.embed_query("a"))
