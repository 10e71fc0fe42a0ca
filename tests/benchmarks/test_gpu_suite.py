"""The GPU suite without a GPU: every part with tiny shapes, what becomes of parts that fail, and the table."""

import json
import os
import time
from importlib.metadata import version
from importlib.util import find_spec

import pytest

from benchmarks import gpu_suite
from benchmarks.alone import Deadline
from benchmarks.gpu_parts import PARTS
from benchmarks.gpu_suite import Suite, last_error, main, table
from tests.conftest import REPOSITORY

NEWEST = pytest.mark.skipif(
    find_spec("trl") is None or version("trl").startswith("0."),
    reason="once is enough: with the TRL that a GPU machine has",
)
SECOND_SIZE = {"modpo 1.5B", "grpo 1.5B"}  # the same code on the same tiny shape: left out of the rehearsal
STEPS = {
    "modpo 0.5B": {"stock", "live", "live_shared", "precomputed", "precomputed_shared"}, "grpo 0.5B": {"stock", "shared"},
    "moodpo 0.5B": {"stock", "moodpo"}, "d2po 0.5B": {"stock", "d2po", "update"},
    "modpo 7B": {"stock", "live_shared", "precomputed_shared"},
}  # fmt: skip


def test_all_parts_end_within_nine_minutes():
    assert sum(part.seconds for part in PARTS.values()) <= 525 < 9 * 60


@NEWEST
@pytest.mark.integration
def test_a_rehearsal_runs_every_part_and_goes_on(warm_trl, tmp_path):
    out, env = tmp_path / "out", {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

    def run(*parts: str):
        argv = ["--out", str(out), "--rehearsal", "--parts", *parts]
        return warm_trl.server.run("benchmarks.gpu_suite", argv, env, tmp_path, warm_children=True)

    done = run(*(name for name in PARTS if name not in SECOND_SIZE))
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    parts = json.loads((out / "results.json").read_text())["parts"]
    assert set(parts) == PARTS.keys() - SECOND_SIZE and all(part["state"] == "done" for part in parts.values())
    for name, variants in STEPS.items():
        rows = {row["variant"]: row for row in parts[name]["rows"]}
        assert rows.keys() == variants
        for variant, row in rows.items():
            assert row["step_seconds"] > 0 and row["peak_mb"] > row["held_before_mb"] > 0, (name, row)
            assert (variant == "update") == ("tokens_per_second" not in row) and row.get("mfu") is None
        # a shared prompt is computed once, a precomputed reference not at all
        assert all(rows[one]["operations"] < rows["stock"]["operations"] for one in rows if one.endswith("shared")), (
            name
        )
    exact = {row["variant"]: row["rms_nats"] for row in parts["exactness 0.5B"]["rows"]}
    assert exact["fp32, shared"] < 1e-5 < exact["bf16, plain"] and exact["bf16, shared"] < 2 * exact["bf16, plain"]
    for method in ("modpo", "judge", "moodpo", "d2po"):
        (row,) = parts[f"train {method}"]["rows"]
        assert row["steps"] == len(row["losses"]) and any(row["gradient_norms"])
    before = {file: file.stat().st_mtime_ns for file in (out / "parts").iterdir()}
    assert run("modpo 7B").returncode == 0  # done already: nothing is measured again, and the others' results stay
    assert before == {file: file.stat().st_mtime_ns for file in (out / "parts").iterdir()}
    assert json.loads((out / "results.json").read_text())["parts"] == parts
    assert all(name in (out / "table.md").read_text() for name in parts)


def test_a_part_that_fails_or_takes_too_long_says_so_and_loses_nothing(tmp_path, monkeypatch):
    suite = Suite(tmp_path, ["--rehearsal", "--no_such_flag"], ["exactness 0.5B", "modpo 0.5B"])
    suite.file("modpo 7B", "rows.json").parent.mkdir()
    suite.file("modpo 7B", "rows.json").write_text('{"rows": [{"variant": "stock", "step_seconds": 2.0}]}')
    suite.run(Deadline(time.monotonic() + 60))
    suite.parts, suite.flags = ["grpo 0.5B", "d2po 0.5B"], ["--rehearsal"]
    monkeypatch.setattr(gpu_suite, "LEAST_SECONDS", 0.2)
    suite.run(Deadline(time.monotonic() + 0.5))
    parts = json.loads((tmp_path / "results.json").read_text())["parts"]
    found = {name: (part["state"], part.get("reason", "")) for name, part in parts.items()}
    unknown = "gpu_parts.py: error: unrecognized arguments: --no_such_flag"
    assert found == {
        "exactness 0.5B": ("failed", unknown), "modpo 0.5B": ("failed", unknown), "modpo 7B": ("interrupted", ""),
        "grpo 0.5B": ("out of time", "ended after 0 s"),
        "d2po 0.5B": ("left out", "no time was left; the same command goes on here"),
    }  # fmt: skip
    assert parts["modpo 7B"]["rows"] and unknown in (tmp_path / "table.md").read_text()


def test_the_table_gives_shares_of_the_peak_and_reasons():
    rows = [
        {"variant": "stock", "step_seconds": 0.5, "tokens_per_second": 1000.4, "mfu": 0.4123, "peak_mb": 2048},
        {"variant": "live", "step_seconds": 0.75, "tokens_per_second": 666, "mfu": None, "peak_mb": 1024},
        {"variant": "update", "step_seconds": 0.25, "peak_mb": 512},
        {"variant": "shared", "remark": "out of memory"},
    ]
    versions = {"torch": "2.11.0"}
    lines = table(
        {
            "modpo 7B": {"state": "out of time", "reason": "ended after 80 s", "rows": rows, "device": "NVIDIA H200", "versions": versions},
            "grpo 7B": {"state": "not begun", "rows": []},
        }
    ).splitlines()  # fmt: skip
    assert lines[0].startswith("NVIDIA H200, ") and "2.11.0" in lines[0]
    assert lines[4:] == [
        "| modpo 7B | stock | 0.500 | 1.00 | 1000 | 41.2% | 2.00 |  |",
        "| modpo 7B | live | 0.750 | 1.50 | 666 |  | 1.00 |  |",
        "| modpo 7B | update | 0.250 |  |  |  | 0.50 |  |",
        "| modpo 7B | shared |  |  |  |  |  | out of memory |",
        "| modpo 7B |  |  |  |  |  |  | out of time: ended after 80 s |",
        "| grpo 7B |  |  |  |  |  |  | not begun |",
    ]


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("x\nTraceback\n  y\ntorch.OutOfMemoryError: CUDA out of memory.\nwarning: z\n", "torch.OutOfMemoryError: CUDA out of memory."),
        ("error: no weights\n", "error: no weights"),
        ("Killed\n\n", "Killed"),
        ("", "no word"),
    ],
)  # fmt: skip
def test_the_reason_of_a_failure_is_found_in_its_output(output, reason):
    assert last_error(output) == reason


def test_without_a_gpu_it_is_refused(tmp_path, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert "PyTorch finds no GPU here; --rehearsal runs all parts" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "out"), "--rehearsal", "--smollm2", str(tmp_path)]) == 2
    assert "no config.json there" in capsys.readouterr().err and not (tmp_path / "out").exists()
