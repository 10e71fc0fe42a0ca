"""launch/runs/pairwise_judge/verl.sh read by verl itself: its settings, its loader of the Parquet rows, its reward manager.

verl stands in none of the tested environments: what its loaders need is `pip install --no-deps verl==0.9.1` and ray, hydra-core,
tensordict, torchdata and codetiming beside environment B.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.tiny import build_tokenizer, judging_rows

verl = pytest.importorskip("verl")
PYTHON = """#!/bin/sh
[ "$1" = -m ] && shift 2 && printf '%s\\n' "$@" && exit
exec {python} "$@"
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """Four rows as the builder writes them for verl."""
    from datasets import Dataset

    made = [
        {
            "prompt": row["messages"], "data_source": "helpsteer2_pairwise", "ability": "pairwise",
            "reward_model": {"style": "rule", "ground_truth": row["ground_truth"]},
            "extra_info": {"index": index, "pair_id": str(row["pair_id"]), "side": row["side"], "preference_strength": 2},
        }
        for index, row in enumerate(judging_rows(2))
    ]  # fmt: skip
    file = tmp_path_factory.mktemp("verl") / "rows.parquet"
    Dataset.from_list(made).to_parquet(file)
    return file


@pytest.fixture(scope="module")
def config(rows, tmp_path_factory):
    """verl's configuration, as main_ppo composes it of the script's words, with the rows of the test."""
    from hydra import compose, initialize_config_dir

    folder = tmp_path_factory.mktemp("bin")
    (folder / "python").write_text(PYTHON.format(python=sys.executable))
    (folder / "python").chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    argv = ["bash", str(REPOSITORY / "launch" / "runs" / "pairwise_judge" / "verl.sh"), "trainer.nnodes=2"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        found = compose("ppo_trainer", overrides=done.stdout.split("\n")[:-1])
    assert found.trainer.nnodes == 2 and found.data.train_files == "data/judge/preference_train.parquet"
    found.data.train_files = str(rows)
    return found


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def test_verl_accepts_the_settings(config):
    from verl.utils.config import validate_config

    validate_config(config, use_reference_policy=True, use_critic=False)


def test_rows_and_reward_go_through_verl_s_loaders(config, rows, tokenizer):
    """Every row is kept, its prompt is the builder's, and an answer of either verdict is scored by the row's own truth."""
    import torch
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    dataset = RLHFDataset(str(rows), tokenizer, config.data)
    batch = collate_fn([dataset[index] for index in range(len(dataset))])
    assert len(dataset) == 4 and {row["ground_truth"] for row in batch["reward_model"]} <= {"A", "B", "tie"}
    assert batch["raw_prompt"][0] == judging_rows(2)[0]["messages"]

    async def score(row: int, text: str) -> dict:
        manager = load_reward_manager(config, tokenizer)  # it takes the loop it is made in
        answer = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
        tensors = {"responses": answer, "attention_mask": torch.ones_like(answer)}
        columns = {name: batch[name][row : row + 1] for name in ("data_source", "reward_model", "extra_info")}
        return await manager.run_single(DataProto.from_dict(tensors=tensors, non_tensors=columns))

    for row, truth in enumerate(one["ground_truth"] for one in batch["reward_model"]):
        for said in ("A", "B"):
            found = asyncio.run(score(row, f"<preference>{said}</preference>"))
            assert found["reward_score"] == float(said == truth), (row, said, found)
            assert found["reward_extra_info"]["acc"] == found["reward_score"]
