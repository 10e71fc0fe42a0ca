"""One table in its forms: aligned text, Markdown, comma-separated values."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_builders.io import write_text

LEFT_BY_ROUNDING = 1e-12  # of numbers of any unit in a table: scores, probabilities, nats


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table; `n/a` for None."""
    return "n/a" if value is None else f"{value:.{digits}f}"


def significant(value: float, digits: int) -> str:
    """A number with so many digits that count; 0 for what rounding leaves of a sum that cancels, such as 7.6e-17."""
    return f"{0.0 if abs(value) < LEFT_BY_ROUNDING else value:.{digits}g}"


def counted(n: int, noun: str) -> str:
    """`1 prompt`, `32 prompts`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def estimate_cells(estimate: Mapping[str, Any]) -> tuple[str, str, str]:
    """`0.6120`, `[0.5700, 0.6500]` and `of 480`, from {value, low, high, n}; the last two empty without a value,
    the second without an interval."""
    if estimate["value"] is None:
        return "n/a", "", ""
    known = estimate["low"] is not None
    ends = f"[{number(estimate['low'])}, {number(estimate['high'])}]" if known else ""
    return number(estimate["value"]), ends, f"of {estimate['n']}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines with columns of equal width, the first to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a Markdown table, the first one its head. A bar or a line end within a cell does not end it."""
    head, *body = (f"| {' | '.join(map(_one_cell, row))} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"


def _one_cell(text: str) -> str:
    return " ".join(text.splitlines()).replace("|", "\\|")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A file of comma-separated values, see `csv_text`, whole or not at all."""
    write_text(path, csv_text(columns, rows))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Comma-separated values with a head line; None and a missing key are empty cells, other keys are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
