"""Each planted mistake is found by its check, with its number and its fix, and by no other check."""

import json
import os
import re
import subprocess
import sys

import pytest

from launch.doctor.methods import METHODS
from tests.conftest import REPOSITORY
from tests.launch.doctor.clean_runs import clean_runs, write_run
from tests.launch.doctor.conftest import HAS_SWIFT
from tests.launch.doctor.plants import PLANTS, planted

CLEAN = ("modpo", "bt_grpo", "pairwise_judge", "modpo-trl", "moodpo", "d2po")


def needs(method: str) -> None:
    if METHODS[method].upstream == "ms-swift" and not HAS_SWIFT:
        pytest.skip("ms-swift is not installed in this environment")


@pytest.mark.parametrize("method", CLEAN)
def test_a_clean_set_up_passes(method, world, doctor):
    needs(method)
    code, findings = doctor(clean_runs(world)[method])
    assert code == 0
    assert not [one for one in findings if one["level"] in ("error", "warning")]
    assert {"versions", "seams", "keys", "settings", "machine", "rows", "batches", "trainability", "reference", "memory",
            "disk"} <= {one["check"] for one in findings if one["level"] == "ok"}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_a_planted_mistake_is_found(plant, world, tmp_path, monkeypatch, doctor, request):
    needs(plant.method)
    if "prefers" in plant.name:
        request.getfixturevalue("contrary")
    run, flags = planted(plant, world, tmp_path, monkeypatch)
    code, findings = doctor(run, *flags)
    errors = [one for one in findings if one["level"] == plant.level]
    assert code == (plant.level == "error")
    assert {one["check"] for one in errors} == {plant.check}, errors
    assert any(re.search(plant.found, one["found"]) and re.search(plant.fix, one["fix"]) for one in errors), errors
    assert all(one["fix"] for one in errors)


def test_the_real_command_line_finds_a_mistake_and_its_mend(world, tmp_path):
    run = clean_runs(world)["modpo-trl"] | {"lora_rank": 8}
    argv = [sys.executable, "-m", "launch", "doctor", str(write_run(tmp_path / "run.yaml", run)), "--json", "out.json"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "here it is called 'lora_r'" in done.stdout and "1 error, 0 warnings" in done.stdout
    assert json.loads((tmp_path / "out.json").read_text())["method"] == "modpo-trl"
