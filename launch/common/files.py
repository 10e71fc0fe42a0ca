"""Files that the commands of this folder write."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.io import atomic_writer
from launch.common.table import csv_text


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A comma-separated table, see `csv_text`, whole or not at all."""
    write_text(path, csv_text(columns, rows))


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    with atomic_writer(path) as handle:
        handle.write(text)
