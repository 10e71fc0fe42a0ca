"""What a table of scores says about each model and head: counts, mean, spread, interval."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from launch.common.statistics import bootstrap_mean_interval
from launch.common.table import number
from launch.scores.heads import HELPSTEER
from launch.scores.score_files import Rows

KIND = "head_summary"
COLUMNS = ("label", "head", "n", "missing", "prompts", "mean", "std", "low", "high")


def summarise_heads(
    table: Mapping[str, Rows], heads: Sequence[str], seed: int = 0, resamples: int = 1000
) -> list[dict[str, Any]]:
    """One row a label and head, keys `COLUMNS`.

    Answers without a finite score of the head are `missing`. The `n` others are averaged for each prompt, because the
    samples of a prompt are not independent; `mean`, population `std` and the 95% bootstrap interval are over prompts.
    With one answer a prompt this is the reference's summary, its resampling by `random.Random(seed)` included; all are
    None where nothing was scored.
    """
    found = []
    for label, rows in table.items():
        for head in heads:
            samples: dict[str, list[float]] = {}
            for (prompt, _), row in rows.items():
                value = row["scores"].get(head)
                if isinstance(value, int | float) and math.isfinite(value):
                    samples.setdefault(prompt, []).append(float(value))
            n = sum(map(len, samples.values()))
            counts = {"n": n, "missing": len(rows) - n, "prompts": len(samples)}
            found.append({"label": label, "head": head, **counts, **_spread(samples, seed, resamples)})
    return found


def _spread(samples: Mapping[str, Sequence[float]], seed: int, resamples: int) -> dict[str, float | None]:
    if not samples:
        return dict.fromkeys(("mean", "std", "low", "high"))
    means = [sum(values) / len(values) for values in samples.values()]
    estimate = bootstrap_mean_interval(means, seed, resamples)
    variance = sum((value - estimate.value) ** 2 for value in means) / len(means)
    return {"mean": estimate.value, "std": math.sqrt(variance), "low": estimate.low, "high": estimate.high}


def shown_heads(heads: Sequence[str]) -> list[str]:
    """The HelpSteer heads among `heads`, or all where there are none: what fits on a screen."""
    return [head for head in heads if head in HELPSTEER] or list(heads)


def table_rows(summary: Sequence[Mapping[str, Any]], heads: Sequence[str]) -> list[tuple[str, ...]]:
    """The rows of `heads` as text, under a head line."""
    return [
        COLUMNS,
        *(
            tuple(number(row[name]) if name in COLUMNS[5:] else str(row[name]) for name in COLUMNS)
            for row in summary
            if row["head"] in heads
        ),
    ]
