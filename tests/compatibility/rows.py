"""The rows of `docs/compatibility.md`, and the file of their outcomes.

`python -m tests.compatibility.rows` prints the rows that have no outcome yet; with a row and the log of an installation that
failed it records that. Nothing outside of the standard library and `datasets_builders.io` is imported here.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from datasets_builders.io import read_object, write_json

REPOSITORY = Path(__file__).resolve().parents[2]
OUTCOMES = REPOSITORY / "docs/results/compatibility.json"
OLDEST, SWIFT = "oldest", "ms-swift"
TRL = ("0.29.1", "1.0.0", "1.2.0", "1.4.0", "1.6.0", "1.8.0", "1.10.0", "1.12.0", "1.14.2", "1.16.0")
# The ends and what other rows' reasons hang on first: a sweep may be stopped.
ROWS = ("1.16.0", "0.29.1", "1.0.0", "1.8.0", SWIFT, OLDEST, "1.4.0", "1.12.0", "1.2.0", "1.6.0", "1.10.0", "1.14.2")
# The interpreter that a row is for, if its name does not say another one.
PYTHON = "3.11"


def named(row: str) -> str:
    """The row with the interpreter that runs this, where that is not the usual one: `1.16.0, Python 3.13`."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    return row if here == PYTHON else f"{row}, Python {here}"


def kind(name: str) -> str:
    """`1.16.0, Python 3.13` is `1.16.0`."""
    return name.partition(",")[0]


def outcomes() -> dict:
    """{row: what was seen}; empty before the first."""
    return read_object(OUTCOMES) if OUTCOMES.is_file() else {}


def record(row: str, **seen) -> None:
    """Replaces one row, `named` after the interpreter too; the file is whole or as it was."""
    row = named(row)
    made = {"date": datetime.now(UTC).date().isoformat(), "python": ".".join(map(str, sys.version_info[:3])), **seen}
    kept = {**outcomes(), row: made}
    order = [*TRL, OLDEST, SWIFT]
    write_json(OUTCOMES, {name: kept[name] for name in sorted(kept, key=lambda one: (order.index(kind(one)), one))})
    print(f"{row}: {seen['outcome']}")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(*(row for row in ROWS if named(row) not in outcomes()), sep="\n")
    else:
        row, log = sys.argv[1:]
        record(
            row, outcome="not installable", versions={}, failed=[Path(log).read_text(encoding="utf-8").strip()[-600:]]
        )
