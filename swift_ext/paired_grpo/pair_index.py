"""Which rows of a data set are the two sides of which pair, read from three columns and not row by row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PairColumns:
    """The three columns of a row of a pair: `pair_id`, `side`, and the one that says what was preferred.

    Attributes:
        judgement: name of that column.
        read: (column, (N,) sides) -> (N,) int64, the same number for both rows of a pair when they agree; -1: no judgement.
        builder: of `python -m datasets_builders`, which writes such rows.
    """

    judgement: str
    read: Callable[[Any, np.ndarray], np.ndarray]
    builder: str

    @property
    def names(self) -> tuple[str, str, str]:
        return "pair_id", "side", self.judgement


def preferred_sides(column: Any, side: np.ndarray) -> np.ndarray:
    """Of a column that holds 0 or 1 in both rows of a pair."""
    sides = _integers(column, "preferred_side")
    return np.where((sides == 0) | (sides == 1), sides, -1)


PREFERRED_SIDE = PairColumns("preferred_side", preferred_sides, "pointwise")


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

    def check(self, max_bad_share: float, setting: str = "BT_MAX_BAD_PAIRS") -> None:
        """Refuses a data set that has no whole pair or too many with a fault; `setting` names the accepted share.

        Raises:
            ValueError: the counts by reason.
        """
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.bad.items()) or "no rows"
        if not len(self):
            raise ValueError(f"the data set has no whole pair of side 0 and side 1 ({reasons})")
        if self.bad_share > max_bad_share:
            raise ValueError(
                f"{sum(self.bad.values())} of {self.total} pairs have a fault ({reasons}); a share up to "
                f"{setting}={max_bad_share:g} is accepted. A split by rows cuts pairs in two: split by pair; two "
                "files that are read together must not use the same pair_id"
            )


def missing_columns(data_source: Any, columns: PairColumns) -> list[str]:
    """Those of the three that a data set does not have."""
    names = getattr(data_source, "column_names", None)
    if names is None:
        first = data_source[0] if len(data_source) else {}
        names = list(first) if isinstance(first, dict) else []
    return [name for name in columns.names if name not in names]


def index_pairs(data_source: Any, columns: PairColumns = PREFERRED_SIDE) -> PairIndex:
    """The index of a `datasets.Dataset` (its columns are read, no row is decoded) or of a sequence of rows.

    Counted are pairs with a row whose side is not 0 or 1 (`invalid_side`; that row is ignored) or that has no judgement
    (`no_` and the column's name, such as `no_ground_truth`; ignored too), with a side missing (`incomplete`; left out), whose rows disagree (`contradictory`; left out), or with a row too many (`duplicated`; the last row of a side counts). A pair is counted once, under the first of these.

    Raises:
        ValueError: a column is missing.
    """
    missing = missing_columns(data_source, columns)
    if missing:
        raise ValueError(
            f"the data set has no column {', '.join(missing)}: the rows of a pair need {', '.join(columns.names)} "
            f"(python -m datasets_builders {columns.builder} writes them)"
        )
    code, side, judgement = _columns(data_source, columns)
    pairs = int(code.max()) + 1 if len(code) else 0
    has_side, judged = (side == 0) | (side == 1), judgement >= 0
    valid = has_side & judged
    slot = code[valid] * 2 + side[valid]
    count = np.bincount(slot, minlength=2 * pairs).reshape(pairs, 2)
    votes = np.bincount(code[valid], weights=judgement[valid], minlength=pairs)
    squares = np.bincount(code[valid], weights=judgement[valid] ** 2, minlength=pairs)
    rows = np.zeros(2 * pairs, dtype=np.int64)
    rows[slot] = np.flatnonzero(valid)
    incomplete = (count == 0).any(axis=1)
    contradictory = count.sum(axis=1) * squares != votes**2  # equal exactly when all judgements of a pair are
    reasons = {
        "invalid_side": np.bincount(code[~has_side], minlength=pairs) > 0,
        f"no_{columns.judgement}": np.bincount(code[~judged], minlength=pairs) > 0,
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


def _columns(data_source: Any, names: PairColumns) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair codes in order of first appearance, sides and judgements, each (N,) int64; missing values are -1."""
    import pyarrow

    if hasattr(data_source, "with_format"):
        table = data_source.select_columns(list(names.names)).with_format("arrow")[:]
        columns = [table.column(name) for name in names.names]
    else:
        columns = [_column(data_source, name) for name in names.names]
    ids = columns[0]
    if isinstance(ids, pyarrow.ChunkedArray):
        ids = ids.combine_chunks()
    if ids.null_count:
        raise ValueError(f"{ids.null_count} rows have no pair_id")
    code = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    side = _integers(columns[1], "side")
    return code, side, names.read(columns[2], side)


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
