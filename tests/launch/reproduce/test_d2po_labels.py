"""The claim about gold labels: each arm's labels and data, what the files of its runs say, and all of its runs in two steps."""

import json
import os

import pytest

pytest.importorskip("doit")

from launch.common.statistics import student_mean
from launch.d2po.curve_data import STATE_FILE
from launch.reproduce.claim import Place
from launch.reproduce.claims.d2po_labels import DECIDING, OFFLINE, ONLINE, measure, stages
from launch.reproduce.d2po_runs import FULL, REHEARSAL
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("size", [FULL, REHEARSAL])
def test_every_method_has_the_same_number_of_labels(size):
    """What the learners buy during the run is what the fixed reward model has more at the beginning."""
    windows = -(-size.steps * size.batch // size.window)
    assert size.first + windows * size.bought == size.labels and size.steps % size.every == 0
    assert 0 < size.few < size.bought


def test_the_parts_of_all_pairs_that_are_labelled():
    assert (FULL.window / FULL.bought, FULL.window / FULL.few) == (6, 16)


def test_seeds_share_the_language_alone(tmp_path):
    found = stages(Place(tmp_path, (0, 1)))
    one, two = ([stage for stage in found if stage.name.partition("_s")[2][:1] == seed] for seed in "01")
    assert len(found) == 1 + 2 * len(one) and len(one) == len(two) == 3 + 3 + len(ONLINE) + 1
    for stage in one:
        text = " ".join(command.printable() for command in stage.commands)
        assert "seed1" not in text and ("--seed 0" in text or "--labels" in text)


GAINS = {"confidence": (1.0, 1.5, 1.25), "random": (0.5, 0.25, 1.0), "few": (0.25, 0.5, 0.25), "near_confidence": (0.0, 0.25, -0.25)}  # fmt: skip


@pytest.fixture
def measured(tmp_path):
    """What three seeds say whose arms end at the seed's number, and above it where `GAINS` says so."""
    place = Place(tmp_path, (0, 1, 2))
    for seed in place.seeds:
        for arm in ONLINE:
            end = seed + GAINS.get(arm, (0, 0, 0))[seed]
            rows = [
                {"step": 0, "eval_gold": 0.5, "eval_gold_labels": 0, "eval_agreement": 0.75, "eval_score": 0.0},
                {"step": 30, "loss": 1.0},
                {
                    "step": 90,
                    "eval_gold": end,
                    "eval_gold_labels": 9,
                    "eval_agreement": 0.625,
                    "eval_score": 4.0 + seed,
                },
            ]
            place.of(seed, arm).mkdir(parents=True)
            (place.of(seed, arm) / STATE_FILE).write_text(json.dumps({"global_step": 90, "log_history": rows}))
        scores = {"base": {"gold": {"value": 0.5}}, "checkpoint-90": {"gold": {"value": seed - 0.5}}}
        place.of(seed, f"{OFFLINE}_gold").mkdir()
        (place.of(seed, f"{OFFLINE}_gold") / "gold_summary.json").write_text(json.dumps({"checkpoints": scores}))
    return measure(place)


def test_the_default_learner_is_compared_with_the_fixed_reward_model_seed_by_seed(measured):
    assert measured.estimate == student_mean(GAINS["confidence"]) and measured.holds
    assert measured.others["D2PO, random labels minus fixed reward model, all labels"] == student_mean(GAINS["random"])
    assert measured.others["D2PO, least certain minus random labels"] == student_mean([0.5, 1.25, 0.25])
    assert measured.others["offline DPO, all labels minus fixed reward model, all labels"].value == -0.5
    assert measured.others["fixed reward model: its own mean score, at the end"] == student_mean([4.0, 5.0, 6.0])
    assert measured.others["fixed reward model: agreement with gold on new pairs, at the end"].value == 0.625
    assert set(measured.arms) == {*ONLINE, OFFLINE} and measured.arms["few"].curves[1] == [(0, 0.5), (90, 1.5)]


def test_where_it_should_fail_is_told_and_does_not_decide(measured):
    found = {phrase: estimate for phrase, estimate in measured.others.items() if "where it should fail" in phrase}
    assert [estimate.value for estimate in found.values()] == [0.0, 0.0] and not set(DECIDING) & {
        "near_fixed",
        "sea_fixed",
    }


@pytest.mark.integration
def test_a_rehearsal_runs_all_of_it_and_decides_nothing(warm_trl, tmp_path):
    argv = ["reproduce", "d2po-labels", "--out", tmp_path / "out", "--seeds", "1", "--rehearsal"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = warm_trl.server.run("launch", list(map(str, argv)), env, REPOSITORY, warm_children=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, (done.stdout + done.stderr)[-3000:]
    found = json.loads((tmp_path / "out" / "claim.json").read_text())
    assert found["rehearsal"] and set(found["arms"]) == {*ONLINE, OFFLINE}
    steps = [float(step) for step in range(0, REHEARSAL.steps + 1, REHEARSAL.every)]
    for name, arm in found["arms"].items():
        assert {seed: [at for at, _ in curve] for seed, curve in arm["curves"].items()} == {"1": steps}, name
    ends = {name: arm["curves"]["1"][-1][1] for name, arm in found["arms"].items()}
    assert found["estimate"]["value"] == pytest.approx(ends["confidence"] - ends["fixed_all"], abs=1e-9)
    for arm, bought in (("confidence", REHEARSAL.bought), ("sea_confidence", REHEARSAL.bought), ("few", REHEARSAL.few)):
        ledger = (tmp_path / "out" / "seed1" / arm / "d2po_ledger.jsonl").read_text().splitlines()
        assert len(ledger) == bought
