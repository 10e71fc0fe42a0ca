"""Rows of text files, plain or compressed: JSON lines, one JSON array, comma- or tab-separated values."""

import codecs
import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from datasets_builders.files.location import BadLine, Location, kind_of

Rows = Iterator[tuple[Location, dict[str, Any]]]
OnBadLine = Callable[[BadLine], None]
# Far above any row of text; a row with pictures in it has its own files.
LONGEST_LINE = 2**27
# An array is held in memory whole.
LARGEST_ARRAY = 2**30
# How long one cell may be; the default of the csv module (128 KiB) is less than a long answer can have.
CELL_CHARACTERS = 16 * 2**20
# Messages with parts with objects in them need six levels; whoever prints or compares a row goes down all of them.
DEEPEST = 64
DELIMITERS = {".csv": ",", ".tsv": "\t"}
# Columns whose cell may hold messages, written as JSON: the other kinds of files have lists, a cell has none.
MESSAGE_COLUMNS = ("messages", "prompt", "chosen", "rejected", "rejected_messages", "rejected_response")


def ending(file: Path) -> str:
    """``.csv`` of ``rows.csv`` and of ``rows.csv.gz``."""
    return file.with_suffix("").suffix if file.suffix in (".gz", ".zst") else file.suffix


@contextmanager
def opened(file: Path) -> Iterator[io.BufferedIOBase]:
    """The file as bytes, decompressed where its name ends in ``.gz`` or ``.zst``."""
    if file.suffix == ".gz":
        with gzip.open(file, "rb") as handle:
            yield handle
    elif file.suffix == ".zst":
        import pyarrow

        with io.BufferedReader(pyarrow.CompressedInputStream(str(file), "zstd")) as handle:
            yield handle
    else:
        with open(file, "rb") as handle:
            yield handle


@contextmanager
def _damage_named(file: Path, line: Callable[[], int]) -> Iterator[None]:
    """Turns what the two decompressors raise into a ValueError with the place."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{file}:{line()}: damaged gzip data: {error}") from error
    except OSError as error:
        if file.suffix != ".zst" or error.errno is not None:
            raise
        raise ValueError(f"{file}:{line()}: damaged zstd data: {error}") from error


def lines_of(file: Path) -> Iterator[tuple[int, bytes]]:
    """``(number from 1, line)``, line ends included.

    Bytes, so that a line that is not UTF-8 can be named; text mode would decode ahead of the line being read.

    Raises:
        ValueError: ``FILE:LINE: ...`` for damaged compressed data or a line of more than ``LONGEST_LINE`` bytes: a small
            compressed file may hold a line that no memory does, and nobody reads on to its end.
    """
    number = 0
    with _damage_named(file, lambda: number + 1), opened(file) as handle:
        while line := handle.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise ValueError(f"{file}:{number}: a line of more than {LONGEST_LINE:,} bytes")
            yield number, line


def decoded(where: Location, line: bytes) -> str:
    """A line as text. Raises: BadLine, it is not UTF-8."""
    try:
        # Some editors start a file with a byte order mark, which is no part of the first row.
        return line.decode("utf-8-sig" if where.line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadLine("not_utf8", f"{where}: not UTF-8 text: {error}") from error


def read_json(file: Path, on_bad_line: OnBadLine) -> Rows:
    """Rows of JSON lines, or of a ``.json`` file that is one array. Blank lines are passed over."""
    if ending(file) == ".json" and _holds_array(file):
        yield from _read_array(file, on_bad_line)
        return
    for number, line in lines_of(file):
        if line.isspace():
            continue
        where = Location(str(file), number)
        try:
            row = _parsed(where, line)
        except BadLine as error:
            on_bad_line(error)
        else:
            yield where, row


def _holds_array(file: Path) -> bool:
    with _damage_named(file, lambda: 1), opened(file) as handle:
        return handle.read(1024).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def _read_array(file: Path, on_bad_line: OnBadLine) -> Rows:
    with _damage_named(file, lambda: 1), opened(file) as handle:
        data = handle.read(LARGEST_ARRAY + 1)
    if len(data) > LARGEST_ARRAY:
        raise ValueError(f"{file}:1: a JSON array of more than {LARGEST_ARRAY:,} bytes; write one row a line (.jsonl)")
    try:
        rows = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}:{getattr(error, 'lineno', 1)}: not a JSON array in UTF-8: {error}") from error
    for number, row in enumerate(rows, start=1):
        where = Location(str(file), number)
        if not isinstance(row, dict):
            on_bad_line(BadLine("not_an_object", f"{where}: expected objects in the array, found a {kind_of(row)}"))
        elif deeper_than(row, DEEPEST):
            on_bad_line(_too_deep(where))
        else:
            yield where, row


def _parsed(where: Location, line: bytes) -> dict[str, Any]:
    text = decoded(where, line)
    try:
        row = json.loads(text)
    # ValueError: not JSON, or a number of more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise BadLine("not_json", f"{where}: not a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise BadLine("not_an_object", f"{where}: expected one JSON object per line, found a {kind_of(row)}")
    if line.count(b"[") + line.count(b"{") > DEEPEST and deeper_than(row, DEEPEST):
        raise _too_deep(where)
    return row


def _too_deep(where: Location) -> BadLine:
    return BadLine("too_deep", f"{where}: lists and objects in each other, more than {DEEPEST} levels")


def deeper_than(value: Any, levels: int) -> bool:
    """Whether lists and objects lie in each other at more than that many levels. No recursion."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            item
            for one in layer
            if isinstance(one, list | dict)
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not layer:
            return False
    return any(isinstance(one, list | dict) for one in layer)


def read_delimited(file: Path, on_bad_line: OnBadLine) -> Rows:
    """Rows of a table whose first line names the columns. Cells are texts, whatever they hold, except messages in
    ``MESSAGE_COLUMNS``."""
    lines = (decoded(Location(str(file), number), line) for number, line in lines_of(file))
    reader = csv.reader(lines, delimiter=DELIMITERS[ending(file)], strict=True)
    try:
        names = _next_cells(reader) or []
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{file}:1: two columns have the name {twice[0]!r}")
        while (cells := _next_cells(reader)) is not None:
            where = Location(str(file), reader.line_num)
            if cells and len(cells) != len(names):
                found = f"{where}: not as many cells as the header has ({len(names)}), found {len(cells)}"
                on_bad_line(BadLine("wrong_cells", found))
            elif cells:
                yield where, {name: _cell(name, cell) for name, cell in zip(names, cells, strict=True)}
    except csv.Error as error:
        raise ValueError(f"{file}:{reader.line_num}: not a table: {error}") from error


def _next_cells(reader: Iterator[list[str]]) -> list[str] | None:
    """The cells of the next row, [] for a blank line, None at the end."""
    before = csv.field_size_limit(CELL_CHARACTERS)  # of the whole process: others' tables have the limit that they had
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(before)


def _cell(name: str, text: str) -> Any:
    if name not in MESSAGE_COLUMNS or not text.startswith("["):
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    are_messages = isinstance(found, list) and found and all(isinstance(one, dict) and "role" in one for one in found)
    return found if are_messages and not deeper_than(found, DEEPEST) else text
