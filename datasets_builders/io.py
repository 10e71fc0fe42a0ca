"""Streaming input, whole-or-nothing output, and the count of rows that were left out."""

import codecs
import glob
import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TextIO

from datasets_builders.beside import made_beside, sync

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
REPORT_SUFFIX = ".report.json"
PARQUET_BATCH_ROWS = 256
# Far above any row of text; a row with pictures in it has its own files.
LONGEST_LINE = 2**27
_HALF = re.compile("[\ud800-\udfff]")
LINE_ENDS = ("\u0085", "\u2028", "\u2029")


class Location(NamedTuple):
    """Where a row came from: a file (or hub data set) and its line (or row) number, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class BadLine(ValueError):
    """A line that holds no row; the message starts with ``FILE:LINE:``.

    Attributes:
        reason: the short name it is counted under: ``not_utf8``, ``not_json`` or ``not_an_object``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def refuse_line(error: BadLine) -> NoReturn:
    """What a bad line means where nobody counts them: the end."""
    raise error


def list_files(source: str | os.PathLike[str]) -> list[Path]:
    """The data files that ``source`` names, sorted by path.

    Args:
        source: a file, a folder (its data files, without reports and subfolders) or a glob pattern.

    Raises:
        ValueError: nothing matches, or a file has an ending that is not in ``SUFFIXES``.
    """
    text = os.fspath(source)
    path = Path(text)
    if path.is_dir():
        files = [entry for entry in path.iterdir() if entry.is_file() and entry.name.endswith(SUFFIXES)]
        # A builder writes its report beside its output, and a report is no row.
        files = [file for file in files if not file.name.endswith(REPORT_SUFFIX)]
    elif path.exists():
        files = [path]
    else:
        files = [Path(match) for match in _matches(text) if Path(match).is_file()]
    if not files:
        raise ValueError(f"{text}: no such file, and no file ending in {', '.join(SUFFIXES)} found there")
    for file in files:
        if not file.name.endswith(SUFFIXES):
            raise ValueError(f"{file}: the name must end in one of {', '.join(SUFFIXES)}")
    return sorted(files)


def _matches(pattern: str) -> list[str]:
    """As ``glob.glob``, but a folder below ``**`` counts once: links that lead back up would be followed for ever."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return glob.glob(pattern)
    place = parts.index("**")
    found: dict[tuple[str, str], str] = {}
    seen: set[str] = set()
    for start in glob.glob(os.path.join(*parts[:place])) if place else [os.curdir]:
        for folder, below, _ in os.walk(start, followlinks=True):
            below[:] = sorted(name for name in below if not name.startswith("."))
            if (real := os.path.realpath(folder)) in seen:
                below.clear()
                continue
            seen.add(real)
            for match in _matches(os.path.join(glob.escape(folder), *(parts[place + 1 :] or ["*"]))):
                found.setdefault((os.path.realpath(os.path.dirname(match)), os.path.basename(match)), match)
    return list(found.values())


def read_rows(source: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream ``(line_number, row)`` from JSON lines (plain or gzip) or Parquet.

    Args:
        source: a file, a folder or a glob pattern; several files are read in sorted order.

    Yields:
        The line number, counted from 1 in each file (the row number for Parquet and for a JSON array), and the row.
        Blank lines are passed over.

    Raises:
        ValueError: ``FILE:LINE: ...`` for a line that is not one JSON object, or a file that cannot be decoded.
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
        if file.suffix == ".parquet":
            yield from _read_parquet(file)
        elif _holds_array(file):
            yield from _read_json_array(file, on_bad_line)
        else:
            yield from _read_json_lines(file, on_bad_line)


def _holds_array(file: Path) -> bool:
    """Whether a ``.json`` file is one array of rows; in every other file a line is a row."""
    if file.suffix != ".json":
        return False
    with open(file, "rb") as handle:
        return handle.read(1024).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def _read_json_array(file: Path, on_bad_line: Callable[[BadLine], None]) -> Iterator[tuple[Location, dict[str, Any]]]:
    try:
        rows = json.loads(file.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}:{getattr(error, 'lineno', 1)}: not a JSON array in UTF-8: {error}") from error
    for number, row in enumerate(rows, start=1):
        where = Location(str(file), number)
        if isinstance(row, dict):
            yield where, row
        else:
            on_bad_line(BadLine("not_an_object", f"{where}: expected objects in the array, found a {_kind(row)}"))


def _read_json_lines(file: Path, on_bad_line: Callable[[BadLine], None]) -> Iterator[tuple[Location, dict[str, Any]]]:
    name, line_number = str(file), 0
    # Bytes, so that a line that is not UTF-8 can be named; text mode would decode ahead of the line being read.
    with gzip.open(file, "rb") if file.suffix == ".gz" else open(file, "rb") as handle:
        try:
            lines = iter(lambda: handle.readline(LONGEST_LINE + 1), b"")
            for line_number, line in enumerate(lines, start=1):
                if len(line) > LONGEST_LINE:
                    # A small compressed file may hold a line that no memory does; nobody reads on to its end.
                    raise ValueError(f"{file}:{line_number}: a line of more than {LONGEST_LINE:,} bytes")
                if line.isspace():
                    continue
                where = Location(name, line_number)
                try:
                    row = _parse_line(where, line)
                except BadLine as error:
                    on_bad_line(error)
                else:
                    yield where, row
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{file}:{line_number + 1}: damaged gzip data: {error}") from error


def _parse_line(where: Location, line: bytes) -> dict[str, Any]:
    try:
        # Some editors start a file with a byte order mark, which is no part of the first row.
        row = json.loads(line.decode("utf-8-sig" if where.line == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise BadLine("not_utf8", f"{where}: not UTF-8 text: {error}") from error
    # ValueError: not JSON, or a number of more digits than Python converts.
    except (ValueError, RecursionError) as error:
        raise BadLine("not_json", f"{where}: not a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise BadLine("not_an_object", f"{where}: expected one JSON object per line, found a {_kind(row)}")
    return row


def _kind(value: Any) -> str:
    return type(value).__name__


def _read_parquet(file: Path) -> Iterator[tuple[Location, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    row_number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
                for row in batch.to_pylist():
                    row_number += 1
                    yield Location(str(file), row_number), row
    except pyarrow.ArrowException as error:
        raise ValueError(f"{file}:{row_number + 1}: damaged Parquet data: {error}") from error


def _make_file(path: Path) -> None:
    # Exclusive creation with the usual permissions; tempfile's 0600 would survive the rename and lock others out.
    path.open("xb").close()


def _open_new(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="\n")


@contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[TextIO]:
    """Write a UTF-8 text file that appears whole or not at all.

    The text goes to a new file in the same folder, is synced to the disk and then renamed over ``path``. Upon any
    exception (a full disk and an interrupt included) the new file is removed and an older ``path`` stays as it was.
    Missing parent folders are created. A symbolic link is followed: its target is replaced, not the link. What killed
    writers of the same file left goes, see ``beside``.

    Raises:
        ValueError: ``path`` exists and is not a regular file.
        OSError: the file system refused a write.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise ValueError(f"{path}: cannot be written, it exists and is not a regular file")
    with made_beside(target, _make_file) as temporary:
        handle = _open_new(temporary)
        try:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
            handle.close()
            os.replace(temporary, target)
        except BaseException:
            # Closing flushes once more, which fails again on a full disk; the first error is the one to report.
            with suppress(OSError):
                handle.close()
            raise
    sync(target.parent)


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file of bytes, atomically. Errors: see ``atomic_writer``."""
    with atomic_writer(path) as handle:
        handle.buffer.write(data)


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, atomically; returns the number of rows.

    Raises:
        ValueError: a row with NaN or an infinity, which JSON does not have; or an error of ``atomic_writer``.
    """
    count = 0
    with atomic_writer(path) as handle:
        for row in rows:
            handle.write(_one_line(_dumped(f"{path}:{count + 1}", row)) + "\n")
            count += 1
    return count


def _one_line(text: str) -> str:
    # These end a line for str.splitlines, with which many a reader takes JSON lines apart. Only strings can hold them.
    for character in LINE_ENDS:
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write one indented JSON document, atomically. Errors: as those of ``write_jsonl``."""
    with atomic_writer(path) as handle:
        handle.write(_dumped(path, obj, indent=2) + "\n")


def _dumped(where: object, value: Any, indent: int | None = None) -> str:
    try:
        return _writable(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False))
    except ValueError as error:
        raise ValueError(f"{where}: cannot be written as JSON: {error}") from error


def _writable(text: str) -> str:
    """JSON whose half character pairs, which it can read but UTF-8 cannot hold, are written as their escapes."""
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


class SkipCounter:
    """Rows kept, and rows skipped by reason, each reason with the first row it was met at."""

    def __init__(self) -> None:
        self.kept = 0
        self.skipped: dict[str, int] = {}
        self.first: dict[str, str] = {}

    @property
    def total(self) -> int:
        """Rows judged so far."""
        return self.kept + sum(self.skipped.values())

    def keep(self) -> None:
        """Count one usable row."""
        self.kept += 1

    def skip(self, reason: str, first: str = "") -> None:
        """Count one unusable row under ``reason``; ``first`` (``FILE:LINE: ...``) is kept for the first of each."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        if first:
            self.first.setdefault(reason, first)

    def check(self, max_share: float) -> None:
        """Raise ValueError, naming reasons and counts, when more than ``max_share`` (0 to 1) of the rows are lost."""
        skipped = sum(self.skipped.values())
        if skipped <= max_share * self.total:
            return
        reasons = "; ".join(
            f"{reason} {count}" + (f" (first: {self.first[reason]})" if reason in self.first else "")
            for reason, count in self.skipped.items()
        )
        raise ValueError(
            f"{skipped} of {self.total} rows skipped ({skipped / self.total:.2%}), "
            f"above the allowed share of {max_share:.2%}: {reasons}"
        )

    def as_dict(self) -> dict[str, Any]:
        """``{"kept": int, "skipped": {reason: {"count": int, "first": "FILE:LINE: ..."}}}``"""
        return {
            "kept": self.kept,
            "skipped": {
                reason: {"count": count, "first": self.first.get(reason, "")} for reason, count in self.skipped.items()
            },
        }
