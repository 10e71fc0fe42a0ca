"""Pages that open without a network: one document, one style, one number format. No script, no other file.

HTML is `Markup`; whatever else comes in is a text and is escaped. Join pieces with `joined`: Python's own join would make
a text of them.
"""

import base64
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launch.common.look import DARK, FONTS, LIGHT, NARROW, variables
from launch.common.table import significant

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup

# A text, or a text and a smaller one under it.
Cell = str | tuple[str, str]

_LOOK = f""":root {{ color-scheme: light dark; {variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ {variables(DARK)} }} }}
body {{ font: 16px/1.55 {", ".join(FONTS)}; }}
@media (max-width: {NARROW}px) {{ body {{ margin: 1rem auto; padding: 0 .9rem; }} 
  h1 {{ font-size: 1.35rem; }} table {{ font-size: .9rem; }} th, td {{ padding: .35rem .5rem; }}
  .wide table:not(.answers) :is(th, td):first-child {{ white-space: normal; overflow-wrap: anywhere; min-width: 6.5rem; max-width: 40vw; }}
}}
"""
_STYLE = """body { color: var(--ink); background: var(--paper); max-width: 72rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; } h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p, li { max-width: 46rem; } .soft { color: var(--soft); } a { color: var(--mark); }
h1, h2, h3, p, li, summary { overflow-wrap: anywhere; }
.wide { overflow-x: auto; } :focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .8rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
td small { color: var(--soft); display: block; } .front { color: var(--mark); font-weight: 600; }
img { max-width: 100%; height: auto; border-radius: 8px; border: 1px solid var(--line); background: #fff; }
.wide > img { max-width: none; }
.wide table:not(.answers) :is(th, td):first-child { position: sticky; left: 0; padding-left: 0; background: var(--paper); }
pre { overflow-x: auto; background: var(--band); padding: .8rem; font-size: .8rem; max-height: 30rem; }
summary { cursor: pointer; color: var(--soft); margin: .8rem 0; }
.answers { table-layout: fixed; width: 100%; }
.answers td, .answers th { white-space: pre-wrap; overflow-wrap: anywhere; text-align: left; font-size: .92rem; }
.answers tr:nth-child(even) { background: var(--band); }
"""

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
{{ style }}</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="soft">{{ subtitle }}</p>
{{ body }}
</body>
</html>
"""
_TABLE = """<div class="wide" tabindex="0"><table><thead><tr>
{%- for text in head %}<th>{{ text }}</th>{% endfor -%}
</tr></thead><tbody>
{%- for row in rows %}<tr>
{%- for text, small in row %}<td>{{ text }}{% if small %}<small>{{ small }}</small>{% endif %}</td>{% endfor -%}
</tr>{% endfor -%}
</tbody></table></div>"""

_PICTURE = """{% if narrow %}<picture><source media="(max-width: {{ limit }}px)" srcset="{{ narrow }}">
<img alt="{{ alt }}" src="{{ source }}" style="max-width: min(100%, {{ most }}px)"></picture>{% else -%}
<div class="wide" tabindex="0"><img alt="{{ alt }}" src="{{ source }}" style="width: min(100%, {{ most }}px); min-width: {{ least }}px"></div>
{%- endif %}"""
# CSS pixels for each pixel of a picture: at 160 dots an inch, letters of 9.5 points are then 13 and 10 pixels high.
LARGEST, SMALLEST = 0.62, 0.48


@functools.cache
def _template(text: str) -> "Template":
    from jinja2 import Environment, StrictUndefined

    return Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)


def render(template: str, **values: Any) -> "Markup":
    """A Jinja template of this package, filled in; texts among the values are escaped.

    Raises:
        jinja2.UndefinedError: a name in the template that is not among the values.
    """
    from markupsafe import Markup

    return Markup(_template(template).render(values))


def joined(pieces: Iterable["Markup"]) -> "Markup":
    """Pieces of HTML one after another."""
    from markupsafe import Markup

    return Markup("").join(pieces)


def document(title: str, subtitle: str, body: "Markup") -> str:
    """A whole page."""
    from markupsafe import Markup

    return str(render(_DOCUMENT, title=title, subtitle=subtitle, body=body, style=Markup(_STYLE + _LOOK)))


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> "Markup":
    """A table that scrolls where it is too wide; the first column is to the left."""
    pairs = [[cell if isinstance(cell, tuple) else (cell, "") for cell in row] for row in rows]
    return render(_TABLE, head=head, rows=pairs)


def heading(text: str, level: int = 2, anchor: str = "") -> "Markup":
    """A heading, with a place to link to where `anchor` names one."""
    template = '<h{{ level }}{% if anchor %} id="{{ anchor }}"{% endif %}>{{ text }}</h{{ level }}>'
    return render(template, text=text, level=level, anchor=anchor)


def paragraph(text: str, soft: bool = False) -> "Markup":
    """One paragraph."""
    return render('<p{% if soft %} class="soft"{% endif %}>{{ text }}</p>', text=text, soft=soft)


def folded(title: str, inner: "Markup") -> "Markup":
    """What opens upon a click on the title."""
    return render("<details><summary>{{ title }}</summary>{{ inner }}</details>", title=title, inner=inner)


def code(text: str) -> "Markup":
    """A text as it stands, its lines and blanks included."""
    return render("<pre>{{ text }}</pre>", text=text)


def picture(description: str, png: bytes, narrow: bytes | None = None) -> "Markup":
    """A picture inside the page.

    Args:
        narrow: the same in a shape for narrow windows; without it the picture is scrolled there, rather than shrunk until
            nobody reads its letters.
    """
    width = int.from_bytes(png[16:20], "big")
    return render(
        _PICTURE,
        alt=description,
        source=_data(png),
        narrow=narrow and _data(narrow),
        most=int(width * LARGEST),
        least=int(width * SMALLEST),
        limit=NARROW,
    )


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def number(value: float) -> str:
    """Four significant digits, with a real minus sign."""
    return significant(value, 4).replace("-", "−")


def signed(value: float) -> str:
    """As `number`, with a plus sign where due."""
    text = number(value)
    return ("+" if value > 0 and text != "0" else "") + text


def estimate(cell: Mapping[str, Any] | None, with_sign: bool = False) -> Cell:
    """A value {value, low, high, n} with its interval under it; `n/a` where there is none."""
    if not cell or cell["value"] is None:
        return "n/a"
    return (signed if with_sign else number)(cell["value"]), interval(cell["low"], cell["high"], with_sign)


def interval(low: float | None, high: float | None, with_sign: bool = False) -> str:
    """`0.5 to 0.7`; nothing without an interval."""
    show = signed if with_sign else number
    return "" if low is None or high is None else f"{show(low)} to {show(high)}"
