"""Intervals and fronts, as pure functions of numbers. Higher is better unless `maximise` says otherwise."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

_Z95 = 1.96
# Resampled indices held at once (8 bytes each): bounds the memory of the vectorised bootstrap.
_CHUNK = 4_000_000


class Estimate(NamedTuple):
    """A mean and its interval, in the unit of the values."""

    mean: float
    low: float
    high: float


def wilson_interval(wins: int, n: int, z: float = _Z95) -> tuple[float, float]:
    """Wilson score interval (95% by default) of the share `wins / n`, both ends in [0, 1].

    Raises:
        ValueError: `n` is not positive, or `wins` is not in 0..n.
    """
    if n <= 0 or not 0 <= wins <= n:
        raise ValueError(f"wilson_interval needs 0 <= wins <= n and n > 0, got wins={wins}, n={n}")
    share = wins / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_indices(resamples: int, alpha: float) -> tuple[int, int]:
    """Positions of the interval's ends in the sorted resampled means: floor(a/2 n) and floor((1 - a/2) n) - 1.

    Raises:
        ValueError: `alpha` is not in (0, 1), or there are too few resamples to cut that much off at both ends.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, got {alpha}")
    low, high = math.floor(alpha / 2 * resamples), math.floor((1 - alpha / 2) * resamples) - 1
    if resamples < 1 or high < low:
        raise ValueError(f"{resamples} resamples are too few for alpha={alpha}")
    return low, high


def bootstrap_mean_interval(
    values: Sequence[float], seed: int = 0, resamples: int = 1000, alpha: float = 0.05
) -> Estimate:
    """Mean of `values` (n,) with its percentile bootstrap interval, drawn with Python's `random.Random(seed)`.

    The same seed gives the same interval on every machine and numpy version.

    Raises:
        ValueError: no values, or an `alpha` or `resamples` that `interval_indices` refuses.
    """
    n = len(values)
    if n == 0:
        raise ValueError("bootstrap_mean_interval needs at least one value")
    low, high = interval_indices(resamples, alpha)
    draw = random.Random(seed).randrange
    means = sorted(sum(values[draw(n)] for _ in range(n)) / n for _ in range(resamples))
    return Estimate(sum(values) / n, means[low], means[high])


def paired_bootstrap_difference(
    a: Sequence[float], b: Sequence[float], seed: int = 0, resamples: int = 5000, alpha: float = 0.05
) -> Estimate:
    """Mean of `a - b` over pairs, both (n,), with its percentile bootstrap interval. Pairs are resampled whole.

    Raises:
        ValueError: unequal lengths, no pairs, or an `alpha` or `resamples` that `interval_indices` refuses.
    """
    import numpy as np

    if len(a) != len(b) or len(a) == 0:
        raise ValueError(f"a paired difference needs two equally long, non-empty lists, got {len(a)} and {len(b)}")
    low, high = interval_indices(resamples, alpha)
    differences = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    n = len(differences)
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _CHUNK // n)
    for start in range(0, resamples, step):
        stop = min(start + step, resamples)
        means[start:stop] = differences[generator.integers(0, n, size=(stop - start, n))].mean(axis=1)
    means.sort()
    return Estimate(float(differences.mean()), float(means[low]), float(means[high]))


def _as_points(points: Sequence[Sequence[float]]):
    import numpy as np

    array = np.asarray(points, dtype=np.float64)
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError("points must be a non-empty (n, K) table of finite numbers")
    return array


def pareto_set(points: Sequence[Sequence[float]], maximise: bool | Sequence[bool] = True) -> list[bool]:
    """For each of the (n, K) points: is it on the front (no point at least as good everywhere and better somewhere)?

    Equal points are both kept.

    Raises:
        ValueError: not a non-empty table of finite numbers.
    """
    import moocore

    flags = moocore.is_nondominated(_as_points(points), maximise=maximise, keep_weakly=True)
    return [bool(flag) for flag in flags]


def hypervolume(
    points: Sequence[Sequence[float]], reference: Sequence[float], maximise: bool | Sequence[bool] = True
) -> float:
    """Volume dominated by the (n, K) points and bounded by `reference` (K,): the product of the objectives' units.

    A point that does not beat the reference everywhere adds nothing.

    Raises:
        ValueError: not a non-empty table of finite numbers, or a reference of another length.
    """
    import moocore

    array = _as_points(points)
    if len(reference) != array.shape[1]:
        raise ValueError(f"the reference point has {len(reference)} coordinates, the points have {array.shape[1]}")
    return float(moocore.hypervolume(array, ref=list(reference), maximise=maximise))
