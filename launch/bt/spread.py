"""How sampled scores scatter: uncertain replies, bands, histograms, and the agreement of sample k with sample k.

What is undefined (the mean of no score) is None.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np

from datasets_builders.scoring.parsers import Scale
from launch.bt.scored import TIE, ScoredPair, Summary, parsed

Bands = tuple[float, float]


def check_bands(bands: Bands) -> Bands:
    """`bands` itself.

    Raises:
        ValueError: the low band does not end below the start of the high one; a score would fall into both.
    """
    low, high = bands
    if not low < high:
        raise ValueError(f"--unc_low must be below --unc_high, found {low:g} and {high:g}")
    return bands


def range_thresholds(scale: Scale) -> tuple[float, ...]:
    """20, 30 and 40% of the width of the scale: 20, 30, 40 points out of 100."""
    return tuple(round(part * (scale.high - scale.low), 9) for part in (0.2, 0.3, 0.4))


def is_uncertain(samples: Sequence[float | None], bands: Bands) -> bool:
    """Do the samples of one reply reach both the low and the high band?"""
    low, high = check_bands(bands)
    scores = parsed(samples)
    return bool(scores) and min(scores) <= low and max(scores) >= high


def score_range(samples: Sequence[float | None]) -> float | None:
    """Largest minus smallest parsable sample."""
    scores = parsed(samples)
    return max(scores) - min(scores) if scores else None


def band_counts(scores: Iterable[float | None], bands: Bands) -> Summary:
    """How many scores lie in the low band, between the bands, and in the high band; None is passed over."""
    low, high = check_bands(bands)
    found = parsed(list(scores))
    lows, highs = sum(score <= low for score in found), sum(score >= high for score in found)
    return {"low": lows, "middle": len(found) - lows - highs, "high": highs}


def histogram(scores: Iterable[float | None], bin_width: float) -> dict[str, int]:
    """Centre of a bin -> scores that are nearest to it, ascending; halves go to the even multiple of `bin_width`.

    Raises:
        ValueError: the width is not positive.
    """
    if not bin_width > 0:
        raise ValueError(f"the width of a bin must be positive, found {bin_width:g}")
    counts: dict[int, int] = {}
    for score in parsed(list(scores)):
        place = round(score / bin_width)
        counts[place] = counts.get(place, 0) + 1
    # The decimals of the width, so that bins of 0.1 are named 3.2 and not 3.2000000000000002.
    decimals = max(0, -Decimal(str(float(bin_width))).normalize().as_tuple().exponent)
    return {f"{place * bin_width:.{decimals}f}": counts[place] for place in sorted(counts)}


def uncertainty(
    pairs: Sequence[ScoredPair], scale: Scale, bands: Bands | None = None, require_all_samples: bool = False
) -> Summary:
    """Of the wrong pairs the share with an uncertain reply; bands and histograms of wrong and of right pairs' samples.

    Args:
        bands: default: those of the scale.
        require_all_samples: see `ScoredPair.margin`.
    """
    bands = check_bands(bands or scale.uncertain)
    wrong, right = _decided(pairs, require_all_samples)
    return {
        "bands": list(bands),
        "wrong_pairs": len(wrong),
        **_any_both("uncertain", wrong, lambda samples: is_uncertain(samples, bands)),
        **{
            name: {
                "bands": band_counts(_samples(these), bands),
                "histogram": histogram(_samples(these), scale.bin_width),
            }
            for name, these in (("wrong", wrong), ("correct", right))
        },
    }


def summarize_samples(samples: Sequence[float | None]) -> Summary:
    """n, valid_n, valid_rate of one reply's samples; mean, population std, min, max and unique of the parsable ones."""
    scores = parsed(samples)
    count = {"n": len(samples), "valid_n": len(scores), "valid_rate": len(scores) / len(samples) if samples else None}
    if not scores:
        return {**count, **dict.fromkeys(("mean", "std", "min", "max", "unique"))}
    return {
        **count,
        "mean": float(np.mean(scores)),
        "std": float(np.std(scores)),
        "min": min(scores),
        "max": max(scores),
        "unique": len(set(scores)),
    }


def aligned_margins(of_preferred: Sequence[float | None], of_other: Sequence[float | None]) -> Summary:
    """Sample k of the preferred reply minus sample k of the other, where both parse.

    Returns:
        n, the shares p_gt, p_eq and p_lt of differences above, at and below 0, their mean and population std.
    """
    both = [(a, b) for a, b in zip(of_preferred, of_other, strict=False) if a is not None and b is not None]
    if not both:
        return {"n": 0, **dict.fromkeys(("p_gt", "p_eq", "p_lt", "mean", "std"))}
    differences = np.array([a - b for a, b in both], dtype=np.float64)
    return {
        "n": len(both),
        "p_gt": float((differences > TIE).mean()),
        "p_eq": float((np.abs(differences) <= TIE).mean()),
        "p_lt": float((differences < -TIE).mean()),
        "mean": float(differences.mean()),
        "std": float(differences.std()),
    }


def describe_pair(pair: ScoredPair) -> Summary:
    """Both replies' samples in numbers, the margins sample by sample, and the accuracy that they lead one to expect."""
    aligned = aligned_margins(pair.of_preferred, pair.of_other)
    right, even = aligned["p_gt"], aligned["p_eq"]
    return {
        "preferred": pair.preferred,
        "replies": [summarize_samples(side) for side in pair.scores],
        "aligned": aligned,
        "expected_accuracy": None if right is None else right + even / 2,
        "expected_strict_accuracy": right,
        "margin": pair.margin(),
    }


def variance(
    pairs: Sequence[ScoredPair],
    scale: Scale,
    bands: Bands | None = None,
    thresholds: Sequence[float] | None = None,
) -> Summary:
    """How much sampled scores scatter, and whether that explains the wrong pairs. Means are over what is defined.

    A pair whose mean scores are equal is a tie, neither right nor wrong.

    Args:
        bands: default: those of the scale.
        thresholds: widths of a reply's range, in points; default: `range_thresholds` of the scale.
    """
    bands = check_bands(bands or scale.uncertain)
    thresholds = range_thresholds(scale) if thresholds is None else thresholds
    rows = [describe_pair(pair) for pair in pairs]
    replies = [reply for row in rows for reply in row["replies"]]
    wrong, right = _decided(pairs)
    step = 10.0**-scale.decimals
    return {
        "pairs": len(pairs),
        "valid_rate": _mean(reply["valid_rate"] for reply in replies),
        "replies_without_score": sum(reply["valid_n"] == 0 for reply in replies),
        "std_within_reply": _mean(reply["std"] for reply in replies),
        "unique_scores": _mean(reply["unique"] for reply in replies),
        "tie_rate": _mean(row["aligned"]["p_eq"] for row in rows),
        "accuracy": _mean(row["expected_accuracy"] for row in rows),
        "strict_accuracy": _mean(row["expected_strict_accuracy"] for row in rows),
        "by_mean_score": {
            "correct": len(right),
            "wrong": len(wrong),
            "ties": sum(row["margin"] == 0 for row in rows),
            "undecided": sum(row["margin"] is None for row in rows),
        },
        "bands": list(bands),
        **_any_both("uncertain", wrong, lambda samples: is_uncertain(samples, bands)),
        "range": [
            {"at_least": threshold, **_any_both("share", wrong, lambda samples, t=threshold: _reaches(samples, t))}
            for threshold in thresholds
        ],
        "wrong_histogram": histogram(_samples(wrong), step),
        "correct_histogram": histogram(_samples(right), step),
    }


def _decided(
    pairs: Sequence[ScoredPair], require_all_samples: bool = False
) -> tuple[list[ScoredPair], list[ScoredPair]]:
    margins = [(pair, pair.margin(require_all_samples)) for pair in pairs]
    wrong = [pair for pair, margin in margins if margin is not None and margin < 0]
    return wrong, [pair for pair, margin in margins if margin is not None and margin > 0]


def _samples(pairs: Iterable[ScoredPair]) -> list[float | None]:
    return [score for pair in pairs for side in pair.scores for score in side]


def _any_both(name: str, pairs: Sequence[ScoredPair], holds) -> Summary:
    # The share of pairs of which any reply, or both, have a property; None without pairs.
    found = [[holds(side) for side in pair.scores] for pair in pairs]
    return {
        f"{name}_any": _mean(any(both) for both in found),
        f"{name}_both": _mean(all(both) for both in found),
    }


def _reaches(samples: Sequence[float | None], threshold: float) -> bool:
    width = score_range(samples)
    # 4.1 - 3.3 is a little under 0.8 in binary.
    return width is not None and width >= threshold - TIE


def _mean(values: Iterable[float | None]) -> float | None:
    found = parsed(list(values))
    return float(np.mean(found)) if found else None
