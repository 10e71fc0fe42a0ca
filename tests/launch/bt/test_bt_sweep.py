import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from launch.__main__ import main as launch
from launch.bt import sweep, tracker
from launch.bt.calibration import calibrate
from launch.bt.device_queue import DeviceQueue, Job
from launch.bt.metrics import evaluate_pairs, margins_of
from launch.bt.summary import summarize, to_cells, to_csv
from tests.conftest import REPOSITORY
from tests.launch.bt.vectors import VECTORS, pairs_of


def result_for(pairs, bt_temp):
    return {"metrics": evaluate_pairs(pairs, bt_temp=bt_temp), "calibration": calibrate(margins_of(pairs), bt_temp)}


@pytest.fixture
def summary_vector():
    vector = VECTORS["summary"]
    results = {
        (one["ckpt"], one["seed"]): result_for(pairs_of(one["pairs"]), vector["bt_temp"]) for one in vector["inputs"]
    }
    return results, vector["csv_rows"]


def test_the_summary_of_the_vectors(summary_vector):
    """The columns of the reference, to its four digits. Its d_wro_std and bt_wro_std are deviations between seeds."""
    results, wanted = summary_vector
    rows = list(csv.DictReader(io.StringIO(to_csv(summarize(results)))))
    assert [row["ckpt"] for row in rows] == [row["ckpt"] for row in wanted]
    for row, other in zip(rows, wanted, strict=True):
        for name, text in other.items():
            if name == "ckpt":
                continue
            assert float(row[name]) == pytest.approx(float(text), abs=1.1e-4, nan_ok=True), name


def test_the_summary_has_the_spread_within_seeds_as_well(summary_vector):
    """Mended: the reference calls the deviation between seeds that of the wrong pairs."""
    results, _ = summary_vector
    row = summarize(results)[0]
    within = [results["checkpoint-0", seed]["metrics"]["margins"]["wrong"]["std"] for seed in (0, 1)]
    assert row["metrics"]["d_wro"]["std_within"] == pytest.approx(sum(within) / 2)
    assert row["metrics"]["d_wro"]["std_within"] != pytest.approx(row["metrics"]["d_wro"]["std_between"])
    # Seed 0: one right, two wrong, one tie; outcomes 1, 0, 0, 0.5 have mean 0.375.
    outcomes = [1, 0, 0, 0.5]
    deviation = (sum((x - 0.375) ** 2 for x in outcomes) / 4) ** 0.5
    other = [1, 1, 0]
    deviation += (sum((x - 2 / 3) ** 2 for x in other) / 3) ** 0.5
    assert row["metrics"]["acc"]["std_within"] == pytest.approx(deviation / 2)
    assert row["metrics"]["acc"]["values"] == pytest.approx([0.375, 2 / 3])
    assert row["metrics"]["tie"]["std_within"] == pytest.approx((0.25 * 0.75) ** 0.5 / 2)


def test_checkpoints_are_rows_by_number_and_names_come_last(summary_vector):
    results, _ = summary_vector
    one = results["checkpoint-0", 0]
    rows = summarize({(label, 0): one for label in ("best", "checkpoint-1000", "checkpoint-500", "checkpoint-0")})
    assert [row["ckpt"] for row in rows] == ["checkpoint-0", "checkpoint-500", "checkpoint-1000", "best"]
    assert [row["step"] for row in rows] == [0, 500, 1000, None]
    cells = to_cells(rows)
    assert len(cells) == 5 and len({len(row) for row in cells}) == 1
    assert to_csv([]) == "ckpt,n\n"


# --- the queue --------------------------------------------------------------------------------------------------------


def job(tmp_path, name, code):
    return Job(name, [sys.executable, "-S", "-c", code], tmp_path / f"{name}.log")


def test_each_device_runs_one_job_at_a_time(tmp_path):
    code = f"""
import os, time
device = os.environ["CUDA_VISIBLE_DEVICES"]
busy = {str(tmp_path)!r} + "/busy" + device
os.mkdir(busy); time.sleep(0.05); os.rmdir(busy)
print("on", device)
"""
    jobs = [job(tmp_path, f"j{k}", code) for k in range(8)]
    lines = []
    assert DeviceQueue(["3", "5"], 0, lines.append).run(jobs) == []
    assert {one.log.read_text() for one in jobs} == {"on 3\n", "on 5\n"}
    assert all(one.attempts == 1 for one in jobs) and len(lines) == 16


def test_failures_are_retried_and_reported_and_stop_nothing_else(tmp_path):
    flaky = (
        f"import os, sys; p = {str(tmp_path / 'seen')!r}; e = os.path.exists(p); open(p, 'w'); sys.exit(0 if e else 3)"
    )
    jobs = [job(tmp_path, "bad", "raise SystemExit(4)"), job(tmp_path, "flaky", flaky), job(tmp_path, "good", "")]
    failed = DeviceQueue([""], 2, lambda line: None).run(jobs)
    assert [one.name for one in failed] == ["bad"]
    assert [one.attempts for one in jobs] == [3, 2, 1]
    assert [one.returncode for one in jobs] == [4, 0, 0]


def test_an_interrupt_ends_the_running_jobs(tmp_path):
    class Interrupt(Exception):
        pass

    def report(line):
        if "attempt" in line:
            signal.setitimer(signal.ITIMER_REAL, 0.5)

    def raise_it(*_):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, raise_it)
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    jobs = [job(tmp_path, "slow", code), job(tmp_path, "never", code)]
    start = time.monotonic()
    try:
        with pytest.raises(Interrupt):
            DeviceQueue([""], 3, report).run(jobs)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 10
    assert [one.attempts for one in jobs] == [1, 0]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def flags(run_dir, hh_file, tmp_path):
    return [
        *["--run_dir", str(run_dir.parent), "--dataset", "anthropic_hh", "--source", str(hh_file), "--limit", "2"],
        *["--max_new_tokens", "4", "--bt_temp", "20", "--out", str(tmp_path / "sweep")],
    ]


def write_result(one, shift=0.0):
    """What a finished eval-bt leaves, for scores of our choice."""
    vector = VECTORS["summary"]["inputs"][one.seed]
    found = result_for(pairs_of(vector["pairs"]), 20)
    one.plan.folder.mkdir(parents=True)
    result = {"label": one.label, "settings": one.plan.settings, "scoring": one.plan.scoring, **found}
    (one.plan.folder / "result.json").write_text(json.dumps(result))


def test_jobs_are_checkpoints_by_number_times_seeds(flags):
    out, jobs = sweep.plan_sweep(*sweep.make_parser().parse_known_args([*flags, "--seeds", "0 1"]))
    wanted = [(f"checkpoint-{n}", seed) for n in (0, 10, 200) for seed in (0, 1)]
    assert [(one.label, one.seed) for one in jobs] == wanted
    assert jobs[3].plan.folder == out / "checkpoint-10" / "seed1"
    assert all(one.plan.scoring["bt_temp"] == 20 and one.plan.settings["max_new_tokens"] == 4 for one in jobs)
    assert [one.plan.settings["seed"] for one in jobs] == [seed for _, seed in wanted]


def test_finished_results_of_the_same_settings_are_not_made_again(flags, monkeypatch, capsys, tmp_path):
    _, jobs = sweep.plan_sweep(*sweep.make_parser().parse_known_args([*flags, "--seeds", "0,1"]))
    for one in jobs:
        write_result(one)
    ran = []
    monkeypatch.setattr(sweep.DeviceQueue, "run", lambda self, waiting: ran.extend(waiting) or [])
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert launch(["sweep-bt", *flags, "--seeds", "0 1"]) == 0
    assert ran == []
    printed = capsys.readouterr().out
    assert printed.count("complete already") == 6 and "not uploaded: WANDB_PROJECT is not set" in printed
    found = json.loads((tmp_path / "sweep/summary.json").read_text())
    assert [row["ckpt"] for row in found["checkpoints"]] == ["checkpoint-0", "checkpoint-10", "checkpoint-200"]
    assert found["checkpoints"][0]["metrics"]["acc"]["mean"] == pytest.approx(0.5208333)
    assert found["run"] == "v10-20260101-000000" and found["failed"] == []
    assert (tmp_path / "sweep/curves.png").read_bytes()[:4] == b"\x89PNG"
    assert "| checkpoint-10 |" in (tmp_path / "sweep/summary.md").read_text()
    page = (tmp_path / "sweep/summary.html").read_text()
    assert "<td>checkpoint-10</td>" in page and page.count("<picture>") == 1
    # Another temperature or another length: not the same result.
    for extra in (["--bt_temp", "10"], ["--max_new_tokens", "5"]):
        ran.clear()
        launch(["sweep-bt", *flags, "--seeds", "0 1", *extra])
        assert len(ran) == 6


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--ckpts", "checkpoint-10 checkpoint-30"], "--checkpoint checkpoint-30: not in"),
        (["--seeds", "a"], "--seeds 'a'"),
        (["--seeds", " "], "at least one entry"),
        (["--seed", "1"], "--seed is decided by the sweep"),
        (["--checkpoint=x"], "--checkpoint is decided by the sweep"),
        (["--gpus", "0 1", "--workers", "2"], "--workers is for the processor"),
        (["--retries", "-1"], "--retries must be at least 0"),
        (["--parser", "score100_first"], "reads 0 to 100"),
    ],
)
def test_mistakes_are_found_before_any_job(flags, monkeypatch, capsys, extra, message):
    monkeypatch.setattr(sweep.DeviceQueue, "run", lambda self, waiting: pytest.fail("a job was started"))
    assert launch(["sweep-bt", *flags, *extra]) == 2
    assert message in capsys.readouterr().err


def test_a_misspelt_option_of_eval_bt_is_found_before_any_job(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        launch(["sweep-bt", *flags, "--n_sample", "2"])
    assert stop.value.code == 2 and "--num_samples" in capsys.readouterr().err


def test_a_job_that_stays_failed_is_named_and_the_others_are_summed_up(flags, monkeypatch, capsys, tmp_path):
    _, jobs = sweep.plan_sweep(*sweep.make_parser().parse_known_args(flags))
    for one in jobs[:2]:
        write_result(one)

    def run(self, waiting):
        (only,) = waiting
        only.attempts, only.returncode = self.retries + 1, 1
        return waiting

    monkeypatch.setattr(sweep.DeviceQueue, "run", run)
    assert launch(["sweep-bt", *flags, "--retries", "2"]) == 1
    assert "checkpoint-200 seed 0: failed 3 times" in capsys.readouterr().err
    found = json.loads((tmp_path / "sweep/summary.json").read_text())
    assert found["failed"] == ["checkpoint-200 seed 0"] and len(found["checkpoints"]) == 2
    assert "not in the means: checkpoint-200 seed 0." in (tmp_path / "sweep/summary.html").read_text()


def test_a_sweep_without_any_result_says_so(flags, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sweep.DeviceQueue, "run", lambda self, waiting: waiting)
    assert launch(["sweep-bt", *flags]) == 1
    assert "no result, so there is no summary" in capsys.readouterr().err
    assert not (tmp_path / "sweep/summary.json").exists()


def test_upload_where_the_environment_names_a_project(monkeypatch, tmp_path):
    calls = []

    class Run:
        def log(self, values):
            calls.append(("log", values))

        def log_artifact(self, artifact):
            calls.append(("artifact", artifact.files))

        def finish(self):
            calls.append(("finish",))

    Run.settings, Run.dir = types.SimpleNamespace(mode="online"), str(tmp_path / "offline-run-1" / "files")

    class Artifact:
        def __init__(self, name, type):
            self.files = []

        def add_file(self, path):
            self.files.append(path)

    fake = types.ModuleType("wandb")
    fake.__spec__ = types.SimpleNamespace(name="wandb")
    fake.init = lambda **options: calls.append(("init", options)) or Run()
    fake.Table = lambda columns, data: (columns, data)
    fake.Artifact = Artifact
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert "WANDB_PROJECT is not set" in tracker.upload("run", [["a"], ["1"]], []) and not calls
    monkeypatch.setenv("WANDB_PROJECT", "judges")
    assert "uploaded to the project judges" in tracker.upload("run", [["a"], ["1"]], [tmp_path / "x"])
    assert calls == [
        ("init", {"project": "judges", "name": "run", "job_type": "eval"}),
        ("log", {"eval/summary_table": (["a"], [["1"]])}),
        ("artifact", [str(tmp_path / "x")]),
        ("finish",),
    ]
    Run.settings.mode = "offline"
    kept = tracker.upload("run", [["a"]], [])
    assert kept == f"not uploaded: wandb is offline; `wandb sync {tmp_path / 'offline-run-1'}` sends it"
    Run.settings.mode = "disabled"
    assert tracker.upload("run", [["a"]], []) == "not uploaded: wandb is disabled; nothing was kept"
    monkeypatch.delitem(sys.modules, "wandb")
    monkeypatch.setattr(tracker, "find_spec", lambda name: None)
    assert "wandb is not installed" in tracker.upload("run", [["a"]], [])


def environment():
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.mark.integration
def test_a_real_sweep_survives_a_termination(flags, warm, tmp_path):
    """Ended while its first job loads a model, it leaves no process behind; the same command then finishes."""
    argv = ["sweep-bt", *flags, "--ckpts", "checkpoint-0 checkpoint-10"]
    first = subprocess.Popen(
        [sys.executable, "-m", "launch", *argv], env=environment(), cwd=tmp_path, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in first.stdout:
        if "attempt 1" in line:
            break
    time.sleep(1)
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130 and "interrupted" in errors
    children = subprocess.run(["pgrep", "-f", str(tmp_path / "sweep")], capture_output=True, text=True).stdout
    assert children == ""
    done = warm.run("launch", argv, environment(), tmp_path, 120, warm_children=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "sweep/summary.json").read_text())
    assert [row["ckpt"] for row in found["checkpoints"]] == ["checkpoint-0", "checkpoint-10"]
    assert all(row["metrics"]["parse"]["mean"] == 0 for row in found["checkpoints"])
    again = warm.run("launch", argv, environment(), tmp_path, 120, warm_children=True)
    assert again.stdout.count("complete already") == 2
