"""Bradley-Terry rewards of a generative scorer, on plain numbers (Bradley and Terry 1952; DESIGN: pair-coupled GRPO).

Two replies of a pair are scored apart, several times each. The margin of one score is directional: how far it lies on
its own side of the other reply's mean score, d = z - mean(other) for the preferred reply and mean(other) - z for the
other one. Positive is right, zero a tie, negative wrong, for both sides alike; swapping sides and label together changes
nothing.

Units: scores, margins and temperatures in score points of the parser's scale, everything after the division by the
temperature without unit. Imports neither torch nor anything upstream.
"""

import math
import statistics
from collections.abc import Sequence

TIE_WIDTH = 1e-9  # score points; scores have one decimal at most


def softplus(x: float) -> float:
    """log(1 + exp(x)) without overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def log_sigmoid(x: float) -> float:
    """log sigma(x) = -softplus(-x), at most 0."""
    return -softplus(-x)


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)) without overflow."""
    return math.exp(log_sigmoid(x))


def bt_log_loss(margin: float, temperature: float) -> float:
    """Negative log-likelihood of the label under sigma(margin / temperature)."""
    return softplus(-margin / temperature)


def scaled_margin(
    margin: float, temperature: float, clip: float = 0.0, negative_clip: float = 0.0, *, soft: bool = False
) -> float:
    """margin / temperature, bounded to [-negative_clip, clip]; a bound of 0 or less is no bound.

    Args:
        soft: bound by x / (1 + |x| / c), so that a worse score still gets a worse value and a push: of the slope at a tie
            a margin of -6 keeps 2.4% at c = 1.1, where tanh would keep 0.007%. A hard bound makes all scores past it
            equal: where a whole group lies there, its gradient is zero.

    Raises:
        ValueError: the temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    x = margin / temperature
    bound = clip if x > 0 else negative_clip
    if bound <= 0:
        return x
    if soft:
        return x / (1 + abs(x) / bound)
    return max(-bound, min(bound, x))


def directional_margins(
    preferred: Sequence[float | None], other: Sequence[float | None]
) -> tuple[list[float | None], list[float | None]]:
    """The margins of all scores of a pair against the mean of the scores on the other side.

    Args:
        preferred: K scores of the preferred reply, None where there is none.
        other: the scores of the other reply.

    Returns:
        The margins of both, None where a score is missing or the other side has none at all.
    """
    mean_preferred, mean_other = mean(preferred), mean(other)
    return (
        [None if z is None or mean_other is None else difference(z, mean_other) for z in preferred],
        [None if z is None or mean_preferred is None else difference(mean_preferred, z) for z in other],
    )


def difference(first: float, second: float) -> float:
    """first - second, exactly 0 where only the rounding of a mean is left of it."""
    gap = first - second
    return 0.0 if abs(gap) < TIE_WIDTH else gap


def mean(scores: Sequence[float | None]) -> float | None:
    """The mean of the scores that are there, None without any."""
    there = [score for score in scores if score is not None]
    return sum(there) / len(there) if there else None


def score_spread(scores: Sequence[float | None], group_size: int) -> dict[str, float]:
    """How far a scorer still tells texts apart, from the scores of a batch; a number of nothing is left out.

    Args:
        scores: (N,) of groups of `group_size` neighbours, one group a reply; None or nan without a score.

    Returns:
        `mean` of all scores; `std_between`, of the replies' means; `std_within`, root of the mean variance of a reply's own
        scores; `distinct`, how many different scores were given. A scorer has collapsed when `std_between` and `distinct`
        go to 0 and 1, whatever its share of right pairs is.
    """
    there = [score for score in scores if score is not None and not math.isnan(score)]
    if not there:
        return {}
    parts = [scores[start : start + group_size] for start in range(0, len(scores), group_size)]
    groups = [[one for one in part if one is not None and not math.isnan(one)] for part in parts]
    means = [statistics.fmean(group) for group in groups if group]
    variances = [statistics.variance(group) for group in groups if len(group) > 1]
    spread = {"mean": statistics.fmean(there), "distinct": float(len({round(score, 3) for score in there}))}
    if len(means) > 1:
        spread["std_between"] = statistics.stdev(means)
    if variances:
        spread["std_within"] = math.sqrt(statistics.fmean(variances))
    return spread
