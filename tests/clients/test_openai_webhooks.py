"""What a gateway posts when a batch ends is what the official client takes."""

import base64
import json
import os
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import start, stop
from openai import InvalidWebhookSignatureError, OpenAI


@pytest.fixture
def receiver():
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.rfile.read(int(self.headers["content-length"])), dict(self.headers)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", seen
    server.shutdown()


def test_a_webhook_is_taken_by_the_official_client(tmp_path, monkeypatch, receiver):
    url, seen = receiver
    monkeypatch.setenv("BEDROCK_GATEWAY__FETCH__ALLOW_NETWORKS", "127.0.0.0/8")
    process, gateway = start(tmp_path)
    try:
        store = next(tmp_path.rglob("*.db"))
        environment = {**os.environ, "BEDROCK_GATEWAY__STORE__URL": f"sqlite://{store}"}
        made = subprocess.run(
            [os.environ["BEDROCK_GATEWAY_BIN"], "keys", "create", "--team", "local", "--name", "admin", "--scopes",
             "admin", "--json"],
            env=environment, check=True, capture_output=True, text=True,
        )
        request = urllib.request.Request(
            f"{gateway.url}/admin/v1/teams/local", method="PATCH", data=json.dumps({"webhook_url": url}).encode(),
            headers={"authorization": f"Bearer {json.loads(made.stdout)['key']}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            secret = json.load(answer)["webhook_secret"]
        client = OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, webhook_secret=secret)
        body = {"model": "nova-lite", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
        line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
        file = client.files.create(file=("a.jsonl", json.dumps(line).encode() + b"\n"), purpose="batch")
        batch = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            time.sleep(0.1)
        payload, headers = seen[0]
        event = client.webhooks.unwrap(payload, headers)
        assert (event.type, event.data.id) == ("batch.completed", batch.id)
        other = "whsec_" + base64.b64encode(bytes(32)).decode()
        for wrong in [(payload.replace(b"completed", b"cancelled"), secret), (payload, other)]:
            with pytest.raises(InvalidWebhookSignatureError):
                client.webhooks.unwrap(wrong[0], headers, secret=wrong[1])
    finally:
        stop(process)
