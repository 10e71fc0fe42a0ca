"""Weights as a user writes them: `helpful=0.7,harmless=0.3`, whole grids of them, and sliders that sum to 100."""

import itertools
import math
from collections.abc import Sequence

from datasets_builders.choices import nearest

_SUM_TOLERANCE = 1e-6


def parse_weights(text: str, names: Sequence[str], flag: str = "--weights") -> tuple[float, ...]:
    """(K,) weights in the order of `names`; an objective that is left out has weight 0.

    Raises:
        ValueError: an objective that is not in `names` (the nearest one is offered), one named twice, a weight that is
            no number of at least 0, or a sum other than 1 (the weights with that sum are offered).
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, sign, number = (piece.strip() for piece in part.partition("="))
        if not sign:
            raise ValueError(f"{flag} {text!r}: write NAME=WEIGHT,NAME=WEIGHT with the names {', '.join(names)}")
        if name not in names:
            raise ValueError(f"{flag} {text!r}: no objective {name!r}; {nearest(name, names)}")
        if name in found:
            raise ValueError(f"{flag} {text!r}: {name!r} is named twice")
        try:
            found[name] = float(number)
        except ValueError:
            raise ValueError(f"{flag} {text!r}: {number!r} is not a number") from None
        if not 0 <= found[name] < math.inf:
            raise ValueError(f"{flag} {text!r}: the weight of {name!r} must be a number of at least 0")
    total = math.fsum(found.values())
    if total == 0:
        raise ValueError(f"{flag} {text!r}: every weight is 0, they must sum to 1")
    if abs(total - 1) > _SUM_TOLERANCE:
        offer = ",".join(f"{name}={weight / total:.4g}" for name, weight in found.items())
        raise ValueError(f"{flag} {text!r}: the weights sum to {total:g}, they must sum to 1; in proportion: {offer}")
    return tuple(found.get(name, 0.0) for name in names)


def write_weights(names: Sequence[str], weights: Sequence[float]) -> str:
    """`helpful=0.7,harmless=0.3`, what `parse_weights` reads."""
    return ",".join(f"{name}={weight:.4g}" for name, weight in zip(names, weights, strict=True))


def percentages(weights: Sequence[float]) -> str:
    """`70-30`: a name for files and pictures."""
    from trl_ext.objectives.weights import grid_units

    return "-".join(str(unit) for unit in grid_units(weights, 100))


def lattice(objectives: int, steps: int | None = None) -> list[tuple[float, ...]]:
    """All weight vectors whose entries are multiples of 1 / steps, the first objective's weight falling.

    Two objectives and 10 steps, their default, give 11 vectors; three and 4 steps, that of all others, give 15.
    """
    steps = steps or (10 if objectives == 2 else 4)
    cuts = itertools.combinations(range(steps + objectives - 1), objectives - 1)
    edges = ((-1, *cut, steps + objectives - 1) for cut in cuts)
    counts = sorted((tuple(b - a - 1 for a, b in itertools.pairwise(edge)) for edge in edges), reverse=True)
    return [tuple(count / steps for count in row) for row in counts]


def balance(percents: Sequence[int], moved: int) -> list[int]:
    """Slider positions that sum to 100 after slider `moved` was set: the others share the rest in their proportion.

    When all others stand at 0 they share it equally.
    """
    from trl_ext.objectives.weights import grid_units

    value = min(100, max(0, round(percents[moved])))
    if len(percents) == 1:
        return [100]
    others = [place for place in range(len(percents)) if place != moved]
    total = sum(percents[place] for place in others)
    shares = [percents[place] / total if total else 1 / len(others) for place in others]
    result = [value] * len(percents)
    for place, units in zip(others, grid_units(shares, 100 - value), strict=True):
        result[place] = units
    return result
