"""The rows of whatever files a name stands for, each with its place. The one way in for all readers."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from datasets_builders.files.arrow import read_arrow, read_parquet
from datasets_builders.files.find import list_files
from datasets_builders.files.location import BadLine, Location, refuse_line
from datasets_builders.files.text import DELIMITERS, ending, read_delimited, read_json


def read_rows(source: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream ``(line_number, row)`` of a file, a folder or a glob pattern; which ones, see ``find.list_files``.

    Yields:
        The line number, counted from 1 in each file (the row number in Parquet, Arrow and a JSON array), and the row.
        Blank lines are passed over.

    Raises:
        ValueError: ``FILE:LINE: ...`` for a line that holds no row, or a file that cannot be decoded.
    """
    for where, row in read_located_rows(source):
        yield where.line, row


def read_located_rows(
    source: str | os.PathLike[str], on_bad_line: Callable[[BadLine], None] = refuse_line
) -> Iterator[tuple[Location, dict[str, Any]]]:
    """As ``read_rows``, with the file name beside the line number, for messages about rows of several files.

    Args:
        on_bad_line: called with each line that holds no row; the line is passed over when it returns. A file that is
            damaged as a whole is an error whatever it does.
    """
    for file in list_files(source):
        yield from read_file(file, on_bad_line)


def read_file(
    file: Path, on_bad_line: Callable[[BadLine], None] = refuse_line
) -> Iterator[tuple[Location, dict[str, Any]]]:
    """The rows of one file whose name ends in one of ``find.SUFFIXES``."""
    if file.suffix == ".parquet":
        yield from read_parquet(file)
    elif file.suffix == ".arrow":
        yield from read_arrow(file)
    elif ending(file) in DELIMITERS:
        yield from read_delimited(file, on_bad_line)
    else:
        yield from read_json(file, on_bad_line)
