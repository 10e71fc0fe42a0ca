"""A tiny reward model of 19 heads, generation folders in two shards, and one way to run the real command line."""

import os
import subprocess
import sys

import pytest

from launch.evaluate.records import prompt_id, shard_name
from tests import tiny
from tests.conftest import REPOSITORY

LABELS = ("sft", "w0.2", "w0.8")


def generation(index, label, place=0, **extra):
    """One record; its answer differs from label to label."""
    messages = [{"role": "user", "content": f"{tiny.SENTENCES[index % 8]} ({index})"}]
    words = tiny.SENTENCES[(index * 3 + place) % 8].split()[: 2 + (index + place) % 7]
    return {
        "prompt_id": prompt_id(messages), "sample": 0, "messages": messages, "prompt": messages[0]["content"],
        "response": " ".join(words), "response_tokens": 5, "prompt_tokens": 9, "prompt_truncated": False,
        "capped": False, "label": label,
    } | extra  # fmt: skip


def write_gens(folder, labels=LABELS, count=12, shards=2):
    """Folders of `count` answers a label; the fourth answer of the second label was cut off."""
    for place, label in enumerate(labels):
        records = [generation(index, label, place, capped=(index, place) == (3, 1)) for index in range(count)]
        (folder / label).mkdir(parents=True)
        size = -(-count // shards)
        for rank in range(shards):
            tiny.write_rows(folder / label / shard_name(rank, shards), records[rank * size : (rank + 1) * size])
    return [str(folder / label) for label in labels]


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory):
    import torch

    torch.set_num_threads(1)
    return str(tiny.build_classifier(tmp_path_factory.mktemp("reward_model"), labels=19))


@pytest.fixture(scope="session")
def gens(tmp_path_factory):
    return write_gens(tmp_path_factory.mktemp("gens"))


@pytest.fixture(scope="session")
def launch():
    """launch("verb", ...) in a process of its own; returns it, done."""

    def run(*argv, cwd=None, **environment):
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        argv = [sys.executable, "-m", "launch", *map(str, argv)]
        return subprocess.run(argv, env=env | environment, capture_output=True, text=True, timeout=300, cwd=cwd)

    return run


@pytest.fixture(scope="session")
def scores(launch, reward_model, gens, tmp_path_factory):
    """What the real `armorm` command leaves, and what it prints."""
    out = tmp_path_factory.mktemp("armorm") / "scores"
    done = launch("armorm", "--model", reward_model, "--gens", *gens, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stdout
