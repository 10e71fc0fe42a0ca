"""The report as one self-contained HTML file, readable in light and dark."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launch.common.page import document, heading, interval, joined, number, paragraph, picture, render, signed
from launch.common.table import counted
from launch.compare.tradeoff import against_reference, along_weights, monotonicity_line
from launch.compare.tradeoff_picture import point_name

if TYPE_CHECKING:
    from markupsafe import Markup

_HOW = """<ul>
<li>Higher is better on both axes. Each point is the mean over the evaluation prompts, each bar a 95% bootstrap interval of that mean.</li>
<li>A model is on the front when no other model here is at least as good on both objectives and better on one. Whether two neighbours truly differ is for their intervals and the paired differences to say.</li>
<li>Differences are to <b>{{ reference }}</b>, prompt by prompt. An interval that holds 0 means: not told apart on these prompts.</li>
<li>The second table leaves out every prompt that was truncated, or whose answer was cut off, for any of the models: there, length limits favour nobody.</li>
</ul>"""
_SUMMARY = """<p class="soft">{{ prompts }}. Models on the front are set in colour.</p><div class="wide" tabindex="0"><table>
<thead><tr><th>model</th>{% for name, unit in columns %}<th>{{ name }}<br>{{ unit }}</th><th>difference</th>{% endfor %}</tr></thead>
<tbody>{% for name, on_front, cells in rows %}<tr><td{% if on_front %} class="front"{% endif %}>{{ name }}</td>
{%- for text, small in cells %}<td>{{ text }}{% if small %}<small>{{ small }}</small>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>"""
# Columns share the width of the page; only more of them than are readable side by side are scrolled.
_ANSWERS = """<div class="wide" tabindex="0"><table class="answers" style="min-width: {{ narrowest * (labels|length + 1) }}rem">
<thead><tr><th>prompt</th>{% for label in labels %}<th>{{ label }}</th>{% endfor %}</tr></thead>
<tbody>{% for item in examples %}<tr><td>{{ item.prompt }}</td>
{%- for label in labels %}<td>{{ item.responses[label] }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>"""
NARROWEST = 9  # rem, a column of answers


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


def happened(report: Mapping[str, Any]) -> list[str]:
    """The two sentences that a report opens with."""
    return [sentence for sentence in (against_reference(report), along_weights(report)) if sentence]


def answers_ended(report: Mapping[str, Any]) -> str:
    """One sentence: the share of each model's answers that ended by themselves, before the limit of tokens."""
    shares = ", ".join(f"{label} {number(share)}" for label, share in report["ended"].items())
    return f"Share of answers that ended by themselves: {shares}."


def nothing_left(report: Mapping[str, Any]) -> str:
    """Why the table of prompts that no model cut off is empty, and what fills it."""
    counts = report.get("cut_off", {})  # reports of earlier versions do not count
    each = ", ".join(f"{label} {count}" for label, count in counts.items())
    return (
        "No prompt is left: every one was truncated, or its answer cut off, for at least one model"
        + (f" (prompts cut off, of {report['full']['n']}: {each})" if each else "")
        + ". Answers end at --max_new_tokens of the generation; a larger one fills this table."
    )


def summary_table(report: Mapping[str, Any], summary: Mapping[str, Any] | None, units: Mapping[str, str]) -> "Markup":
    """One summary of `build_report` as HTML: its table, front, hypervolume and monotonicity."""
    if summary is None:
        return paragraph(nothing_left(report))
    names = list(next(iter(summary["labels"].values())))
    rows = []
    for label in report["labels"]:
        known = label in report["weights"]
        name = f"{label} ({point_name(label, report)})" if known else label
        own = summary["labels"][label]
        cells = [cell for name in names for cell in _cells(own[name], label == report["reference"])]
        rows.append((name, label in summary["pareto"], cells))
    columns = [(name, units.get(name, "score")) for name in names]
    shown = render(_SUMMARY, prompts=counted(summary["n"], "prompt"), columns=columns, rows=rows)
    return joined([shown, *map(paragraph, facts(report, summary))])


def _cells(cell: Mapping[str, float], is_reference: bool) -> list[tuple[str, str]]:
    own = number(cell["mean"]), interval(cell["low"], cell["high"])
    if is_reference:
        return [own, ("reference", "")]
    ends = interval(cell["difference_low"], cell["difference_high"], with_sign=True)
    return [own, (signed(cell["difference"]), ends)]


def _answers(examples: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> "Markup":
    if not examples:
        return joined([])
    about = paragraph("The first prompts of the evaluation set, not chosen by hand.", soft=True)
    table = render(_ANSWERS, examples=examples, labels=labels, narrowest=NARROWEST)
    return joined([heading("Answers side by side"), about, table])


def render_page(
    report: Mapping[str, Any],
    png: bytes,
    narrow: bytes,
    units: Mapping[str, str],
    title: str,
    examples: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The whole page.

    Args:
        report: of `build_report`.
        png: the picture, without the title that the page has; narrow: the same for a narrow window.
        examples: `{"prompt": text, "responses": {label: text}}`, every text is escaped.
    """
    x, y = report["x"], report["y"]
    body = [
        paragraph(" ".join(happened(report))),
        picture(f"Scatter of {y} against {x}, one point per model, numbers in the table below", png, narrow),
        heading("How to read it"),
        render(_HOW, reference=report["reference"]),
        heading("All prompts"),
        summary_table(report, report["full"], units),
        paragraph(answers_ended(report)),
        heading("Prompts that no model cut off"),
        summary_table(report, report["uncapped"], units),
        _answers(examples, report["labels"]),
    ]
    subtitle = f"{y} against {x} for {len(report['labels'])} models on {counted(report['full']['n'], 'prompt')}"
    return document(title, subtitle, joined(body))
