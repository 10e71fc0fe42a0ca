"""What a claim consists of: the runs that test it, how their files are read, and the texts of its page."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Literal

from launch.common.statistics import Estimate
from launch.pipelines.stages import Stage


@dataclass(frozen=True)
class Place:
    """Where one reproduction lives.

    Attributes:
        folder: absolute.
        seeds: each has its own data, warm-up, reward model and runs.
        rehearsal: a few steps of everything, which decide nothing.
    """

    folder: Path
    seeds: tuple[int, ...]
    rehearsal: bool = False

    def of(self, seed: int, name: str) -> Path:
        """The place of what belongs to one seed."""
        return self.folder / f"seed{seed}" / name


@dataclass(frozen=True)
class Arm:
    """One way to train, with every seed.

    Attributes:
        title: as a reader calls it.
        curves: seed -> (training step, value) in rising order; what of them is compared says the claim.
    """

    title: str
    curves: Mapping[int, Sequence[tuple[float, float]]]

    def ends(self) -> dict[int, float]:
        """Seed -> last value."""
        return {seed: curve[-1][1] for seed, curve in self.curves.items()}

    def means(self) -> dict[int, float]:
        """Seed -> mean of all values."""
        return {seed: fmean(value for _, value in curve) for seed, curve in self.curves.items()}


@dataclass(frozen=True)
class Measured:
    """What the runs say.

    Attributes:
        arms: by name; the CPU seconds of an arm are those of the stages `NAME_sSEED...` and of what the claim says that it
            shares.
        estimate: of the comparison that decides, over seeds; paired where the arms share them.
        holds: whether the claim does.
        others: whatever else was measured, by a phrase.
    """

    arms: Mapping[str, Arm]
    estimate: Estimate
    holds: bool
    others: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A question, and the runs that answer it.

    Attributes:
        name: of the command line.
        paper: title and address.
        question: in one sentence.
        comparison: what `Measured.estimate` is, in one phrase with its unit.
        direction: where the estimate must lie for the claim to hold; `either` for one that is reported only, `zero` for
            one that is a count of failures.
        condition: under which it holds.
        weakest: what would change your mind.
        across, up: axes of the picture.
        compared: the end of an arm's curves, or their mean where something else than training steps is across.
        stages: the runs. Those of an arm are named `ARM_sSEED` or begin with it; others are shared.
        measure: reads what they left.
        scale: `gpu` for runs on one GPU, with models and data from a hub, one at a time.
        hours: of each of its stages on that GPU, estimated and never measured.
        counted: what the estimate's `n` counts. Where it is not seeds, nothing is drawn: the only seed is 0, the
            estimate has no interval, and what `across` counts up to is an arm's `n`.
        shared: arm -> names with which further stages begin that it needs, as an arm's do. Their CPU seconds count for every
            arm that names them, so that the arms together may have more than the whole reproduction.
    """

    name: str
    paper: str
    question: str
    comparison: str
    direction: Literal["greater", "less", "either", "zero"]
    condition: str
    weakest: str
    across: str
    up: str
    stages: Callable[[Place], list[Stage]]
    measure: Callable[[Place], Measured]
    counted: str = "seeds"
    compared: Literal["end", "mean"] = "end"
    shared: Mapping[str, Sequence[str]] = field(default_factory=dict)
    scale: Literal["cpu", "gpu"] = "cpu"
    hours: Callable[[Place], Mapping[str, float]] | None = None

    def cpu_seconds(self, costs: Mapping[str, Mapping], arm: str, seed: int | None = None) -> float:
        """What an arm took with all that it needs, in one seed or in all; `costs` as of `StageRunner.costs`."""
        return self.spent(costs, arm, "cpu_seconds", seed)

    def spent(self, costs: Mapping[str, Mapping], arm: str, which: str, seed: int | None = None) -> float:
        """The same of `which` of the costs: `seconds` that passed are the GPU's where every run has it for itself."""
        names = "|".join(map(re.escape, (arm, *self.shared.get(arm, ()))))
        number = r"\d+" if seed is None else str(seed)
        stages = re.compile(rf"(?:{names})_s{number}(?!\d)")
        return sum(cost[which] for stage, cost in costs.items() if stages.match(stage))


def lies(estimate: Estimate, direction: Literal["greater", "less", "zero"]) -> bool:
    """Whether the whole interval lies on that side of 0, not where there is no interval; `zero`: the value itself is 0."""
    if direction == "zero":
        return estimate.value == 0 and estimate.n > 0
    if estimate.low is None or estimate.high is None:
        return False
    return estimate.low > 0 if direction == "greater" else estimate.high < 0
