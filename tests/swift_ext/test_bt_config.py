"""Batches that would cut pairs are refused before a model is loaded, with the nearest valid numbers."""

import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("swift")

from swift_ext.bt_grpo.config import PairGRPOConfig
from swift_ext.paired_grpo.config import batch_advice

RUN_FILES = sorted((Path(__file__).parents[2] / "launch" / "runs" / "bt_grpo").glob("*.yaml"))


def config(tmp_path, **overrides):
    flags = {
        "output_dir": str(tmp_path), "num_generations": 4, "per_device_train_batch_size": 2, "use_cpu": True,
        "steps_per_generation": 4, "report_to": "none", "bf16": False,
    }  # fmt: skip
    return PairGRPOConfig(**flags | overrides)


def test_whole_pairs_are_accepted(tmp_path):
    assert config(tmp_path).generation_batch_size == 8
    assert config(tmp_path, steps_per_generation=None, generation_batch_size=24).steps_per_generation == 12


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        ({"steps_per_generation": 6}, "12 completions"),
        ({"steps_per_generation": None, "generation_batch_size": 12}, "12 completions"),
        ({"steps_per_generation": None, "gradient_accumulation_steps": 6}, "12 completions"),
        ({"steps_per_generation": 2}, "4 completions"),
    ],
)
def test_a_share_that_cuts_pairs_is_refused_with_numbers_that_work(tmp_path, overrides, found):
    with pytest.raises(ValueError, match="no multiple of 8 = 2 sides x num_generations 4") as refusal:
        config(tmp_path, **overrides)
    message = str(refusal.value)
    assert found in message
    sizes, generations = re.search(r"--generation_batch_size ([\d or]+) with --num_generations (\d+)", message).groups()
    for size in sizes.split(" or "):
        config(tmp_path, steps_per_generation=None, generation_batch_size=int(size), num_generations=int(generations))
    for several in re.findall(r", or --num_generations ([\d or]+) with", message):
        for count in several.split(" or "):
            config(tmp_path, **overrides, num_generations=int(count))


def test_advice_counts_all_ranks():
    assert batch_advice(3, 2, 14, 8).startswith("valid: --generation_batch_size 96 with --num_generations 8")
    assert batch_advice(2, 2, 10, 8).startswith("valid: --generation_batch_size 32 or 64 with --num_generations 8")


def test_evaluation_batches_hold_whole_pairs(tmp_path):
    with pytest.raises(ValueError, match="Valid: --per_device_eval_batch_size 8 or 16"):
        config(tmp_path, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=12)
    config(tmp_path, eval_strategy="steps", eval_steps=1, per_device_eval_batch_size=4, num_generations_eval=2)


def test_settings_are_read_before_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv("BT_DELTA_TMEP", "20")
    with pytest.raises(ValueError, match=r"BT_DELTA_TMEP.*BT_DELTA_TEMP"):
        config(tmp_path)


def test_what_an_earlier_run_exported_does_not_change_a_run_file(tmp_path, monkeypatch):
    run_file = tmp_path / "run.yaml"
    run_file.write_text("ENV:\n  BT_DELTA_TEMP: 5\n")
    monkeypatch.setenv("SWIFT_CONFIG_FILE", str(run_file))
    monkeypatch.setenv("BT_DELTA_TEMP", "5")
    config(tmp_path)
    monkeypatch.setenv("BT_DELTA_TEMP", "20")
    with pytest.raises(ValueError, match=r"BT_DELTA_TEMP is '20' in the shell but .*run.yaml says 5"):
        config(tmp_path)
    monkeypatch.setattr("sys.argv", ["swift", "--model_kwargs", '{"bt_delta_temp": 20}'])
    config(tmp_path)
    monkeypatch.setattr("sys.argv", ["swift"])
    monkeypatch.setenv("BT_DELTA_TEMP", "5")
    monkeypatch.setenv("BT_DELTA_CLIP", "10")
    with pytest.raises(ValueError, match=r"BT_DELTA_CLIP is '10' in the shell but is not in"):
        config(tmp_path)


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("world_size", [1, 2])
def test_run_files_name_real_flags_and_whole_pairs(path, world_size):
    from swift.arguments import RLHFArguments, SftArguments

    run = yaml.safe_load(path.read_text())
    environment = run.pop("ENV", {})
    known = (RLHFArguments if "rlhf_type" in run else SftArguments).__dataclass_fields__
    assert not set(run) - set(known)
    header = path.read_text().split("\n")
    assert all(any(line.startswith(f"# {word}:") for line in header) for word in ("Purpose", "Hardware", "Launch"))
    assert f"launch/runs/bt_grpo/{path.name}" in path.read_text()
    if "rlhf_type" in run:
        share = run["generation_batch_size"] / world_size
        assert share % (2 * run["num_generations"]) == 0 and share % run["per_device_train_batch_size"] == 0
        assert environment["BT_SCORE_PARSER"]
    if "rlhf_type" in run and path.stem not in ("eight_gpus", "two_nodes", "vllm_server"):
        updates = share / (run["per_device_train_batch_size"] * run["gradient_accumulation_steps"])
        assert updates <= 2  # of one generation: later ones would learn from answers that the model no longer gives
        seen = run["max_steps"] / updates * run["generation_batch_size"] / (2 * run["num_generations"])
        assert seen >= 4000 or run.get("use_cpu")
