"""The unmodified Azure clients of the openai package: their paths, their header, their query."""

import openai
import pytest

from test_openai import MODEL, WEATHER, ask


@pytest.fixture(scope="module")
def client(gateway):
    return openai.AzureOpenAI(azure_endpoint=gateway.url, api_key=gateway.key, api_version="2024-10-21", max_retries=0)


def test_a_deployment_chats_calls_tools_and_streams(client):
    answer = client.chat.completions.create(model=MODEL, messages=ask("Say hello"))
    assert "Say hello" in answer.choices[0].message.content and answer.usage.total_tokens > 0
    answer = client.chat.completions.create(model=MODEL, messages=ask("[[tool]]"), tools=[WEATHER])
    assert answer.choices[0].message.tool_calls[0].function.name == "get_weather"
    chunks = list(client.chat.completions.create(model=MODEL, messages=ask("hi"), stream=True))
    assert "hi" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_a_deployment_of_the_client_is_the_model(gateway):
    client = openai.AzureOpenAI(azure_endpoint=gateway.url, azure_deployment=MODEL, api_key=gateway.key,
                                api_version="2024-10-21", max_retries=0)
    assert client.chat.completions.create(model="gpt-4o", messages=ask("hi")).model == MODEL


def test_embeddings_responses_and_models(client):
    vectors = client.embeddings.create(model="titan-embed-text-v2", input=["a", "b"])
    assert [len(item.embedding) for item in vectors.data] == [1024, 1024]
    response = client.responses.create(model=MODEL, input="Say hello")
    assert "Say hello" in response.output_text
    assert client.responses.retrieve(response.id).output_text == response.output_text
    assert any(MODEL in model.id for model in client.models.list())


def test_the_paths_without_dates_are_the_surfaces_own(gateway):
    client = openai.OpenAI(base_url=f"{gateway.url}/openai/v1", api_key=gateway.key, max_retries=0)
    assert client.chat.completions.create(model=MODEL, messages=ask("hi")).choices[0].message.content
    assert client.responses.create(model=MODEL, input="hi").output_text


def test_errors_are_the_clients_own(client, gateway):
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=ask("hi"))
    with pytest.raises(openai.AuthenticationError):
        openai.AzureOpenAI(azure_endpoint=gateway.url, api_key="bgw_no_key", api_version="2024-10-21", max_retries=0) \
            .chat.completions.create(model=MODEL, messages=ask("hi"))
