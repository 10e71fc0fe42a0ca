"""Rows of preferences as TRL's DPO trainer takes them, checked and put into its form before it is built. No torch."""

from collections.abc import Mapping
from typing import Any

from datasets_builders.fields import RowError
from datasets_builders.messages import OTHER_PART, Messages
from datasets_builders.pair_rows import TwoSides, read_sides

# Where TRL stops with a TypeError or a KeyError. It trains on the others, such as two equal answers, which the doctor
# counts: a few of many do no harm.
UNREADABLE = ("wrong_type", "no_content", "no_pair", "missing_field", "invalid_unicode")


def check_pair(row: Mapping[str, Any]) -> None:
    """Raises RowError for a row that TRL's DPO cannot read or learn from; pictures are left to TRL."""
    try:
        read_sides(row)
    except RowError as error:
        if error.reason != OTHER_PART:
            raise


def has_another_form(row: Mapping[str, Any]) -> bool:
    """Whether TRL stops at a row that holds a pair: UltraFeedback's prompt as a text beside conversations, for which it
    raises a TypeError, and the columns of ms-swift and of reward models."""
    if row.get("chosen") is None:
        return True
    return isinstance(row.get("prompt"), str) and isinstance(row["chosen"], list)


def explicit_prompt(row: Mapping[str, Any]) -> dict[str, Messages]:
    """TRL's conversational row with an explicit prompt: what both sides begin with, and what is left of each."""
    sides: TwoSides = read_sides(row)
    pairs = zip(sides.chosen[:-1], sides.rejected[:-1], strict=False)
    shared = next((place for place, (one, other) in enumerate(pairs) if one != other), None)
    if shared is None:
        shared = min(len(sides.chosen), len(sides.rejected)) - 1
    return {"prompt": sides.chosen[:shared], "chosen": sides.chosen[shared:], "rejected": sides.rejected[shared:]}


def checked(dataset: Any, flag: str) -> Any:
    """The data set in TRL's form. The rows of a stream are checked as they are read.

    Raises:
        ValueError: ``FLAG row N: ...`` (from 1) for a row that is no pair.
    """
    if dataset is None:
        return None
    is_stream = not hasattr(dataset, "__len__")
    if is_stream:
        return dataset.map(lambda row, place: _checked_row(row, flag, place), with_indices=True)
    replaced = False
    for place, row in enumerate(dataset):
        replaced |= bool(_checked_row(row, flag, place))
    return dataset.map(explicit_prompt) if replaced else dataset


def _checked_row(row: Mapping[str, Any], flag: str, place: int) -> dict[str, Messages]:
    """The columns of a row that must be replaced."""
    try:
        check_pair(row)
        return explicit_prompt(row) if has_another_form(row) else {}
    except RowError as error:
        if error.reason in UNREADABLE or has_another_form(row):
            raise ValueError(f"{flag} row {place + 1}: {error}") from error
        return {}
