"""A tiny base model, two adapters on it, and the state file that marks one as trained by MOODPO."""

import json
import shutil
from pathlib import Path

import pytest

from tests import tiny

NAMES = ("brevity", "rich_vocabulary")


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Path:
    import torch

    torch.set_num_threads(1)
    return tiny.build_model(tmp_path_factory.mktemp("steer") / "base", seed=4, end_gain=1.8)


@pytest.fixture(scope="session")
def plain_adapters(base, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("plain")
    return tuple(tiny.build_adapter(base, folder / str(seed), seed=seed) for seed in (1, 2))


def mark(folder: Path, names=NAMES, fixed=None) -> Path:
    """Writes what MOODPO's trainer leaves in a checkpoint, as far as it is read here."""
    state = {"settings": {"objectives": list(names), "fixed_weights": fixed}, "normaliser": {}}
    (folder / "moodpo_state.json").write_text(json.dumps(state))
    return folder


@pytest.fixture(scope="session")
def steered(plain_adapters, tmp_path_factory) -> Path:
    return mark(shutil.copytree(plain_adapters[0], tmp_path_factory.mktemp("steered") / "adapter"))


@pytest.fixture
def prompts(tmp_path) -> Path:
    return tiny.write_rows(
        tmp_path / "prompts.jsonl", [{"prompt": f"{text} ({i})"} for i, text in enumerate(tiny.SENTENCES[:4])]
    )
