"""Numbers as short text tables."""

from collections.abc import Mapping, Sequence
from typing import Any


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table; `n/a` for None."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def interval(estimate: Mapping[str, Any]) -> str:
    """`0.6120  [0.5700, 0.6500]  of 480`, from a value with its interval."""
    if estimate["value"] is None:
        return "n/a"
    ends = f"[{number(estimate['low'])}, {number(estimate['high'])}]"
    return f"{number(estimate['value'])}  {ends}  of {estimate['n']}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines with columns of equal width, the first to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first one its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"
