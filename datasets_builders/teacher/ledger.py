"""The paid answers of a folder: an append-only file, one line an answer, on the disk before the next request leaves."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from datasets_builders.io import write_json

ANSWERS = "answers.jsonl"
CUT_OFF = "answers.cut_off.txt"
SETTINGS = "settings.json"
LOCK = ".lock"


@dataclass(frozen=True)
class Record:
    """One answer of the teacher.

    Attributes:
        keys: the items that were asked for, in order.
        text: the answer, whole.
        malformed: the items that have no verdict in it, with the reason.
        tries: requests that were sent until it came.
    """

    keys: tuple[str, ...]
    text: str
    cut_off: bool
    model: str
    tokens_in: int | None
    tokens_out: int | None
    tries: int
    malformed: dict[str, str]


def read_answers(folder: Path) -> tuple[list[Record], bytes]:
    """The answers of a folder, and what an interruption left of a last line.

    A last line that lacks nothing but its line end is an answer.

    Raises:
        ValueError: ``FILE:LINE: ...`` for any other line that is no answer.
    """
    path = folder / ANSWERS
    if not path.exists():
        return [], b""
    *lines, tail = path.read_bytes().split(b"\n")
    if tail:
        with suppress(ValueError):
            _record(path, 0, tail)
            lines, tail = [*lines, tail], b""
    return [_record(path, number, line) for number, line in enumerate(lines, start=1)], tail


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        fields = json.loads(line)
        record = Record(**{**fields, "keys": tuple(fields["keys"])})
        sound = all(isinstance(key, str) for key in record.keys) and isinstance(record.text, str)
        if not sound or not isinstance(record.tries, int):
            raise TypeError("a field of another type")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}:{number}: not an answer of a teacher; mend or remove this line") from error
    return record


def check_settings(folder: Path, settings: dict[str, Any], resume: bool) -> None:
    """Refuses a folder whose answers this run must not go on with.

    Raises:
        ValueError: there are answers and no ``resume``; or the settings they were made with are gone or differ, and
            each difference is named.
    """
    answers = folder / ANSWERS
    if not answers.exists() or not answers.stat().st_size:
        return
    if not resume:
        raise ValueError(f"--out {folder} holds answers already; go on with --resume, or name another folder")
    try:
        stored = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder / SETTINGS} is missing, so nobody knows what the answers belong to") from None
    except ValueError as error:
        raise ValueError(f"{folder / SETTINGS}: not a JSON document: {error}") from error
    names = sorted(stored.keys() | settings.keys()) if isinstance(stored, dict) else sorted(settings)
    stored = stored if isinstance(stored, dict) else {}
    differences = [
        f"{name} was {stored.get(name)!r} and is now {settings.get(name)!r}"
        for name in names
        if stored.get(name) != settings.get(name)
    ]
    if differences:
        raise ValueError(f"--resume: the answers in {folder} were made with other settings: {'; '.join(differences)}")


class Ledger:
    """The answers of one folder, which has one writer at a time. A context manager.

    Args:
        settings: what the answers depend on; stored beside them, and compared when there are answers already.

    Raises:
        ValueError: another run is writing there; those of ``check_settings`` and ``read_answers``.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], resume: bool) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--out {folder} is not a folder")
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"--out {folder}: another run is writing there") from None
        try:
            check_settings(folder, settings, resume)
            self.records, tail = read_answers(folder)
            self._file = os.open(folder / ANSWERS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            self._repair(folder, tail)
            # Last, because it also syncs the folder, and with it the name of the file of answers.
            write_json(folder / SETTINGS, settings)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
        self._lock.release()

    def _repair(self, folder: Path, tail: bytes) -> None:
        size = os.fstat(self._file).st_size
        if tail:
            with open(folder / CUT_OFF, "ab") as aside:
                aside.write(tail + b"\n")
                aside.flush()
                os.fsync(aside.fileno())
            os.ftruncate(self._file, size - len(tail))
        elif size and not (folder / ANSWERS).read_bytes().endswith(b"\n"):
            self._write(b"\n")

    def append(self, record: Record) -> None:
        """Keeps an answer; when this returns, the disk has it.

        Raises:
            OSError: the disk is full or failed; the file ends with the line before.
        """
        # ASCII, so that no character of an answer can end a line or fail to be encoded.
        self._write(json.dumps(asdict(record)).encode("ascii") + b"\n")
        self.records.append(record)

    def _write(self, data: bytes) -> None:
        end = os.fstat(self._file).st_size
        try:
            rest = data
            while rest:  # the system may take it in several parts
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except BaseException:
            # A torn line in the middle of the file could not be told from a damaged one.
            with suppress(OSError):
                os.ftruncate(self._file, end)
            raise
