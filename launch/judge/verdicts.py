"""The file of verdicts of a pairwise judge: one line for each order of a pair, and both orders taken together.

A label is `A`, `B` or `tie`, in the order in which the row shows the two replies (`side` 0: the original one, 1: the
swapped one); None where there is no verdict, or nobody has said the truth.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_builders.io import read_rows
from trl_ext.objectives.verdicts import LABELS, swap_label

KEYS = ("pair_id", "side", "ground_truth", "preference_strength", "subset", "verdicts", "vote", "capped")


def majority(verdicts: Iterable[str | None]) -> str | None:
    """The most frequent of the labels; `tie` where several lead, None where there is none."""
    ranked = Counter(verdict for verdict in verdicts if verdict is not None).most_common(2)
    if not ranked:
        return None
    return "tie" if len(ranked) == 2 and ranked[0][1] == ranked[1][1] else ranked[0][0]


@dataclass(frozen=True)
class JudgedRow:
    """What a judge said about one order of a pair. Labels and strength are in the order of this row.

    Attributes:
        pair_id: the same for both orders.
        side: 0 for the original order, 1 for the swapped one.
        ground_truth: the better reply.
        preference_strength: from -3 (A is much better) to 3 (B is).
        subset: part of a benchmark; empty without parts.
        verdicts: one for each answer that was drawn, at least one.
        capped: how many of the answers were cut off at the token limit.

    Raises:
        ValueError: an impossible value.
    """

    pair_id: str
    side: int
    ground_truth: str | None
    preference_strength: float | None
    subset: str
    verdicts: tuple[str | None, ...]
    capped: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.pair_id, str) or not self.pair_id or not isinstance(self.subset, str):
            raise ValueError(f"pair_id and subset are texts; found {self.pair_id!r} and {self.subset!r}")
        if type(self.side) is not int or self.side not in (0, 1):
            raise ValueError(f"side must be 0 or 1; found {self.side!r}")
        if not self.verdicts:
            raise ValueError("verdicts must hold one entry for each answer; found none")
        for label in (self.ground_truth, *self.verdicts):
            if label is not None and label not in LABELS:
                raise ValueError(f"a label must be one of {', '.join(LABELS)} or null; found {label!r}")
        if self.preference_strength is not None and not _is_number(self.preference_strength):
            raise ValueError(f"preference_strength must be a number or null; found {self.preference_strength!r}")
        if type(self.capped) is not int or not 0 <= self.capped <= len(self.verdicts):
            raise ValueError(f"capped must be from 0 to {len(self.verdicts)}; found {self.capped!r}")

    @property
    def vote(self) -> str | None:
        """What most of the verdicts say, see `majority`."""
        return majority(self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """The line of the file as an object with `KEYS`, in their order."""
        return {key: list(self.verdicts) if key == "verdicts" else getattr(self, key) for key in KEYS}


def read_verdicts(path: str | Path) -> list[JudgedRow]:
    """The rows of a file of verdicts, in its order; keys that are not in `KEYS` are passed over.

    Raises:
        ValueError: `FILE:LINE: ...` for a row with a missing key, an impossible value, a `vote` that its verdicts do
            not give, or the same order of a pair a second time; `FILE: ...` for one without rows.
    """
    rows: list[JudgedRow] = []
    seen: dict[tuple[str, int], int] = {}
    for line, record in read_rows(path):
        where = f"{path}:{line}"
        row = _parse(record, where)
        if first := seen.setdefault((row.pair_id, row.side), line) - line:
            raise ValueError(f"{where}: pair {row.pair_id} side {row.side} is in line {line + first} already")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path}: no verdicts")
    return rows


def group_orders(rows: Iterable[JudgedRow]) -> dict[str, tuple[JudgedRow | None, JudgedRow | None]]:
    """pair_id -> (row of the original order, row of the swapped one), pairs as they first appear; None: no such row."""
    pairs: dict[str, list[JudgedRow | None]] = {}
    for row in rows:
        pairs.setdefault(row.pair_id, [None, None])[row.side] = row
    return {pair_id: (original, swapped) for pair_id, (original, swapped) in pairs.items()}


def combine_orders(original: JudgedRow | None, swapped: JudgedRow | None) -> str | None:
    """The verdict on a pair from the votes on both orders, in the frame of the original order.

    Both say the same: that label. They differ: `tie`. One of them has no verdict: None, because taking the other's
    would let a judge's liking for a place decide. An order that nobody asked about (None) has no say.

    Raises:
        ValueError: rows of different pairs, or sides that are not 0 and 1.
    """
    for side, row in enumerate((original, swapped)):
        if row is not None and row.side != side:
            raise ValueError(f"pair {row.pair_id}: expected the row of side {side}; found side {row.side}")
    if original is not None and swapped is not None and original.pair_id != swapped.pair_id:
        raise ValueError(f"rows of two pairs: {original.pair_id} and {swapped.pair_id}")
    votes = [
        vote for row, vote in zip((original, swapped), votes_of(original, swapped), strict=True) if row is not None
    ]
    if not votes or None in votes:
        return None
    return votes[0] if len(set(votes)) == 1 else "tie"


def votes_of(original: JudgedRow | None, swapped: JudgedRow | None) -> tuple[str | None, str | None]:
    """The votes on both orders of a pair, in the frame of the original one; None: no verdict, or no such row."""
    return original and original.vote, swap_label(swapped and swapped.vote)


def _parse(record: dict[str, Any], where: str) -> JudgedRow:
    if absent := [key for key in KEYS if key not in record]:
        raise ValueError(f"{where}: no field {', '.join(absent)}")
    if not _is_list(record["verdicts"]):
        raise ValueError(f"{where}: verdicts must be a list; found {record['verdicts']!r:.80}")
    try:
        row = JudgedRow(**{key: record[key] for key in KEYS if key not in ("verdicts", "vote")},
                        verdicts=tuple(record["verdicts"]))  # fmt: skip
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error
    if record["vote"] != row.vote:
        raise ValueError(f"{where}: vote {record['vote']!r} is not what the verdicts give, {row.vote!r}")
    return row


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
