"""The one fake server of the tests: OpenAI chat completions and Anthropic messages on the loopback interface.

What is said is a method, `say`, which `tests.fake_teacher` and `tests.fake_judge` write anew; how it goes wrong is a word
of a script.
"""

import base64
import html
import json
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

# What a server may put where the text belongs.
ODD = {"null": lambda _: None, "number": lambda _: 7, "list": lambda text: [text], "half": lambda text: f"\ud83d{text}"}

# How a server may repeat a key, or the headers with the key in them.
ECHOES = {
    "plain": str,
    "repr": repr,
    "json": json.dumps,
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "numbered": lambda text: "".join(f"\\u{ord(character):04x}" for character in text),
    "address": lambda text: quote(text, safe=""),
    "address twice": lambda text: quote(quote(text, safe=""), safe=""),
    "page": html.escape,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "basic": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "base64 of addresses": lambda text: base64.urlsafe_b64encode(f"u:{text}!".encode()).decode(),
    "digits": lambda text: text.encode().hex(),
}


class FakeServer(ThreadingHTTPServer):
    """Behaves as ``script`` says, one word a request in the order of arrival, and well when the script has ended.

    Words: ok, slow, a status such as 429 or 500 (the headers stand in its message), cut (the body ends early), json
    (half a JSON object), shapeless, garbage, empty, limit (cut off by the limit of tokens), null, number, list, half (a
    character), nobody (no choices), negative (counts), html, echo (sends the headers back); others mean something to
    `say` alone. Behind a status or ``echo`` a colon and a key of ECHOES, or ``all``, say how the key is repeated.

    Args:
        fail_after: every request after so many is refused.
        delay: seconds for each answer.
        odd: user message -> fields of the choice that its answer has instead, or (status, body).

    Attributes:
        bodies: what was asked, in the order of arrival.
        answered: how often each user message got a good status and its whole body.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script=(), port=0, delay=0.0, fail_after=None, odd=None):
        super().__init__(("127.0.0.1", port), Handler)
        self.script, self.delay, self.fail_after, self.odd = list(script), delay, fail_after, odd or {}
        self.bodies, self.headers, self.times, self.answered = [], [], [], Counter()
        self.active = self.most_active = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """The address for clients of OpenAI's protocol."""
        return f"{self.address}/v1"

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request, client_address):
        pass  # a client that was killed

    def say(self, body, way: str = "ok") -> str | None:
        """The answer to a request."""
        return body["messages"][-1]["content"].upper()

    def oddity(self, body):
        """Fields of the choice that the answer to a request has instead, or (status, body)."""
        return self.odd.get(body["messages"][-1]["content"], {})

    def next_way(self, body) -> str:
        """What happens to a request that has just been taken in; under the lock."""
        if self.fail_after is not None and len(self.bodies) > self.fail_after:
            return "400"
        return self.script.pop(0) if self.script else "ok"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            way = server.next_way(body)
            server.active += 1
            server.most_active = max(server.most_active, server.active)
        try:
            time.sleep(server.delay + (1 if way == "slow" else 0))
            self.answer(body, *way.partition(":")[::2])
        finally:
            with server.lock:
                server.active -= 1

    def echo(self, form):
        if not form:
            return str(dict(self.headers))
        names = {name.lower(): value for name, value in self.headers.items()}
        key = names.get("x-api-key") or names["authorization"].removeprefix("Bearer ")
        forms = [ECHOES[form]] if form != "all" else ECHOES.values()
        return f"your key is {' '.join(repeat(key) for repeat in forms)} and http://user:{quote(key, safe='')}@host"

    def answer(self, body, way, form):
        user = body["messages"][-1]["content"]
        if way.isdigit():
            error = {"error": {"type": "error", "message": f"refused: {self.echo(form)}"}}
            return self.send(int(way), json.dumps(error).encode(), {"Retry-After": "1"} if way == "429" else {})
        odd = self.server.oddity(body)
        if isinstance(odd, tuple):
            return self.send(*odd)
        text = {"garbage": "I would rather not.", "empty": ""}.get(way)
        text = self.echo(form) if way == "echo" else self.server.say(body, way) if text is None else text
        # As a server does whose model thinks or talks on and on.
        limited = way == "limit" or text is None or "endless" in text.lower()
        text = ODD.get(way, lambda text: text)(text)
        size = -7 if way == "negative" else len(str(text)) // 4
        if "/messages" in self.path:
            answer = {
                "type": "message", "role": "assistant", "model": "fake-1",
                "content": [{"type": "text", "text": text}] * (way != "nobody"),
                "stop_reason": "max_tokens" if limited else "end_turn",
                "usage": {"input_tokens": len(user) // 4, "output_tokens": size},
            }  # fmt: skip
        else:
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "length" if limited else "stop",
                **odd,
            }
            answer = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "fake-1",
                "choices": [choice] * (way != "nobody"),
                "usage": {"prompt_tokens": len(user) // 4, "completion_tokens": size},
            }
        data = json.dumps({"error": None} if way == "shapeless" else answer).encode()
        if way == "html":
            data = b"<html>Gateway time-out</html>"
        if way == "json":
            data = data[: len(data) // 2]
        self.send(200, data, {}, cut=way == "cut")
        if way not in ("json", "cut", "shapeless", "html"):
            with self.server.lock:
                self.server.answered[user] += 1

    def send(self, status, data, headers=None, cut=False):
        # Whoever asked may have been killed meanwhile.
        with suppress(ConnectionError):
            self.send_response(status)
            usual = {"Content-Type": "application/json", "Content-Length": len(data)}
            for name, value in (usual | (headers or {})).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if cut else data)
            self.wfile.flush()
        self.close_connection = cut

    def log_message(self, *arguments):
        pass
