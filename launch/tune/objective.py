"""From the metrics of an evaluation to what the study maximises: one number, or one for each side of a front.

Optuna cannot prune a study of several objectives, so several metrics become one number here, explicitly.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from datasets_builders.choices import nearest

RANKING = "eval_ranking/"
PREFERENCE = "preference"  # the trained preference, beside the names of the margins
INFLATABLE = "eval_rewards/margins"  # the objective of the reference tuner, see `ranking`
SANITY = (INFLATABLE, "eval_loss", "eval_rewards/accuracies")
KINDS = ("ranking", "rewards_margins", "weighted_sum", "hypervolume", "front")
Kind = Literal["weighted_sum", "hypervolume", "front"]


@dataclass(frozen=True)
class Objective:
    """What is read from an evaluation.

    Attributes:
        kind: `weighted_sum` of metrics; `hypervolume`, the box between a reference point and the metrics; or `front`,
            each metric for itself.
        numbers: metric -> its weight, its reference value, or for a front +1 (maximise) or -1 (minimise).
    """

    kind: Kind
    numbers: dict[str, float]

    @property
    def directions(self) -> list[str]:
        """One `maximize` or `minimize` an objective."""
        if self.kind != "front":
            return ["maximize"]
        return ["maximize" if number > 0 else "minimize" for number in self.numbers.values()]

    @property
    def label(self) -> str:
        """In words, for files and pictures."""
        if self.kind == "front":
            return " and ".join(self.numbers)
        if self.kind == "hypervolume":
            return f"hypervolume of {', '.join(self.numbers)}"
        return " + ".join(name if number == 1 else f"{number:g} {name}" for name, number in self.numbers.items())

    def values(self, metrics: Mapping[str, float]) -> list[float]:
        """One number, or K for a front of K metrics.

        Raises:
            ValueError: a metric that the evaluation lacks, or one that is not finite.
        """
        found = []
        for name in self.numbers:
            if name not in metrics:
                known = [key for key in metrics if key.startswith("eval_")]
                raise ValueError(f"the evaluation has no metric {name!r}; {nearest(name, known)}")
            if not math.isfinite(metrics[name]):
                raise ValueError(f"{name} is {metrics[name]}")
            found.append(float(metrics[name]))
        numbers = list(self.numbers.values())
        if self.kind == "front":
            return found
        if self.kind == "hypervolume":
            return [math.prod(max(0.0, value - edge) for value, edge in zip(found, numbers, strict=True))]
        return [math.fsum(value * weight for value, weight in zip(found, numbers, strict=True))]


def ranking_metrics(margins: Sequence[str]) -> list[str]:
    """The metrics of `ranking`, the preference first, for margins of these names."""
    return [RANKING + name for name in (PREFERENCE, *margins)]


def make_objective(kind: str, numbers: Mapping[str, float], w: float, margins: Mapping[str, float]) -> Objective:
    """The objective that the settings name.

    Args:
        kind: one of KINDS. `ranking` is the weighted sum of the held-out picked shares with the run's own weights;
            `rewards_margins` is the metric of the reference tuner.
        numbers: what the user gave, see `Objective`; empty for the first two kinds. Left out for the others, all picked
            shares are taken: against 1/2, the share of the untouched policy, for a hypervolume; maximised for a front.
        w: weight of the preference.
        margins: name -> positive weight.

    Raises:
        ValueError: numbers that the kind does not take, or too few of them.
    """
    if kind in ("ranking", "rewards_margins") and numbers:
        raise ValueError(f"--metrics is of no use with --objective {kind}: it names its own")
    if kind == "rewards_margins":
        return Objective("weighted_sum", {INFLATABLE: 1.0})
    names, total = ranking_metrics(list(margins)), w + sum(margins.values())
    if kind == "ranking":
        weights = [weight / total for weight in (w, *margins.values())]
        return Objective("weighted_sum", dict(zip(names, weights, strict=True)))
    if not numbers and kind == "weighted_sum":
        raise ValueError("--objective weighted_sum needs --metrics NAME=WEIGHT ...")
    numbers = dict(numbers) or dict.fromkeys(names, 0.5 if kind == "hypervolume" else 1.0)
    if kind == "front" and (len(numbers) < 2 or 0 in numbers.values()):
        raise ValueError("--objective front needs two metrics or more: +1 for one to maximise, -1 to minimise")
    return Objective(kind, numbers)
