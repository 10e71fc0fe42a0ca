"""`python -m tests.compatibility.run ROW`: the short form of the tests in this environment, and the row of what came out."""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from launch.doctor.seams_seen import write_seen
from launch.doctor.versions import versions_of
from tests.compatibility.rows import OLDEST, REPOSITORY, SWIFT, record

PACKAGES = (
    "trl",
    "ms-swift",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "torch",
    "numpy",
    "pydantic",
    "huggingface-hub",
)
SECONDS = 3600  # of a row that hangs; five minutes on a core of its own
# Pure mathematics, and what touches the upstreams: every seam, the run files by upstream's parser, limits in which a trainer of
# the pack is upstream's to the last digit, and a run from its file with checkpoints.
BOTH = ["tests/objectives", "tests/launch/doctor/test_doctor_seams.py"]
_DPO, _ONLINE = (
    "tests/parity/test_trl_dpo.py::test_the_limit_is_stock_dpo",
    "tests/parity/test_trl_online.py::test_the_limit_is_stock_online_dpo",
)
_SWIFT_DPO, _SWIFT_GRPO = (
    "tests/parity/test_swift_dpo.py::test_the_limit_is_stock_dpo",
    "tests/parity/test_swift_grpo.py::test_the_limit_is_stock_grpo",
)
ON_TRL = [
    "tests/trl_modpo/test_config.py",
    "tests/moodpo/test_moodpo_config.py",
    "tests/launch/test_run_files.py::test_the_arguments_of_the_scripts_take_their_files",
    *(f"{_DPO}[{case}]" for case in (
        "plain-no margin", "full-no margin", "checkpoints-no margin", "streaming-function", "evaluation-function",
        "truncated-function", "plain-adapter", "precomputed-adapter",
    )),
    *(f"{_ONLINE}[{case}]" for case in ("plain-moodpo", "checkpoints-moodpo", "full-gold", "plain-labels")),
    "tests/d2po/test_d2po_script.py::test_one_process_from_a_run_file_with_evaluation",
]  # fmt: skip
ON_SWIFT = [
    "tests/launch/test_run_files.py::test_ms_swift_knows_every_key",
    *(f"{_SWIFT_DPO}[{case}]" for case in (
        "plain-no margin", "full-no margin", "plain-function", "ipo-function", "plain-adapter", "dora-adapter", "checkpoints-adapter",
        "plain-shared prefixes",
    )),
    *(f"{_SWIFT_GRPO}[{case}]" for case in (
        "bt_grpo-plain", "bt_grpo-full", "bt_grpo-two iterations", "pairwise_judge-plain", "pairwise_judge-without reference",
    )),
]  # fmt: skip


def read_report(path: Path) -> dict:
    """Counts, and of each test that failed its name and the last line of its message."""
    counts, failed = {"passed": 0, "failed": 0, "skipped": 0}, []
    for case in ElementTree.parse(path).iter("testcase"):
        problem = next((one for one in case if one.tag in ("failure", "error")), None)
        if problem is not None:
            counts["failed"] += 1
            said = [line for line in (problem.get("message") or "").splitlines() if line.strip()]
            failed.append(
                f"{case.get('classname', '').removeprefix('tests.')}::{case.get('name')}: {said[0][:300] if said else ''}"
            )
        else:
            counts["skipped" if any(one.tag == "skipped" for one in case) else "passed"] += 1
    return {"counts": counts, "failed": failed}


def main(row: str) -> None:
    tests = [*BOTH, *(ON_SWIFT if row == SWIFT else ON_TRL)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        argv = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            f"--basetemp={folder}/runs",
            f"--junitxml={report}",
            *tests,
        ]
        try:
            subprocess.run(argv, cwd=REPOSITORY, timeout=SECONDS, check=False)
            seen = read_report(report) if report.is_file() else {"failed": ["pytest ended without a report"]}
        except subprocess.TimeoutExpired:
            seen = {"failed": [f"not ready after {SECONDS} seconds"]}
    outcome = "failed" if seen["failed"] or not seen["counts"]["passed"] else "passed"
    record(row, outcome=outcome, versions=versions_of(PACKAGES), **seen)
    # TRL's trainers inherit from transformers: of each TRL one row counts, that with the newest transformers.
    write_seen({SWIFT: ("ms-swift",), OLDEST: ("peft",)}.get(row, ("trl", "peft")))


if __name__ == "__main__":
    main(*sys.argv[1:])
