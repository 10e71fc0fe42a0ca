"""Names of outputs, and the formats that ``datasets_builders.io`` does not write: Parquet and one JSON array."""

import json
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from datasets_builders.io import SUFFIXES, atomic_writer

PARQUET_GROUP_ROWS = 1024


def names_of(files: Iterable[Path], merged: str | None) -> dict[str, PurePath]:
    """The name of the output of each input file, without ending and relative to the output folder.

    Args:
        merged: one name for all of them; None names each after its input and keeps the folders below the one that all
            inputs share.

    Raises:
        ValueError: two inputs of one folder have names that differ in their ending only.
    """
    paths = list(files)
    if merged is not None:
        return {str(path): PurePath(merged) for path in paths}
    top = os.path.commonpath([path.parent for path in paths])
    names: dict[str, PurePath] = {}
    for path in paths:
        name = path.parent.relative_to(top) / stem(path.name)
        if name in names.values():
            first = next(file for file, other in names.items() if other == name)
            raise ValueError(
                f"{first} and {path} would both be written as {name}; name one of them, or merge what was read with "
                "--preserve_structure false"
            )
        names[str(path)] = name
    return names


def stem(name: str) -> str:
    """A file name without the ending of a data file: ``preference`` of ``preference.jsonl.gz``."""
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], schema: Any) -> int:
    """Write rows of a ``pyarrow.Schema``, atomically; returns their number. Errors: see ``io.atomic_writer``."""
    import pyarrow
    import pyarrow.parquet

    count, left = 0, iter(rows)
    with atomic_writer(path) as handle, pyarrow.parquet.ParquetWriter(handle.buffer, schema) as table:
        while group := list(islice(left, PARQUET_GROUP_ROWS)):
            table.write_table(pyarrow.Table.from_pylist(group, schema))
            count += len(group)
    return count


def write_array(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON array, a row a line, atomically; returns their number. Errors: see ``io.atomic_writer``."""
    count = 0
    with atomic_writer(path) as handle:
        for row in rows:
            handle.write(("[\n" if count == 0 else ",\n") + json.dumps(row, ensure_ascii=False, allow_nan=False))
            count += 1
        handle.write("\n]\n" if count else "[]\n")
    return count
