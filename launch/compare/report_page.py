"""The report as one self-contained HTML file: no script, no external resource, readable in light and dark."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from launch.common.picture import point_name
from launch.compare.tradeoff import monotonicity_line

STYLE = """:root { color-scheme: light dark; --ink: #1f2430; --soft: #5b6472; --line: #d9dde3; --paper: #ffffff; --band: #f4f6f9; --mark: #1d4ed8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #a3acba; --line: #363d49; --paper: #15181e; --band: #1e232c; --mark: #8fb4ff; }
}
body { font: 16px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
p, li { max-width: 46rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .8rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { color: var(--soft); font-weight: 600; }
td small { color: var(--soft); display: block; } .front { color: var(--mark); font-weight: 600; }
img { max-width: 100%; height: auto; border-radius: 8px; border: 1px solid var(--line); background: #fff; }
.answers { table-layout: fixed; width: 100%; }
.answers td, .answers th { white-space: pre-wrap; overflow-wrap: anywhere; text-align: left; font-size: .92rem; }
.answers tr:nth-child(even) { background: var(--band); }
"""

NARROWEST = 9  # rem, a column of answers

_DOCUMENT = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<h1>$title</h1>
<p class="soft">$subtitle</p>
$body
</body>
</html>
""")

_BODY = Template("""<img alt="$alt" src="data:image/png;base64,$picture">
<h2>How to read it</h2>
<ul>
<li>Higher is better on both axes. Each point is the mean over the evaluation prompts, each bar a 95% bootstrap interval of that mean.</li>
<li>A model is on the front when no other model here is at least as good on both objectives and better on one. Whether two neighbours truly differ is for their intervals and the paired differences to say.</li>
<li>Differences are to <b>$reference</b>, prompt by prompt. An interval that holds 0 means: not told apart on these prompts.</li>
<li>The second table leaves out every prompt that was truncated, or whose answer was cut off, for any of the models: there, length limits favour nobody.</li>
</ul>
<h2>All prompts</h2>
$full
<h2>Prompts that no model cut off</h2>
$uncapped
$answers""")


def document(title: str, subtitle: str, body: str, style: str = STYLE) -> str:
    """A page that needs no other file. Title and subtitle are plain text, `body` is HTML, `style` ends with a newline."""
    return _DOCUMENT.substitute(title=escape(title), subtitle=escape(subtitle), body=body, style=style)


def number(value: float) -> str:
    """Four significant digits, with a real minus sign."""
    return f"{value:.4g}".replace("-", "−")


def signed(value: float) -> str:
    """As `number`, with a plus sign where due."""
    return ("+" if value > 0 else "") + number(value)


def facts(report: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Front, hypervolume and monotonicity of one summary, in sentences of plain text."""
    x, y = report["x"], report["y"]
    corner = ", ".join(f"{name} = {number(value)}" for name, value in zip((x, y), summary["hv_reference"], strict=True))
    return [
        f"On the front: {', '.join(summary['pareto'])}.",
        f"Hypervolume {number(summary['hypervolume'])} above the reference point ({corner}).",
        monotonicity_line(summary, y),
        monotonicity_line(summary, x),
    ]


def summary_table(report: Mapping[str, Any], summary: Mapping[str, Any] | None, units: Mapping[str, str]) -> str:
    """One summary of `build_report` as HTML: its table, front, hypervolume and monotonicity."""
    if summary is None:
        return "<p>No prompt is left: every one was truncated or cut off for at least one model.</p>"
    names = list(next(iter(summary["labels"].values())))
    head = "".join(f"<th>{escape(n)}<br>{escape(units.get(n, 'score'))}</th><th>difference</th>" for n in names)
    body = []
    for label in report["labels"]:
        cells = "".join(_cells(summary["labels"][label][name], label == report["reference"]) for name in names)
        front = "front" if label in summary["pareto"] else ""
        name = escape(label) + (
            f" ({escape(point_name(label, report['weights']))})" if label in report["weights"] else ""
        )
        body.append(f'<tr><td class="{front}">{name}</td>{cells}</tr>')
    lines = "".join(f"<p>{escape(line)}</p>" for line in facts(report, summary))
    return (
        f'<p class="soft">{summary["n"]} prompts. Models on the front are set in colour.</p><div class="wide"><table>'
        f"<thead><tr><th>model</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>{lines}"
    )


def _cells(cell: Mapping[str, float], is_reference: bool) -> str:
    own = f"<td>{number(cell['mean'])}<small>{number(cell['low'])} to {number(cell['high'])}</small></td>"
    if is_reference:
        return own + "<td>reference</td>"
    low, high = signed(cell["difference_low"]), signed(cell["difference_high"])
    return own + f"<td>{signed(cell['difference'])}<small>{low} to {high}</small></td>"


def _answers(examples: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> str:
    if not examples:
        return ""
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    body = "".join(
        f"<tr><td>{escape(item['prompt'])}</td>"
        + "".join(f"<td>{escape(item['responses'][label])}</td>" for label in labels)
        + "</tr>"
        for item in examples
    )
    return (
        "<h2>Answers side by side</h2>"
        '<p class="soft">The first prompts of the evaluation set, not chosen by hand.</p>'
        # Columns share the width of the page; only more of them than are readable side by side are scrolled.
        f'<div class="wide"><table class="answers" style="min-width: {NARROWEST * (len(labels) + 1)}rem"><thead><tr><th>prompt</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def render_page(
    report: Mapping[str, Any],
    picture: bytes,
    units: Mapping[str, str],
    title: str,
    examples: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The whole page.

    Args:
        report: of `build_report`.
        picture: PNG bytes, without the title, which the page has.
        examples: `{"prompt": text, "responses": {label: text}}`, every text is escaped.
    """
    x, y = report["x"], report["y"]
    body = _BODY.substitute(
        alt=escape(f"Scatter of {y} against {x}, one point per model, numbers in the table below"),
        picture=base64.b64encode(picture).decode("ascii"),
        reference=escape(report["reference"]),
        full=summary_table(report, report["full"], units),
        uncapped=summary_table(report, report["uncapped"], units),
        answers=_answers(examples, report["labels"]),
    )
    return document(title, f"{y} against {x} for {len(report['labels'])} models on {report['full']['n']} prompts", body)
