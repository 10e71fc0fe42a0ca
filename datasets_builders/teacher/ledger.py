"""The paid answers of a folder: an append-only file, one line per answer, on the disk before the next request leaves."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets_builders.io import write_json
from datasets_builders.journal import Journal, read_lines

ANSWERS = "answers.jsonl"
SETTINGS = "settings.json"
LOCK = ".lock"
WHAT = "an answer of a teacher"


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

    Raises:
        ValueError: ``FILE:LINE: ...`` for any line but the last that is no answer.
    """
    lines = read_lines(folder / ANSWERS, _record, WHAT)
    return lines.entries, lines.torn


def _record(row: dict[str, Any]) -> Record:
    record = Record(**{**row, "keys": tuple(row["keys"])})
    whole = (record.tries, *(count for count in (record.tokens_in, record.tokens_out) if count is not None))
    if any(isinstance(number, bool) or not isinstance(number, int) or number < 0 for number in whole):
        raise TypeError("'tries', 'tokens_in' and 'tokens_out' are numbers of at least 0")
    if not isinstance(record.text, str) or not all(isinstance(key, str) for key in record.keys):
        raise TypeError("'text' and 'keys' are texts")
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
        raise ValueError(f"--out {folder} holds answers already; continue with --resume, or name another folder")
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
        # Before anything of a folder is touched, and again when nobody else can write there any more.
        check_settings(folder, settings, resume)
        self._journal = Journal(folder / ANSWERS, _record, WHAT, folder / LOCK)
        try:
            check_settings(folder, settings, resume)
            write_json(folder / SETTINGS, settings)
        except BaseException:
            self._journal.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()

    @property
    def records(self) -> list[Record]:
        """All answers so far, in order."""
        return self._journal.entries

    def append(self, record: Record) -> None:
        """Keeps an answer; when this returns, the disk has it. Errors: see ``Journal.append``."""
        self._journal.append(asdict(record))
