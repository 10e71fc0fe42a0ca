"""Pairs whose scores are known, a server that gives them, and a training run of a tiny model as ms-swift leaves it."""

import json
import re
import shutil
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from launch.answers.records import prompt_id
from launch.answers.sampling import draw_seed
from tests import tiny

# (score of the chosen reply, of the rejected one); 0 stands for an answer without a score.
QUALITIES = [(80, 60), (70, 40), (50, 50), (30, 70), (0, 40), (90, 10), (20, 35), (66, 65)]


def transcript(index, reply):
    return f"\n\nHuman: Question number {index}?\n\nAssistant: {reply}"


def hh_row(index, chosen, rejected):
    # Replies of equal quality must still differ.
    return {
        "chosen": transcript(index, f"First reply of quality {chosen}."),
        "rejected": transcript(index, f"Other reply of quality {rejected}."),
    }


@pytest.fixture
def hh_file(tmp_path):
    """Eight HH rows with the qualities above."""
    return tiny.write_rows(tmp_path / "hh.jsonl", [hh_row(i, *pair) for i, pair in enumerate(QUALITIES)])


class Judge(ThreadingHTTPServer):
    """Answers with the quality that the judged reply names, as a score; the second sample of a prompt is 4 higher.

    With `fail_after` it refuses every request after so many; it takes `delay` seconds for each. A reply of a quality in
    `silent` gets an answer without text.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.fail_after, self.delay, self.lock = [], None, 0.0, threading.Lock()
        self.silent = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        with server.lock:
            server.requests.append(body)
            refused = server.fail_after is not None and len(server.requests) > server.fail_after
        time.sleep(server.delay)
        if refused:
            return self.reply(400, {"error": {"message": "enough"}})
        # Which sample this is can be told by its seed alone: requests of one batch arrive in any order.
        key = prompt_id(body["messages"])
        second = any(body.get("seed") == draw_seed(seed, key, 1) % 2**31 for seed in range(10))
        quality = int(re.findall(r"reply of quality (\d+)", text)[-1])
        answer = "I would rather not say." if quality == 0 else f"<s>{min(100, quality + 4 * second)}</s>\nBecause."
        answer = None if quality in server.silent else answer
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": answer}}
        usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
        self.reply(200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
                         "choices": [choice], "usage": usage})  # fmt: skip

    def reply(self, status, obj):
        data = json.dumps(obj).encode()
        # Whoever asked may have been killed meanwhile.
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    judge = Judge()
    thread = threading.Thread(target=judge.serve_forever, daemon=True)
    thread.start()
    yield judge
    judge.shutdown()
    judge.server_close()
    thread.join()


@pytest.fixture
def asked(server, hh_file):
    """Flags that ask the server about the pairs of `hh_file`."""
    return [
        *["--base_url", server.url, "--api_model", "org/judge", "--dataset", "anthropic_hh", "--source", str(hh_file)],
        *["--prompt", "hh_score100_v1"],
    ]


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory):
    """v0-old (empty of checkpoints) and v10-new with an adapter (checkpoint-10) and the same merged (checkpoint-200)."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("run")
    base = tiny.build_model(root / "base", seed=4, end_gain=1.8)
    config = json.loads((base / "config.json").read_text())
    # A prompt of a judge is long, and a tiny tokenizer makes it longer.
    (base / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    run = root / "output" / "v10-20260101-000000"
    adapter = tiny.build_adapter(base, run / "checkpoint-10", seed=1)
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload()
    merged.save_pretrained(run / "checkpoint-200")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (base / name).is_file():
            shutil.copy(base / name, run / "checkpoint-200" / name)
    args = {"model": str(base), "model_type": "llama", "template": "chatml", "system": "You judge", "adapters": [],
            "torch_dtype": "float32", "use_chat_template": True, "enable_thinking": None}  # fmt: skip
    (run / "args.json").write_text(json.dumps(args))
    (root / "output" / "v9-20250101-000000").mkdir()
    (root / "output" / "v9-20250101-000000" / "args.json").write_text("{}")
    return Path(run)
