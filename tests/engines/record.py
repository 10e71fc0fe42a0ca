"""What was run with which engine: tests record it, `docs/engines.md` shows it.

With the variable `ENGINES_RECORD`, the path of a JSON file, a test that ends well replaces its cell there:
`ENGINES_RECORD=docs/results/engines.json bash launch/test_engines.sh`. Afterwards `python -m tests.engines.table` writes the page.
A cell that is not in the file was not recorded by any test.
"""

import fcntl
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from datasets_builders.choices import check_choice
from datasets_builders.io import read_object, write_json
from launch.doctor.versions import versions_of

METHODS = ("MODPO (ms-swift)", "MODPO (TRL)", "MOODPO", "D2PO", "Generative reward model", "Pairwise judge")
ENGINES = (
    "transformers", "vLLM colocate", "vLLM server", "DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3", "FSDP1", "FSDP2", "two nodes", "Ray", "verl",
)  # fmt: skip
# What draws the answers of a verb, whatever the method.
VERBS = ("generate", "eval-bt", "judge", "eval-judge", "win-rate", "steer", "steer-page")
BACKENDS = ("transformers", "vLLM in process", "vLLM server")
OUTCOMES = ("ran", "refused", "none", "not run")
RECORD = "ENGINES_RECORD"


def apart(found: Iterable[float], expected: Iterable[float]) -> str:
    """The largest difference of two series, as a cell says it."""
    return f"{max(abs(one - other) for one, other in zip(found, expected, strict=True)):.1g}"


def cell(outcome: str, seen: str, packages: tuple[str, ...]) -> dict:
    """One cell: `seen` is what was seen, or the reason of another outcome; packages are those whose versions matter."""
    check_choice("outcome", outcome, OUTCOMES)
    found = versions_of(packages)
    return {"outcome": outcome, "seen": seen, "versions": found, "date": datetime.now(UTC).date().isoformat()}


def record(method: str, engine: str, outcome: str, seen: str, packages: tuple[str, ...] = ("trl", "vllm")) -> None:
    """Writes a cell where `ENGINES_RECORD` says, and nothing without it; several processes may write at a time.

    A method goes with the engines, a verb with the back ends.
    """
    check_choice("method", method, METHODS + VERBS)
    check_choice("engine", engine, BACKENDS if method in VERBS else ENGINES)
    made = cell(outcome, seen, packages)
    if not (path := os.environ.get(RECORD)):
        return
    # A folder's lock leaves no file: one that is removed after use lets two writers in.
    folder = os.open(Path(path).resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        cells = read_object(path) if Path(path).is_file() else {}
        cells.setdefault(method, {})[engine] = made
        write_json(path, {name: dict(sorted(cells[name].items())) for name in sorted(cells)})
    finally:
        os.close(folder)
