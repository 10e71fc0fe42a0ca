"""How often two objectives disagree about which of two replies is better. Pure functions of numbers.

Shapes: N comparisons, P prompts, R resamples. A comparison is a difference of two replies in both objectives, first
minus second. The comparisons of a prompt share replies, so prompts are resampled, whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from launch.common.statistics import Estimate, drawn_counts, ends_of, pareto_set, share
from launch.compare.correlation import NAMES, correlations
from trl_ext.objectives.weights import mean_ranks

TERTILES = ("low", "middle", "high")


def conflict_ratio(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Share of opposite signs among the comparisons (N,) in which both objectives differ; None where there is none."""
    signs = np.sign(np.asarray(first, dtype=float)) * np.sign(np.asarray(second, dtype=float))
    decided = int((signs != 0).sum())
    return float((signs < 0).sum() / decided) if decided else None


def compare_objectives(
    first: np.ndarray, second: np.ndarray, prompts: np.ndarray, *, directed: bool, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Counts, ties by reason, conflict ratio and correlations of two objectives, with 95% bootstrap intervals.

    Args:
        first, second: (N,) differences; NaN where one of the replies has no rating.
        prompts: (N,) number of the prompt of each comparison.
        directed: whether a comparison has a first member (two models do, two replies of a data set do not). Without,
            each counts in both directions, so that no correlation depends on the order in which replies were stored.

    Returns:
        `comparisons`, `agree`, `conflict`, `ties` {first, second, both: the objective that ties}, `missing`;
        `conflict_ratio`, `pearson`, `spearman`, `kendall` as {value, low, high, n}; `prompts_with_conflict`, the share
        of the prompts with a decided comparison that have a conflicting one, as {value, low, high, n} by Wilson.
    """
    known = np.isfinite(first) & np.isfinite(second)
    a, b, (_, prompt) = first[known], second[known], np.unique(prompts[known], return_inverse=True)
    signs, tie_a, tie_b = np.sign(a) * np.sign(b), a == 0, b == 0
    decided = np.bincount(prompt[signs != 0], minlength=1)
    conflicts = np.bincount(prompt[signs < 0], minlength=len(decided))
    with_conflict = share(int((conflicts > 0).sum()), int((decided > 0).sum()))
    estimates = _estimates(a, b, prompt, directed, resamples, seed)
    if estimates["conflict_ratio"]["value"] in (0.0, 1.0):
        # Every resample is the same and would claim certainty: Wilson's interval then, over prompts.
        sure = with_conflict.as_json()
        estimates["conflict_ratio"] |= {"low": sure["low"], "high": sure["high"]}
    return {
        "comparisons": len(first),
        "agree": int((signs > 0).sum()),
        "conflict": int((signs < 0).sum()),
        "ties": {
            "first": int((tie_a & ~tie_b).sum()),
            "second": int((tie_b & ~tie_a).sum()),
            "both": int((tie_a & tie_b).sum()),
        },
        "missing": int((~known).sum()),
        "prompts_with_conflict": with_conflict.as_json(),
        **estimates,
    }


def _estimates(
    a: np.ndarray, b: np.ndarray, prompt: np.ndarray, directed: bool, resamples: int, seed: int
) -> dict[str, Any]:
    if not len(a):
        return {name: Estimate(None, None, None, 0).as_json() for name in ("conflict_ratio", *NAMES)}
    points = np.column_stack([a, b])
    if not directed:
        points, prompt = np.concatenate([points, -points]), np.tile(prompt, 2)
    # Adding 0 makes -0 a 0, which would be another point.
    cells, place = np.unique(points + 0.0, axis=0, return_inverse=True)
    (x, y), place = cells.T, place.reshape(-1)
    size = prompt.max() + 1
    # How often each prompt holds each point, ordered by the point.
    entries, counts = np.unique(np.column_stack([place, prompt]), axis=0, return_counts=True)
    starts, holder = np.searchsorted(entries[:, 0], np.arange(len(x))), entries[:, 1]

    def drawn_points(drawn: np.ndarray) -> np.ndarray:
        return np.add.reduceat(drawn[:, holder] * counts, starts, axis=1)

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        opposed, decided = ((weights * chosen).sum(axis=1) for chosen in (x * y < 0, x * y != 0))
        ratio = np.where(decided > 0, opposed / np.maximum(decided, 1), np.nan)
        return {"conflict_ratio": ratio, **correlations(x, y, weights)}

    value = measure(drawn_points(np.ones((1, size))))
    parts = [measure(drawn_points(drawn)) for drawn in drawn_counts(size, resamples, seed, width=len(entries))]
    draws = {name: np.concatenate([part[name] for part in parts]) for name in value}
    decided = int(((a != 0) & (b != 0)).sum())
    counts = {"conflict_ratio": decided} | dict.fromkeys(NAMES, len(a))
    return {name: _estimate(float(value[name][0]), draws[name], counts[name]).as_json() for name in value}


def _estimate(value: float, draws: np.ndarray, n: int) -> Estimate:
    return Estimate(None, None, None, n) if np.isnan(value) else Estimate(value, *ends_of(draws), n)


def prompt_conflicts(first: np.ndarray, second: np.ndarray, prompts: np.ndarray, size: int) -> np.ndarray:
    """(P,) share of the decided comparisons of each prompt that conflict; NaN where none is decided."""
    signs = np.nan_to_num(np.sign(first) * np.sign(second))
    decided = np.bincount(prompts[signs != 0], minlength=size)
    opposed = np.bincount(prompts[signs < 0], minlength=size)
    return np.where(decided > 0, opposed / np.maximum(decided, 1), np.nan)


def tertiles(
    conflicts: np.ndarray, means: Mapping[str, tuple[np.ndarray, np.ndarray]], reference: str | None = None
) -> list[dict[str, Any]]:
    """Prompts in three bins by the rank of their conflict; equal conflicts share their mean rank, and with it a bin.

    Args:
        conflicts: (P,) of `prompt_conflicts`; prompts without a decided comparison are in no bin.
        means: label -> the (P,) scores of both objectives; may be empty.
        reference: the label that others are above or not; None leaves `above_reference` out.

    Returns:
        For `low`, `middle`, `high`: `n`, `conflict` (mean), `labels` {label: [mean of first, of second]}, `pareto`
        (labels that no other beats) and `above_reference` (labels above it in both). A bin can be empty.
    """
    known = np.isfinite(conflicts)
    place = np.full(len(conflicts), -1)
    place[known] = 3 * (mean_ranks(conflicts[known]) - 0.5) / max(1, known.sum())
    bins = []
    for number, name in enumerate(TERTILES):
        members = place == number
        if not members.any():
            bins.append({"bin": name, "n": 0, "conflict": None, "labels": {}, "pareto": []})
            continue
        found = {label: [float(np.mean(values[members])) for values in both] for label, both in means.items()}
        front = pareto_set(list(found.values())) if found else []
        row = {"bin": name, "n": int(members.sum()), "conflict": float(conflicts[members].mean()), "labels": found}
        row["pareto"] = [label for label, on_front in zip(found, front, strict=True) if on_front]
        if reference is not None:
            base = found[reference]
            row["above_reference"] = [
                label
                for label, both in found.items()
                if all(one > other for one, other in zip(both, base, strict=True))
            ]
        bins.append(row)
    return bins
