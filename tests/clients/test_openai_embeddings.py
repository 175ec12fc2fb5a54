"""The unmodified openai client making vectors and images, and Jina's shape of reranking over plain HTTP."""

import base64
import json
import math
import urllib.request

import openai
import pytest

TITAN = "titan-embed-text-v2"
COHERE = "embed-v4"


@pytest.fixture(scope="module")
def client(gateway):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)


def test_the_client_asks_for_base64_by_itself_and_reads_floats(client):
    reply = client.embeddings.create(model=TITAN, input="hello there")
    assert reply.object == "list" and reply.model == TITAN
    vector = reply.data[0].embedding
    assert len(vector) == 1024 and all(isinstance(number, float) for number in vector)
    assert math.isclose(sum(number * number for number in vector), 1, rel_tol=1e-4)
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 0


def test_floats_and_base64_are_the_same_vector(client):
    coded = client.embeddings.create(model=TITAN, input="hello").data[0].embedding
    plain = client.embeddings.create(model=TITAN, input="hello", encoding_format="float").data[0].embedding
    assert all(math.isclose(one, other, abs_tol=1e-6) for one, other in zip(coded, plain, strict=True))


@pytest.mark.parametrize("model", [TITAN, COHERE, "embed-multilingual-v3", "titan-embed-text-v1"])
def test_many_inputs_keep_their_order(client, model):
    texts = [f"text number {n}" for n in range(120)]
    reply = client.embeddings.create(model=model, input=texts)
    assert [one.index for one in reply.data] == list(range(120))
    alone = client.embeddings.create(model=model, input=texts[100]).data[0].embedding
    assert reply.data[100].embedding == alone


def test_dimensions_are_honoured_or_refused_with_what_is_offered(client):
    for model in [TITAN, COHERE]:
        assert len(client.embeddings.create(model=model, input="hi", dimensions=256).data[0].embedding) == 256
    with pytest.raises(openai.BadRequestError, match="256, 512, 1024") as caught:
        client.embeddings.create(model=TITAN, input="hi", dimensions=333)
    assert caught.value.param == "dimensions"


def test_an_input_type_reaches_the_model(client):
    reply = client.embeddings.with_raw_response.create(
        model=COHERE, input="hi", extra_body={"input_type": "search_query"})
    assert "x-gateway-translation" not in reply.headers
    with pytest.raises(openai.BadRequestError, match="input_type"):
        client.embeddings.create(model=COHERE, input="hi", extra_body={"input_type": "poetry"})


def test_attempts_and_cost_are_those_of_all_calls(client):
    one = client.embeddings.with_raw_response.create(model=TITAN, input="the same text " * 40)
    many = client.embeddings.with_raw_response.create(model=TITAN, input=["the same text " * 40] * 12)
    assert (one.headers["x-gateway-attempts"], many.headers["x-gateway-attempts"]) == ("1", "12")
    assert math.isclose(float(many.headers["x-gateway-cost-usd"]), 12 * float(one.headers["x-gateway-cost-usd"]))


@pytest.mark.parametrize(("field", "change"), [
    ("input", {"input": []}),
    ("input", {"input": [1, 2, 3]}),
    ("input", {"input": [[1, 2], [3]]}),
    ("input[1]", {"input": ["a", ""]}),
    ("input[0]", {"input": [None]}),
    ("dimensions", {"dimensions": "many"}),
    ("encoding_format", {"encoding_format": "int8"}),
    ("model", {"model": "claude-haiku-4-5"}),
])
def test_bad_input_names_the_field(client, field, change):
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/embeddings", body={"model": TITAN, "input": "hi"} | change, cast_to=object)
    assert caught.value.type == "invalid_request_error" and caught.value.param == field, caught.value.body


def test_embedding_models_are_listed(client):
    ids = {model.id for model in client.models.list()}
    assert {"amazon.titan-embed-text-v2:0", "cohere.embed-v4:0", "cohere.rerank-v3-5:0"} <= ids
    assert any(id.startswith("stability.") for id in ids)


def test_images_come_as_base64(client):
    reply = client.images.generate(model="sd3-5-large", prompt="a lighthouse", n=2, size="1024x1024")
    assert reply.created > 0 and len(reply.data) == 2
    for image in reply.data:
        assert base64.b64decode(image.b64_json, validate=True).startswith(b"\x89PNG")


def test_an_image_that_a_filter_stopped_has_openais_code(client):
    with pytest.raises(openai.BadRequestError, match="Filter reason") as caught:
        client.images.generate(model="sd3-5-large", prompt="a lighthouse [[blocked]]")
    assert caught.value.code == "content_policy_violation"


@pytest.mark.parametrize(("field", "change"), [
    ("prompt", {"prompt": ""}),
    ("n", {"n": 11}),
    ("size", {"size": "large"}),
    ("response_format", {"response_format": "url"}),
    ("stream", {"stream": True}),
    ("model", {"model": TITAN}),
])
def test_an_image_that_cannot_be_names_the_field(client, field, change):
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/images/generations", body={"model": "sd3-5-large", "prompt": "a cat"} | change, cast_to=object)
    assert caught.value.param == field, caught.value.body


def test_documents_are_reranked(gateway):
    body = {"model": "rerank-v3-5", "query": "capital of France", "top_n": 2, "return_documents": True,
            "documents": ["the sky is blue", {"text": "the capital of France is Paris"}, "Paris"]}
    request = urllib.request.Request(
        f"{gateway.url}/v1/rerank", json.dumps(body).encode(),
        {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        results = json.load(reply)["results"]
    assert [results[0]["index"], len(results)] == [1, 2]
    assert results[0]["document"] == {"text": "the capital of France is Paris"}
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
