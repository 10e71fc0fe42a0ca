"""The claim about gold labels, every run of it with two seeds and two steps: all of it works, and nothing is decided."""

import json
import os

import pytest

pytest.importorskip("doit")

from launch.reproduce.claim import Place
from launch.reproduce.claims.d2po_labels import FULL, OFFLINE, ONLINE, REHEARSAL, stages
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("size", [FULL, REHEARSAL])
def test_every_method_has_the_same_number_of_labels(size):
    """What the learners buy during the run is what the fixed reward model has more at the beginning."""
    windows = -(-size.steps * size.batch // size.window)
    assert size.first + windows * size.bought == size.labels and size.steps % size.every == 0


def test_seeds_share_the_language_alone(tmp_path):
    found = stages(Place(tmp_path, (0, 1)))
    one, two = ([stage for stage in found if stage.name.partition("_s")[2][:1] == seed] for seed in "01")
    assert len(found) == 1 + 2 * len(one) and len(one) == len(two) == 3 + len(ONLINE) + 1
    for stage in one:
        text = " ".join(command.printable() for command in stage.commands)
        assert "seed1" not in text and ("--seed 0" in text or "--labels" in text)


@pytest.mark.integration
def test_a_rehearsal_runs_all_of_it_and_decides_nothing(warm_trl, tmp_path):
    argv = ["reproduce", "d2po-labels", "--out", tmp_path / "out", "--seeds", "0", "1", "--rehearsal"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = warm_trl.server.run("launch", list(map(str, argv)), env, REPOSITORY, warm_children=True)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, (done.stdout + done.stderr)[-3000:]
    found = json.loads((tmp_path / "out" / "claim.json").read_text())
    assert found["rehearsal"] and set(found["arms"]) == {*ONLINE, OFFLINE}
    steps = [float(step) for step in range(0, REHEARSAL.steps + 1, REHEARSAL.every)]
    for name, arm in found["arms"].items():
        assert sorted(arm["curves"]) == ["0", "1"]
        assert [[at for at, _ in curve] for curve in arm["curves"].values()] == [steps, steps], name
    ends = {name: [arm["curves"][seed][-1][1] for seed in "01"] for name, arm in found["arms"].items()}
    differences = [one - other for one, other in zip(ends["confidence"], ends["fixed_all"], strict=True)]
    assert found["estimate"]["value"] == pytest.approx(sum(differences) / 2, abs=1e-9) and found["estimate"]["n"] == 2
    for seed in (0, 1):
        ledger = (tmp_path / "out" / f"seed{seed}" / "confidence" / "d2po_ledger.jsonl").read_text().splitlines()
        assert len(ledger) == REHEARSAL.labels - REHEARSAL.first
