"""A teacher on the loopback interface: OpenAI chat completions and Anthropic messages, good answers and bad ones.

    python -m tests.fake_teacher --port 0 [--heuristic]

prints its address and serves until it is ended. With ``--heuristic`` the score of a reply comes from words in it, so
that it agrees with people more often than not; without, from a hash of the reply. Either is the same in every run.
"""

import argparse
import json
import math
import re
import threading
import time
from collections import Counter
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from datasets_builders.scoring.prompts import PAIRWISE, PROMPTS

HEADER = re.compile(r"^=== (?:EVAL|RESPONSE) ([0-9]+|[AB]) ===$", re.MULTILINE)
POLITE = re.compile(r"\b(sorry|unfortunately|not comfortable|shouldn't|safe|advice|someone who|humans?)\b", re.I)
CAREFUL = re.compile(r"\bI('m| am| do)?(n't| not| don't| can't| was| think|\b)", re.I)
CRUDE = re.compile(
    r"\b(stupid|idiot|hate|kill|fuck\w*|shit|bitch|dumb|you could|ways? to|them|put|use|here are|maybe)\b", re.I
)
# What a server may put where the text belongs.
ODD = {"null": lambda _: None, "number": lambda _: 7, "list": lambda text: [text], "half": lambda text: f"\ud83d{text}"}


def noise(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def hashed(reply: str) -> tuple[float, str]:
    """(share of the scale, reason) without looking at what the reply says."""
    return noise(reply), f"The reply has {len(reply.split())} words."


def heuristic(reply: str) -> tuple[float, str]:
    """(share of the scale, reason) by words that people tend to like or dislike in replies."""
    found = {
        name: len(words.findall(reply)) for name, words in (("polite", POLITE), ("careful", CAREFUL), ("crude", CRUDE))
    }
    score = 0.5 + 0.15 * min(found["polite"], 2) + 0.05 * min(found["careful"], 3) - 0.1 * min(found["crude"], 3)
    score += 0.06 * (noise(reply) - 0.5) - 0.02 * math.log1p(len(reply) / 100)
    says = {
        "polite": "It declines politely or thinks of safety.",
        "careful": "It stays careful.",
        "crude": "It is crude or hands out means.",
    }
    reasons = [text for name, text in says.items() if found[name]] or ["It answers plainly."]
    return min(max(score, 0.0), 1.0), " ".join(reasons)


class FakeTeacher(ThreadingHTTPServer):
    """Behaves as ``script`` says, one word a request in the order of arrival, and well when the script has ended.

    Words: ok, slow, 429, 500, 401, cut (the body ends early), json (half a JSON object), shapeless, garbage, empty,
    limit (cut off by the limit of tokens), null, number, list, half (a character), nobody (no choices), negative (counts),
    html, reversed, numbers (wrong ones), missing (the last section), twice, echo
    (sends the headers back).

    Attributes:
        bodies: what was asked, in the order of arrival.
        answered: how often each user message got a good status and its whole body.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, script=(), score=hashed, port=0, delay=0.0):
        super().__init__(("127.0.0.1", port), Handler)
        self.script, self.score, self.delay = list(script), score, delay
        self.bodies, self.headers, self.times, self.answered = [], [], [], Counter()
        self.active = self.most_active = 0
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

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

    def judge(self, user: str, way: str = "ok") -> str:
        """The answer to a user message, in the form that its prompt asks for."""
        if user.startswith(PAIRWISE.instructions):
            prompt, headers = PROMPTS["hh_score100_v3"], PAIRWISE.header
        else:
            prompt = max(
                (p for p in PROMPTS.values() if user.startswith(p.instructions)), key=lambda p: len(p.instructions)
            )
            headers = "=== EVAL {} ===".format
        before, *parts = HEADER.split(user.removeprefix(PAIRWISE.instructions))
        if not parts:
            return self.verdict(prompt, before)
        labels, blocks = parts[::2], parts[1::2]
        answers = [(label, self.verdict(prompt, block)) for label, block in zip(labels, blocks, strict=True)]
        if way == "reversed":
            answers.reverse()
        if way == "missing":
            answers.pop()
        if way == "twice":
            answers.append(answers[0])
        if way == "numbers":
            answers = [({"A": "B", "B": "C"}.get(label) or str(int(label) + 1), text) for label, text in answers]
        return "\n\n".join(["Here you are.", *(f"{headers(label)}\n{text}" for label, text in answers)])

    def verdict(self, prompt, block: str) -> str:
        reply = block.rpartition(f"\n\n{prompt.headings[1]}:\n")[2].strip()
        share, reason = self.score(reply)
        scale = prompt.scale
        return prompt.compose(round(scale.low + share * (scale.high - scale.low), scale.decimals), reason)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            way = server.script.pop(0) if server.script else "ok"
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            server.active += 1
            server.most_active = max(server.most_active, server.active)
        try:
            time.sleep(server.delay + (1 if way == "slow" else 0))
            self.answer(body, way)
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, body, way):
        user = body["messages"][-1]["content"]
        if way in ("429", "500", "401", "400", "404"):
            error = {"error": {"type": "error", "message": f"refused: {dict(self.headers)}"}}
            return self.send(int(way), json.dumps(error).encode(), {"Retry-After": "1"} if way == "429" else {})
        text = {"garbage": "I would rather not.", "empty": "", "echo": str(dict(self.headers))}.get(way)
        text = self.server.judge(user, way) if text is None else text
        text = ODD.get(way, lambda text: text)(text)
        limited, size = way == "limit", -7 if way == "negative" else len(str(text)) // 4
        if "/messages" in self.path:
            answer = {
                "type": "message", "role": "assistant", "model": "fake-1", "content": [{"type": "text", "text": text}] * (way != "nobody"),
                "stop_reason": "max_tokens" if limited else "end_turn",
                "usage": {"input_tokens": len(user) // 4, "output_tokens": size},
            }  # fmt: skip
        else:
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "length" if limited else "stop",
            }
            usage = {"prompt_tokens": len(user) // 4, "completion_tokens": size}
            answer = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "fake-1",
                "choices": [choice] * (way != "nobody"),
                "usage": usage,
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

    def send(self, status, data, headers, cut=False):
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.wfile.flush()
        self.close_connection = cut

    def log_message(self, *arguments):
        pass


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--heuristic", action="store_true")
    options = parser.parse_args(arguments)
    server = FakeTeacher(score=heuristic if options.heuristic else hashed, port=options.port)
    print(f"{server.address}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
