"""K reward models or functions behind one call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Prompt = str | list[dict[str, Any]]


@dataclass(frozen=True)
class RewardSpec:
    """One objective: its name in the instruction and the logs, and where its scores come from."""

    name: str
    kind: Literal["classifier", "function"]
    source: str


REGISTRY: dict[str, RewardSpec] = {}


def get_reward_specs(names: Sequence[str]) -> list[RewardSpec]:
    """`--reward_models helpful harmless=/models/harmless brevity my.module:function` as specifications, in order."""
    raise NotImplementedError


class RewardBundle:
    """All objectives of a run; `names` in order, `not_finite` {name: how many scores were NaN or infinite}."""

    names: list[str]
    not_finite: dict[str, int]

    def __init__(
        self,
        specs: Sequence[RewardSpec],
        *,
        device: Any = "cpu",
        dtype: Any = None,
        batch_size: int = 8,
        trust_remote_code: bool = False,
    ):
        raise NotImplementedError

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[Prompt], *, response_tokens: Sequence[int] | None = None
    ) -> np.ndarray:
        """(N, K) float64 raw scores, NaN where a score is not finite. ORIGINAL prompts: texts or message lists."""
        raise NotImplementedError


class Normaliser:
    """(r - mean) / std of each objective.

    For several ranks: every rank calls `update` with the scores gathered from all ranks, then all hold the same state.
    """

    def __init__(
        self,
        names: Sequence[str],
        mode: Literal["running", "stored", "none"] = "running",
        stored: Mapping[str, tuple[float, float]] | None = None,
    ):
        raise NotImplementedError

    def update(self, scores: np.ndarray) -> None:
        """Takes (N, K) raw scores into the running statistics; NaN is left out. Does nothing in the other modes."""
        raise NotImplementedError

    def apply(self, scores: np.ndarray) -> np.ndarray:
        """(N, K) normalised scores, NaN stays NaN."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, fit for JSON."""
        raise NotImplementedError

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """ValueError when the names or the mode differ."""
        raise NotImplementedError


def read_statistics(path: str) -> dict[str, tuple[float, float]]:
    """`stored` for a Normaliser out of a JSON file {"helpful": {"mean": 0.3, "std": 1.2}, ...}."""
    raise NotImplementedError


def scalarise(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(N,) sum over k of w_k r_k; a row with a NaN score is NaN. `weights` is (N, K) or (K,)."""
    raise NotImplementedError
