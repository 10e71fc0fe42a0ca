"""The numbers of a trade-off report: aligned scores, intervals, front, hypervolume, monotonicity.

An answer's key is (prompt_id, sample). Means and intervals are over prompts: several samples of one prompt are
averaged first, because they are not independent and would make the interval too narrow. Higher is better.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from launch.common.page import number
from launch.common.statistics import (
    Estimate,
    bootstrap_mean_interval,
    hypervolume,
    paired_difference,
    pareto_set,
)
from launch.common.table import counted
from launch.scores.score_files import Rows, prompt_means, uncapped_prompts

# How far the default reference point of the hypervolume lies below the worst mean, as a share of the means' range.
HV_SLACK = 0.1


@dataclass(frozen=True)
class Request:
    """What to report.

    Attributes:
        labels: models, in table order.
        reference: the label that differences are taken to; a diamond in the picture where it has no weight.
        x, y: names of the two objectives of the front.
        weights: label -> w, the share of the objective that was trained; for the order of the monotonicity line.
        hv_reference: (x, y), or None for the default.
        soups: label -> w of a mixture of single-objective policies, a series of its own in the picture.

    Raises:
        ValueError: a label twice, or a reference or weight of no label.
    """

    labels: tuple[str, ...]
    reference: str
    x: str
    y: str
    weights: Mapping[str, float]
    hv_reference: tuple[float, float] | None = None
    resamples: int = 1000
    seed: int = 0
    soups: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"--labels names a label twice: {list(self.labels)}")
        for label in (self.reference, *self.weights, *self.soups):
            if label not in self.labels:
                raise ValueError(f"label {label!r} is not among --labels {list(self.labels)}")
        if both := sorted(self.weights.keys() & self.soups.keys()):
            raise ValueError(f"label {both[0]!r} stands in --weights and in --soups: a policy is trained or mixed")
        if self.x == self.y:
            raise ValueError(f"--x and --y are both {self.x!r}")


def summarise(table: Mapping[str, Rows], prompts: Sequence[str], request: Request) -> dict[str, Any]:
    """One table over `prompts`: `labels -> name -> {n, mean, low, high, difference, difference_low,
    difference_high}`, `pareto`, `hypervolume`, `hv_reference`, `monotonicity`.

    Raises:
        ValueError: no prompts, or an objective that was not scored.
    """
    if not prompts:
        raise ValueError("no prompts to summarise")
    first = next(iter(table[request.labels[0]].values()))["scores"]
    for name in (request.x, request.y):
        if name not in first:
            raise ValueError(f"objective {name!r} was not scored: there are {sorted(first)}")
    labels: dict[str, dict[str, Any]] = {}
    for label in request.labels:
        labels[label] = {}
        for name in first:
            values = prompt_means(table[label], name, prompts)
            baseline = prompt_means(table[request.reference], name, prompts)
            own = bootstrap_mean_interval(values, request.seed, request.resamples)
            labels[label][name] = _cell(own, paired_difference(values, baseline, request.seed))
    points = [[labels[label][name]["mean"] for name in (request.x, request.y)] for label in request.labels]
    corner = request.hv_reference or default_hv_reference(points)
    flags = pareto_set(points)
    return {
        "n": len(prompts),
        "labels": labels,
        "pareto": [label for label, on_front in zip(request.labels, flags, strict=True) if on_front],
        "hypervolume": hypervolume(points, corner),
        "hv_reference": list(corner),
        "monotonicity": {name: monotonicity(labels, request.weights, name) for name in (request.x, request.y)},
    }


def _cell(own: Estimate, difference: Estimate) -> dict[str, float]:
    return {
        "n": own.n,
        "mean": own.value,
        "low": own.low,
        "high": own.high,
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
    }


def default_hv_reference(points: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Componentwise minimum of the (n, K) points minus 10% of their range. Comparable within one report only."""
    columns = list(zip(*points, strict=True))
    return tuple(min(column) - HV_SLACK * (max(column) - min(column)) for column in columns)


def monotonicity(labels: Mapping[str, Any], weights: Mapping[str, float], name: str) -> dict[str, Any] | None:
    """Does the mean of `name` go one way as w grows? None with fewer than two different weights.

    Returns:
        `{"order": labels by w, "direction": "rises" | "falls" | "flat" | "neither", "ends_overlap": do the 95%
        intervals of the smallest and the largest w share a point; None where they have none}`.
    """
    order = sorted(weights, key=lambda label: (weights[label], label))
    if len({weights[label] for label in order}) < 2:
        return None
    means = [labels[label][name]["mean"] for label in order]
    steps = [after - before for before, after in itertools.pairwise(means)]
    up, down = any(step > 0 for step in steps), any(step < 0 for step in steps)
    direction = {(True, False): "rises", (False, True): "falls", (False, False): "flat", (True, True): "neither"}
    first, last = labels[order[0]][name], labels[order[-1]][name]
    return {
        "order": order,
        "direction": direction[up, down],
        "ends_overlap": None
        if None in (first["low"], last["low"])
        else first["low"] <= last["high"] and last["low"] <= first["high"],
    }


def monotonicity_line(summary: Mapping[str, Any], name: str) -> str:
    """`monotonicity` in words."""
    found = summary["monotonicity"][name]
    if found is None:
        return f"{name}: fewer than two weights given, monotonicity not judged."
    way = {
        "rises": "rises monotonically with w",
        "falls": "falls monotonically with w",
        "flat": "is the same at every w",
        "neither": "is not monotone in w",
    }
    ends = f"{found['order'][0]} and {found['order'][-1]}"
    overlap = {True: "overlap", False: "do not overlap", None: "need more than one prompt"}[found["ends_overlap"]]
    return f"Mean {name} {way[found['direction']]}; the intervals of {ends} {overlap}."


def against_reference(report: Mapping[str, Any]) -> str:
    """One sentence: which models the paired differences tell apart from the reference, and on which objectives."""
    reference, x, y = report["reference"], report["x"], report["y"]
    groups: dict[str, list[str]] = {}
    for label in (label for label in report["labels"] if label != reference):
        better, worse = [], []
        for name in (x, y):
            cell = report["full"]["labels"][label][name]
            known = cell["difference_low"] is not None
            better += [name] * (known and cell["difference_low"] > 0)
            worse += [name] * (known and cell["difference_high"] < 0)
        parts = [f"better in {' and '.join(better)}"] * bool(better) + [f"worse in {' and '.join(worse)}"] * bool(worse)
        groups.setdefault(", ".join(parts) or "not told apart", []).append(label)
    said = "; ".join(f"{' and '.join(labels)} {_be(labels)} {what}" for what, labels in groups.items())
    return f"On {counted(report['full']['n'], 'prompt')}, against {reference}: {said}."


def _be(labels: Sequence[str]) -> str:
    return "is" if len(labels) == 1 else "are"


def along_weights(report: Mapping[str, Any]) -> str:
    """One sentence: what becomes of both objectives between the smallest and the largest w; empty without two weights."""
    summary, weights = report["full"], report["weights"]
    found = summary["monotonicity"][report["x"]]
    if found is None:
        return ""
    first, last = found["order"][0], found["order"][-1]
    moves = []
    for name in (report["x"], report["y"]):
        before, after = (summary["labels"][label][name] for label in (first, last))
        told = {True: "intervals overlap", False: "intervals apart", None: "no interval"}[
            summary["monotonicity"][name]["ends_overlap"]
        ]
        moves.append(f"{name} goes from {number(before['mean'])} to {number(after['mean'])} ({told})")
    return f"From w = {weights[first]:g} to w = {weights[last]:g}, {' and '.join(moves)}."


def build_report(table: Mapping[str, Rows], request: Request) -> dict[str, Any]:
    """`full` and `uncapped` summaries (`uncapped` is None when no prompt is left), what was asked, `cut_off`: label ->
    prompts of which something was, and `ended`: label -> share of answers that ended by themselves.

    Raises:
        ValueError: see `summarise`.
    """
    prompts = list(dict.fromkeys(key for key, _ in table[request.labels[0]]))
    kept = uncapped_prompts(table)
    uncapped = [key for key in prompts if key in kept]
    return {
        "labels": list(request.labels),
        "reference": request.reference,
        "x": request.x,
        "y": request.y,
        "weights": dict(request.weights),
        "soups": dict(request.soups),
        "ended": {label: fmean(not row["capped"] for row in rows.values()) for label, rows in table.items()},
        "cut_off": {label: len(prompts) - len(uncapped_prompts({label: rows})) for label, rows in table.items()},
        "full": summarise(table, prompts, request),
        "uncapped": summarise(table, uncapped, request) if uncapped else None,
    }
