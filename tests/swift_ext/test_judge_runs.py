"""The judge's run files: flags that exist, whole pairs, the reference's numbers; and what its index reads of labels."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("swift")

from datasets import Dataset

from swift_ext.paired_grpo.pair_index import index_pairs
from swift_ext.pairwise_judge.rewards import REWARDS
from swift_ext.pairwise_judge.trainer import JudgeGRPOTrainer, count_verdicts, metrics_of, preferred_replies
from tests.tiny import judging_rows

FOLDER = Path(__file__).parents[2] / "launch" / "runs" / "pairwise_judge"
RUN_FILES = sorted(FOLDER.glob("*.yaml"))
PROCESSES = {"one_gpu": [1], "eight_gpus": [8], "two_nodes": [16], "smollm2_hh": [1]}


@pytest.mark.parametrize("path", RUN_FILES, ids=lambda path: path.stem)
def test_run_files_name_real_flags_and_their_own_launch(path):
    from swift.arguments import RLHFArguments

    text, run = path.read_text(), yaml.safe_load(path.read_text())
    run.pop("ENV", None)
    assert all(f"\n# {word}:" in f"\n{text}" for word in ("Purpose", "Hardware", "Data", "Launch"))
    assert re.search(rf"(swift rlhf|--config) launch/runs/pairwise_judge/{path.name}", text)
    assert set(np.atleast_1d(run["reward_funcs"])) <= set(REWARDS)
    known = set(RLHFArguments.__dataclass_fields__)
    if path.stem == "ray_megatron":  # its engine is not installed here: its names are read from ms-swift's source
        import swift

        folder = Path(swift.__file__).parent / "megatron" / "arguments"
        known |= {name for file in folder.glob("*.py") for name in re.findall(r"^    (\w+):", file.read_text(), re.M)}
        known |= {"colocate_groups", "train", "rollout", "gpus"}
        run |= run["train"] | run["rollout"]
    assert not set(run) - known


@pytest.mark.parametrize(("name", "processes"), [(name, n) for name, all_of in PROCESSES.items() for n in all_of])
def test_every_rank_generates_whole_pairs(name, processes):
    run = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    share = run["generation_batch_size"] / processes
    micro = run["per_device_train_batch_size"]
    assert share % (2 * run["num_generations"]) == 0 and share % micro == 0
    assert (share / micro) % run["gradient_accumulation_steps"] == 0


@pytest.mark.parametrize(("name", "processes"), [("eight_gpus", 8), ("two_nodes", 16)])
def test_the_reference_s_hyper_parameters(name, processes):
    run = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert run["generation_batch_size"] / run["num_generations"] == 96 and run["num_generations"] == 4
    update = run["per_device_train_batch_size"] * run["gradient_accumulation_steps"] * processes
    assert update / run["num_generations"] == 24
    updates = run["generation_batch_size"] / update
    assert (run["save_steps"] / updates, run["eval_steps"] / updates) == (20, 2)
    assert (run["learning_rate"], run["beta"], run["max_length"], run["max_completion_length"]) == (
        "1e-6",
        0.001,
        4096,
        2048,
    )
    assert (run["vllm_tensor_parallel_size"], run["vllm_gpu_memory_utilization"]) == (8, 0.6)


def test_labels_of_both_orders_name_the_same_reply():
    labels = ["A", "B", "tie", "B", "A", "tie", None, "a"]
    sides = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    assert preferred_replies(Dataset.from_dict({"x": labels}).with_format("arrow")[:]["x"], sides).tolist() == [
        0, 1, 2, 0, 1, 2, -1, -1,
    ]  # fmt: skip


def test_the_index_finds_whole_pairs_and_counts_faults():
    rows = judging_rows(6)
    columns = JudgeGRPOTrainer.pair_columns
    index = index_pairs(Dataset.from_list(rows), columns)
    assert index.rows.tolist() == [[2 * pair, 2 * pair + 1] for pair in range(6)] and not index.bad
    rows[1]["ground_truth"] = rows[0]["ground_truth"]  # A in both orders
    rows[5]["ground_truth"] = "A"  # a tie in the other order
    rows[6]["ground_truth"] = None
    index = index_pairs(Dataset.from_list(rows[:-1]), columns)
    assert index.bad == {"no_ground_truth": 1, "incomplete": 1, "contradictory": 2} and len(index) == 2
    with pytest.raises(ValueError, match=r"ground_truth .*helpsteer2-pairwise writes them"):
        index_pairs(Dataset.from_list([{"pair_id": 1, "side": 0}]), columns)


def test_metrics_of_a_judge_that_always_names_the_first_place_and_of_one_that_is_right():
    truths, pairs, sides = ["A", "A", "B", "B"], ["p"] * 4, [0, 0, 1, 1]
    first = metrics_of(count_verdicts(["A"] * 4, truths, pairs, sides))
    assert first == {
        "judge/accuracy": 0.5, "judge/accuracy_original_order": 1.0, "judge/accuracy_swapped_order": 0.0,
        "judge/no_verdict": 0.0, "judge/share_A": 1.0, "judge/share_B": 0.0, "judge/share_tie": 0.0, "judge/first": 1.0, "judge/consistency": 0.0,
    }  # fmt: skip
    right = metrics_of(count_verdicts(truths, truths, pairs, sides))
    assert right["judge/accuracy"] == right["judge/consistency"] == 1.0 and right["judge/first"] == 0.5
    ties = metrics_of(count_verdicts(["tie", "tie", "B", "tie"], truths, pairs, sides))
    assert (ties["judge/share_A"], ties["judge/share_B"], ties["judge/share_tie"]) == (0, 0.25, 0.75)
    silent = metrics_of(count_verdicts([None] * 4, truths, pairs, sides))
    assert silent["judge/no_verdict"] == 1.0 and "judge/first" not in silent and silent["judge/consistency"] == 0.0
