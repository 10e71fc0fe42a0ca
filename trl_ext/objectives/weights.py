"""Weights over objectives: how they are drawn, put on a grid, and how well a steered policy follows them.

Shapes: N samples, K objectives. A weight vector lies on the simplex: no entry below 0, sum 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SUM_TOLERANCE = 1e-6  # weights that went through float32 still count as summing to 1
_LISTED_STREAM = 1 << 64  # the key of a Philox generator has 128 bits; the upper half tells the two uses apart


def check_simplex(weights: Sequence[float], what: str = "weights") -> tuple[float, ...]:
    """The weights as floats.

    Raises:
        ValueError: none at all, an entry that is negative or not finite, or a sum other than 1.
    """
    values = tuple(float(weight) for weight in weights)
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"{what} {values}: each must be a finite number of at least 0")
    if abs(math.fsum(values) - 1) > _SUM_TOLERANCE:
        raise ValueError(f"{what} {values} sum to {math.fsum(values):g}, they must sum to 1")
    return values


def grid_units(weights: Sequence[float], count: int) -> tuple[int, ...]:
    """(K,) whole numbers that sum to `count` and are nearest to weights times count (largest remainder).

    What is left after rounding down goes to the largest remainders, one unit each; of equal remainders the first
    objective's comes first.

    Raises:
        ValueError: the weights do not lie on the simplex.
    """
    values = check_simplex(weights)
    total = math.fsum(values)
    shares = [value / total * count for value in values]
    units = [math.floor(share) for share in shares]
    # Remainders that differ by the rounding of a float are equal; 0.29 x 100 = 28.999... gets its unit back here.
    order = sorted(range(len(values)), key=lambda k: -round(shares[k] - units[k], 9))
    for k in order[: count - sum(units)]:
        units[k] += 1
    return tuple(units)


def units_of_step(step: float) -> int:
    """How many steps make 1.

    Raises:
        ValueError: `step` is not 1 divided by a whole number.
    """
    count = round(1 / step) if 0 < step <= 1 else 0
    if count < 1 or abs(count * step - 1) > 1e-9:
        raise ValueError(f"a grid step must be 1 divided by a whole number, such as 0.1, 0.05 or 0.01; got {step!r}")
    return count


def round_to_grid(weights: Sequence[float], step: float) -> tuple[float, ...]:
    """(K,) weights as multiples of `step`: each entry is the float nearest to i / n, and the i sum to n = 1 / step.

    Raises:
        ValueError: the weights do not lie on the simplex, or `step` is not 1 divided by a whole number.
    """
    count = units_of_step(step)
    return tuple(unit / count for unit in grid_units(weights, count))


@dataclass(frozen=True)
class WeightSampler:
    """One weight vector a prompt, a function of (seed, epoch, sample index) alone.

    Nothing else moves it: not gradient accumulation, not the number of ranks, not a resumed run. The mixture follows
    MO-ODPO's Dirichlet (arXiv 2503.00295); the vertices show the policy the extremes that it will be asked for, which a
    Dirichlet of three or more objectives almost never draws.

    Args:
        objectives: K, at least 1.
        seed: of the run, 0 or more.
        alpha: concentration of the symmetric Dirichlet; None takes 1.0 (uniform) for K = 2 and 0.7 from K = 3 on.
        vertex: share of draws that are one-hot, each objective equally often.
        centre: share of draws that weigh all objectives alike.
        grid: the step that mixture draws are rounded to, 1 divided by a whole number; None leaves them as drawn.
        fixed: this vector for every prompt instead of the mixture.
        listed: these vectors instead of the mixture, each equally often: every run of as many consecutive indices as
            there are vectors, counted from 0, holds each of them once, in an order of its own.

    Raises:
        ValueError: a value out of range, a vector that does not lie on the simplex, or both `fixed` and `listed`.
    """

    objectives: int
    seed: int = 0
    alpha: float | None = None
    vertex: float = 0.1
    centre: float = 0.05
    grid: float | None = 0.1
    fixed: tuple[float, ...] | None = None
    listed: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self):
        if self.objectives < 1:
            raise ValueError(f"objectives must be at least 1, got {self.objectives}")
        if not 0 <= self.seed < 1 << 64:
            raise ValueError(f"seed must lie in [0, 2^64), got {self.seed}")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ValueError(f"alpha must be a positive number, got {self.alpha}")
        if not (self.vertex >= 0 and self.centre >= 0 and self.vertex + self.centre <= 1):
            raise ValueError(
                f"vertex and centre are shares that sum to at most 1, got {self.vertex:g} and {self.centre:g}"
            )
        if self.grid is not None:
            units_of_step(self.grid)
        if self.fixed is not None and self.listed is not None:
            raise ValueError("fixed and listed exclude each other: give one vector or a list of vectors")
        if self.listed is not None and not self.listed:
            raise ValueError("listed holds no weight vector")
        if self.fixed is not None:
            object.__setattr__(self, "fixed", self._checked(self.fixed, "fixed"))
        if self.listed is not None:
            vectors = tuple(self._checked(vector, f"listed[{i}]") for i, vector in enumerate(self.listed))
            object.__setattr__(self, "listed", vectors)

    def _checked(self, weights: Sequence[float], what: str) -> tuple[float, ...]:
        if len(weights) != self.objectives:
            raise ValueError(f"{what} has {len(weights)} weights for {self.objectives} objectives")
        return check_simplex(weights, what)

    def draw(self, epoch: int, index: int) -> tuple[float, ...]:
        """(K,) the weights of one prompt.

        Args:
            epoch: counted from 0.
            index: place of the prompt in the data set, counted from 0.

        Raises:
            ValueError: a negative epoch or index.
        """
        if epoch < 0 or index < 0:
            raise ValueError(f"epoch and index count from 0, got {epoch} and {index}")
        if self.fixed is not None:
            return self.fixed
        if self.listed is not None:
            block, place = divmod(index, len(self.listed))
            order = self._generator(epoch, block, _LISTED_STREAM).permutation(len(self.listed))
            return self.listed[order[place]]
        return self._mixture(self._generator(epoch, index))

    def _generator(self, epoch: int, index: int, stream: int = 0) -> np.random.Generator:
        # Philox turns (key, counter) into independent numbers; a draw counts up in the lowest 128 bits only, so no two
        # prompts ever share a number.
        return np.random.Generator(np.random.Philox(key=stream | self.seed, counter=epoch << 192 | index << 128))

    def _mixture(self, generator: np.random.Generator) -> tuple[float, ...]:
        count = self.objectives
        kind = generator.random()
        if kind < self.vertex:
            weights = np.eye(count)[generator.integers(count)]
        elif kind < self.vertex + self.centre:
            weights = np.full(count, 1 / count)
        else:
            alpha = self.alpha if self.alpha is not None else (1.0 if count <= 2 else 0.7)
            weights = generator.dirichlet(np.full(count, alpha))
        if self.grid is None:
            return tuple(weights.tolist())
        # Ties of remainders go to the first objective; a random order keeps that from favouring one (the centre of
        # three on a grid of 0.1 is 0.4, 0.3, 0.3).
        order = generator.permutation(count)
        rounded = round_to_grid(weights[order].tolist(), self.grid)
        return tuple(rounded[place] for place in np.argsort(order))


def mean_inner_product(weights: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the rows of w . s, asked weights times obtained scores. Higher is better; unit: score.

    Args:
        weights: (N, K), one row per prompt or a weight vector.
        scores: (N, K), on one common scale (normalised).
    """
    weights, scores = _two_tables(weights, scores)
    return float((weights * scores).sum(axis=1).mean())


def dispersion(weights: np.ndarray, scores: np.ndarray) -> float:
    """det Cov(s | w): how far apart scores of the same weights lie, averaged over the distinct weights. Unit: score^2K.

    Low means that the answer to one wish is predictable. The determinant is that of the sample covariance (N - 1).

    Args:
        weights: (N, K) asked weights, several rows for each vector.
        scores: (N, K) scores of single answers.

    Raises:
        ValueError: a weight vector with fewer than two rows.
    """
    weights, scores = _two_tables(weights, scores)
    vectors, group = np.unique(weights, axis=0, return_inverse=True)
    determinants = []
    for k, vector in enumerate(vectors):
        rows = scores[group.reshape(-1) == k]
        if len(rows) < 2:
            raise ValueError(f"dispersion needs at least two answers for each weight vector, {vector.tolist()} has one")
        determinants.append(np.linalg.det(np.atleast_2d(np.cov(rows, rowvar=False))))
    return float(np.mean(determinants))


def spearman(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(K,) rank correlation of each objective's asked weight with its obtained score; 1 is perfectly steerable.

    Equal values share the mean of their ranks. NaN where a weight or a score never changes.

    Args:
        weights: (N, K), one row per prompt or a weight vector.
        scores: (N, K).
    """
    weights, scores = _two_tables(weights, scores)
    found = np.full(weights.shape[1], np.nan)
    for k in range(weights.shape[1]):
        first, second = (ranks - ranks.mean() for ranks in (mean_ranks(weights[:, k]), mean_ranks(scores[:, k])))
        spread = math.sqrt((first @ first) * (second @ second))
        if spread > 0:
            found[k] = first @ second / spread
    return found


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """(N,) ranks from 1 upwards; equal values share the mean of the ranks that they occupy."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place.reshape(-1)]


def _two_tables(weights: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    weights, scores = np.asarray(weights, dtype=float), np.asarray(scores, dtype=float)
    if weights.ndim != 2 or weights.shape != scores.shape or not len(weights):
        raise ValueError(f"weights and scores must both be (N, K), got {weights.shape} and {scores.shape}")
    if not (np.isfinite(weights).all() and np.isfinite(scores).all()):
        raise ValueError("weights and scores must be finite: leave out the rows that hold NaN")
    return weights, scores
