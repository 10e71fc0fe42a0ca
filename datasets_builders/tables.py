"""Rows of tables that are no JSON lines and no Parquet: CSV, and folders written by ``datasets.save_to_disk``."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets_builders.io import Location, read_located_rows

# How long one cell may be; the default of the csv module (128 KiB) is less than a long answer can have.
CELL_CHARACTERS = 16 * 2**20


def read_table(source: str | os.PathLike[str]) -> Iterator[tuple[Location, dict[str, Any]]]:
    """Stream the rows of a CSV file, of a saved data set, or of anything that ``io.read_located_rows`` reads.

    Args:
        source: a file, a folder or a glob pattern. CSV cells are texts, whatever they hold.

    Raises:
        ValueError: nothing there, a damaged file, a CSV row with another number of cells than the header, or a folder
            that holds several splits (their folders are named).
    """
    path = Path(source)
    if path.suffix == ".csv" and path.is_file():
        yield from _read_csv(path)
    elif (path / "dataset_dict.json").is_file():
        splits = sorted(entry.name for entry in path.iterdir() if (entry / "state.json").is_file())
        raise ValueError(
            f"{source}: a data set of several splits; name one: {', '.join(f'{path}/{s}' for s in splits)}"
        )
    elif (path / "state.json").is_file():
        yield from _read_saved(path)
    else:
        yield from read_located_rows(source)


def _read_csv(path: Path) -> Iterator[tuple[Location, dict[str, Any]]]:
    before = csv.field_size_limit(CELL_CHARACTERS)
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            for row in reader:
                where = Location(str(path), reader.line_num)
                if None in row or None in row.values():
                    raise ValueError(f"{where}: not as many cells as the header has ({len(reader.fieldnames or ())})")
                yield where, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a CSV file in UTF-8: {error}") from error
    finally:
        csv.field_size_limit(before)


def _read_saved(path: Path) -> Iterator[tuple[Location, dict[str, Any]]]:
    import datasets

    try:
        rows = datasets.load_from_disk(str(path))
    # What the loader raises for files that are missing, cut off or of another kind.
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a data set written by save_to_disk: {error}") from error
    for number, row in enumerate(rows, start=1):
        yield Location(str(path), number), row
