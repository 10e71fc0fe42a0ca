"""Where a row stands, and what is said of a line that holds none."""

from typing import Any, NamedTuple, NoReturn


class Location(NamedTuple):
    """Where a row came from: a file (or hub data set) and its line (or row) number, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class BadLine(ValueError):
    """A line that holds no row; the message starts with ``FILE:LINE:``.

    Attributes:
        reason: the short name it is counted under: ``not_utf8``, ``not_json``, ``not_an_object``, ``too_deep`` or
            ``wrong_cells``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def refuse_line(error: BadLine) -> NoReturn:
    """What a bad line means where nobody counts them: the end."""
    raise error


def kind_of(value: Any) -> str:
    """What a message calls a value that has the wrong type."""
    return {str: "text", dict: "object", type(None): "null", bool: "boolean"}.get(type(value), type(value).__name__)
