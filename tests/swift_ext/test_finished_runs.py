"""A run that is resumed at its last step trains, draws and writes nothing more; one process, one `swift rlhf` after another."""

import pytest

from tests.conftest import REPOSITORY, swift_flags
from tests.parity.conftest import Workers
from tests.tiny import build_scoring_model, scoring_rows, write_rows

pytest.importorskip("swift")
pytestmark = pytest.mark.integration
GRPO = {
    "rlhf_type": "grpo", "num_generations": 2, "steps_per_generation": 2, "per_device_train_batch_size": 2, "beta": 0.04,
    "max_completion_length": 2, "temperature": 1.0, "top_k": 1000, "reward_funcs": "bt_pointwise_baseline",
}  # fmt: skip


@pytest.mark.parametrize("plugin", ["modpo", "bt_grpo"])
def test_a_finished_run_takes_no_step(plugin, tiny, pairs, warm_swift, tmp_path):
    """The last of 3 steps lies within the first epoch, where the stock loop would take a fourth."""
    if plugin == "modpo":
        model, rows, environment = tiny, pairs, {"MODPO_W": "0.5", "MODPO_MARGIN_FUNCTION": "brevity"}
        environment["MODPO_MARGIN_WEIGHT"], flags = "0.5", {}
    else:
        model, flags = build_scoring_model(tmp_path / "model", malformed=0.7), GRPO
        rows, environment = write_rows(tmp_path / "rows.jsonl", scoring_rows(8)), {"BT_DELTA_TEMP": "20"}
    flags = flags | {"max_steps": 3, "save_strategy": "steps", "save_steps": 3}
    first, again = tmp_path / "first", tmp_path / "again"
    runs = [
        {"name": "first", "argv": swift_flags(model, rows, first, **flags)},
        {
            "name": "again",
            "argv": swift_flags(model, rows, again, resume_from_checkpoint=first / "checkpoint-3", **flags),
        },
    ]
    plan = {
        "plugin": str(REPOSITORY / "swift_ext" / "plugins" / f"{plugin}.py"),
        "runs": [run | {"environment": environment} for run in runs],
    }
    answers = Workers(tmp_path, warm_swift)("tests.parity.swift_worker", plan, plugin)
    assert "error" not in answers["first"] and "error" not in answers["again"], answers
    assert answers["again"]["steps"] == answers["first"]["steps"] == 3
    assert answers["again"]["weights"] == answers["first"]["weights"]
    losses = [[row["loss"] for row in answers[name]["log"] if "loss" in row] for name in ("first", "again")]
    assert len(losses[0]) == 3 and losses[0] == losses[1]
