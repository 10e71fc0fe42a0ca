"""The numbers behind the picture of policies.

Shapes: P prompts, S samples, V points, K objectives, R resamples. Higher is better. Scores are normalised: standard
deviations of the untouched model's answers above their mean, so that objectives of different scale can be added.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from launch.common.statistics import hypervolume, interval_indices
from trl_ext.objectives.weights import dispersion, mean_inner_product, spearman


@dataclass(frozen=True)
class PolicyScores:
    """All answers of one policy.

    Attributes:
        weights: (V, K) what its points were asked, or None when it cannot be asked.
        scores: (V, P, S, K) finite scores.
    """

    weights: np.ndarray | None
    scores: np.ndarray


def resample_shares(prompts: int, resamples: int, seed: int) -> np.ndarray:
    """(R, P) how much each prompt counts in each bootstrap sample; a row sums to 1. Prompts are drawn whole."""
    drawn = np.random.default_rng(seed).multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples)
    return drawn / prompts


def interval(measure: Callable[[np.ndarray], Any], scores: np.ndarray, shares: np.ndarray) -> dict[str, Any]:
    """`{mean, low, high}` of a measure of the (V, K) point means: on all prompts, and its 95% percentile bounds.

    A measure may be a number or an array. Where it is not defined it is None; resamples in which it is not are left out
    of the bounds, which need at least 40.
    """
    means = scores.mean(axis=2)  # (V, P, K)
    points = np.einsum("rp,vpk->rvk", shares, means)
    drawn = np.sort(np.array([measure(sample) for sample in points], dtype=float), axis=0)  # NaN sorts to the end
    value = np.asarray(measure(means.mean(axis=1)), dtype=float)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    for place in np.ndindex(value.shape):
        column = drawn[(slice(None), *place)]
        column = column[np.isfinite(column)]
        if len(column) >= 40:  # fewer have no 2.5% to cut off
            first, last = interval_indices(len(column), 0.05)
            low[place], high[place] = column[first], column[last]
    return {"mean": _plain(value), "low": _plain(low), "high": _plain(high)}


def _plain(values: np.ndarray) -> Any:
    """A number or list for JSON, None where it is not defined."""
    return np.where(np.isnan(values), None, values.astype(object)).tolist()


def reference_point(tables: Sequence[np.ndarray]) -> list[float]:
    """(K,) the worst mean of any point, minus a tenth of the range of the means: one reference for all policies."""
    means = np.concatenate([scores.mean(axis=(1, 2)) for scores in tables])
    return (means.min(axis=0) - 0.1 * (means.max(axis=0) - means.min(axis=0))).tolist()


def summarise_policy(
    policy: PolicyScores, vectors: np.ndarray, reference: Sequence[float], shares: np.ndarray
) -> dict[str, Any]:
    """Hypervolume, mean inner product and Spearman correlation with intervals, and the dispersion, of one policy.

    A policy that cannot be asked gives the same answers to every wish of `vectors`; its mean inner product is over all
    of them, and it has no correlation.

    Args:
        vectors: (W, K) the wishes of the run.
        reference: (K,) of the hypervolume, in normalised scores.
        shares: of `resample_shares`.
    """

    steered = policy.weights is not None and len(policy.weights) > 1

    def inner(means: np.ndarray) -> float:
        if steered:
            return mean_inner_product(policy.weights, means)
        return mean_inner_product(vectors, np.repeat(means, len(vectors), axis=0))

    points, prompts, samples, objectives = policy.scores.shape
    asked = policy.weights if policy.weights is not None else np.zeros((points, objectives))
    answers, flat = prompts * samples, policy.scores.reshape(-1, objectives)
    return {
        "points": points,
        "hypervolume": interval(lambda means: hypervolume(means, reference), policy.scores, shares),
        "mean_inner_product": interval(inner, policy.scores, shares),
        "dispersion": dispersion(np.repeat(asked, answers, axis=0), flat) if answers > 1 else None,
        "spearman": interval(lambda means: spearman(policy.weights, means), policy.scores, shares) if steered else None,
    }
