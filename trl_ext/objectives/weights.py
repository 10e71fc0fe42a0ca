"""Weights over objectives: how they are drawn, put on a grid, and how well a steered policy follows them.

Shapes: N samples or weight vectors, K objectives. A weight vector lies on the simplex: no entry below 0, sum 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def round_to_grid(weights: Sequence[float], step: float) -> tuple[float, ...]:
    """(K,) the nearest vector whose entries are whole multiples of `step` (largest remainder)."""
    raise NotImplementedError


@dataclass(frozen=True)
class WeightSampler:
    """One weight vector a prompt, a function of (seed, epoch, sample index) alone."""

    objectives: int
    seed: int = 0
    alpha: float | None = None
    vertex: float = 0.1
    centre: float = 0.05
    grid: float | None = 0.1
    fixed: tuple[float, ...] | None = None
    listed: tuple[tuple[float, ...], ...] | None = None

    def draw(self, epoch: int, index: int) -> tuple[float, ...]:
        """(K,) the weights of sample `index` of the data set in epoch `epoch`, both counted from 0."""
        raise NotImplementedError


def mean_inner_product(weights: np.ndarray, scores: np.ndarray) -> float:
    """Mean over N rows of the asked weights times the obtained scores; both (N, K)."""
    raise NotImplementedError


def dispersion(weights: np.ndarray, scores: np.ndarray) -> float:
    """det Cov(s | w); both (N, K)."""
    raise NotImplementedError


def spearman(weights: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(K,) rank correlation of each objective's weight with its score; both (N, K)."""
    raise NotImplementedError
