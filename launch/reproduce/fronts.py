"""What the fronts of the claim `modpo-front` are worth, from what was measured of their policies and what they took."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from launch.common.statistics import Estimate, hypervolume, student_mean
from launch.reproduce.claim import Arm, Measured, lies

WEIGHTS = (0.2, 0.5, 0.8)
LEAST = WEIGHTS[0]  # where it matters most which pairs are trained on
TITLES = {
    "optimum": "the best there is",
    "morl": "MORL, GRPO on the weighted rewards",
    "function": "MODPO as advised, margin by function",
    "modpo": "MODPO as advised, margin by adapter",
    "soup": "soup of the two DPO ends",
    "mixed": "DPO on rows of both, shares w and 1 - w",
    "untouched": "untouched model",
}
# Arms that train, and what their CPU seconds are those of.
FRONTS = {
    "morl": "three runs, rewards that cost nothing",
    "function": "three runs",
    "modpo": "three runs and the two DPO ends as margins",
    "soup": "the two DPO ends and three sums",
    "mixed": "three runs",
}


class _Seed:
    """What `launch.reproduce.trade_off` wrote of one seed."""

    def __init__(self, found: Mapping[str, Mapping[str, Mapping]]):
        self.policies, self.optimum = found["policies"], found["optimum"]

    def point(self, arm: str, w: float) -> Mapping:
        if arm == "optimum":
            return self.optimum[f"{w:g}"]
        return self.policies["untouched" if arm == "untouched" else f"{arm}{w:g}"]

    def worth(self, arm: str, w: float) -> float:
        j = self.point(arm, w)["j"]
        return j if arm == "optimum" else j[f"{w:g}"]

    def volume(self, arm: str) -> float:
        """Of the arm's points over no word at all, which is the same for every arm and seed. Unit: words of A x words of B."""
        points = [(self.point(arm, w)["a"], self.point(arm, w)["b"]) for w in WEIGHTS]
        return hypervolume(points, (0.0, 0.0))

    def divergence(self, arm: str) -> float:
        return fmean(self.point(arm, w)["kl"] for w in WEIGHTS)


def compared(found: Mapping[int, Mapping], taken: Mapping[str, Sequence[float]]) -> Measured:
    """J_w over w of every arm; MODPO against each of the others, paired by seed; what each front spans and took.

    Args:
        found: seed -> what `launch.reproduce.trade_off` wrote.
        taken: CPU seconds of the arms in FRONTS and of `ends`, the two DPO runs that some of those hold, one number a seed.
    """
    seeds = {seed: _Seed(one) for seed, one in found.items()}
    drawn = {
        name: Arm(title, {seed: [(w, one.worth(name, w)) for w in WEIGHTS] for seed, one in seeds.items()})
        for name, title in TITLES.items()
    }
    arms = {
        name: arm for name, arm in drawn.items() if name != "mixed"
    }  # a run that left the language hides all others
    others = {
        f"MODPO by adapter minus: {TITLES[name]}": _difference(arms["modpo"], arms[name])
        for name in ("morl", "soup", "optimum")
    }
    for w in WEIGHTS:
        gaps = [one.worth("modpo", w) - one.worth("mixed", w) for one in seeds.values()]
        others[f"at w = {w:g} alone, MODPO by adapter minus: {TITLES['mixed']}"] = student_mean(gaps)
    for name in ("soup", "morl"):
        others[f"MODPO with a margin by function minus: {TITLES[name]}"] = _difference(arms["function"], arms[name])
    for arm in ("modpo", "soup", "untouched"):
        gaps = [one.worth(arm, LEAST) - one.worth("unadvised", LEAST) for one in seeds.values()]
        phrase = (
            f"at w = {LEAST:g} alone, {TITLES[arm]} minus: MODPO on A's pairs from the reference at DPO's learning rate"
        )
        others[phrase] = student_mean(gaps)
    others |= _in_order(list(seeds.values()))
    for arm in TITLES:
        others[f"hypervolume above no word at all, words of A x words of B: {TITLES[arm]}"] = student_mean(
            [one.volume(arm) for one in seeds.values()]
        )
        if arm != "untouched":
            kl = [one.divergence(arm) for one in seeds.values()]
            others[f"KL from the untouched model in nats: {TITLES[arm]}"] = student_mean(kl)
    others |= _costs(taken)
    estimate = _difference(arms["modpo"], arms["untouched"])
    return Measured(arms, estimate, lies(estimate, "greater"), others)


def _difference(one: Arm, other: Arm) -> Estimate:
    ours, theirs = one.means(), other.means()
    return student_mean([ours[seed] - theirs[seed] for seed in ours])


def _in_order(seeds: Sequence[_Seed]) -> dict[str, Estimate]:
    """What MODPO has more of from one w to the next."""
    others = {}
    for low, high in pairwise(WEIGHTS):
        for name, more in (("a", "more"), ("b", "fewer")):
            sign = 1 if more == "more" else -1
            steps = [sign * (one.point("modpo", high)[name] - one.point("modpo", low)[name]) for one in seeds]
            phrase = f"MODPO by adapter, from w = {low:g} to {high:g}: {more} words of {name.upper()}"
            others[phrase] = student_mean(steps)
    return others


def _costs(taken: Mapping[str, Sequence[float]]) -> dict[str, Estimate]:
    """CPU seconds of whole fronts, and how many times MODPO's MORL's takes, of which the paper says three."""
    others = {
        f"CPU seconds of a whole front: {TITLES[arm]} ({what})": student_mean(taken[arm])
        for arm, what in FRONTS.items()
    }
    for arm, margin in (("modpo", "adapter"), ("function", "function")):
        ratios = [morl / modpo for morl, modpo in zip(taken["morl"], taken[arm], strict=True)]
        others[f"MORL's CPU seconds over those of MODPO, margin by {margin} (the paper: 3)"] = student_mean(ratios)
    learnt = [
        (morl + ends) / modpo for morl, ends, modpo in zip(taken["morl"], taken["ends"], taken["modpo"], strict=True)
    ]
    phrase = "the same, margin by adapter, had MORL two reward models at the price of the two DPO ends (not run)"
    others[phrase] = student_mean(learnt)
    return others
