"""A tiny study: model, margin adapter, pairs to train on and pairs to judge by, and the real command line."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.tiny import preference_rows, write_rows
from tests.trl_modpo.conftest import trl_rows
from tests.warm_python import WarmRun

RUN_FILE = {
    "dtype": "float32", "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "max_length": 96,
    "per_device_train_batch_size": 2, "per_device_eval_batch_size": 8, "use_peft": True, "lora_r": 4, "lora_alpha": 8,
    "lora_dropout": 0.0, "lora_target_modules": ["q_proj", "v_proj"], "lr_scheduler_type": "cosine", "logging_steps": 1,
    "report_to": "none", "disable_tqdm": True, "save_total_limit": 2,
}  # fmt: skip


@pytest.fixture(scope="session")
def held_out(tmp_path_factory) -> Path:
    """A folder with train.jsonl (24 pairs) and test.jsonl (16 pairs)."""
    folder = tmp_path_factory.mktemp("tune_data")
    write_rows(folder / "train.jsonl", trl_rows(preference_rows(24, seed=1)))
    write_rows(folder / "test.jsonl", trl_rows(preference_rows(16, seed=2)))
    return folder


@pytest.fixture
def run_file(tmp_path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(RUN_FILE))
    return path


@pytest.fixture
def study_flags(run_file, tiny, adapter, held_out, tmp_path) -> list[str]:
    """The seed's flags, and the run file and data of this folder. Steps are large enough that the policy moves."""
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump({
        "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True}, "beta": {"choices": [0.1, 0.2, 0.5]},
        "warmup_ratio": {"low": 0.02, "high": 0.3}, "margin_mult": {"low": 0.5, "high": 2.0, "log": True},
    }))  # fmt: skip
    return [
        "--study_name", "s", "--output_root", str(tmp_path / "out"), "--rung_steps", "4,8,12",
        "--sft_model_name", str(tiny), "--margin_reward_model_name", str(adapter), "--dataset_name", str(held_out),
        "--config", str(run_file), "--space", str(space),
    ]  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "", "HF_DATASETS_CACHE": str(folder / "cache"),
    }  # fmt: skip


@pytest.fixture
def start(tmp_path, request):
    """start(flags, log) -> a worker in a session of its own, its output in `tmp_path/log`. None outlives the test.

    A `warm` worker and its training runs are forks of a process that has imported TRL: a second each instead of ten.
    """
    workers = []

    def run(flags: list[str], log: str, warm: bool = False) -> subprocess.Popen | WarmRun:
        if warm:
            server, argv = request.getfixturevalue("warm_trl").server, ["tune-modpo", *flags]
            output, env = tmp_path / log, environment(tmp_path)
            workers.append(server.start("launch", argv, env, tmp_path, output, warm_children=True))
            return workers[-1]
        with open(tmp_path / log, "w") as output:
            workers.append(subprocess.Popen(
                [sys.executable, "-m", "launch", "tune-modpo", *flags], env=environment(tmp_path), cwd=tmp_path,
                stdout=output, stderr=output, start_new_session=True,
            ))  # fmt: skip
        return workers[-1]

    yield run
    for worker in workers:
        worker.kill()
        worker.wait()
    for command in Path("/proc").glob("[0-9]*/cmdline"):  # a run that a failed test left without its worker
        with suppress(OSError):
            if str(tmp_path).encode() in command.read_bytes():
                os.kill(int(command.parent.name), signal.SIGKILL)


def study_of(folder: Path):
    from launch.tune.summary import load_study

    return load_study(folder, folder.name)
