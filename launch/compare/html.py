"""Small pieces of HTML. Every text is escaped here, so that callers hand in plain text only."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from launch.compare.report_page import number, signed

# A text, or a text and a smaller one under it.
Cell = str | tuple[str, str]


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table; the first column is to the left."""
    top = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: Cell) -> str:
    text, small = (cell, "") if isinstance(cell, str) else cell
    return f"<td>{escape(text)}{f'<small>{escape(small)}</small>' if small else ''}</td>"


def paragraph(text: str, soft: bool = False) -> str:
    """One paragraph."""
    return f"<p{' class=soft' if soft else ''}>{escape(text)}</p>"


def folded(title: str, inner: str) -> str:
    """HTML `inner` that opens upon a click on the title."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def picture(name: str, png: bytes) -> str:
    """A picture inside the page."""
    return f'<p><img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(png).decode("ascii")}"></p>'


def estimate(cell: Mapping[str, Any] | None, with_sign: bool = False) -> Cell:
    """A value {value, low, high, n} with its interval under it; `n/a` where there is none."""
    if not cell or cell["value"] is None:
        return "n/a"
    return (signed if with_sign else number)(cell["value"]), interval(cell["low"], cell["high"], with_sign)


def interval(low: float | None, high: float | None, with_sign: bool = False) -> str:
    """`0.5 to 0.7`; nothing without an interval."""
    show = signed if with_sign else number
    return "" if low is None or high is None else f"{show(low)} to {show(high)}"
