"""The judge's rewards through the real `trl grpo`, by dotted path, weighed by TRL's own flag."""

import re
from importlib.metadata import version
from importlib.util import find_spec

import pytest
from packaging.version import Version

from tests.tiny import VERDICTS, build_scoring_model, judging_rows, write_rows

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed in this environment"),
]
NAMES = ("pairwise_preference", "pairwise_format", "pairwise_consistency")


def found_means(log: str, name: str | None) -> list[float]:
    """Means of a reward in the two printed steps; None: of the weighted sum."""
    key = "reward" if name is None else f"rewards/{name}/mean"
    found = [float(text) for text in re.findall(rf"'{key}': '?([\d.e-]+)", log)]
    assert len(found) == 2, log
    return found


def test_two_steps_of_trl_s_grpo_log_every_reward(warm_trl, tmp_path):
    """One generation is both orders of one pair, because rows are not shuffled and the batch holds both."""
    model = build_scoring_model(tmp_path / "model", answers=VERDICTS)
    rows = [{"prompt": row.pop("messages"), **row} for row in judging_rows(4)]
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    flags = {
        "model_name_or_path": model, "dataset_name": tmp_path / "data", "output_dir": tmp_path / "run", "max_steps": 2,
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 1, "shuffle_dataset": "false",
        "learning_rate": 1e-3, "logging_steps": 1, "report_to": "none", "use_cpu": "true", "bf16": "false",
        "save_strategy": "no", "gradient_checkpointing": "false", "dtype": "float32",
    }  # fmt: skip
    command = [text for name, value in flags.items() for text in (f"--{name}", value)]
    command += ["--reward_funcs", *(f"trl_ext.pairwise_judge.rewards.{name}" for name in NAMES)]
    command += ["--reward_weights", "1.0", "0.1", "0.5"]
    output = warm_trl.run("trl.scripts.grpo", command, tmp_path / "log", tmp_path)
    assert found_means(output, "pairwise_format") == [1.0, 1.0]  # every answer is one tag
    totals = found_means(output, None)
    # 0.29.1 trains on the weighted sum too, but logs the plain one
    weights = (1, 0.1, 0.5) if Version(version("trl")) >= Version("1.0") else (1, 1, 1)
    parts = zip(*(found_means(output, name) for name in NAMES), strict=True)
    expected = [sum(weight * part for weight, part in zip(weights, step, strict=True)) for step in parts]
    assert totals == pytest.approx(expected, abs=2e-3)
