"""Files that the commands of this folder write."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.io import atomic_writer


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A comma-separated table with a head line, whole or not at all; None is an empty cell, other keys are left out."""
    with atomic_writer(path) as handle:
        writer = csv.DictWriter(handle, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with atomic_writer(path) as handle:
        handle.write(text)
