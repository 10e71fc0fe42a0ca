"""The tiny models and their answers as paths in text, the way the command lines take them, and the command line itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.conftest import REPOSITORY
from tests.launch.generations import write_gens
from tests.launch.model_flags import POLICY


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """Its pad token is its end token, and some of its greedy answers end early."""
    import torch

    torch.set_num_threads(1)
    return str(tiny.build_model(tmp_path_factory.mktemp("model"), seed=4, pad_token="<|im_end|>", end_gain=1.8))


@pytest.fixture(scope="session")
def adapter_dir(model_dir, tmp_path_factory):
    return str(tiny.build_adapter(model_dir, tmp_path_factory.mktemp("adapter"), seed=1))


@pytest.fixture(scope="session")
def other_adapter_dir(model_dir, tmp_path_factory):
    return str(tiny.build_adapter(model_dir, tmp_path_factory.mktemp("other_adapter"), seed=2))


@pytest.fixture(scope="session")
def null_adapter_dir(model_dir, tmp_path_factory):
    """An adapter that changes nothing: every implicit reward is exactly 0."""
    return str(tiny.build_adapter(model_dir, tmp_path_factory.mktemp("null_adapter"), std=0.0))


@pytest.fixture(scope="session")
def policy(model_dir, adapter_dir, other_adapter_dir):
    from launch.answers.policy import Policy

    return Policy(model_dir, adapters={"one": adapter_dir, "two": other_adapter_dir}, **POLICY)


@pytest.fixture
def write_rows(tmp_path):
    """Writes JSON lines under the test's directory and returns the path as text."""

    def write(name, rows):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return str(tiny.write_rows(path, rows))

    return write


@pytest.fixture
def record():
    """A generation record with chosen fields."""
    from launch.answers.records import prompt_id

    def make(text, response="the sea", label="sft", sample=0, **extra):
        messages = [{"role": "user", "content": text}]
        return {
            "prompt_id": prompt_id(messages),
            "sample": sample,
            "messages": messages,
            "prompt": text,
            "response": response,
            "response_tokens": 3,
            "prompt_tokens": 9,
            "prompt_truncated": False,
            "capped": False,
            "label": label,
        } | extra

    return make


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory):
    import torch

    torch.set_num_threads(1)
    return str(tiny.build_classifier(tmp_path_factory.mktemp("reward_model"), labels=19))


@pytest.fixture(scope="session")
def gens(tmp_path_factory):
    return write_gens(tmp_path_factory.mktemp("gens"))


@pytest.fixture(scope="session")
def launch(warm):
    """launch("verb", ...) in a process of its own; returns it, done.

    With an environment it is a new interpreter, because libraries read theirs when they are imported.
    """

    def run(*argv, cwd=None, **environment):
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        if not environment:
            return warm.run("launch", argv, env, Path(cwd or os.getcwd()))
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
