"""Shared prefixes in TRL's DPO: trl_dpo_cases.py in a process of its own, and the script of MODPO on two ranks."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.own_process import reported
from tests.tiny import preference_rows, write_rows
from tests.trl_modpo.conftest import trl_rows

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed in this environment"),
]


outcomes, test_case = reported(Path(__file__).with_name("trl_dpo_cases.py"))


@pytest.fixture(scope="module")
def on_two_ranks(warm_trl, tiny, adapter, tmp_path_factory):
    """on_two_ranks(setting, *flags) -> (rows of the log with a loss, output), a live adapter margin, gloo."""
    world = tmp_path_factory.mktemp("ranks")
    data = write_rows(world / "train.jsonl", trl_rows(preference_rows(8, seed=11)))

    def run(setting: str, *flags) -> tuple[list[dict], str]:
        folder = world / f"{setting}{len(list(world.iterdir()))}"
        settings = {
            "model_name_or_path": tiny, "dataset_name": data, "output_dir": folder, "max_steps": 4,
            "per_device_train_batch_size": 2, "learning_rate": 1e-3, "lr_scheduler_type": "constant", "logging_steps": 1,
            "save_strategy": "steps", "save_steps": 4, "report_to": "none", "use_cpu": "true", "bf16": "false",
            "gradient_checkpointing": "false", "max_length": 96, "seed": 7, "disable_tqdm": "true", "w": 0.5,
            "dtype": "float32", "ddp_backend": "gloo", "margin_adapter": adapter, "use_peft": "true", "lora_r": 4,
            "lora_target_modules": "all-linear", "shared_prefix": setting,
        }  # fmt: skip
        argv = [text for name, value in settings.items() for text in (f"--{name}", value)]
        cache = {"HF_DATASETS_CACHE": str(world / "cache")}
        output = warm_trl.run("trl_ext.modpo.script", [*argv, *flags], world / "log", world, processes=2, **cache)
        state = json.loads((folder / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8"))
        return [row for row in state["log_history"] if "loss" in row], output

    return run


@pytest.fixture(scope="module")
def plain(on_two_ranks):
    return on_two_ranks("off")[0]


@pytest.mark.parametrize("engine", ["ddp", "zero2"])
def test_two_ranks_train_as_on_the_plain_path(on_two_ranks, plain, engine):
    """Every rank compares its first batch; one says what is saved."""
    pytest.importorskip("deepspeed")
    flags = [] if engine == "ddp" else ["--deepspeed", REPOSITORY / "launch" / "deepspeed" / f"{engine}.json"]
    log, output = on_two_ranks("on", *flags)
    assert output.count("shared prefixes: the first batch computes") == 1
    for name in ("loss", "rewards/margins", "margin_rewards/margin/chosen", "logps/rejected"):
        assert [row[name] for row in log] == pytest.approx([row[name] for row in plain], rel=1e-5, abs=1e-5), name
