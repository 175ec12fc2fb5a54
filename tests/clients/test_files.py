"""The unmodified openai client uploading, listing, reading and deleting files."""

import json
import time

import httpx
import openai
import pytest


@pytest.fixture(scope="module")
def client(gateway):
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)


def line(number, text="hello"):
    body = {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": text}]}
    record = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(record).encode() + b"\n"


def test_a_file_goes_in_and_comes_out_as_it_was(client, tmp_path):
    text = b"".join(line(number) for number in range(500))
    path = tmp_path / "übung 1.jsonl"
    path.write_bytes(text)
    file = client.files.create(file=path, purpose="batch")
    assert (file.object, file.purpose, file.status, file.bytes) == ("file", "batch", "processed", len(text))
    assert file.filename == "übung 1.jsonl" and file.id.startswith("file-")
    assert file.created_at <= time.time() + 5 and file.expires_at == file.created_at + 720 * 3600
    assert client.files.retrieve(file.id) == file
    assert client.files.wait_for_processing(file.id) == file
    assert client.files.content(file.id).content == text
    with client.files.with_streaming_response.content(file.id) as reply:
        copy = tmp_path / "copy.jsonl"
        reply.stream_to_file(copy)
    assert copy.read_bytes() == text
    gone = client.files.delete(file.id)
    assert (gone.id, gone.object, gone.deleted) == (file.id, "file", True)
    for look in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            look(file.id)


def test_files_are_listed_page_by_page(client):
    made = [client.files.create(file=(f"{n}.jsonl", line(n)), purpose="batch").id for n in range(5)]
    listed = [file.id for file in client.files.list(purpose="batch", order="asc", limit=2) if file.id in made]
    assert sorted(listed) == sorted(made) and len(set(listed)) == 5
    assert not [file for file in client.files.list(purpose="batch_output") if file.id in made]
    for id in made:
        client.files.delete(id)


def test_a_file_is_kept_as_long_as_its_owner_says(client):
    file = client.files.create(
        file=("a.jsonl", line(1)), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(
            file=("a.jsonl", line(1)), purpose="batch", expires_after={"anchor": "created_at", "seconds": 1}
        )
    assert refused.value.param == "expires_after.seconds"
    client.files.delete(file.id)


def test_other_purposes_are_refused(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.create(file=("a.jsonl", line(1)), purpose="fine-tune")
    assert refused.value.param == "purpose"


def test_a_file_of_many_parts_is_read_by_ranges(gateway, client):
    text = b"".join(line(number, "x" * 1000) for number in range(20_000))
    assert len(text) > 16 * 1024 * 1024
    file = client.files.create(file=("large.jsonl", text), purpose="batch")
    address = f"{gateway.url}/v1/files/{file.id}/content"
    headers = {"authorization": f"Bearer {gateway.key}"}
    middle = httpx.get(address, headers=headers | {"range": "bytes=9000000-9000099"})
    assert (middle.status_code, middle.content) == (206, text[9_000_000:9_000_100])
    assert middle.headers["content-range"] == f"bytes 9000000-9000099/{len(text)}"
    assert httpx.get(address, headers=headers | {"range": f"bytes={len(text)}-"}).status_code == 416
    assert client.files.content(file.id).content == text
    client.files.delete(file.id)
