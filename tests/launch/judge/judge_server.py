"""A local server that judges by a rule, and a tiny local model whose answers are verdicts."""

import json
import re
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from launch.answers.records import prompt_id
from launch.answers.sampling import draw_seed
from tests import tiny

REPLIES = re.compile(r"<response_a>\n(.*?)\n</response_a>\n\n<response_b>\n(.*?)\n</response_b>", re.DOTALL)
USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}


def by_quality(first, second, sample):
    """The reply that names the higher quality; nothing to say about one that names none."""
    named = [re.search(r"quality (\d+)", reply) for reply in (first, second)]
    if None in named:
        return "I would rather not say."
    one, other = (int(match[1]) for match in named)
    return f"Because.\n<preference>{'A' if one > other else 'B' if other > one else 'tie'}</preference>"


class JudgeServer(ThreadingHTTPServer):
    """Answers with `rule(first reply, second reply, sample)`; refuses every request after `fail_after` of them."""

    def __init__(self, rule):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rule, self.requests, self.fail_after, self.lock = rule, [], None, threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append(body)
            refused = server.fail_after is not None and len(server.requests) > server.fail_after
        if refused:
            return self.reply(400, {"error": {"message": "enough"}})
        key = prompt_id(body["messages"])
        sample = next((k for k in range(5) if body.get("seed") == draw_seed(0, key, k) % 2**31), 0)
        text = server.rule(*REPLIES.findall(body["messages"][-1]["content"])[-1], sample)
        choice = {"index": 0, "finish_reason": "length" if text is None or "endless" in text else "stop",
                  "message": {"role": "assistant", "content": text}}  # fmt: skip
        self.reply(200, {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
                         "choices": [choice], "usage": USAGE})  # fmt: skip

    def reply(self, status, obj):
        data = json.dumps(obj).encode()
        with suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextmanager
def serving(rule=by_quality):
    server = JudgeServer(rule)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def build_tiny_judge(folder: Path, seed: int = 0) -> Path:
    """A Llama whose answers are verdicts, each one token and about equally likely, made as `tiny.build_scoring_model`.

    Sampled with the three likeliest tokens it always gives a verdict. Its limit is above what a judge's prompt takes.
    """
    import torch
    from transformers import AutoTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    tiny.build_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<preference>{label}</preference>" for label in ("A", "B", "tie")])
    tokenizer.save_pretrained(folder)
    model = tiny.random_llama(
        "LlamaForCausalLM", seed, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)  # draws the new rows
    weights = model.lm_head.weight.data
    model.model.embed_tokens.weight.data[:, 0] = 3.0
    weights[:, 0] = -4.0
    weights[400:, 0] = 4.0
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    return folder
