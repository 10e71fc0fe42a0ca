"""Scores of several objectives on one scale, and their weighted sum. Higher is better.

Shapes: N completions, K objectives. A score that is not there is NaN.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np


class Normaliser:
    """(r - mean) / std of each objective: raw scales of reward models differ by several units.

    `running` statistics grow with every update (Welford 1962, for whole batches Chan et al. 1979); the standard
    deviation is that of the population (division by N). Before there is any spread the division is by 1.

    With several ranks, every rank calls `update` with the scores gathered from all of them: the same numbers in the same
    order, so that all ranks hold the same state.

    Args:
        names: the K objectives in order.
        mode: `running`, `stored` (given statistics, never changed) or `none` (scores stay raw).
        stored: {name: (mean, std)} for the mode `stored`.

    Raises:
        ValueError: an unknown mode, or stored statistics that are missing, superfluous or not usable.
    """

    def __init__(
        self,
        names: Sequence[str],
        mode: Literal["running", "stored", "none"] = "running",
        stored: Mapping[str, tuple[float, float]] | None = None,
    ):
        if mode not in ("running", "stored", "none"):
            raise ValueError(f"normalisation {mode!r}: use running, stored or none")
        if (stored is not None) != (mode == "stored"):
            raise ValueError(f"normalisation {mode!r} {'needs' if mode == 'stored' else 'takes no'} stored statistics")
        self.names, self.mode = list(names), mode
        self.count = np.zeros(len(self.names))
        self.mean = np.zeros(len(self.names))
        self.squares = np.zeros(len(self.names))  # sum of squared distances to the mean
        self.stored = {}
        if stored is not None:
            _check_statistics(stored)
            missing = [name for name in self.names if name not in stored]
            if missing:
                raise ValueError(f"no stored mean and std for {missing}; there are those of {sorted(stored)}")
            self.stored = {name: (float(stored[name][0]), float(stored[name][1])) for name in self.names}

    def update(self, scores: np.ndarray) -> None:
        """Takes (N, K) raw scores into the running statistics; NaN is left out. Other modes stay as they are."""
        scores = self._table(scores)
        if self.mode != "running":
            return
        for k in range(len(self.names)):
            values = scores[np.isfinite(scores[:, k]), k]
            if not len(values):
                continue
            gap, total = values.mean() - self.mean[k], self.count[k] + len(values)
            self.squares[k] += ((values - values.mean()) ** 2).sum() + gap**2 * self.count[k] * len(values) / total
            self.mean[k] += gap * len(values) / total
            self.count[k] = total

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """(N, K) normalised scores; NaN stays NaN."""
        scores = self._table(scores)
        if self.mode == "none":
            return scores.copy()
        mean, std = np.array(list(self.statistics().values())).T
        return (scores - mean) / np.where(std > 0, std, 1.0)

    def statistics(self) -> dict[str, tuple[float, float]]:
        """{name: (mean, std)} as they stand; (0, 0) of an objective that has no score yet. Empty in the mode `none`."""
        if self.mode == "none":
            return {}
        if self.mode == "stored":
            return dict(self.stored)
        std = np.sqrt(self.squares / np.maximum(self.count, 1))
        # Equal scores leave a rounding error instead of a spread of zero, which must not be blown up to full size.
        std = np.where(std > 1e-12 * np.abs(self.mean), std, 0.0)
        return {name: (float(self.mean[k]), float(std[k])) for k, name in enumerate(self.names)}

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, fit for JSON, which keeps them exactly."""
        state: dict[str, Any] = {"names": list(self.names), "mode": self.mode}
        if self.mode == "running":
            state |= {key: getattr(self, key).tolist() for key in ("count", "mean", "squares")}
        if self.mode == "stored":
            state["stored"] = {name: list(pair) for name, pair in self.stored.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The running statistics of an earlier run.

        Raises:
            ValueError: other names, another order, another mode or other stored statistics.
        """
        ours = self.state_dict()
        for key in ("names", "mode", "stored"):
            if state.get(key) != ours.get(key):
                raise ValueError(
                    f"saved normalisation has {key} {state.get(key)!r}, this run has {ours.get(key)!r}: "
                    "continue with the objectives and the normalisation of the run that saved it"
                )
        if self.mode == "running":
            for key in ("count", "mean", "squares"):
                setattr(self, key, np.array(state[key], dtype=float))

    def _table(self, scores: np.ndarray) -> np.ndarray:
        scores = np.asarray(scores, dtype=float)
        if scores.ndim != 2 or scores.shape[1] != len(self.names):
            raise ValueError(f"scores have shape {scores.shape}, expected (N, {len(self.names)}) for {self.names}")
        return scores


def read_statistics(path: str) -> dict[str, tuple[float, float]]:
    """`stored` of a Normaliser out of a JSON file `{"helpful": {"mean": 0.3, "std": 1.2}, ...}`.

    Raises:
        ValueError: no such file, no JSON, or an entry that is not a finite mean with a positive std.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        statistics = {name: (float(entry["mean"]), float(entry["std"])) for name, entry in data.items()}
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path}: expected {{"objective": {{"mean": number, "std": number}}, ...}}: {error}'
        ) from error
    try:
        _check_statistics(statistics)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return statistics


def _check_statistics(statistics: Mapping[str, tuple[float, float]]) -> None:
    for name, (mean, std) in statistics.items():
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError(f"statistics of {name!r}: a finite mean and a positive std are needed, got {mean}, {std}")


def scalarise(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,) sum over k of w_k r_k (MO-ODPO, arXiv 2503.00295). A row with a NaN score is NaN, whatever its weight.

    A missing score counted as 0 would decide the pair by what is left over.

    Args:
        scores: (N, K) normalised scores.
        weights: (N, K), or (K,) for all rows alike.

    Raises:
        ValueError: the shapes do not fit.
    """
    scores, weights = np.asarray(scores, dtype=float), np.asarray(weights, dtype=float)
    if scores.ndim != 2 or weights.shape not in (scores.shape, scores.shape[1:]):
        raise ValueError(f"scores {scores.shape} and weights {weights.shape}: expected (N, K) with (N, K) or (K,)")
    return (scores * weights).sum(axis=1)
