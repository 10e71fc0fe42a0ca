"""Which rows of a data set are the two sides of which pair, read from three columns and not row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COLUMNS = ("pair_id", "side", "preferred_side")


@dataclass(frozen=True)
class PairIndex:
    """The pairs of a data set.

    Attributes:
        rows: (P, 2) int64: row of side 0 and of side 1, pairs in the order in which their first row stands.
        bad: pairs with a fault, counted by reason; see `index_pairs`.
        total: all pairs, those that are left out included.
    """

    rows: np.ndarray
    bad: dict[str, int]
    total: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def bad_share(self) -> float:
        """Share of all pairs that has a fault."""
        return sum(self.bad.values()) / self.total if self.total else 0.0

    def check(self, max_bad_share: float) -> None:
        """Refuses a data set that has no whole pair or too many with a fault.

        Raises:
            ValueError: the counts by reason.
        """
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.bad.items()) or "no rows"
        if not len(self):
            raise ValueError(f"the data set has no whole pair of side 0 and side 1 ({reasons})")
        if self.bad_share > max_bad_share:
            raise ValueError(
                f"{sum(self.bad.values())} of {self.total} pairs have a fault ({reasons}); a share up to "
                f"BT_MAX_BAD_PAIRS={max_bad_share:g} is accepted. A split by rows cuts pairs in two: split by pair; two "
                "files that are read together must not use the same pair_id"
            )


def missing_columns(data_source: Any) -> list[str]:
    """Those of `COLUMNS` that a data set does not have."""
    names = getattr(data_source, "column_names", None)
    if names is None:
        first = data_source[0] if len(data_source) else {}
        names = list(first) if isinstance(first, dict) else []
    return [name for name in COLUMNS if name not in names]


def index_pairs(data_source: Any) -> PairIndex:
    """The index of a `datasets.Dataset` (its columns are read, no row is decoded) or of a sequence of rows.

    Counted are pairs with a row whose side or preferred side is not 0 or 1 (`invalid_side`; that row is ignored), with
    a side missing (`incomplete`; left out), whose rows disagree on the preferred side (`contradictory`; left out), or
    with a row too many (`duplicated`; the last row of a side counts). A pair is counted once, under the first of these.

    Raises:
        ValueError: a column is missing.
    """
    missing = missing_columns(data_source)
    if missing:
        raise ValueError(
            f"the data set has no column {', '.join(missing)}: the rows of a pair need {', '.join(COLUMNS)} "
            "(python -m datasets_builders pointwise writes them)"
        )
    code, side, preferred = _columns(data_source)
    pairs = int(code.max()) + 1 if len(code) else 0
    valid = ((side == 0) | (side == 1)) & ((preferred == 0) | (preferred == 1))
    slot = code[valid] * 2 + side[valid]
    count = np.bincount(slot, minlength=2 * pairs).reshape(pairs, 2)
    votes = np.bincount(code[valid], weights=preferred[valid], minlength=pairs)
    rows = np.zeros(2 * pairs, dtype=np.int64)
    rows[slot] = np.flatnonzero(valid)
    incomplete = (count == 0).any(axis=1)
    contradictory = (votes != 0) & (votes != count.sum(axis=1))
    reasons = {
        "invalid_side": np.bincount(code[~valid], minlength=pairs) > 0,
        "incomplete": incomplete,
        "contradictory": contradictory,
        "duplicated": (count > 1).any(axis=1),
    }
    counted, bad = np.zeros(pairs, dtype=bool), {}
    for reason, mask in reasons.items():
        if found := int((mask & ~counted).sum()):
            bad[reason] = found
        counted |= mask
    return PairIndex(rows.reshape(pairs, 2)[~(incomplete | contradictory)], bad, pairs)


def _columns(data_source: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair codes in order of first appearance, sides and preferred sides, each (N,) int64; missing values are -1."""
    import pyarrow

    if hasattr(data_source, "with_format"):
        table = data_source.select_columns(list(COLUMNS)).with_format("arrow")[:]
        columns = [table.column(name) for name in COLUMNS]
    else:
        columns = [_column(data_source, name) for name in COLUMNS]
    ids = columns[0]
    if isinstance(ids, pyarrow.ChunkedArray):
        ids = ids.combine_chunks()
    if ids.null_count:
        raise ValueError(f"{ids.null_count} rows have no pair_id")
    code = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return code, _integers(columns[1], "side"), _integers(columns[2], "preferred_side")


def _column(rows: Sequence[dict[str, Any]], name: str):
    import pyarrow

    values = [row[name] for row in rows]
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        raise ValueError(f"column {name} holds values of several types: {error}") from error


def _integers(column, name: str) -> np.ndarray:
    import pyarrow

    try:
        filled = column.cast(pyarrow.int64()).fill_null(-1)
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"column {name} must hold 0 and 1: {error}") from error
    return filled.to_numpy() if isinstance(filled, pyarrow.ChunkedArray) else filled.to_numpy(zero_copy_only=False)
