import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from launch.evaluate import generate
from launch.evaluate.records import read_generations

KEY = "key-that-must-not-be-shown"


class FakeServer(ThreadingHTTPServer):
    """Speaks the one call that is used, and keeps what it was asked. `failures` answers come first, as status 500."""

    def __init__(self, failures=0, status=500):
        super().__init__(("127.0.0.1", 0), Handler)
        self.failures, self.status = failures, status
        self.requests, self.keys, self.active, self.most_active = [], [], 0, 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            failing = server.failures > 0
            server.failures -= failing
            server.requests.append(body)
            server.keys.append(self.headers["Authorization"])
        if failing:
            return self.reply(server.status, {"error": {"message": f"bad key {KEY}"}})
        text = body["messages"][-1]["content"].upper()
        choice = {
            "index": 0,
            "finish_reason": "length" if "long" in text.lower() else "stop",
            "message": {"role": "assistant", "content": text},
        }
        usage = {"prompt_tokens": 11, "completion_tokens": len(text), "total_tokens": 11 + len(text)}
        self.reply(200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
                         "choices": [choice], "usage": usage})  # fmt: skip

    def reply(self, status, obj):
        data = json.dumps(obj).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    servers = []

    def start(**options):
        server = FakeServer(**options)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def prompts_file(write_rows):
    return write_rows("prompts.jsonl", [{"prompt": text} for text in ("one", "two", "a long one", "four", "five")])


def flags(server, prompts_file, out, *extra):
    return [
        *["--backend", "openai", "--base_url", server.url, "--api_model", "served", "--prompts", prompts_file],
        *["--out", str(out), "--label", "api", "--batch_size", "2", "--max_new_tokens", "7", *extra],
    ]


def test_answers_arrive_after_an_error_and_the_key_is_not_shown(serve, prompts_file, tmp_path, capsys):
    server = serve(failures=1)
    assert generate.main(flags(server, prompts_file, tmp_path, "--system", "Be kind")) == 0
    records = read_generations(tmp_path / "api")
    assert [record["response"] for record in records] == ["ONE", "TWO", "A LONG ONE", "FOUR", "FIVE"]
    assert [record["capped"] for record in records] == [False, False, True, False, False]
    assert [record["response_tokens"] for record in records] == [3, 3, 10, 4, 4]
    assert {record["prompt_tokens"] for record in records} == {11}
    assert len(server.requests) == 6
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert all(body["temperature"] == 0 and body["max_tokens"] == 7 for body in server.requests)
    assert all(body["messages"][0] == {"role": "system", "content": "Be kind"} for body in server.requests)
    assert [message["role"] for message in records[0]["messages"]] == ["user"]
    written = "".join(path.read_text() for path in (tmp_path / "api").iterdir())
    printed = capsys.readouterr()
    assert KEY not in written + printed.out + printed.err


def test_each_batch_is_on_the_disk_before_the_next(serve, prompts_file, tmp_path, monkeypatch):
    server = serve()
    partial = tmp_path / "api/00001-of-00001.partial.jsonl"
    genuine = generate.OpenAIBackend.generate
    found = []

    def watch(self, items):
        found.append(len(partial.read_text().splitlines()) if partial.exists() else 0)
        if len(found) == 3:
            raise KeyboardInterrupt
        return genuine(self, items)

    monkeypatch.setattr(generate.OpenAIBackend, "generate", watch)
    with pytest.raises(KeyboardInterrupt):
        generate.main(flags(server, prompts_file, tmp_path))
    assert found == [0, 2, 4]
    monkeypatch.setattr(generate.OpenAIBackend, "generate", genuine)
    generate.main(flags(server, prompts_file, tmp_path))
    assert len(server.requests) == 5
    assert len(read_generations(tmp_path / "api")) == 5


def test_sampling_sends_a_seed_for_each_answer(serve, prompts_file, tmp_path):
    server = serve()
    generate.main(flags(server, prompts_file, tmp_path, "--do_sample", "--temperature", "0.7", "--num_samples", "2"))
    assert len({body["seed"] for body in server.requests}) == 10
    assert {body["temperature"] for body in server.requests} == {0.7}


def test_a_refusal_is_reported_without_the_key(serve, prompts_file, tmp_path):
    server = serve(failures=99, status=401)
    with pytest.raises(ValueError, match="AuthenticationError") as error:
        generate.main(flags(server, prompts_file, tmp_path))
    assert KEY not in str(error.value)
    assert error.value.__cause__ is None
    assert not list((tmp_path / "api").glob("*-of-*"))


@pytest.mark.parametrize(
    "extra", [["--max_input_length", "5"], ["--repetition_penalty", "1.1"], ["--model", "x"], ["--template", "chatml"]]
)
def test_settings_that_the_server_owns_are_refused(serve, prompts_file, tmp_path, extra):
    with pytest.raises(ValueError, match=extra[0]):
        generate.main(flags(serve(), prompts_file, tmp_path, *extra))
