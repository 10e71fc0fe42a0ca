"""A file of JSON lines for what was paid for or drawn: an entry is on the disk before it is used, and is never lost.

A kill at any moment and a full disk leave whole entries only: what was written in part is taken back, at once where the
process lives and when the file is opened again where it does not.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from datasets_builders.beside import sync

Entry = TypeVar("Entry")
SHOWN_BYTES = 80
CUT_OFF = ".cut_off.txt"
CLOSED = -1


class Lines(NamedTuple):
    """What a file of entries holds.

    Attributes:
        entries: in order.
        torn: the bytes behind them that are no entry: what an interruption left of a last line.
        unended: whether the last entry lacks nothing but its line end.
    """

    entries: list[Any]
    torn: bytes
    unended: bool


def read_lines(path: Path, read: Callable[[dict[str, Any]], Entry], what: str) -> Lines:
    """The entries of a file, which need not exist; see `Journal` for the arguments.

    Raises:
        ValueError: ``FILE:LINE: ...`` for any line but the last that is no entry.
    """
    *lines, last = path.read_bytes().split(b"\n") if path.exists() else [b""]
    entries = []
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(_parse(line, read))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path}:{number}: not {what} ({error}): {line[:SHOWN_BYTES]!r}; fix or remove this line"
            ) from error
    if last:
        # A part of an object is never an object, so what can be read is whole.
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            return Lines([*entries, _parse(last, read)], b"", True)
    return Lines(entries, last, False)


def _parse(line: bytes, read: Callable[[dict[str, Any]], Entry]) -> Entry:
    row = json.loads(line, parse_constant=_refuse_constant)
    if not isinstance(row, dict):
        raise TypeError(f"a {type(row).__name__} instead of an object")
    return read(row)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


class Journal(Generic[Entry]):
    """The entries of one file, which has one writer at a time. A context manager.

    Args:
        read: makes an entry of the object on a line; ValueError, KeyError or TypeError where it is none.
        what: names an entry in messages, with its article: "a gold label".
        lock: the file that the writer holds; default ``PATH.lock``.

    Attributes:
        entries: all of them, in order.
        torn: what an interruption had left of a last line; it is cut off, and kept in ``NAME.cut_off.txt`` beside it.

    Raises:
        ValueError: another run is writing there, or a line in the middle is damaged.
    """

    def __init__(
        self, path: Path, read: Callable[[dict[str, Any]], Entry], what: str, lock: Path | None = None
    ) -> None:
        from filelock import FileLock, Timeout  # brings asyncio

        self.path, self._read, self._what = Path(path), read, what
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(lock or f"{self.path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"{self.path}: another run is writing there") from None
        try:
            self.entries, self.torn, unended = read_lines(self.path, read, what)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        except BaseException:
            self._lock.release()
            raise
        try:
            self._end = os.fstat(self._file).st_size
            if self.torn:
                self._cut_off()
            elif unended:
                self._write(b"\n")
            sync(self.path.parent)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Journal[Entry]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets another writer in."""
        if self._file != CLOSED:
            os.close(self._file)
            self._file = CLOSED
        self._lock.release()

    def remove(self) -> None:
        """Takes the file away, with what it kept aside; its entries are in another one."""
        for path in (self.path, self.path.with_suffix(CUT_OFF), Path(self._lock.lock_file)):
            path.unlink(missing_ok=True)
        self.close()

    def append(self, *rows: dict[str, Any]) -> None:
        """Keeps entries; when this returns, the disk has them.

        Raises:
            ValueError: a row that could not be read again, NaN and infinity included; nothing is written.
            OSError: the disk is full or failed; the file ends with the entry before.
        """
        try:
            # ASCII, so that no character can end a line or fail to be encoded.
            lines = [json.dumps(row, allow_nan=False).encode("ascii") for row in rows]
            entries = [_parse(line, self._read) for line in lines]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.path}: not {self._what}, and not written: {error}") from error
        self._write(b"".join(line + b"\n" for line in lines))
        self.entries += entries

    def _cut_off(self) -> None:
        with open(self.path.with_suffix(CUT_OFF), "ab") as aside:
            aside.write(self.torn + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        self._end -= len(self.torn)
        os.ftruncate(self._file, self._end)
        os.fsync(self._file)

    def _write(self, data: bytes) -> None:
        # More than was written stands there only when an earlier failure could not even be taken back.
        if os.fstat(self._file).st_size != self._end:
            os.ftruncate(self._file, self._end)
        try:
            rest = data
            while rest:  # the system may take it in several parts
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end += len(data)
