"""How trials end that do not end well, what a front keeps, and the files of the summary."""

import csv
import json

import pytest
import yaml

from launch.__main__ import main as launch
from launch.tune.objective import make_objective
from launch.tune.rungs import RungFiles
from launch.tune.settings import TuneSettings
from launch.tune.space import make_space
from launch.tune.study import claim, open_study, spent, trial_folder
from launch.tune.summary import best, failures, importances, states, table, write_summary
from launch.tune.worker import Worker
from tests.launch.tune.conftest import study_of

pytest.importorskip("optuna")
SPACE = make_space({"learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}, "beta": {"choices": [0.1, 0.2]}})
RANKING = make_objective("ranking", {}, 0.7, {"brevity": 0.3})
WELL = {"eval_ranking/preference": 0.6, "eval_ranking/brevity": 0.7, "eval_loss": 0.5}


@pytest.fixture
def worker(tmp_path):
    """worker(objective, **settings): its runs end at once, as there is no model."""

    def make(goal=RANKING, **fields):
        config = tmp_path / "run.yaml"
        config.write_text(
            yaml.safe_dump({"margin_function": "brevity", "use_cpu": True, "bf16": False, "report_to": "none"})
        )
        base = {
            "study_name": "s",
            "output_root": tmp_path / "out",
            "rung_steps": [2, 4, 8],
            "config": config,
            "sft_model_name": "none",
        }
        settings = TuneSettings(**base | fields)
        lines = []
        made = Worker(open_study(settings, goal), settings, SPACE, goal, lines.append)
        made.lines, made.folder = lines, settings.folder
        return made

    return make


def report(folder, number, *rungs):
    for step, metrics in rungs:
        RungFiles(trial_folder(folder, number) / "rungs").report(step, metrics)


@pytest.mark.integration
def test_a_run_that_refuses_its_settings_ends_the_worker_and_spends_one_trial(worker):
    one = worker(dataset_name="none.jsonl")
    assert one.run() is False
    failed = one.study.trials
    assert [trial.state.name for trial in failed] == ["FAIL"]
    assert "error: dataset_name: no file none.jsonl" in failed[0].user_attrs["failure"]
    assert one.lines[-1] == "gives up after 1 failed run in a row"
    assert (one.folder / "leases" / "trial_0000.lock").exists()


def test_a_reported_rung_that_cannot_be_judged_fails_the_trial_and_not_the_study(worker):
    """Found by a worker that takes such trials over: no run is started for them."""
    one = worker(n_trials=2, max_failures=2)
    report(one.folder, 0, (2, {"eval_loss": 0.5}))
    report(one.folder, 1, (2, {**WELL, "eval_ranking/preference": float("nan")}))
    assert one.run() is False
    reasons = [trial.user_attrs["failure"] for trial in one.study.trials]
    assert reasons[0].startswith("step 2: the evaluation has no metric 'eval_ranking/preference'")
    assert reasons[1] == "step 2: eval_ranking/preference is nan"
    assert one.lines[-1] == "gives up after 2 failed runs in a row" and states(one.study) == {"FAIL": 2}
    assert spent(one.study) == 0 and failures(one.study) == dict.fromkeys(reasons, 1)
    assert best(one.study, one.folder)["failures"] == failures(one.study)
    assert best(one.study, one.folder)["reason"] == "no trial was trained to the end"
    assert "no trial was trained" in json.dumps(best(one.study, one.folder)) and importances(one.study) == {}


def test_a_trial_whose_worker_died_after_the_answer_is_told_once(worker):
    one = worker(n_trials=1)
    report(one.folder, 0, (2, WELL))
    RungFiles(trial_folder(one.folder, 0) / "rungs").answer(2, "stop")
    trial = one.study.ask()
    trial.set_user_attr("metrics_step_2", WELL)
    trial.report(0.63, 2)
    assert one.run() is True
    told = one.study.trials[0]
    assert told.state.name == "PRUNED" and told.value == 0.63 and told.user_attrs["last_step"] == 2
    assert one.lines[0].startswith("trial 0: taken over") and one.lines[-1].startswith(
        "trial 0: pruned at step 2; trials: 1 of "
    )
    assert not (trial_folder(one.folder, 0) / "logs").exists()  # nothing was started for it


def test_the_first_report_of_a_rung_stands(tmp_path):
    """A run that was continued before a rung evaluates there again, on the same weights but for rounding."""
    files = RungFiles(tmp_path)
    files.report(2, WELL)
    files.report(2, {**WELL, "eval_loss": 0.4})
    assert files.reported(2) == WELL and files.reported(4) is None and files.answered(2) is None


def test_rungs_are_answered_as_they_come_and_the_worse_half_is_told_to_stop(worker):
    one, answers = worker(), []
    for number, values in enumerate([(0.6, 0.6, 0.6), (0.5,), (0.7, 0.5), (0.8, 0.8, 0.8)]):
        claimed = claim(one.study, one.settings, SPACE)
        files = RungFiles(trial_folder(one.folder, number) / "rungs")
        assert one._judge(claimed, files) is None  # nothing is reported yet
        for step, value in zip((2, 4, 8), values, strict=False):
            report(
                one.folder, number, (step, {**WELL, "eval_ranking/preference": value, "eval_ranking/brevity": value})
            )
            answers.append((number, step, one._judge(claimed, files), files.answered(step)))
            assert one.study.trials[number].intermediate_values[step] == pytest.approx(value)
    stops = {(number, step) for number, step, _, answer in answers if answer == "stop"}
    assert stops == {(1, 2), (2, 4)} and all(
        judged == "stop" for number, step, judged, _ in answers if (number, step) in stops
    )
    assert [judged for _, step, judged, _ in answers if step == 8] == ["go", "go"]


@pytest.mark.parametrize("kind", ["ranking", "front"])
def test_summary_of_a_study(worker, kind, tmp_path):
    objective = make_objective(kind, {}, 0.7, {"brevity": 0.3})
    one = worker(objective, objective=kind, study_name=kind)
    for number in range(6):
        claimed = claim(one.study, one.settings, SPACE)
        metrics = {
            **WELL,
            "eval_odd": float("nan"),  # a measure that the objective does not read
            "eval_ranking/preference": 0.5 + number / 20,
            "eval_ranking/brevity": 0.9 - number * number / 50,
        }
        for step in (2, 4, 8):
            one._decide(claimed, step, metrics)
        one._end(claimed, "COMPLETE")
    lines = []
    write_summary(one.study, one.folder, objective.label, lines.append)
    rows = list(csv.DictReader((one.folder / "study_trials.csv").open(newline="")))
    assert [int(row["number"]) for row in rows] == list(range(6)) and rows[0]["worker_id"] == "worker0"
    assert json.loads(rows[3]["metrics_step_4"])["eval_ranking/preference"] == pytest.approx(0.65)
    chosen = json.loads((one.folder / "best_trial.json").read_text())
    assert chosen["best"][0]["attributes"]["metrics_step_8"]["eval_odd"] == "nan"
    if kind == "ranking":
        values = [0.7 * (0.5 + n / 20) + 0.3 * (0.9 - n * n / 50) for n in range(6)]
        assert [float(row["value"]) for row in rows] == pytest.approx(values)
        assert chosen["best"][0]["number"] == values.index(max(values)) == 3
        assert float(rows[3]["objective_step_2"]) == pytest.approx(values[3])
    else:
        assert [one["number"] for one in chosen["best"]] == list(range(6))  # one gains what the other loses
        assert float(rows[1]["value_1"]) == pytest.approx(0.88) and "value" not in rows[1]
    pictures = {"history.png"} if kind == "ranking" else {"front.png"}
    for name in pictures | {"importance.png"}:
        assert (one.folder / name).read_bytes().startswith(b"\x89PNG"), name
    assert set(importances(one.study)) == {"learning_rate", "beta"}
    assert sum(importances(one.study).values()) == pytest.approx(1)
    assert not list(one.folder.glob(".*partial")) and lines[-1].startswith(f"written to {one.folder}: study_trials.csv")
    assert table(one.study) == (one.folder / "study_trials.csv").read_text()


def test_summarize_only_reads_and_trains_nothing(worker, tmp_path, capsys):
    one = worker(n_trials=1, max_failures=1)
    one.study.set_user_attr("objective", "some label")
    report(one.folder, 0, (2, {"eval_loss": 0.5}))
    one.run()
    journal = (one.folder / "optuna_study.journal").read_bytes()
    flags = ["--study_name", "s", "--output_root", str(tmp_path / "out"), "--rung_steps", "2,4,8", "--summarize_only"]
    assert launch(["tune-modpo", *flags, "--config", str(tmp_path / "run.yaml")]) == 0
    assert "trials: {'FAIL': 1}" in capsys.readouterr().out
    assert (one.folder / "optuna_study.journal").read_bytes() == journal
    assert json.loads((one.folder / "best_trial.json").read_text())["best"] == []


@pytest.mark.integration
def test_a_front_is_searched_without_pruning(study_flags, start, tmp_path):
    process = start([*study_flags, "--n_trials", "1", "--objective", "front"], "front.log")
    assert process.wait(timeout=900) == 0, (tmp_path / "front.log").read_text()[-3000:]
    trial = study_of(tmp_path / "out" / "s").trials[0]
    last = trial.user_attrs["metrics_step_12"]
    assert trial.state.name == "COMPLETE" and trial.user_attrs["last_step"] == 12
    assert trial.values == [last["eval_ranking/preference"], last["eval_ranking/margin"]]
    assert trial.user_attrs["final_eval_rewards/margins"] == last["eval_rewards/margins"]
    assert (tmp_path / "out" / "s" / "front.png").exists()
