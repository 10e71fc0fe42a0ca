"""The runner of claims: seeds and arms side by side, CPU seconds by arm, a verdict that follows from the stored curves."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("doit")

from launch.__main__ import main
from launch.common.processes import marked
from launch.common.statistics import student_mean
from launch.pipelines.stages import Command, Stage, StageRunner
from launch.reproduce.claim import Arm, Claim, Measured, Place, lies
from launch.reproduce.reproduce import BEGIN, END, RESULT, check, publish, reproduce
from launch.reproduce.result import check_result, make_result, part_of_page
from tests.conftest import REPOSITORY

WRITE = "import json, pathlib, sys; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(parents=True, exist_ok=True); p.write_text(sys.argv[2])"
BURN = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass\n" + WRITE
GAINS = {0: 1.0, 1: 1.5, 2: 1.25}


def write(name: str, place: Path, content: object, program: str = WRITE, after=()) -> Stage:
    return Stage(name, name, [Command(["python", "-c", program, str(place), json.dumps(content)])], [place], after)


def stages(place: Place) -> list[Stage]:
    found = [write("data", place.folder / "data.json", 0)]
    for seed in place.seeds:
        found.append(write(f"plain_s{seed}", place.of(seed, "plain.json"), [[0, 0], [10, seed]], after=["data"]))
        found.append(write(f"better_s{seed}", place.of(seed, "better.json"), [[0, 0], [10, seed + GAINS[seed]]], BURN))
    return found


def measure(place: Place) -> Measured:
    arms = {
        name: Arm(name.title(), {seed: json.loads(place.of(seed, f"{name}.json").read_text()) for seed in place.seeds})
        for name in ("plain", "better")
    }
    gain = student_mean([arms["better"].ends()[seed] - arms["plain"].ends()[seed] for seed in place.seeds])
    return Measured(arms, gain, lies(gain, "greater"), {"the gain again": gain})


CLAIM = Claim(
    "made-up", "no paper", "Is better better?", "better minus plain, points", "greater", "Always.", "Nothing.",
    "step", "points", stages, measure,
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claim")
    assert reproduce(CLAIM, Place(folder, (0, 1, 2)), 2, "the command") == 0
    return folder


def test_the_result_is_paired_over_seeds_and_counts_cpu_seconds_by_arm(done):
    found = json.loads((done / RESULT).read_text())
    assert found["estimate"] == student_mean([1.0, 1.5, 1.25]).as_json() and found["holds"]
    plain, better = found["arms"]["plain"], found["arms"]["better"]
    assert better["seeds"] == [0, 1, 2] and better["estimate"]["value"] == pytest.approx(1 + 1.25, abs=1e-9)
    assert 1.2 <= better["cpu_seconds"] < 4 and plain["cpu_seconds"] < better["cpu_seconds"] - 0.9
    assert better["curves"]["1"] == [[0, 0], [10, 2.5]] and found["commit"] and found["minutes"] > 0
    assert (done / "curves.png").read_bytes().startswith(b"\x89PNG") and "| Better | 2.25 [" in (
        done / "table.md"
    ).read_text()
    check_result(found, "made-up")


def test_costs_count_for_the_arm_whose_name_the_stage_has_whole():
    costs = {
        name: {"cpu_seconds": 60.0, "seconds": 60.0, "began": 0.0} for name in ("x_s0", "x_slow_s0", "x_slow_s1_scored")
    }
    arms = {name: Arm(name, {0: [(0, 1.0)]}) for name in ("x", "x_slow")}
    measured = Measured(arms, student_mean([1.0]), True)
    found = make_result(CLAIM, Place(Path("x"), (0,)), measured, costs, "the command")
    assert {name: arm["cpu_seconds"] for name, arm in found["arms"].items()} == {"x": 60.0, "x_slow": 120.0}


def test_a_second_start_runs_nothing_and_gives_the_same(done, capsys):
    before = (done / RESULT).read_bytes()
    assert reproduce(CLAIM, Place(done, (0, 1, 2)), 2, "the command") == 0
    assert capsys.readouterr().out.count("already done") == 7
    assert {**json.loads(before), "commit": ""} == {**json.loads((done / RESULT).read_bytes()), "commit": ""}


@pytest.mark.parametrize(("better", "code"), [("better", 0), ("plain", 1)])
@pytest.mark.parametrize("rehearsal", [False, True])
def test_a_rehearsal_says_how_far_it_went_and_decides_nothing(tmp_path, capsys, better, code, rehearsal):
    def compare(place: Place) -> Measured:
        found = measure(place)
        gain = student_mean([found.arms[better].ends()[seed] for seed in place.seeds])
        return replace(found, estimate=gain, holds=better == "better")

    claim = replace(CLAIM, measure=compare, comparison="points after 150 steps")
    ended = reproduce(claim, Place(tmp_path, (0, 1), rehearsal), 2, "the command")
    said = [capsys.readouterr().out, (tmp_path / "claim.md").read_text()]
    if rehearsal:
        assert ended == 0
        for text in said:
            assert "a rehearsal, which decides nothing (its curves end at 10, step): " in text
            assert "150" not in text and "the claim" not in text
    else:
        assert ended == code and all("points after 150 steps: " in text and "; the claim " in text for text in said)


def test_a_stored_result_that_contradicts_itself_is_refused(done):
    def changed(**new):
        return {**json.loads((done / RESULT).read_text()), **new}

    arms = changed()["arms"]
    arms["plain"]["curves"]["0"][1][1] = 0.5
    cases = {
        "this is the result of": changed(claim="other"),
        "a rehearsal": changed(rehearsal=True),
        "the curves give": changed(arms=arms),
        "is not greater than 0": changed(estimate={"value": 1.0, "low": -0.1, "high": 2.0, "n": 3}),
        "not a result": {"claim": "made-up"},
    }
    for text, found in cases.items():
        with pytest.raises(ValueError, match=text):
            check_result(found, "made-up")


def test_a_published_part_is_what_the_check_finds_and_nothing_else(done, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n{BEGIN.format(name='made-up')}yesterday\n{END}\nrest\n")
    publish("made-up", done, tmp_path)
    assert check(["made-up"], tmp_path) == 0 and "the claim holds" in capsys.readouterr().out
    text = page.read_text()
    assert text.startswith("# Page\n") and text.endswith(f"{END}\nrest\n") and "yesterday" not in text
    page.write_text(text.replace("1.25", "2.25"))
    with pytest.raises(ValueError, match="is not what"):
        check(["made-up"], tmp_path)
    file = tmp_path / "results" / "claims" / "made-up.json"
    result = {**json.loads(file.read_text()), "holds": False}
    file.write_text(json.dumps(result))
    page.write_text(f"{BEGIN.format(name='made-up')}{part_of_page(result, 'results/claims/made-up.png')}{END}")
    assert check(["made-up"], tmp_path) == 1  # a claim that does not hold is told by the exit status


def test_a_claim_without_a_result_is_told_and_does_not_pass(tmp_path, capsys):
    assert check(["made-up"], tmp_path) == 1 and "made-up: no result yet" in capsys.readouterr().out


def test_of_several_at_a_time_one_that_fails_stops_those_that_read_it_alone(tmp_path, capsys):
    found = [
        write("bad", tmp_path / "bad", 0, "raise SystemExit(3)"),
        write("reads", tmp_path / "reads", 0, after=["bad"]),
        write("other", tmp_path / "other", 0, "import time; time.sleep(1)\n" + WRITE),
        write("last", tmp_path / "last", 0, after=["other"]),
    ]
    assert StageRunner(tmp_path, found, {}, processes=2).run() == 1
    assert [(tmp_path / stage.name).exists() for stage in found] == [False, False, True, True]
    assert "FAILED with exit code 3" in capsys.readouterr().out


def test_an_interrupt_ends_all_that_run(tmp_path):
    program = f"""
import sys
sys.path.insert(0, {str(REPOSITORY)!r})
from tests.launch.reproduce.test_reproduce import StageRunner, write
from pathlib import Path
folder = Path({str(tmp_path)!r})
sleep = "import pathlib, sys, time; pathlib.Path(sys.argv[1] + '.on').write_text(''); time.sleep(60)"
StageRunner(folder, [write(name, folder / name, 0, sleep) for name in "ab"], {{}}, processes=2).run()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not all((tmp_path / f"{name}.on").exists() for name in "ab"):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=50)[1]
    assert marked(f"start {os.uname().nodename} {process.pid}") == [] and not (tmp_path / "a").exists()


def test_the_command_line_refuses_what_it_cannot_do(capsys):
    for flags, text in [
        ([], "name one claim, or --all"),
        (["--all"], "--out is missing"),
        (["--all", "--out", "x", "--seeds", "1", "1"], "different whole numbers"),
        (["nothing"], "unknown value 'nothing'"),
    ]:
        try:
            code = main(["reproduce", *flags])
        except SystemExit as end:
            code = end.code
        assert code == 2 and text in capsys.readouterr().err
