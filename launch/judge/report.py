"""What a judge said, as text."""

from collections.abc import Mapping
from typing import Any

from launch.common.table import aligned, estimate_cells

ROWS = {
    "accuracy": "accuracy, ties 0.5",
    "single_sample_accuracy": "accuracy of a single answer",
    "three_class_accuracy": "accuracy, tie a class",
    "accuracy_without_true_ties": "accuracy, true ties left out",
    "combined_accuracy": "accuracy of both orders together",
    "swap_consistency": "both orders agree",
    "consistent_and_right": "both orders right",
    "position_bias": "first minus second reply",
    "tie_rate": "ties",
    "parse_rate": "answers with a verdict",
}
PARTS = {"by_order": "accuracy, {} order", "by_strength": "accuracy, strength {}", "by_subset": "accuracy, {}"}


def describe(result: Mapping[str, Any], shortened: int = 0) -> str:
    """The result as text: tables with intervals, and the confusion.

    Args:
        shortened: prompts that lost their beginning.
    """
    metrics, benchmark = result["metrics"], result["benchmark"]
    lines = [
        f"{result['label']}: {metrics['pairs']} pairs, {metrics['pairs_in_both_orders']} of them in both orders, "
        f"{metrics['rows']} rows, {metrics['answers']} answers",
        aligned(_cells(metrics)),
        "95% intervals: bootstrap over pairs; Wilson for both orders agree and both orders right",
        aligned([("better is, judge says", *metrics["confusion"]["A"]), *_confusion(metrics["confusion"])]),
        *cut_lines(metrics["cut_off"], shortened),
    ]
    if not metrics["pairs_with_truth"]:
        lines.append("no pair says which reply is better, so there is no accuracy")
    if benchmark:
        lines += [
            f"{benchmark['name']}, by its own rules, {benchmark['items']} of its rows (intervals: over its rows):",
            aligned(_table(benchmark["headline"])),
        ]
    return "\n".join(lines)


def cut_lines(cut_off: int, shortened: int) -> list[str]:
    """What limits of length took away: the ends of answers, and the beginnings of prompts."""
    lines = [f"{cut_off} answers were cut off: see --max_new_tokens"] if cut_off else []
    if shortened:
        lines.append(f"{shortened} prompts were longer than the model's limit and lost their beginning: --max_length")
    return lines


def _cells(metrics: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows = {text: metrics[name] for name, text in ROWS.items()}
    if metrics["answers"] == metrics["rows"]:
        del rows[ROWS["single_sample_accuracy"]]
    for part, text in PARTS.items():
        rows |= {text.format(name): cell for name, cell in metrics[part].items() if name}
    if len(metrics["by_subset"]) > 1:
        rows["accuracy, mean of the subsets"] = metrics["macro_accuracy"]
    return _table(rows)


def _table(cells: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [(text, *estimate_cells(cell)) for text, cell in cells.items()]


def _confusion(confusion: Mapping[str, Mapping[str, int]]) -> list[tuple[str, ...]]:
    return [(truth, *map(str, votes.values())) for truth, votes in confusion.items()]
