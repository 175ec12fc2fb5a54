"""A short load with something of everything that a gateway counts, in two rounds.

In two, because Prometheus sees growth only between two scrapes: the first round has the series appear, the second has
them grow.
"""

import collections
import http.server
import json
import threading

from processes import ADMIN, ask, until

CLAUDE = "claude-haiku-4-5"
NOVA = "nova-lite"
EMBED = "titan-embed-text-v2"
FLEXIBLE = "gpt-oss-20b"
MICRO = "nova-micro"
OVER = {"completed", "failed", "expired", "cancelled"}

#: Longer than what a model has to see before it caches a prompt.
LONG = "The house rules of the library are read to every visitor at the door. " * 900


class Receiver(http.server.BaseHTTPRequestHandler):
    """A team's webhook: it refuses each event once."""

    seen = collections.Counter()

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        event = self.headers["webhook-id"]
        Receiver.seen[event] += 1
        self.send_response(503 if Receiver.seen[event] == 1 else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Load:
    """What was sent, and how it was answered: `answered` counts by status."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.answered = collections.Counter()
        self.keys = {}
        self.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()

    def send(self, path, body=None, key="search", expect=(200,), method=None, headers=None):
        method = method or ("GET" if body is None else "POST")
        headers = dict(headers or {})
        if key is not None:
            headers["authorization"] = f"Bearer {self.keys.get(key, key)}"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            headers.setdefault("content-type", "application/json")
        status, text = ask(self.gateway.url + path, method, body, headers)
        self.answered[status] += 1
        assert status in expect, (path, status, text[:500], self.gateway.log.read_text()[-1500:])
        return text

    def admin(self, path, body=None, method=None):
        text = self.send(f"/admin/v1/{path}", body, ADMIN, (200, 201, 204), method)
        return json.loads(text) if text else None

    def order(self, method="POST", **fault):
        body = json.dumps(fault).encode() if fault else None
        status, text = ask(f"{self.gateway.simulator}/_sim/faults", method, body, {"content-type": "application/json"})
        assert status < 300, text

    def meet(self, fault, call, **more):
        """Has a call meet a fault, in whichever Region it is made; what it did not meet does not wait for the next."""
        self.order(fault=fault, **more)
        call()
        self.order("DELETE")

    # Who calls.

    def prepare(self):
        """Teams, keys, limits and budgets."""
        for team in ("search", "support", "small", "limited"):
            self.admin("teams", {"name": team})
            self.keys[team] = self.admin("keys", {"team": team, "name": "load"})["key"]
        self.keys["batch alone"] = self.admin("keys", {"team": "support", "name": "b", "scopes": ["batch"]})["key"]
        hook = f"http://localhost:{self.receiver.server_port}/hook"
        self.admin("teams/search", {"webhook_url": hook}, "PATCH")
        self.admin("budgets", {"team": self.team("search"), "period": "month", "limit_usd": "250"}, "PUT")
        # Twelve answers come to 80 percent of it, and then a worst case does not fit any more.
        self.admin("budgets", {"team": self.team("small"), "period": "day", "limit_usd": "0.0007"}, "PUT")
        self.admin("limits", {"team": self.team("limited"), "requests_per_minute": 2}, "PUT")
        self.legacy = self.legacy_model()

    def team(self, name):
        [team] = [team for team in self.admin("teams")["data"] if team["name"] == name]
        return team["id"]

    def legacy_model(self):
        """The short id of a model that is on its way out and still answers; `None` where the catalog has none."""
        models = json.loads(self.send("/catalog/models"))["data"]
        for model in models:
            if model["lifecycle"]["stage"] == "legacy" and model["kind"] == "chat" and model["offers"]:
                return model["short_id"]
        return None

    # What is called.

    def chat(self, model=CLAUDE, key="search", expect=(200,), **more):
        body = {"model": model, "max_tokens": 60, "messages": [{"role": "user", "content": "Say a number."}], **more}
        return self.send("/v1/chat/completions", body, key, expect)

    def answers(self):
        """What works, on every surface."""
        self.chat()
        self.chat(FLEXIBLE, "support", service_tier="flex")
        for key in ("search", "support"):
            self.chat(NOVA, key, stream=True)
            self.chat(CLAUDE, key, stream=True)
        message = {"model": CLAUDE, "max_tokens": 60, "messages": [{"role": "user", "content": "Say a number."}]}
        version = {"anthropic-version": "2023-06-01"}
        self.send("/v1/messages", message, headers=version)
        self.send("/v1/messages", message | {"stream": True}, headers=version)
        cached = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
        for _ in range(2):
            self.send("/v1/messages", message | {"system": cached}, headers=version)
        self.send("/v1/messages/count_tokens", {name: message[name] for name in ("model", "messages")}, headers=version)
        self.send("/v1/responses", {"model": NOVA, "input": "Say a number.", "max_output_tokens": 60, "store": False})
        converse = {
            "messages": [{"role": "user", "content": [{"text": "Say a number."}]}],
            "inferenceConfig": {"maxTokens": 60},
        }
        for way in ("converse", "converse-stream"):
            self.send(f"/model/amazon.nova-lite-v1:0/{way}", converse, "support")
        native = {"anthropic_version": "bedrock-2023-05-31"} | {n: message[n] for n in ("max_tokens", "messages")}
        self.send("/model/us.anthropic.claude-haiku-4-5-20251001-v1:0/invoke", native, "support")
        self.send("/v1/embeddings", {"model": EMBED, "input": ["one", "two"]})
        self.send("/v1/models")
        if self.legacy:
            self.chat(self.legacy)
        content = [{"text": {"text": "Is this all right?"}}]
        guardrail = "/guardrail/abcdefgh1234/version/1/apply"
        self.send(guardrail, {"source": "INPUT", "content": content}, "support")

    def refusals(self):
        """What the gateway refuses by itself."""
        self.chat(key="bgw_nobody_" + "0" * 64, expect=(401,))
        self.chat(key=None, expect=(401,))
        self.chat(key="batch alone", expect=(403,))
        self.chat("no-such-model", expect=(404,))
        self.chat(temperature="warm", expect=(400,))
        # Two a minute: the third is one too many, in each round.
        for _ in range(3):
            self.chat(NOVA, "limited", expect=(200, 429))
        # Until what is left of the day's budget does not pay for the worst case of a further call.
        for _ in range(8):
            self.chat(CLAUDE, "small", expect=(200, 429), max_tokens=8)

    def overruns(self):
        """Much white space teaches the gateway that this model's tokens are long; short words cost more than it holds."""
        for text in [("word" + " " * 36) * 60] * 30 + ["a " * 3000]:
            self.chat(MICRO, messages=[{"role": "user", "content": text}], max_tokens=5)

    def faults(self):
        """What AWS does wrong."""
        nova = lambda: self.chat(NOVA, "support", stream=True)
        self.meet("slow_first_byte", nova, milliseconds=120)
        self.meet("cut_stream", nova, after_events=2)
        # The other Region answers.
        for fault in ("throttle", "unavailable"):
            self.meet(fault, nova)
        # No Region answers, and the client is told.
        for fault, status in (("throttle", 429), ("unavailable", 503), ("model_timeout", 504)):
            self.meet(fault, lambda: self.chat(CLAUDE, "support", (status,)), times=2)
        self.meet("reject", lambda: self.chat(CLAUDE, "support", (400,)), exception="ValidationException")

    def reloads(self):
        """A change of the settings that counts, one that is broken, and back."""
        good = self.gateway.settings.read_text()
        for text, is_good in ((good + '\n[[models]]\nalias = "fast"\nmodel = "nova-lite"\n', 1), (good + "\nnonsense = 1\n", 0), (good, 1)):
            before = self.gateway.value("gateway_config_reloads_total")
            self.gateway.settings.write_text(text)
            self.gateway.reload()
            until("the settings are read again", lambda: self.gateway.value("gateway_config_reloads_total") > before)
            successful = lambda: self.gateway.value("gateway_config_last_reload_successful") == is_good
            until(f"that they are {'good' if is_good else 'broken'} is told", successful)

    def submit(self, lines):
        """The id of a batch of these bodies."""
        records = (
            {"custom_id": f"r{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            for n, body in enumerate(lines)
        )
        text = "".join(json.dumps(record) + "\n" for record in records)
        form = (
            '--X\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--X\r\nContent-Disposition: '
            f'form-data; name="file"; filename="a.jsonl"\r\n\r\n{text}\r\n--X--\r\n'
        )
        multipart = {"content-type": "multipart/form-data; boundary=X"}
        file = json.loads(self.send("/v1/files", form.encode(), headers=multipart))
        new = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return json.loads(self.send("/v1/batches", new))["id"]

    def jobs(self, order, **more):
        status, text = ask(
            f"{self.gateway.simulator}/_sim/jobs", "POST", json.dumps({"order": order, **more}).encode(),
            {"content-type": "application/json"},
        )
        assert status == 201, text

    def batches(self, seen):
        """One that runs online, with a record that is wrong, and one that is a job of AWS's, which goes on when `seen`
        says that somebody saw it. Ends when both are over."""
        body = {"model": NOVA, "max_tokens": 20, "messages": [{"role": "user", "content": "Say a number."}]}
        self.jobs("hold_at", state="InProgress")
        ids = [self.submit([body, body, body | {"temperature": "warm"}]), self.submit([body] * 100)]
        # A record that runs online is a request of its own.
        self.answered[200] += 2
        until("the job is seen", seen)
        self.jobs("release")
        for batch in ids:
            is_over = lambda: json.loads(self.send(f"/v1/batches/{batch}"))["status"] in OVER
            until(f"{batch} is over", is_over)

    def round(self, seen):
        for part in (self.answers, self.refusals, self.overruns, self.faults, self.reloads):
            part()
        self.batches(seen)

    def stop(self):
        self.receiver.shutdown()
        self.receiver.server_close()
