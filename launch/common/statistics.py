"""Estimates with their intervals, and fronts, as pure functions of numbers.

Higher is better unless `maximise` says otherwise. Intervals are 95% unless `alpha` is an argument. Bootstraps resample
the values that they are given: whoever has several values of one prompt or pair averages them first.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from datasets_builders.shares import wilson_interval

if TYPE_CHECKING:
    import numpy as np

Summary = dict[str, Any]  # numbers by name, plain JSON

RESAMPLES = 5000
# Numbers of a bootstrap held at once (8 bytes each): bounds its memory.
_CHUNK = 4_000_000
# Draws, of which fewer have no 2.5% to cut off.
_FEWEST = 40


@dataclass(frozen=True)
class Estimate:
    """A number that was measured on `n` units, with its interval, all in one unit; None is what is not defined."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def as_json(self) -> dict[str, float | int | None]:
        """`{"value", "low", "high", "n"}`, the shape that every result file uses."""
        return asdict(self)

    def excludes(self, value: float) -> bool:
        """Does the interval tell the number apart from `value`? Not where there is no interval."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def share(points: float, n: int) -> Estimate:
    """The share `points / n` with Wilson's interval; `points` may hold halves. Undefined where `n` is 0."""
    return Estimate(points / n, *wilson_interval(points, n), n) if n else Estimate(None, None, None, 0)


def mean(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean of `values` (n,) with its percentile bootstrap interval; undefined where there are none.

    One value has no interval: every resample of it is itself, and a width of zero would claim certainty.
    """
    return mean_of_means([values] if len(values) else [], seed, resamples)


def mean_share(values: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of numbers from 0 to 1, as `mean`.

    Where all are 0 or all are 1, every resample is the same and would claim certainty: Wilson's interval then.
    """
    if len(values) and (max(values) == 0 or min(values) == 1):
        return share(round(sum(values)), len(values))
    return mean(values, seed)


def mean_of_means(groups: Sequence[Sequence[float]], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean of the means of `groups`, each counted the same; members are resampled within their group, `n` counts them.

    Undefined where there is no group, without an interval where no group has two members.

    Args:
        groups: each with at least one number.

    Raises:
        ValueError: see `interval_indices`.
    """
    import numpy as np
    from scipy.stats import bootstrap

    if not groups:
        return Estimate(None, None, None, 0)
    interval_indices(resamples, 0.05)
    arrays = [np.asarray(group, dtype=np.float64) for group in groups]
    n, middle = sum(map(len, arrays)), float(np.mean([array.mean() for array in arrays]))
    if n == len(arrays):
        return Estimate(middle, None, None, n)
    found = bootstrap(
        # scipy refuses a sample of one; two equal numbers do not spread either, so the other groups alone make the width
        [array if len(array) > 1 else np.repeat(array, 2) for array in arrays],
        lambda *drawn, axis: np.mean([sample.mean(axis=axis) for sample in drawn], axis=0),
        n_resamples=resamples,
        batch=max(1, _CHUNK // n),
        vectorized=True,
        axis=-1,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(middle, float(found.low), float(found.high), n)


def paired_difference(a: Sequence[float], b: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean of `a - b` over pairs, both (n,), as `mean`: pairs are resampled whole.

    Raises:
        ValueError: unequal lengths, or no pairs.
    """
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(f"a paired difference needs two equally long, non-empty lists, got {len(a)} and {len(b)}")
    return mean([float(first) - float(second) for first, second in zip(a, b, strict=True)], seed, resamples)


def student_mean(values: Sequence[float]) -> Estimate:
    """Mean of `values` (n,) with Student's interval, mean +- t s / sqrt(n), s the sample deviation; none for one value.

    For a handful of seeds: a bootstrap of three has ten different means and covers far less than it says.

    Raises:
        ValueError: no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("student_mean needs at least one value")
    middle = math.fsum(values) / n
    if n == 1:
        return Estimate(middle, None, None, 1)
    from scipy.stats import t

    deviation = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (n - 1))
    half = float(t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return Estimate(middle, middle - half, middle + half, n)


def bootstrap_mean_interval(
    values: Sequence[float], seed: int = 0, resamples: int = 1000, alpha: float = 0.05
) -> Estimate:
    """Mean of `values` (n,) with its percentile bootstrap interval, drawn with Python's `random.Random(seed)`.

    The reference's own resampling, to the last digit and on every machine; `mean` is the fast one. One value has no interval.

    Raises:
        ValueError: no values, or an `alpha` or `resamples` that `interval_indices` refuses.
    """
    n = len(values)
    if n == 0:
        raise ValueError("bootstrap_mean_interval needs at least one value")
    low, high = interval_indices(resamples, alpha)
    if n == 1:
        return Estimate(values[0], None, None, 1)
    draw = random.Random(seed).randrange
    means = sorted(sum(values[draw(n)] for _ in range(n)) / n for _ in range(resamples))
    return Estimate(sum(values) / n, means[low], means[high], n)


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


def drawn_counts(units: int, resamples: int, seed: int, width: int | None = None) -> Iterator["np.ndarray"]:
    """(chunk, units) how often each unit is drawn in each resample, until there were `resamples` of them.

    For measures that are functions of counts, of which scipy's `bootstrap` knows nothing. One unit is drawn once: it has
    nothing to resample, and `ends_of` finds no ends.

    Args:
        width: numbers that the caller holds for each resample, which bounds the chunk; default: one a unit.
    """
    import numpy as np

    if units == 1:
        resamples = 1
    generator, step = np.random.default_rng(seed), max(1, _CHUNK // (width or units))
    for start in range(0, resamples, step):
        yield generator.multinomial(units, np.full(units, 1 / units), size=min(step, resamples - start))


def ends_of(draws: "np.ndarray") -> tuple[float | None, float | None]:
    """The percentile interval of resampled values (R,); those that are not finite are left out, too few have no ends."""
    import numpy as np

    kept = np.sort(draws[np.isfinite(draws)])
    if len(kept) < _FEWEST:
        return None, None
    low, high = interval_indices(len(kept), 0.05)
    return float(kept[low]), float(kept[high])


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
