"""The pairs that a discriminator was first trained on, for replay."""

from typing import Any

from datasets_builders.fields import RowError
from datasets_builders.io import read_located_rows
from datasets_builders.pair_rows import read_pair
from trl_ext.online_dpo.prompts import last_user_text

from .discriminator_interface import LabelledPair, check_pairs


def read_first_pairs(path: str, loss: str) -> list[LabelledPair]:
    """The pairs of a file, folder or glob, as `datasets_builders.pair_rows` reads them.

    Args:
        loss: of the discriminator; all but `bt` need a column `margin`.

    Raises:
        ValueError: no such file, no rows, or a line that is no such pair.
    """
    pairs = []
    for where, row in read_located_rows(path):
        try:
            pairs.append(_pair(row))
            check_pairs(pairs[-1:], loss)
        except (RowError, ValueError) as error:
            raise ValueError(f"--discriminator_first_pairs {where}: {error}") from error
    if not pairs:
        raise ValueError(f"{path}: no pairs")
    return pairs


def _pair(row: dict[str, Any]) -> LabelledPair:
    pair, margin = read_pair(row), row.get("margin")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int | float)):
        raise ValueError(f"margin must be a number above 0, found {margin!r:.60}")
    return LabelledPair(
        last_user_text(pair.prompt), pair.chosen, pair.rejected, None if margin is None else float(margin)
    )
