"""StageRunner: what is done stays done, what a changed setting touches is redone, a killed run continues."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("doit")

from launch.pipelines.stages import Command, Stage, StageRunner

COUNT = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.write_text(sys.argv[2]); q = p.with_suffix('.runs'); q.write_text(q.read_text() + 'x' if q.exists() else 'x')"


def write_stage(folder: Path, name: str, text: str, after=()) -> Stage:
    """A stage that writes `text` to `name.txt` and counts its runs in `name.runs`."""
    output = folder / f"{name}.txt"
    return Stage(name, name, [Command(["python", "-c", COUNT, str(output), text])], [output], after)


def chain(folder: Path, first="1", second="2") -> list[Stage]:
    return [
        write_stage(folder, "a", first),
        write_stage(folder, "b", second, ["a"]),
        write_stage(folder, "c", "3", ["b"]),
        write_stage(folder, "side", "4"),
    ]


def runs(folder: Path) -> dict[str, int]:
    return {path.stem: len(path.read_text()) for path in sorted(folder.glob("*.runs"))}


def test_second_run_does_nothing(tmp_path):
    assert StageRunner(tmp_path, chain(tmp_path), {}).run() == 0
    assert StageRunner(tmp_path, chain(tmp_path), {}).run() == 0
    assert runs(tmp_path) == {"a": 1, "b": 1, "c": 1, "side": 1}


def test_changed_setting_redoes_what_depends_on_it(tmp_path):
    StageRunner(tmp_path, chain(tmp_path), {}).run()
    assert StageRunner(tmp_path, chain(tmp_path, second="changed"), {}).run() == 0
    assert runs(tmp_path) == {"a": 1, "b": 2, "c": 2, "side": 1}


def test_equal_output_of_a_redone_stage_stops_there(tmp_path):
    """c depends on the content of b, not on b having run: a changed a with an unchanged b leaves c alone."""
    StageRunner(tmp_path, chain(tmp_path), {}).run()
    StageRunner(tmp_path, chain(tmp_path, first="other"), {}).run()
    assert runs(tmp_path) == {"a": 2, "b": 2, "c": 1, "side": 1}


@pytest.mark.parametrize("damage", ["delete", "edit"])
def test_lost_or_edited_output_is_made_again(tmp_path, damage):
    StageRunner(tmp_path, chain(tmp_path), {}).run()
    target = tmp_path / "b.txt"
    target.unlink() if damage == "delete" else target.write_text("tampered")
    assert StageRunner(tmp_path, chain(tmp_path), {}).run() == 0
    assert runs(tmp_path)["b"] == 2 and target.read_text() == "2"


def test_failure_names_the_stage_and_stops_what_depends_on_it(tmp_path, capfd):
    stages = chain(tmp_path)
    stages[1].commands = [Command(["python", "-c", "raise SystemExit('the reason')"])]
    assert StageRunner(tmp_path, stages, {}).run() == 1
    said = capfd.readouterr().out
    assert "[2/4] b: FAILED with exit code 1" in said and "the reason" in said
    assert "c" not in runs(tmp_path)


def test_stage_without_its_output_is_not_done(tmp_path, capfd):
    stage = Stage("a", "a", [Command(["python", "-c", "pass"])], [tmp_path / "never"])
    assert StageRunner(tmp_path, [stage], {}).run() == 1
    assert "left no" in capfd.readouterr().out


SLOW = """
import pathlib, sys, time
p = pathlib.Path(sys.argv[1])
done = int(p.read_text()) if p.exists() else 0
for step in range(done, 5):
    time.sleep(0.3)
    p.write_text(str(step + 1))
"""
DRIVER = """
import sys
from pathlib import Path
from launch.pipelines.stages import Command, Stage, StageRunner
folder, script = Path(sys.argv[1]), sys.argv[2]
out = folder / "steps.txt"
command = Command(["python", "-c", script, str(out)])
sys.exit(StageRunner(folder, [Stage("slow", "slow", [command], [out], resumable=True, settings={"k": sys.argv[3]})], {}).run())
"""


def drive(folder: Path, setting: str, wait: bool = True):
    argv = [sys.executable, "-c", DRIVER, str(folder), SLOW, setting]
    process = subprocess.Popen(argv, start_new_session=True, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
    if wait:
        assert process.wait(60) == 0
    return process


def test_kill_continues_under_the_same_settings_and_starts_over_under_others(tmp_path):
    process = drive(tmp_path, "one", wait=False)
    deadline = time.monotonic() + 30
    while not (tmp_path / "steps.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    left = int((tmp_path / "steps.txt").read_text())
    assert 0 < left < 5 and not (tmp_path / "manifests" / "slow.json").exists()
    (tmp_path / "steps.txt").write_text("4")  # a resumable stage keeps what is there under the same settings ...
    begun = time.monotonic()
    drive(tmp_path, "one")
    assert time.monotonic() - begun < 20 and (tmp_path / "steps.txt").read_text() == "5"
    first = json.loads((tmp_path / "manifests" / "slow.json").read_text())
    drive(tmp_path, "two")  # ... and loses it under others
    second = json.loads((tmp_path / "manifests" / "slow.json").read_text())
    assert first["settings"] != second["settings"] and second["seconds"] >= 1.5


@pytest.mark.parametrize("seconds", [0, 0.05, 0.5])
def test_a_child_ends_with_its_parent_alone_killed(tmp_path, seconds):
    process = drive(tmp_path, "one", wait=False)
    deadline = time.monotonic() + 30
    while not (tmp_path / "logs" / "slow.log").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.7)  # a child that lived on would write twice
    left = [path.read_text() for path in tmp_path.glob("steps.txt")]
    time.sleep(0.7)
    assert [path.read_text() for path in tmp_path.glob("steps.txt")] == left and left != ["5"]


def test_printed_command_can_be_typed():
    command = Command(["swift", "rlhf", "--system", "two words"], {"MODPO_W": "0.5"})
    assert command.printable() == "MODPO_W=0.5 swift rlhf --system 'two words'"
