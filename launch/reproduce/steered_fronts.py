"""What the claim `moodpo-steering` says of its policies, from what `pareto` and a measure of their distance found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets_builders.io import read_object
from launch.common.statistics import Estimate, hypervolume, student_mean
from launch.moodpo.weights import percentages
from launch.reproduce.claim import Arm, Measured, lies

NAMES = ("sea", "garden")
ENOUGH = 0.9  # of a correlation
TITLES = {
    "steered": "steered, one policy for all weights",
    "long": "steered, as many steps as all fixed runs together",
    "fixed": "fixed weights, one policy for each",
    "soup": "soup of the two ends of the fixed",
    "unprepared": "steered, without the warm-up",
    "warmup": "the warm-up alone",
    "untouched": "untouched model",
}
STEERED = ("steered", "long", "unprepared", "warmup")


def fixed_label(w: float) -> str:
    """Of the policy for one weight of the sea."""
    return f"fixed{100 * w:g}"


@dataclass(frozen=True)
class Scale:
    """In what scores are told.

    Attributes:
        names: of the two objectives, as `pareto` has them; a weight is that of the first one.
        first: the first objective, as a reader calls it.
        in_spreads: scores are counted in standard deviations of the untouched model's answers above their mean.
    """

    names: Sequence[str]
    first: str
    in_spreads: bool = False


WORDS = Scale(NAMES, "the sea")


@dataclass(frozen=True)
class Front:
    """What the evaluation of one seed says.

    Attributes:
        summary: of `pareto`.
        nats: label of a point -> distance from the untouched model.
        fixed: weights of the first objective at which fronts are compared.
        scale: of all numbers but the distance.
    """

    summary: Mapping[str, Any]
    nats: Mapping[str, float]
    fixed: Sequence[float]
    scale: Scale = WORDS

    def label(self, arm: str, w: float) -> str:
        """Of the point that answers a wish."""
        if arm in ("untouched", "fixed"):
            return arm if arm == "untouched" else fixed_label(w)
        return f"{arm}_{percentages((w, 1 - w))}"

    def point(self, arm: str, w: float) -> list[float]:
        """Mean scores by both objectives."""
        (row,) = [row for row in self.summary["points"] if row["label"] == self.label(arm, w)]
        means = [row["scores"][name]["value"] for name in self.scale.names]
        if not self.scale.in_spreads:
            return means
        before = [self.summary["normalisation"][name] for name in self.scale.names]
        return [(mean - one["mean"]) / one["std"] for mean, one in zip(means, before, strict=True)]

    def worth(self, arm: str, w: float) -> float:
        """What a wish asks for: its weighted score."""
        first, second = self.point(arm, w)
        return w * first + (1 - w) * second

    def correlation(self, arm: str) -> float:
        """The smaller of the objectives' correlations; 0 where a score never moves, which follows no weight."""
        return min(cell["value"] or 0.0 for cell in self.summary["policies"][arm]["spearman"])

    def middle(self, arm: str) -> float:
        """Share of the distance between the answers to both ends that lies between their neighbours among the fixed weights.

        Mean of the objectives; 0 where the ends are alike. With the weights 0, 0.2, 0.5, 0.8 and 1 an even policy has 0.6.
        """
        high, low, more, less = (self.point(arm, self.fixed[place]) for place in (0, -1, 1, -2))
        ranges = [top - bottom for top, bottom in zip(high, low, strict=True)]
        inner = [top - bottom for top, bottom in zip(more, less, strict=True)]
        return fmean(part / whole if whole else 0.0 for part, whole in zip(inner, ranges, strict=True))

    def volume(self, arm: str) -> float:
        """Hypervolume above the reference point that `pareto` took for all policies, of the points at the five weights."""
        points = [self.point(arm, w) for w in self.fixed]
        return hypervolume(points, self.summary["hv_reference"]["normalised" if self.scale.in_spreads else "raw"])

    def distance(self, arm: str) -> float:
        """Nats from the untouched model, mean over the five weights."""
        return fmean(self.nats[self.label(arm, w)] for w in self.fixed)


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    return student_mean([one - other for one, other in zip(ours, theirs, strict=True)])


def read_front(pareto: Path, distances: Path, fixed: Sequence[float], scale: Scale = WORDS) -> Front:
    """A seed's evaluation out of the folder of `pareto` and a file of distances, label of a point -> nats."""
    return Front(read_object(pareto / "summary.json"), read_object(distances), fixed, scale)


def compared(found: Mapping[int, Front]) -> Measured:
    """Whether both scores follow the asked weights; beside it the fronts of the fixed weights, and how far away they are."""
    arms = {
        arm: Arm(title, {seed: [(w, one.worth(arm, w)) for w in reversed(one.fixed)] for seed, one in found.items()})
        for arm, title in TITLES.items()
    }
    scale = next(iter(found.values())).scale
    others: dict[str, Estimate] = {}
    for arm in (*STEERED, "soup"):
        values = [one.correlation(arm) for one in found.values()]
        others[f"smaller of the two Spearman correlations: {TITLES[arm]}"] = student_mean(values)
    for arm in ("steered", "long", "warmup"):
        values = [one.middle(arm) for one in found.values()]
        others[f"share of the way between the ends that lies from 20 to 80, evenly 0.6: {TITLES[arm]}"] = student_mean(
            values
        )
    volumes = {arm: [one.volume(arm) for one in found.values()] for arm in TITLES}
    for arm in ("steered", "long", "fixed", "soup", "unprepared", "warmup"):
        others[f"hypervolume: {TITLES[arm]}"] = student_mean(volumes[arm])
    for arm, other in (("steered", "fixed"), ("long", "fixed"), ("steered", "soup"), ("steered", "warmup")):
        others[f"hypervolume, {TITLES[arm]} minus: {TITLES[other]}"] = _difference(volumes[arm], volumes[other])
    for arm in ("steered", "long", "fixed", "soup", "unprepared", "warmup"):
        nats = [one.distance(arm) for one in found.values()]
        others[f"KL from the untouched model in nats: {TITLES[arm]}"] = student_mean(nats)
    ends = [[one.worth(arm, 1.0) for one in found.values()] for arm in ("fixed", "soup")]
    both = f"score in {scale.first} of the policy for {scale.first}"
    others[f"{both}, asked with its sentence minus without one, as a soup is"] = _difference(*ends)
    estimate = student_mean([one.correlation("steered") - ENOUGH for one in found.values()])
    return Measured(arms, estimate, lies(estimate, "greater"), others)
