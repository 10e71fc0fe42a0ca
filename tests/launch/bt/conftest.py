"""Pairs whose scores are known, a server that gives them, and a training run of a tiny model as ms-swift leaves it."""

import json
import shutil
from pathlib import Path

import pytest

from tests import tiny
from tests.fake_judge import FakeScorer

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


@pytest.fixture
def server(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with FakeScorer() as judge:
        yield judge


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
