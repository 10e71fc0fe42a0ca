"""Intervals of means over pairs."""

from collections.abc import Sequence

import numpy as np

from launch.bt.metrics import Summary, mean, share
from launch.common.statistics import interval_indices

RESAMPLES = 5000
# Resampled indices held at once, 8 bytes each.
CHUNK = 4_000_000


def mean_share(values: Sequence[float], seed: int = 0) -> Summary:
    """Mean of numbers from 0 to 1, one a pair, with its 95% bootstrap interval.

    Where all are 0 or all are 1, every resample is the same and would claim certainty: Wilson's interval then.
    """
    if len(values) and (max(values) == 0 or min(values) == 1):
        return share(round(sum(values)), len(values))
    return mean(values, seed)


def macro_mean(groups: Sequence[Sequence[float]], seed: int = 0) -> Summary:
    """Mean of the means of `groups`, each group counted the same, with its 95% percentile bootstrap interval.

    Members are resampled within their group. `n` is the number of members; all None where there is no group.

    Args:
        groups: each with at least one number.
    """
    if not groups:
        return {"value": None, "low": None, "high": None, "n": 0}
    generator = np.random.default_rng(seed)
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    means = np.sort(np.mean([_resampled_means(array, generator) for array in arrays], axis=0))
    low, high = interval_indices(RESAMPLES, alpha=0.05)
    return {
        "value": float(np.mean([array.mean() for array in arrays])),
        "low": float(means[low]),
        "high": float(means[high]),
        "n": sum(map(len, arrays)),
    }


def _resampled_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    means = np.empty(RESAMPLES)
    step = max(1, CHUNK // len(values))
    for start in range(0, RESAMPLES, step):
        stop = min(start + step, RESAMPLES)
        means[start:stop] = values[generator.integers(0, len(values), size=(stop - start, len(values)))].mean(axis=1)
    return means
