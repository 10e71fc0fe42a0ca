"""Seeds, leases and claims: who may work on what, and how many trials there ever are."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from launch.common.processes import Lease
from launch.tune.objective import make_objective
from launch.tune.settings import TuneSettings
from launch.tune.space import make_space
from launch.tune.study import JOURNAL, claim, make_sampler, open_study, worker_seed
from launch.tune.training import command, training
from tests.conftest import REPOSITORY

pytest.importorskip("optuna")
VECTORS = json.loads((REPOSITORY / "tests" / "vectors" / "tuning.json").read_text())
SPACE = make_space({"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "beta": {"choices": [0.1, 0.2]}})
RANKING = make_objective("ranking", {}, 0.7, {"m": 0.3})
FRONT = make_objective("front", {}, 0.7, {"m": 0.3})


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "run.yaml").write_text("max_length: 8\n")

    def make(**fields):
        base = {
            "study_name": "s",
            "output_root": tmp_path / "out",
            "rung_steps": [2, 4, 8],
            "config": tmp_path / "run.yaml",
        }
        return TuneSettings(**base | fields)

    return make


@pytest.mark.parametrize("case", VECTORS["asha_worker_seed"], ids=lambda case: case["worker_id"])
def test_worker_seed(case):
    assert worker_seed(case["base"], case["worker_id"]) == case["seed"]


# --- leases -----------------------------------------------------------------------------------------------------------

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from launch.common.processes import Lease
lease = Lease.take(Path(sys.argv[1]), "a")
child = subprocess.Popen(["sleep", "60"], pass_fds=[lease.descriptor])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_lease_is_free_when_worker_and_run_are_gone_and_not_before(tmp_path):
    path = tmp_path / "leases" / "trial.lock"
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    worker = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True, env=env)
    run = int(worker.stdout.readline())
    assert Lease.take(path, "b") is None
    worker.kill()
    worker.wait()
    assert Lease.take(path, "b") is None  # its run still trains
    assert json.loads(path.read_text())["holder"] == "a"
    os.kill(run, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (lease := Lease.take(path, "b")) is None:
        assert time.monotonic() < deadline
    assert json.loads(path.read_text())["holder"] == "b"
    lease.release()
    assert Lease.take(path, "c") is not None


@pytest.mark.parametrize(("gpu_id", "seen"), [(None, "inherited"), ("", ""), ("3", "3")])
def test_a_run_sees_its_device_and_its_log_begins_with_its_command(gpu_id, seen, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "inherited")
    lease, log = Lease.take(tmp_path / "t.lock", "a"), tmp_path / "logs" / "train.log"
    argv = [sys.executable, "-c", "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"]
    with training(argv, log, gpu_id, lease) as process:
        process.wait()
    first, second = log.read_text().splitlines()
    assert first.startswith(f"$ {sys.executable} -c ") and second == repr(seen)


def test_a_run_ends_with_an_interrupted_worker(tmp_path):
    lease = Lease.take(tmp_path / "t.lock", "a")
    with pytest.raises(KeyboardInterrupt), training(["sleep", "60"], tmp_path / "log", None, lease) as process:
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGTERM
    lease.release()
    assert Lease.take(tmp_path / "t.lock", "b") is not None


def test_a_run_is_continued_from_its_newest_whole_checkpoint(tmp_path):
    for step, files in ((8, ["trainer_state.json"]), (16, ["trainer_state.json"]), (24, [])):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for name in files:
            (tmp_path / f"checkpoint-{step}" / name).touch()
    assert command(tmp_path, [8, 32])[-2:] == ["--resume_from_checkpoint", str(tmp_path / "checkpoint-16")]
    assert command(tmp_path / "none", [8, 32])[-2:] == ["--rung_folder", str(tmp_path / "none" / "rungs")]


# --- claims -----------------------------------------------------------------------------------------------------------

CLAIMER = """
import sys, time
from pathlib import Path
from launch.tune.study import claim, open_study
from tests.launch.tune.test_tune_study import RANKING, SPACE
from launch.tune.settings import TuneSettings
from optuna.trial import TrialState
out, config, name = sys.argv[1:]
settings = TuneSettings(study_name="s", output_root=out, rung_steps=[2, 4, 8], config=config, n_trials=10, worker_id=name)
study = open_study(settings, RANKING)
ready = Path(out, "ready")
ready.mkdir(exist_ok=True)
(ready / name).touch()
while len(list(ready.iterdir())) < 5:
    time.sleep(0.001)
while (claimed := claim(study, settings, SPACE)) is not None:
    number = claimed.trial.number
    state = TrialState.FAIL if number % 3 == 0 else TrialState.COMPLETE
    study.tell(claimed.trial, None if number % 3 == 0 else 0.5, state)
    claimed.lease.release()
"""


def test_five_workers_at_once_never_exceed_the_budget(settings, tmp_path):
    """Failed trials cost nothing of it, and no trial is claimed by two."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", CLAIMER, str(tmp_path / "out"), str(tmp_path / "run.yaml")]
    workers = [subprocess.Popen([*argv, f"w{index}"], env=env, stderr=subprocess.PIPE, text=True) for index in range(5)]
    for worker in workers:
        assert worker.wait(timeout=120) == 0, worker.stderr.read()
    trials = open_study(settings(n_trials=10), RANKING).trials
    assert all(trial.state.is_finished() for trial in trials)
    assert sum(trial.state.name == "COMPLETE" for trial in trials) == 10 and len(trials) >= 15  # 0, 3, 6, 9, 12 failed
    assert len({json.dumps(trial.params, sort_keys=True) for trial in trials}) == len(trials)


def test_running_trials_count_and_left_ones_come_first(settings):
    mine, other = (settings(n_trials=2, worker_id=name) for name in ("a", "b"))
    study, again = open_study(mine, RANKING), open_study(other, RANKING)
    first, second = claim(study, mine, SPACE), claim(again, other, SPACE)
    assert [one.trial.number for one in (first, second)] == [0, 1] and not first.taken_over
    assert claim(study, mine, SPACE) is None  # both run, neither is finished
    second.lease.release()  # its worker is gone
    taken = claim(study, mine, SPACE)
    assert taken.taken_over and taken.trial.number == 1 and taken.parameters == second.parameters
    assert study.trials[1].user_attrs["worker_id"] == "a" and len(study.trials) == 2


def test_a_worker_whose_trial_was_taken_over_does_not_draw_its_first_point_again(settings):
    mine, other = (settings(n_trials=3, worker_id=name) for name in ("a", "b"))
    first = claim(open_study(mine, RANKING), mine, SPACE)
    first.lease.release()  # killed
    assert claim(open_study(other, RANKING), other, SPACE).taken_over
    assert claim(open_study(mine, RANKING), mine, SPACE).parameters != first.parameters


def test_a_trial_that_ended_while_the_trials_were_read_is_left_alone(settings, monkeypatch):
    """Its worker tells the study and gives the lease free without the lock that claims are made under."""
    mine, other = settings(n_trials=2, worker_id="a"), settings(n_trials=2, worker_id="b")
    study, again = open_study(mine, RANKING), open_study(other, RANKING)
    ends, read = claim(again, other, SPACE), study.get_trials

    def read_and_then_it_ends(*args, **kwargs):
        found = read(*args, **kwargs)
        if ends.lease is not None:
            again.tell(ends.trial, 0.5)
            ends.lease.release()
            ends.lease = None
        return found

    monkeypatch.setattr(study, "get_trials", read_and_then_it_ends)
    claimed = claim(study, mine, SPACE)
    assert claimed.trial.number == 1 and not claimed.taken_over
    assert [trial.state.name for trial in read()] == ["COMPLETE", "RUNNING"]


def test_a_worker_that_died_while_it_drew_parameters(settings):
    mine = settings(n_trials=1)
    study = open_study(mine, RANKING)
    trial = study.ask()
    rate = SPACE["learning_rate"].suggest(trial, "learning_rate")
    taken = claim(study, mine, SPACE)
    assert taken.taken_over and taken.parameters["learning_rate"] == rate and set(taken.parameters) == set(SPACE)


def test_out_of_time_a_worker_still_continues_but_starts_nothing(settings):
    mine = settings()
    study = open_study(mine, RANKING)
    assert claim(study, mine, SPACE, may_start=False) is None
    claim(study, mine, SPACE).lease.release()
    assert claim(study, mine, SPACE, may_start=False).taken_over


def test_a_study_is_not_continued_with_other_settings(settings, tmp_path):
    open_study(settings(), RANKING)
    open_study(settings(n_trials=99, worker_id="other", gpu_id="3", timeout=5), RANKING)
    with pytest.raises(ValueError, match=r"was made with w = 0.7, now it is 0.6; use another --study_name$"):
        open_study(settings(w=0.6), RANKING)
    (tmp_path / "run.yaml").write_text("max_length: 16\n")
    with pytest.raises(ValueError, match=r"was made with config = 'max_length: 8"):
        open_study(settings(), RANKING)


def test_a_line_torn_by_a_power_failure_is_cut_off(settings):
    mine = settings()
    claim(open_study(mine, RANKING), mine, SPACE).lease.release()
    journal = mine.folder / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"worker')
    study = open_study(mine, RANKING)
    assert claim(study, mine, SPACE).taken_over and len(study.trials) == 1
    assert journal.read_bytes().startswith(whole + b"{")


def test_a_restarted_worker_draws_neither_its_first_points_again_nor_those_of_others(settings):
    """The names gpu0 and gpu1 have neighbouring seeds, so a restart must not simply count on."""
    assert worker_seed(42, "gpu1") - worker_seed(42, "gpu0") == 1
    workers = [settings(worker_id=name) for name in ("gpu0", "gpu1")]
    drawn = [claim(open_study(mine, RANKING), mine, SPACE).parameters for mine in workers]
    again = open_study(workers[0], RANKING)  # gpu0, after a restart
    drawn += [claim(again, workers[0], SPACE).parameters for _ in range(2)]
    assert len({json.dumps(parameters, sort_keys=True) for parameters in drawn}) == 4


def test_samplers(settings):
    from optuna.samplers import NSGAIISampler, TPESampler

    assert isinstance(make_sampler(settings(), RANKING, 0), TPESampler)
    front = make_sampler(settings(n_trials=24), FRONT, 0)
    assert isinstance(front, NSGAIISampler) and front._population_size == 6
    assert open_study(settings(study_name="f", objective="front"), FRONT).directions == [2, 2]


def test_rungs_are_optunas_rungs(settings):
    """Each rung but the last is judged once: the better half of those that were there before goes on."""
    mine = settings(rung_steps=[300, 600, 1000], n_trials=9)
    study, stopped = open_study(mine, RANKING), {}
    for values in ((0.5, 0.6, 0.7), (0.4,), (0.6, 0.5), (0.55, 0.9, 0.9)):
        trial = claim(study, mine, SPACE).trial
        for step, value in zip(mine.rung_steps, values, strict=False):
            trial.report(value, step)
            if step != 1000 and trial.should_prune():
                stopped[trial.number] = step
    # Of 0.5 0.4 the best goes on; 0.6 leads three of them, then is last of two at 600; 0.55 is second of four.
    assert stopped == {1: 300, 2: 600}
    rungs = [sorted(name for name in trial.system_attrs if name.startswith("completed_rung")) for trial in study.trials]
    assert rungs == [
        ["completed_rung_0", "completed_rung_1"],
        ["completed_rung_0"],
        *[["completed_rung_0", "completed_rung_1"]] * 2,
    ]
