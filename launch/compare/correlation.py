"""Correlations of counted points, for many resamples at once. Pure functions of numbers.

Shapes: m different points, R resamples. A resample is a row of weights: how often each point was drawn. So a table of
a million comparisons of ratings from 0 to 4 is 81 points, and a bootstrap of it a matrix product.
"""

import numpy as np

# Signs of pairs of points held at once, 8 bytes each: bounds the memory of Kendall's tau.
CHUNK = 4_000_000
NAMES = ("pearson", "spearman", "kendall")


def correlations(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Pearson's, Spearman's and Kendall's (tau-b) correlation of each resample, by `NAMES`, each (R,).

    Equal values share the mean of their ranks. NaN where a resample holds fewer than two different values of x or y.

    Args:
        x, y: (m,) finite coordinates of the points.
        weights: (R, m) whole numbers of at least 0.
    """
    weights = np.asarray(weights, dtype=np.float64)
    untied_x, untied_y, order = _ordered_pairs(x, y, weights)
    # Whole numbers, so this is exact, while a variance of equal floats can be a rounding error above 0.
    defined = (untied_x > 0) & (untied_y > 0)
    found = {
        "pearson": _pearson(x[None, :], y[None, :], weights),
        "spearman": _pearson(_ranks(x, weights), _ranks(y, weights), weights),
        "kendall": order / np.sqrt(np.where(defined, untied_x * untied_y, 1.0)),
    }
    return {name: np.where(defined, np.clip(values, -1, 1), np.nan) for name, values in found.items()}


def _pearson(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1.0)
    x, y = (values - (weights * values).sum(axis=1, keepdims=True) / total for values in (x, y))
    covariance = (weights * x * y).sum(axis=1)
    spread = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    return covariance / np.where(spread > 0, spread, 1.0)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(R, m) mean ranks of the points, each counted as often as it was drawn."""
    distinct, place = np.unique(values, return_inverse=True)
    drawn = np.zeros((len(weights), len(distinct)))
    np.add.at(drawn, (slice(None), place), weights)
    return (np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, place]


def _ordered_pairs(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per resample, over ordered pairs of draws: untied in x, untied in y, concordant minus discordant; (R,) each."""
    sums = np.zeros((3, len(weights)))
    step = max(1, CHUNK // len(x))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        sign_x, sign_y = (np.sign(values[:, None] - values[None, part]) for values in (x, y))
        for row, signs in enumerate((np.abs(sign_x), np.abs(sign_y), sign_x * sign_y)):
            sums[row] += ((weights @ signs) * weights[:, part]).sum(axis=1)
    return sums[0], sums[1], sums[2]
