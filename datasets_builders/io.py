"""Streaming input, whole-or-nothing output, and the count of rows that were left out. Input: ``datasets_builders.files``."""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from datasets_builders.beside import made_beside, sync
from datasets_builders.files.find import REPORT_SUFFIX, SUFFIXES, list_files, report_file
from datasets_builders.files.location import BadLine, Location, refuse_line
from datasets_builders.files.read import read_located_rows, read_rows

__all__ = [
    "REPORT_SUFFIX",
    "SUFFIXES",
    "BadLine",
    "Location",
    "SkipCounter",
    "atomic_writer",
    "list_files",
    "read_located_rows",
    "read_object",
    "read_rows",
    "refuse_line",
    "write_bytes",
    "write_json",
    "write_jsonl",
    "write_report",
    "write_text",
]

_HALF = re.compile("[\ud800-\udfff]")
LINE_ENDS = ("\u0085", "\u2028", "\u2029")


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


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, atomically. Errors: see ``atomic_writer``."""
    with atomic_writer(path) as handle:
        handle.write(text)


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object per line, atomically; returns the number of rows.

    Raises:
        ValueError: a row with what JSON does not have: NaN, an infinity, the bytes of a picture; the field is named. Or an
            error of ``atomic_writer``.
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
    write_text(path, _dumped(path, obj, indent=2) + "\n")


def write_report(out: str | os.PathLike[str], report: dict[str, Any]) -> None:
    """Write the report of an output to its place, see ``report_file``. Errors: as those of ``write_jsonl``."""
    write_json(report_file(out), report)
    # Earlier versions wrote it here, where `datasets` takes it for rows; it is of the output that was just replaced.
    Path(f"{os.fspath(out)}{REPORT_SUFFIX}").unlink(missing_ok=True)


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: no JSON, or another value than an object; the file is named.
        OSError: it cannot be read.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (
        ValueError,
        RecursionError,
    ) as error:  # of JSON, of the encoding, or of values that lie too deep in each other
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: a {type(found).__name__} instead of an object")
    return found


def nonfinite_as_text(value: Any) -> Any:
    """`value`, dictionaries and lists gone through, with "nan", "inf" and "-inf" for the numbers that JSON does not have.

    For what a run measured and must be told as it was; `float` reads them back.
    """
    if isinstance(value, dict):
        return {name: nonfinite_as_text(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [nonfinite_as_text(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _dumped(where: object, value: Any, indent: int | None = None) -> str:
    try:
        return _writable(json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{where}: cannot be written as JSON{_odd_field(value)}: {error}") from error


def _odd_field(value: Any) -> str:
    """Which field of an object JSON cannot hold."""
    for name, item in value.items() if isinstance(value, dict) else ():
        try:
            json.dumps(item, allow_nan=False)
        except (ValueError, TypeError, RecursionError):
            return f", field {name!r}"
    return ""


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
