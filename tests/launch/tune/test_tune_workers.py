"""Whole studies through the command line: two workers, one killed and replaced; an orphan; a worker that is told to end."""

import csv
import json
import math
import os
import re
import signal
import time
from pathlib import Path

import pytest

from launch.common.processes import Lease
from tests.launch.tune.conftest import study_of

pytest.importorskip("optuna")
pytest.importorskip("trl")
pytestmark = pytest.mark.integration
RUNGS = (4, 8, 12)
# So many that some are pruned.
TRIALS = 7


def wait_for(there, processes, seconds=600):
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, "it did not come"
        assert not processes or any(process.poll() is None for process in processes), "all workers ended"
        time.sleep(0.01)


def goes_on(trial: Path) -> bool:
    """Its first rung is passed and kept on the disk, the rest lies ahead."""
    answer = trial / "rungs" / "step_4.answer.json"
    return answer.exists() and "go" in answer.read_text() and (trial / "checkpoint-4" / "trainer_state.json").exists()


def history(trial: Path) -> list[dict]:
    newest = max(trial.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    return json.loads((newest / "trainer_state.json").read_text())["log_history"]


def test_trials_of_two_workers_one_killed_and_replaced(study_flags, start, tmp_path):
    flags, folder = [*study_flags, "--n_trials", str(TRIALS)], tmp_path / "out" / "s"
    workers = {name: start([*flags, "--worker_id", name], f"{name}.log", warm=True) for name in ("gpu0", "gpu1")}
    trials = [folder / "trial_0000", folder / "trial_0001"]
    wait_for(lambda: any(map(goes_on, trials)), workers.values())
    killed = next(number for number, trial in enumerate(trials) if goes_on(trial))
    victim = study_of(folder).trials[killed].user_attrs["worker_id"]
    os.killpg(workers[victim].pid, signal.SIGKILL)  # the training run with it
    workers[victim].wait()
    assert study_of(folder).trials[killed].state.name == "RUNNING"
    workers[victim] = start([*flags, "--worker_id", victim], f"{victim}_again.log", warm=True)
    for process in workers.values():
        assert process.wait(timeout=1800) == 0, [path.read_text()[-3000:] for path in tmp_path.glob("*.log")]
    logs = {path.name: path.read_text() for path in tmp_path.glob("*.log")}

    finished = study_of(folder).trials
    assert [trial.number for trial in finished] == list(range(TRIALS))
    assert {trial.state.name for trial in finished} == {"COMPLETE", "PRUNED"}
    assert len({json.dumps(trial.params, sort_keys=True) for trial in finished}) == TRIALS
    assert sum(f"trial {killed}: taken over" in log for log in logs.values()) == 1
    assert sum(log.count(": started") for log in logs.values()) == TRIALS  # and none twice

    # Continued, not restarted: every step once, on one cosine over the full length.
    second_run = (trials[killed] / "logs" / "train.log").read_text().split("$ ")[-1]
    first_step = int(re.search(r"--resume_from_checkpoint \S+/checkpoint-(\d+)", second_run)[1])
    assert first_step >= 4 and second_run.count("'grad_norm'") == finished[killed].user_attrs["last_step"] - first_step
    taken_over = history(trials[killed])
    rates = {row["step"]: row["learning_rate"] for row in taken_over if "learning_rate" in row}
    parameters, warmup = finished[killed].params, finished[killed].user_attrs["warmup_steps"]
    assert sum("learning_rate" in row for row in taken_over) == len(rates) == finished[killed].user_attrs["last_step"]
    assert rates == pytest.approx({step: rate(step, parameters["learning_rate"], warmup) for step in rates}, rel=1e-6)

    # The rungs' scores are those of the trainer's own log at that very step.
    for trial in finished:
        rows = {row["step"]: row for row in history(folder / f"trial_{trial.number:04d}") if "eval_loss" in row}
        assert list(rows) == list(trial.intermediate_values)  # evaluated at the rungs and nowhere else
        for step, value in trial.intermediate_values.items():
            row = rows[step]
            assert value == pytest.approx(
                0.7 * row["eval_ranking/preference"] + 0.3 * row["eval_ranking/margin"], abs=1e-12
            )
        assert trial.state.name == ("COMPLETE" if 12 in trial.intermediate_values else "PRUNED")
        assert (folder / f"trial_{trial.number:04d}" / "adapter_model.safetensors").exists() == (
            trial.state.name == "COMPLETE"
        )

    with open(folder / "study_trials.csv", newline="") as handle:
        table = list(csv.DictReader(handle))
    assert [(int(row["number"]), row["state"]) for row in table] == [
        (trial.number, trial.state.name) for trial in finished
    ]
    best = json.loads((folder / "best_trial.json").read_text())
    complete = [trial for trial in finished if trial.state.name == "COMPLETE"]
    assert best["trials"] == {"COMPLETE": len(complete), "PRUNED": TRIALS - len(complete)}
    assert best["best"][0]["values"] == [max(trial.value for trial in complete)]
    assert (folder / "history.png").read_bytes().startswith(b"\x89PNG")

    # A full study stays as it is.
    before = (folder / "optuna_study.journal").read_bytes()
    again = start([*flags, "--worker_id", "gpu7"], "again.log", warm=True)
    assert again.wait(timeout=200) == 0
    assert f"the budget of {TRIALS} trials is spent" in (tmp_path / "again.log").read_text()
    assert len(study_of(folder).trials) == TRIALS and not (folder / f"trial_{TRIALS:04d}").exists()
    assert (folder / "optuna_study.journal").read_bytes()[: len(before)] == before


def rate(step: int, peak: float, warmup: int) -> float:
    """The cosine with warm-up that was logged after `step` of 12 steps; written down here once more."""
    done = step - 1
    if done < warmup:
        return peak * done / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warmup) / (12 - warmup)))


def test_an_orphaned_run_leaves_and_is_continued_by_the_next_worker(study_flags, start, tmp_path):
    """Only the worker is killed; its run is ended, and the trial is nobody else's before that."""
    flags, folder = (
        [*study_flags, "--n_trials", "1", "--rung_steps", "4,8,400", "--save_steps", "4"],
        tmp_path / "out" / "s",
    )
    worker, trial = start(flags, "first.log"), tmp_path / "out" / "s" / "trial_0000"
    wait_for(lambda: goes_on(trial), [worker])
    orphans = [guard := children(worker.pid)[0], *children(guard)]
    assert len(orphans) == 2
    os.kill(guard, signal.SIGSTOP)  # it does not notice at once
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    assert Lease.take(folder / "leases" / "trial_0000.lock", "next") is None
    os.kill(guard, signal.SIGCONT)
    wait_for(lambda: not any(map(alive, orphans)), [], 60)
    assert study_of(folder).trials[0].state.name == "RUNNING"
    reached = max(int(path.name.split("-")[1]) for path in trial.glob("checkpoint-*"))
    assert reached < 400

    # The next worker is ended by a scheduler and takes its run along; a third one finds the trial where it was.
    second = start(flags, "second.log")
    wait_for(lambda: any(int(path.name.split("-")[1]) > reached for path in trial.glob("checkpoint-*")), [second])
    run = children(second.pid)
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=90) == 130 and not any(map(alive, run))
    assert "trial 0: taken over" in (tmp_path / "second.log").read_text()
    assert "the same command goes on from here" in (tmp_path / "second.log").read_text()
    assert study_of(folder).trials[0].state.name == "RUNNING"


def test_a_worker_killed_while_its_run_still_imports_is_replaced_at_once(study_flags, start, tmp_path):
    """At that moment the run does not even know who started it. The next worker waits for its end, and takes over."""
    flags, folder = [*study_flags, "--n_trials", "1", "--rung_steps", "2,4"], tmp_path / "out" / "s"
    worker, log = start(flags, "first.log"), folder / "trial_0000" / "logs" / "train.log"
    wait_for(lambda: log.exists() and log.stat().st_size, [worker])
    time.sleep(0.3)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    again = start(flags, "second.log")
    assert again.wait(timeout=300) == 0, (tmp_path / "second.log").read_text()
    assert "trial 0: taken over" in (tmp_path / "second.log").read_text()
    assert [trial.state.name for trial in study_of(folder).trials] == ["COMPLETE"]


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
