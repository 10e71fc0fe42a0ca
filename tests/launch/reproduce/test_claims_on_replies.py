"""The claims about the judge and the scorer: their numbers come from the files that the evaluations leave, paired by seed."""

import json
import math

import pytest

from launch.common.statistics import student_mean
from launch.reproduce.claim import Place
from launch.reproduce.claims import bt_judgement, judge_consistency

SEEDS = (0, 1, 2)
CLAIMS = (judge_consistency, bt_judgement)


def cell(value):
    return {"value": value, "low": None, "high": None, "n": 8}


def store(folder, metrics, margins=()):
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps({"metrics": {name: cell(value) for name, value in metrics.items()}}))
    pairs = [
        {"index": number, "digest": "d", "preferred": 0, "scores": [[50 + margin], [50]]}
        for number, margin in enumerate(margins)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


@pytest.mark.parametrize("module", CLAIMS, ids=lambda module: module.CLAIM.name)
def test_every_run_starts_from_its_seeds_warm_up_and_is_evaluated_on_its_seeds_fresh_pairs(module, tmp_path):
    place = Place(tmp_path, SEEDS)
    found = module.stages(place)
    written = [output for stage in found for output in stage.outputs]
    assert len({stage.name for stage in found}) == len(found) and len(set(written)) == len(written)
    for stage in found:
        seed = next(part for part in stage.name.split("_") if part[:1] == "s" and part[1:].isdecimal())[1:]
        (command,) = stage.commands
        inside = [text for text in command.argv if text.startswith(str(tmp_path))]
        assert inside and all(text.startswith(f"{tmp_path}/seed{seed}/") for text in inside)
        assert command.argv[command.argv.index("--seed") + 1] == seed
        if command.argv[:2] == ["swift", "rlhf"]:
            assert any("/warmup/checkpoint-" in text for text in inside)
            assert not any(text.endswith("test.jsonl") for text in inside)
        if "eval" in " ".join(command.argv[3:4]):
            assert any(text.endswith("test.jsonl") for text in inside) and "--do_sample" in command.argv


def judged(place, seed, arm, accuracy, agreement, bias):
    store(place.of(seed, f"judged/{arm}"), {"accuracy": accuracy, "swap_consistency": agreement, "position_bias": bias})


def logged(place, seed, arm, first):
    """A training whose accuracy rises by a 256th a step, with this share of A in its even and odd windows."""
    rows = [{"loss": 1.0}]  # what ms-swift writes at the end has no metric of a step
    for step in range(judge_consistency.STEPS):
        share = first[step // judge_consistency.WINDOW % 2]
        rows.insert(-1, {"judge/accuracy": 0.5 + step / 256, "judge/consistency": 0.5, "judge/first": share})
    place.of(seed, arm).mkdir()
    (place.of(seed, arm) / "logging.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(("agreement", "holds"), [(0.8, True), (0.4, False)])
def test_the_judge_must_become_right_and_agree_with_itself(tmp_path, agreement, holds):
    place = Place(tmp_path, SEEDS)
    for seed in SEEDS:
        judged(place, seed, "warmup", 0.6, 0.45, 0.5)
        plain = (0.5, 0.625 + seed / 64)
        for arm, first in (("consistency", (0.25, 0.75)), ("plain", plain), ("plain_group", plain)):
            judged(place, seed, arm, 0.875 + seed / 64, agreement + seed / 64, -0.25 if arm == "consistency" else 0.125)
            logged(place, seed, arm, first)
    found = judge_consistency.CLAIM.measure(place)
    assert found.holds is holds
    assert found.estimate == student_mean([0.875 + seed / 64 - 0.6 for seed in SEEDS])
    curve = found.arms["plain"].curves[1]
    assert curve[0] == (0, 0.6) and curve[1] == (5.5, 0.5 + 4.5 / 256) and curve[-1] == (120, 0.875 + 1 / 64)
    assert [step for step, _ in curve[1:-1]] == [5.5 + 10 * window for window in range(12)]
    sizes = {phrase: one for phrase, one in found.others.items() if phrase.startswith("size of the bias")}
    # A bias of -0.25 is larger than one of +0.125, and one of 0.5 in turn to either side is no bias of 0.
    during = student_mean([0.5 - (0 + 0.25 + seed / 32) / 2 for seed in SEEDS])
    assert list(sizes.values()) == [student_mean([0.125] * 3), during]


def test_a_judge_without_a_verdict_favours_no_place(tmp_path):
    place = Place(tmp_path, (0,), rehearsal=True)
    judged(place, 0, "warmup", 0.0, 0.0, None)
    assert judge_consistency.read(place, 0, "warmup", "bias") == 0.0
    (tmp_path / "seed0" / "plain").mkdir()
    rows = [{"judge/accuracy": 0.0, "judge/consistency": 0.0}] * 4
    (tmp_path / "seed0" / "plain" / "logging.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [one["bias"] for one in judge_consistency.windows(place, 0, "plain", 4, 2)] == [0.0, 0.0]


@pytest.mark.parametrize(("loss", "holds"), [(0.5, True), (0.75, False)])
def test_the_scorer_must_become_right_and_its_likelihood_rise(tmp_path, loss, holds):
    place = Place(tmp_path, SEEDS)
    for seed in SEEDS:
        start = {"strict_accuracy_of_all": 0.625, "bt_loss": 0.6875, "sample_parse_rate": 1.0}
        store(place.of(seed, "scored/warmup"), start, [20])
        for scaling, labels in bt_judgement.ARMS:
            end = {**start, "strict_accuracy_of_all": 0.75 + seed / 64, "bt_loss": loss + seed / 64}
            store(place.of(seed, f"scored/{scaling}_{labels}"), end, [20])
    found = bt_judgement.CLAIM.measure(place)
    assert found.holds is holds and found.estimate == student_mean([0.125 + seed / 64 for seed in SEEDS])


def test_miscalibration_is_what_a_wrong_temperature_costs_under_wrong_labels():
    """With a fifth of the labels wrong the best margin is 20 log 4, where sigma(m / 20) = 0.8."""
    best = bt_judgement.TEMPERATURE * math.log(4)
    entropy = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    assert bt_judgement.overconfidence([best] * 5) == pytest.approx(0, abs=1e-9)
    for factor in (0.5, 2.0):
        p = 1 / (1 + math.exp(-factor * math.log(4)))
        cost = -0.8 * math.log(p) - 0.2 * math.log(1 - p) - entropy
        assert bt_judgement.overconfidence([factor * best] * 3) == pytest.approx(cost, rel=1e-6)
    assert bt_judgement.overconfidence([80.0]) > bt_judgement.overconfidence([40.0]) > 0.01
    assert bt_judgement.overconfidence([]) == bt_judgement.overconfidence([0.0, 0.0]) == 0


def test_a_scorer_without_a_score_is_a_coin(tmp_path):
    store(tmp_path / "silent", {"bt_loss": None})
    assert bt_judgement.loss(tmp_path / "silent") == math.log(2)
