"""`vllm serve` with an adapter beside the base, behind the verbs: greedy answers are those of transformers in fp32.

One server for all tests, on the loopback interface.
"""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec

import pytest

from datasets_builders.teacher.requests import SYSTEM
from launch.__main__ import main
from tests import tiny
from tests.conftest import free_port
from tests.engines.record import record

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed in this environment"),
]
WAIT = 400  # seconds that a server may take to start
SERVER = [
    *["--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "2048", "--enforce-eager", "--enable-lora"],
    *["--no-enable-chunked-prefill", "--max-num-batched-tokens", "4096"],
]
TEXTS = ["Why is the sky blue?", "Tell me about the sea. " * 5, "How do I bake bread?", "a", "The wind?", "salt"]
TOKENS = ["--max_new_tokens", "8"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return str(tiny.build_model(folder, seed=4, end_gain=1.8, head_dim=32, max_position_embeddings=2048))


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory):
    return str(tiny.build_adapter(model, tmp_path_factory.mktemp("adapter"), target_modules=("q_proj", "up_proj")))


@pytest.fixture(scope="module")
def url(model, adapter, tmp_path_factory):
    """The address of a server that has the base as `base` and the adapter as `tuned`."""
    port, log = free_port(), tmp_path_factory.mktemp("server") / "log.txt"
    names = ["--served-model-name", "base", "--lora-modules", f"tuned={adapter}"]
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1"}
    # The name of a distribution of vLLM's own is not needed to start its command line.
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model, *names, *SERVER, "--port", port]
    with open(log, "w") as out:
        server = subprocess.Popen(command, env=os.environ | env, stdout=out, stderr=subprocess.STDOUT)
    try:
        for _ in range(WAIT):
            assert server.poll() is None, log.read_text()[-4000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "none-is-needed")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    pairs = [{"prompt": f"Question {n}?", "response_1": f"A reply {n}.", "response_2": f"One, {n}."} for n in range(3)]
    start = "\n\nHuman: {prompt}\n\nAssistant: "
    hh = [
        {"chosen": start.format(**one) + one["response_1"], "rejected": start.format(**one) + one["response_2"]}
        for one in pairs
    ]
    rated = [{**one, "preference_strength": 1} for one in pairs]
    return {
        "prompts": str(tiny.write_rows(folder / "prompts.jsonl", [{"prompt": text} for text in TEXTS])),
        "hh": str(tiny.write_rows(folder / "hh.jsonl", hh)),
        "pairs": str(tiny.write_rows(folder / "pairs.jsonl", rated)),
    }


def told(folder, pattern):
    """(prompt, sample) -> text, whether it was cut off, and tokens of both, over all files of answers.

    vLLM's server leaves out bytes at the end of an answer that make no whole character; transformers writes signs for them.
    """
    rows = [json.loads(line) for file in sorted(folder.glob(pattern)) for line in file.read_text().splitlines()]
    facts = ("capped", "response_tokens", "prompt_tokens")
    return {
        (row["prompt_id"], row["sample"]): [row["response"].rstrip("\ufffd"), *(row[name] for name in facts)]
        for row in rows
    }


@pytest.mark.parametrize("verb", ["generate", "eval-bt", "judge", "eval-judge"])
def test_a_server_gives_the_answers_of_transformers(verb, model, adapter, url, files, tmp_path):
    argv, pattern, flag = {
        "generate": (["--prompts", files["prompts"], "--label", "a"], "a/0*.jsonl", "--adapter"),
        "eval-bt": (
            ["--dataset", "anthropic_hh", "--source", files["hh"], "--limit", "3"],
            "samples.jsonl",
            "--checkpoint",
        ),
        "judge": (["--pairs", files["pairs"]], "answers.jsonl", "--adapter"),
        "eval-judge": (["--data", files["pairs"]], "answers.jsonl", "--adapter"),
    }[verb]
    found = {}
    for name, local in (("base", []), ("tuned", [flag, adapter])):
        # An answer that ends at once is empty, which counts as failed where a server gave it.
        asked = ["--backend", "openai", "--base_url", url, "--api_model", name, "--max_failed_share", "1"]
        for place, who in (("here", ["--model", model, *local]), ("there", asked)):
            out = tmp_path / name / place
            assert main([verb, *who, *argv, *TOKENS, "--out", str(out)]) == 0
            found[name, place] = told(out, pattern)
        assert found[name, "there"] == found[name, "here"] and found[name, "here"]
    assert found["base", "there"] != found["tuned", "there"]
    served(
        verb,
        f"{sum(map(len, found.values())) // 2} greedy answers of a base and of a LoRA beside it are those of transformers here",
    )


def served(verb: str, seen: str) -> None:
    record(verb, "vLLM server", "ran", f"vllm serve in fp32, {seen}", ("vllm", "transformers"))


def test_steer_writes_the_weights_and_the_server_answers(model, adapter, url, capsys):
    wishes = ["--weights", "brevity=0.7,plain_words=0.3", "--weights", "plain_words=1"]
    argv = ["steer", "--model", model, "--objectives", "brevity", "plain_words", *wishes, *TOKENS]
    said = []
    for who in (["--adapter", adapter], ["--base_url", url, "--api_model", "tuned"]):
        assert main([*argv, *who, "Why is the sky blue?"]) == 0
        said.append(capsys.readouterr().out)
    assert said[1] == said[0] and len(said[0].split("\n")) == 5
    served("steer", "greedy answers of a LoRA to two sets of weights are those of transformers here")


def test_the_page_asks_the_server(model, adapter, url):
    from launch.answers.backends import Decoding
    from launch.moodpo.page import Desk
    from launch.moodpo.served import ServedPolicy
    from launch.moodpo.steered import load_form, load_policy

    decoding, names = Decoding(max_new_tokens=8), ("brevity", "plain_words")
    local = Desk(load_policy(model, adapter), names, decoding)
    there = Desk(ServedPolicy(load_form(model), url, "tuned"), names, decoding)
    assert there.generate([], "Why?", (70, 30)) == local.generate([], "Why?", (70, 30))
    served(
        "steer-page",
        "its desk without a browser, a greedy answer of a LoRA to a set of weights is that of transformers here",
    )


def test_win_rate_asks_the_server_what_judge_asks_a_model_here(model, url, tmp_path):
    """The model says no verdict, so the texts are compared, with the tokens of prompts and answers."""
    from tests.launch.generations import generation

    gens = []
    for label, reply in (("one", "A reply {}."), ("two", "One, {} and more.")):
        (tmp_path / label).mkdir()
        rows = [generation(n, label, response=reply.format(n)) for n in range(3)]
        tiny.write_rows(tmp_path / label / "00001-of-00001.jsonl", rows)
        gens.append(str(tmp_path / label))
    wins, pairs, here = (tmp_path / name for name in ("wins", "pairs", "here"))
    asked = [
        "--backend",
        "openai",
        "--base_url",
        url,
        "--api_model",
        "base",
        "--temperature",
        "0",
        "--max_attempts",
        "1",
    ]
    assert main(["win-rate", "--gens", *gens, *asked, *TOKENS, "--out", str(wins)]) == 0
    assert main(["win-rate", "--gens", *gens, "--write_pairs", "--out", str(pairs)]) == 0
    asks = [
        "--model",
        model,
        "--system",
        SYSTEM,
        "--pairs",
        str(pairs / "pairs.jsonl"),
    ]  # the system message of win-rate
    assert main(["judge", *asks, *TOKENS, "--out", str(here)]) == 0
    paid = [json.loads(line) for line in (wins / "answers.jsonl").read_text().splitlines()]
    drawn = [json.loads(line) for line in (here / "answers.jsonl").read_text().splitlines()]
    assert len(paid) == 6
    assert sorted((one["text"].rstrip("\ufffd"), one["tokens_in"], one["tokens_out"]) for one in paid) == sorted(
        (one["response"].rstrip("\ufffd"), one["prompt_tokens"], one["response_tokens"]) for one in drawn
    )
    served(
        "win-rate",
        f"{len(paid)} greedy answers are those of `judge` by transformers here; the tiny model says no verdict",
    )


def test_draws_at_the_server_follow_their_seed(url, files, tmp_path):
    asked = ["--backend", "openai", "--base_url", url, "--api_model", "tuned", "--max_failed_share", "1"]
    how = ["--prompts", files["prompts"], "--label", "a", "--do_sample", "--num_samples", "3", *TOKENS]
    drawn = []
    for place, size in (("few", "2"), ("many", "18")):
        assert main(["generate", *asked, *how, "--batch_size", size, "--out", str(tmp_path / place)]) == 0
        drawn.append(told(tmp_path / place, "a/0*.jsonl"))
    assert drawn[0] == drawn[1] and len({tuple(facts) for facts in drawn[0].values()}) > 9
