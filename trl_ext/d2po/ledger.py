"""The book of gold labels: append-only, on disk before a label is used, one line a label."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.journal import Journal

LEDGER_FILE = "d2po_ledger.jsonl"


class Label(NamedTuple):
    """Gold scores of the answers of one prompt that were bought together, in the order of the answers."""

    prompt: str
    responses: tuple[str, ...]
    gold: tuple[float, ...]


def label_key(prompt: str, responses: Sequence[str]) -> str:
    """Names what was labelled: the same answers to the same prompt, in whatever order."""
    return hashlib.sha256(json.dumps([prompt, sorted(responses)]).encode()).hexdigest()


def read_label(row: dict[str, Any]) -> tuple[Label, int]:
    """The label on a line of the book, and how many labels it counts as.

    Raises:
        ValueError, KeyError, TypeError: a field is missing or is none that `Ledger.add` writes.
    """
    prompt, responses, gold, labels = row["prompt"], row["responses"], row["gold"], row["labels"]
    if not isinstance(prompt, str):
        raise ValueError(f"prompt is {prompt!r:.40}, no text")
    if not isinstance(responses, list) or len(responses) < 2 or not all(isinstance(text, str) for text in responses):
        raise ValueError(f"responses is {responses!r:.40}, no list of two or more texts")
    numbers = isinstance(gold, list) and all(type(value) in (int, float) and math.isfinite(value) for value in gold)
    if not numbers or len(gold) != len(responses):
        raise ValueError(f"gold is {gold!r:.40}, not one finite number for each of {len(responses)} responses")
    if type(labels) is not int or labels != price(len(responses)):
        raise ValueError(f"labels is {labels!r}, {len(responses)} responses count as {price(len(responses))}")
    return Label(prompt, tuple(responses), tuple(map(float, gold))), labels


class Ledger:
    """Counts what was bought, across restarts; a label that stands here is never bought again.

    Only one process may hold the book. A line that a crash or a full disk cut off is the label that was not yet used; it
    is taken out, kept in `d2po_ledger.cut_off.txt`, and named in `repaired`. A whole line counts, also without line end.

    Args:
        folder: of the run.
        max_labels: labels after which nothing is bought any more; None is no limit.

    Raises:
        ValueError: another run holds the book, or a line in it is damaged.
    """

    def __init__(self, folder: Path, max_labels: int | None = None):
        self.path, self.max_labels = Path(folder, LEDGER_FILE), max_labels
        self._journal = Journal(self.path, read_label, "a gold label")
        self.repaired = self._journal.torn.decode(errors="replace")
        self._labels: dict[str, dict[str, float]] = {}
        self.spent = 0
        for label, labels in self._journal.entries:
            self._take(label, labels)

    def _take(self, label: Label, labels: int) -> None:
        self._labels[label_key(label.prompt, label.responses)] = dict(zip(label.responses, label.gold, strict=True))
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
            ValueError: it would exceed `max_labels`, or is no label: gold that is not finite, lists of other lengths.
            OSError: the disk is full or failed; the book ends with the label before.
        """
        labels = price(len(label.responses))
        if labels > self.left:
            raise ValueError(f"{self.path}: {self.spent} labels are spent of --max_labels {self.max_labels}")
        self._journal.append({"label": self.spent + labels, "labels": labels, **where, **label._asdict()})
        self._take(label, labels)

    def close(self) -> None:
        self._journal.close()


def price(answers: int) -> int:
    """Labels that gold scores of so many answers to one prompt count as: one label compares two answers."""
    return (answers + 1) // 2
