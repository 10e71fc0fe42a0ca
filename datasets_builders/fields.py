"""Checked access to the fields of a source row."""

from collections.abc import Mapping
from typing import Any

from datasets_builders.files.location import kind_of


class RowError(Exception):
    """A source row that cannot be used.

    Attributes:
        reason: the short name it is counted under, such as ``missing_field``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def require(row: Mapping[str, Any], name: str) -> Any:
    """The value of field ``name``.

    Raises:
        RowError: the field is absent or null (``missing_field``); the message lists the fields that are there.
    """
    value = row.get(name)
    if value is None:
        raise RowError("missing_field", f"missing field {name!r}; the row has: {', '.join(sorted(row)) or 'no field'}")
    return value


def require_text(row: Mapping[str, Any], name: str) -> str:
    """The text of field ``name``, with at least one character that is not white space.

    Raises:
        RowError: ``missing_field``, ``wrong_type``, ``empty_NAME``, or ``invalid_unicode`` for a lone surrogate,
            which JSON can carry as an escape and UTF-8 cannot.
    """
    value = require(row, name)
    if not isinstance(value, str):
        raise RowError("wrong_type", f"field {name!r} must be a text, found a {kind_of(value)}")
    if not value or value.isspace():
        raise RowError(f"empty_{name}", f"field {name!r} is empty")
    if fault := text_fault(value):
        raise RowError("invalid_unicode", f"field {name!r} cannot be stored as UTF-8: {fault}")
    return value


def text_fault(text: str) -> str | None:
    """Why UTF-8 cannot hold a text, or None: JSON can carry half a character as an escape."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"character {error.start} is one half of a surrogate pair, which is no text"
    return None


def require_rating(row: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """The whole-number rating in field ``name``, from ``low`` to ``high`` inclusive.

    A float with an integral value is accepted: tables turn a column of integers into floats when one entry is null.

    Raises:
        RowError: ``missing_field``, ``wrong_type`` or ``rating_out_of_range``.
    """
    value = require(row, name)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value % 1:
        raise RowError("wrong_type", f"field {name!r} must be a whole number, found {value!r}")
    if not low <= value <= high:
        raise RowError("rating_out_of_range", f"field {name!r} must be from {low} to {high}, found {value!r}")
    return int(value)
