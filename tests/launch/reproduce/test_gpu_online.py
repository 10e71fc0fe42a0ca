"""The two claims whose policies draw their own pairs, at the scale of a GPU: budgets, the run files that they stand on, verdicts."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from launch.common.statistics import student_mean
from launch.d2po.curve_data import STATE_FILE
from launch.pipelines.stages import Resumed
from launch.reproduce.claim import Place
from launch.reproduce.claims.d2po_labels import OFFLINE
from launch.reproduce.gpu import d2po_labels as labels
from launch.reproduce.gpu import gold
from launch.reproduce.gpu import moodpo_steering as steering
from launch.reproduce.gpu.runs import RUNS
from launch.reproduce.steered_fronts import STEERED
from tests.tiny import build_classifier

SEEDS = (0, 1)


def run_of(module) -> dict:
    return yaml.safe_load((RUNS / module.RUN_FILE).read_text("utf-8"))


def words(module, place: Place, stage: str) -> list[str]:
    (found,) = [one.stage for one in module.planned(place) if one.stage.name == stage]
    return [word for one in found.commands for word in (one.plain if isinstance(one, Resumed) else one).argv]


@pytest.mark.parametrize("size", [labels.FULL, labels.REHEARSAL])
def test_the_fixed_reward_model_has_as_many_labels_as_a_learner_buys_in_all(size):
    windows = size.steps * labels.PAIRS_A_STEP / labels.WINDOW
    assert windows == int(windows) and windows * labels.BOUGHT == size.bought and size.steps % size.every == 0


def test_the_estimate_of_d2po_is_of_what_the_run_file_does():
    run = run_of(labels)
    assert run["per_device_train_batch_size"] * run["gradient_accumulation_steps"] == labels.PAIRS_A_STEP
    assert (run["window_pairs"], run["labels_per_window"], run["discriminator_replay"]) == (
        labels.WINDOW, labels.BOUGHT, labels.REPLAY,
    )  # fmt: skip
    assert (run["completions"], run["max_new_tokens"], run["max_steps"]) == (4, labels.LONGEST, labels.FULL.steps)
    assert (run["learning_rate"], run["lora_r"], run["max_labels"]) == (labels.RATE, labels.RANK, labels.FULL.bought)
    assert run["model_name_or_path"] == labels.BASE and run["generation_batch_size"] == labels.PAIRS_A_STEP


def test_the_estimate_of_moodpo_is_of_what_the_run_file_does():
    run = run_of(steering)
    assert run["per_device_train_batch_size"] == steering.AT_ONCE
    assert run["gradient_accumulation_steps"] * steering.AT_ONCE == steering.PROMPTS_A_STEP
    assert (run["reward_models"], run["lora_rank"]) == (steering.OBJECTIVES, steering.RANK)
    assert (run["max_new_tokens"], run["sft_model_path"]) == (steering.LONGEST, steering.BASE)
    assert len(steering.FULL.fixed) * steering.FULL.steps == run["max_steps"]


def test_a_learner_starts_where_its_seeds_first_labels_left_off_and_the_fixed_model_has_all(tmp_path):
    place = Place(tmp_path, SEEDS)
    learner, fixed = (words(labels, place, f"{arm}_s1") for arm in ("confidence", "fixed_all"))
    first, whole = (str(place.of(1, f"reward_{name}")) for name in ("first", "all"))
    assert learner[learner.index("--discriminator") + 1] == first
    assert fixed[fixed.index("--discriminator") + 1] == whole
    assert str(place.of(1, "pairs_first") / "train.jsonl") in learner and "--discriminator_first_pairs" not in fixed
    bought = words(labels, place, "first_labels_s1")
    counts = [bought[at + 1] for at, word in enumerate(bought) if word == "--labels"]
    assert counts == [str(labels.FULL.first), str(labels.FULL.labels)]


@pytest.mark.parametrize(("gains", "holds"), [((1.0, 1.03125), True), ((1.0, -0.5), False)])
def test_d2po_on_a_gpu_is_decided_as_on_a_cpu(gains, holds, tmp_path):
    place = Place(tmp_path, SEEDS)
    for seed in SEEDS:
        for arm in labels.ONLINE:
            end = 2.0 + (gains[seed] if arm == "confidence" else 0.0)
            rows = [
                {"step": step, "eval_gold": value, "eval_gold_labels": 0, "eval_agreement": 0.5, "eval_score": 0.0}
                for step, value in ((0, 1.0), (1000, end))
            ]
            place.of(seed, arm).mkdir(parents=True)
            (place.of(seed, arm) / STATE_FILE).write_text(json.dumps({"global_step": 1000, "log_history": rows}))
        place.of(seed, f"{OFFLINE}_gold").mkdir()
        summary = {"checkpoints": {"base": {"gold": {"value": 1.0}}, "checkpoint-71": {"gold": {"value": 3.0}}}}
        (place.of(seed, f"{OFFLINE}_gold") / "gold_summary.json").write_text(json.dumps(summary))
    found = labels.measure(place)
    assert found.estimate == student_mean(gains) and found.holds is holds
    assert set(found.arms) == {*labels.ONLINE, OFFLINE}
    assert found.others["offline DPO, all labels minus fixed reward model, all labels"].value == 1.0
    assert [phrase for phrase in found.others if "should fail" in phrase] == [
        "where it should fail, a tenth of the learning rate: D2PO minus fixed reward model"
    ]


def test_gold_is_the_score_of_its_reward_model(tmp_path, monkeypatch):
    monkeypatch.setattr(gold, "NAME", f"liked={build_classifier(tmp_path / 'rm', labels=1)}")
    gold._rewards.cache_clear()
    try:
        scores = gold.liked(["a", "a"], ["water tree", "bread"])
        assert len(scores) == 2 and scores[0] != scores[1] and scores == gold.liked(["a", "a"], ["water tree", "bread"])
    finally:
        gold._rewards.cache_clear()


def test_the_gold_of_the_claim_is_one_that_the_pack_knows():
    from trl_ext.moodpo.specs import REGISTRY

    assert gold.NAME in REGISTRY and set(steering.OBJECTIVES) <= set(REGISTRY)
    module, _, name = labels.GOLD.partition(":")
    assert getattr(import_module(module), name) is gold.liked


def test_a_steered_policy_on_a_gpu_is_counted_in_spreads_of_the_untouched_models_answers(tmp_path):
    place, fixed = Place(tmp_path, SEEDS), steering.FULL.fixed
    for seed in SEEDS:

        def row(label, w):
            # Spreads of 2 and of 0.5: w spreads above the mean of 10, and 1 - w above that of -1.
            return {
                "label": label,
                "scores": {"helpful": {"value": 10 + 2 * w}, "harmless": {"value": -1 + (1 - w) / 2}},
            }

        steered = [row(f"{arm}_{10 * k}-{100 - 10 * k}", k / 10) for arm in (*STEERED, "soup") for k in range(11)]
        rows = [*steered, *(row(f"fixed{100 * w:g}", w) for w in fixed)]
        rows.append({"label": "untouched", "scores": {"helpful": {"value": 10.0}, "harmless": {"value": -1.0}}})
        summary = {
            "points": rows,
            "policies": {
                arm: {"spearman": [{"value": 1.0}, {"value": 0.95 + seed / 50}]} for arm in (*STEERED, "soup")
            },
            "normalisation": {"helpful": {"mean": 10.0, "std": 2.0}, "harmless": {"mean": -1.0, "std": 0.5}},
            "hv_reference": {"raw": [9.0, -1.5], "normalised": [0.0, 0.0]},
        }
        place.of(seed, "pareto").mkdir(parents=True)
        (place.of(seed, "pareto") / "summary.json").write_text(json.dumps(summary))
        place.of(seed, "nats.json").write_text(json.dumps({one["label"]: 3.0 for one in rows}))
    found = steering.measure(place)
    assert found.estimate == student_mean([0.95 + seed / 50 - 0.9 for seed in SEEDS])
    assert [w for w, _ in found.arms["steered"].curves[0]] == sorted(fixed)
    worth = [value for _, value in found.arms["steered"].curves[0]]
    assert worth == pytest.approx([w * w + (1 - w) ** 2 for w in sorted(fixed)])
    assert found.arms["untouched"].curves[1] == [(w, 0.0) for w in sorted(fixed)]
    # Corners at w = 1, 0.8, 0.5, 0.2, 0 of w x (1 - w): 0.2 x 0.8 + 0.3 x 0.5 + 0.3 x 0.2.
    (area,) = [one for phrase, one in found.others.items() if phrase.startswith("hypervolume: steered, one")]
    assert area.value == pytest.approx(0.37)
    assert any(phrase.startswith("score in help of the policy for help, asked with") for phrase in found.others)


def test_every_policy_but_one_starts_at_its_seeds_warm_up_and_is_read_where_it_was_written(tmp_path):
    place = Place(tmp_path, (0,))
    read = words(steering, place, "evaluated_s0")
    policies = {word.partition("=")[0]: Path(word.rpartition(":")[2]) for word in read if ":" in word}
    assert set(policies) == {*STEERED, *(f"fixed{100 * w:g}" for w in steering.FULL.fixed), "soup"}
    for one in steering.planned(place):
        for command in one.stage.commands:
            if isinstance(command, Resumed):
                argv, name = command.plain.argv, one.stage.name.rpartition("_")[2]
                assert one.stage.results == [policies[name]]
                assert ("--model_path" in argv) is (name != "unprepared")
                assert policies[name].name == f"checkpoint-{argv[argv.index('--max_steps') + 1]}"
