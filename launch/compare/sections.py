"""Each kind of result as a section of the page."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from launch.common.page import Cell, code, estimate, folded, interval, joined, number, paragraph, signed, table
from launch.compare.report_page import summary_table
from launch.compare.win_statistics import SHARES
from launch.scores.head_summary import shown_heads
from launch.scores.score_files import LENGTHS, is_number

if TYPE_CHECKING:
    from markupsafe import Markup

Result = Mapping[str, Any]
TRADE_OFF = ("full", "uncapped", "reference", "x", "y")
MOST_ROWS = 400


def trade_off(result: Result) -> "Markup":
    """`report.json` of `report`."""
    units = result.get("units", {})
    return (
        paragraph(f"{result['y']} against {result['x']}; differences are to {result['reference']}, prompt by prompt.")
        + summary_table(result, result["full"], units)
        + paragraph("Only prompts that no model cut off:")
        + summary_table(result, result["uncapped"], units)
    )


def head_summary(result: Result) -> "Markup":
    """`summary.json` of `armorm`: the HelpSteer heads at sight, all heads folded."""
    heads = list(dict.fromkeys(row["head"] for row in result["rows"]))
    shown = shown_heads(heads)
    cut = ", ".join(f"{label} {count}" for label, count in result["truncated"].items() if count) or "none"
    text = f"Means over prompts, 95% bootstrap intervals. Head names: {result['head_names_from']}. Cut to fit: {cut}."
    rest = [head for head in heads if head not in shown]
    return (
        paragraph(text, soft=True)
        + _heads(result["rows"], shown)
        + (folded("all other heads", _heads(result["rows"], rest)) if rest else joined([]))
    )


def _heads(rows: Sequence[Result], heads: Sequence[str]) -> "Markup":
    found = {(row["label"], row["head"]): row for row in rows}
    body = []
    for label in dict.fromkeys(row["label"] for row in rows):
        first = found[label, heads[0]]
        cells: list[Cell] = [label, str(first["n"]), str(sum(found[label, head]["missing"] for head in heads))]
        for head in heads:
            row = found[label, head]
            spread = f"{interval(row['low'], row['high'])}, std {number(row['std'])}" if row["n"] else ""
            cells.append((number(row["mean"]), spread) if row["n"] else "n/a")
        body.append(cells)
    return table(("model", "answers", "missing", *heads), body)


def conflicts(result: Result) -> "Markup":
    """`conflicts.json` of `conflicts`."""
    body = []
    for row in result["pairs"]:
        ties = ", ".join(f"{name} {count}" for name, count in row["ties"].items() if count)
        shares = ("conflict_ratio", "prompts_with_conflict", "best_reply_differs")
        cells = [estimate(row.get(name)) for name in shares]
        cells += [estimate(row[name], with_sign=True) for name in ("pearson", "spearman", "kendall")]
        decided = str(row["agree"] + row["conflict"])
        body.append([row["compared"], f"{row['first']}, {row['second']}", decided, *cells, ties or "none"])
    head = ("compared", "objectives", "decided", "conflict ratio", "prompts with one", "no common best", "Pearson",
            "Spearman", "Kendall", "ties")  # fmt: skip
    bins = [
        [f"{one['first']}, {one['second']}", row["bin"], str(row["n"]),
         "n/a" if row["conflict"] is None else number(row["conflict"]), ", ".join(row["pareto"])]
        for one in result["tertiles"] for row in one["tertiles"]
    ]  # fmt: skip
    return (
        paragraph(f"{result['prompts']} prompts. A conflict: both objectives differ, and in opposite directions.", True)
        + table(head, body)
        + folded("prompts by conflict, in thirds", table(("objectives", "third", "n", "conflict", "front"), bins))
    )


def run_comparison(result: Result) -> "Markup":
    """`comparison.json` of `compare-runs`."""
    parts = [paragraph(f"{result['new']} (new) minus {result['old']} (old), paired by prompt.", True)]
    shown = {*shown_heads([row["metric"] for row in result["rows"] if row["metric"] not in LENGTHS]), *LENGTHS}
    for rows, title in (
        ([row for row in result["rows"] if row["metric"] in shown], None),
        ([row for row in result["rows"] if row["metric"] not in shown], "all other heads"),
    ):
        inner = _differences(rows, ("label", "metric"), "old", "new") if rows else joined([])
        parts.append(folded(title, inner) if title and rows else inner)
    if result["against_reference"]:
        inner = _differences(result["against_reference"], ("run", "label", "metric"), result["reference"], "label")
        parts.append(folded(f"within each run, minus {result['reference']}", inner))
    return joined(parts)


def _differences(rows: Sequence[Result], names: Sequence[str], first: str, second: str) -> "Markup":
    body = [
        [*(row[name] for name in names), str(row["prompts"]), number(row["old"]), number(row["new"]),
         (signed(row["difference"]), interval(row["low"], row["high"], True)), "yes" if row["excludes_zero"] else ""]
        for row in rows
    ]  # fmt: skip
    return table((*names, "prompts", first, second, "difference", "leaves 0 out"), body)


def win_rate(result: Result) -> "Markup":
    """`win_rate.json` of `win-rate`."""
    names = {"a": result["a"], "b": result["b"]}
    judge = result.get("judge", {}).get("model") or result.get("verdicts", "")
    body = [[text.format(**names), estimate(result[name]), str((result[name] or {}).get("n", 0))]
            for name, text in SHARES.items()]  # fmt: skip
    reasons = [
        f"{count} {reason}" for part in ("ties_by_reason", "not_judged") for reason, count in result[part].items()
    ]
    return (
        paragraph(
            f"{names['a']} against {names['b']}, judge: {judge}; {result['pairs']} pairs, {result['judged']} judged."
        )
        + table(("share", "value", "n"), body)
        + (paragraph(f"Ties and pairs without a verdict: {', '.join(reasons)}.", True) if reasons else joined([]))
    )


KINDS: dict[str, tuple[str, Callable[[Result], "Markup"]]] = {
    "trade_off": ("Two objectives", trade_off),
    "head_summary": ("Reward model heads", head_summary),
    "run_comparison": ("Two runs compared", run_comparison),
    "win_rate": ("Win rate", win_rate),
    "conflicts": ("Conflicts of objectives", conflicts),
}


def kind_of(result: Result) -> str | None:
    """The kind of a result, None for one that is only shown as it is."""
    if all(name in result for name in TRADE_OFF):
        return "trade_off"
    kind = result.get("kind")
    return kind if isinstance(kind, str) and kind in KINDS else None


def known_result(result: Result, kind: str, where: str) -> "Markup":
    """A result of a known kind as its section.

    Raises:
        ValueError: `where: ...`, a field is absent or of another type: the file is of another release, or made by hand.
    """
    try:
        return KINDS[kind][1](result)
    except KeyError as error:
        raise ValueError(f"{where}: a result of kind {kind} without field {error}") from error
    except (TypeError, AttributeError, IndexError, ValueError, OverflowError) as error:
        raise ValueError(f"{where}: a result of kind {kind} with a field of another type: {error}") from error


def any_result(result: Result) -> "Markup":
    """A result of another kind: its numbers with their intervals as a table, or the document where it has none."""
    rows = list(_estimates(result, ""))
    parts = [table(("number", "value", "n"), rows[:MOST_ROWS])] if rows else []
    if len(rows) > MOST_ROWS:
        parts.append(paragraph(f"{len(rows) - MOST_ROWS} more numbers are in the file."))
    text = json.dumps(result, ensure_ascii=False, indent=1)
    return joined([*parts, folded("the document", code(text))])


def _estimates(value: Any, name: str) -> Iterator[list[Cell]]:
    if not isinstance(value, Mapping):
        return
    if "low" in value and "high" in value and ("value" in value or "mean" in value):
        cell = {"value": value.get("value", value.get("mean")), "low": value["low"], "high": value["high"]}
        if all(one is None or is_number(one) for one in cell.values()):
            yield [name or "value", estimate(cell), str(value.get("n", ""))]
        return
    for key, inner in value.items():
        yield from _estimates(inner, f"{name} {key}".strip())
