"""The numbers behind the picture of policies.

Shapes: P prompts, S samples, V points, K objectives, R resamples. Higher is better. Scores are normalised: standard
deviations of the untouched model's answers above their mean, so that objectives of different scale can be added.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from launch.common.statistics import Estimate, drawn_counts, ends_of, hypervolume
from launch.compare.tradeoff import default_hv_reference
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
    return np.concatenate(list(drawn_counts(prompts, resamples, seed))) / prompts


def estimates(measure: Callable[[np.ndarray], Any], scores: np.ndarray, shares: np.ndarray) -> list[Estimate]:
    """A measure of the (V, K) point means, all prompts and their bootstrap samples: one estimate for each of its numbers.

    Where it is not defined it is None; resamples in which it is not are left out of the bounds, see `ends_of`.
    """
    means = scores.mean(axis=2)  # (V, P, K)
    points = np.einsum("rp,vpk->rvk", shares, means)
    drawn = np.array([measure(sample) for sample in points], dtype=float).reshape(len(points), -1)
    values = np.asarray(measure(means.mean(axis=1)), dtype=float).reshape(-1)
    return [
        Estimate(None if np.isnan(value) else float(value), *ends_of(column), means.shape[1])
        for value, column in zip(values, drawn.T, strict=True)
    ]


def reference_point(tables: Sequence[np.ndarray]) -> list[float]:
    """(K,) the worst mean of any point, minus a tenth of the range of the means: one reference for all policies."""
    means = np.concatenate([scores.mean(axis=(1, 2)) for scores in tables])
    return list(default_hv_reference(means.tolist()))


def summarise_policy(
    policy: PolicyScores, vectors: np.ndarray, reference: Sequence[float], shares: np.ndarray
) -> dict[str, Any]:
    """Hypervolume, mean inner product and Spearman correlation with intervals, and the dispersion, of one policy.

    A policy that cannot be asked gives the same answers to every wish of `vectors`; its mean inner product is over all
    of them, and it has no correlation.

    Returns:
        `points`, `hypervolume`, `mean_inner_product`, `dispersion`, `spearman`; estimates as {value, low, high, n}, of
        the correlation a list of one an objective.

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

    def one(measure: Callable[[np.ndarray], float]) -> dict[str, Any]:
        return estimates(measure, policy.scores, shares)[0].as_json()

    def correlation(means: np.ndarray) -> np.ndarray:
        return spearman(policy.weights, means)

    return {
        "points": points,
        "hypervolume": one(lambda means: hypervolume(means, reference)),
        "mean_inner_product": one(inner),
        "dispersion": dispersion(np.repeat(asked, answers, axis=0), flat) if answers > 1 else None,
        "spearman": [e.as_json() for e in estimates(correlation, policy.scores, shares)] if steered else None,
    }
