"""The book of gold labels: append-only, on disk before a label is used, one line a label."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

LEDGER_FILE = "d2po_ledger.jsonl"


class Label(NamedTuple):
    """Gold scores of the answers of one prompt that were bought together, in the order of the answers."""

    prompt: str
    responses: tuple[str, ...]
    gold: tuple[float, ...]


def label_key(prompt: str, responses: Sequence[str]) -> str:
    """Names what was labelled: the same answers to the same prompt, in whatever order."""
    return hashlib.sha256(json.dumps([prompt, sorted(responses)]).encode()).hexdigest()


class Ledger:
    """Counts what was bought, across restarts; a label that stands here is never bought again.

    Only one process may hold the book. A line that a crash cut off is the label that was not yet used; it is dropped
    when the book is opened, and named in `repaired`.

    Args:
        folder: of the run.
        max_labels: labels after which nothing is bought any more; None is no limit.

    Raises:
        ValueError: another run holds the book, or a line in its middle is damaged.
    """

    def __init__(self, folder: Path, max_labels: int | None = None):
        self.path, self.max_labels = Path(folder, LEDGER_FILE), max_labels
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f"{self.path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(f"{self.path} is held by another run: give this one its own --output_dir") from error
        self._labels: dict[str, dict[str, float]] = {}
        self.spent, self.repaired = 0, ""
        self._read()

    def _read(self) -> None:
        if not self.path.is_file():
            return
        whole = self.path.read_bytes()
        lines = whole.split(b"\n")
        for number, line in enumerate(lines[:-1], start=1):
            try:
                row = json.loads(line)
                self._take(row["prompt"], row["responses"], row["gold"], row["labels"])
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise ValueError(f"{self.path} line {number} is damaged: {line[:80]!r}") from error
        if lines[-1]:
            self.repaired = lines[-1].decode(errors="replace")
            with self.path.open("r+b") as file:
                file.truncate(len(whole) - len(lines[-1]))

    def _take(self, prompt: str, responses: Sequence[str], gold: Sequence[float], labels: int) -> None:
        self._labels[label_key(prompt, responses)] = dict(zip(responses, gold, strict=True))
        self.spent += labels

    @property
    def left(self) -> float:
        """Labels that may still be bought; infinite without a limit."""
        return float("inf") if self.max_labels is None else max(0, self.max_labels - self.spent)

    def find(self, prompt: str, responses: Sequence[str]) -> Label | None:
        """The label of these answers if it was bought before."""
        known = self._labels.get(label_key(prompt, responses))
        return known and Label(prompt, tuple(responses), tuple(known[text] for text in responses))

    def add(self, label: Label, **where: Any) -> None:
        """Writes a label that was just bought; it is on disk when this returns. n answers count as n / 2, rounded up.

        Raises:
            ValueError: it would exceed `max_labels`.
        """
        labels = price(len(label.responses))
        if labels > self.left:
            raise ValueError(f"{self.path}: {self.spent} labels are spent of --max_labels {self.max_labels}")
        row = {"label": self.spent + labels, "labels": labels, **where, **label._asdict()}
        with self.path.open("ab") as file:
            file.write(json.dumps(row).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._take(*label, labels)

    def close(self) -> None:
        self._lock.release()


def price(answers: int) -> int:
    """Labels that gold scores of so many answers to one prompt count as: one label compares two answers."""
    return (answers + 1) // 2
