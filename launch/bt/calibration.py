"""Does a margin mean what the Bradley-Terry model reads from it? P(first wins) = sigma(margin / temperature).

A prediction is folded to the reply with the higher score: its confidence is sigma(|margin| / temperature), from 0.5 to
1, and its outcome 1, 0, or 0.5 for a tie. So nothing here depends on which side a reply stood.
"""

from collections.abc import Sequence

import numpy as np

from launch.bt.metrics import bt_loss, check_temperature, wins
from launch.bt.scored import Summary

BINS = 10


def reliability(margins: Sequence[float], temperature: float) -> Summary:
    """Reliability table over ten equal bins of confidence from 0.5 to 1, and the expected calibration error.

    Args:
        margins: (n,) preferred minus other, in points of the scale.

    Returns:
        `table`: for each bin that holds a pair its `low`, `high`, `n`, mean `confidence` and `accuracy`;
        `ece`: the mean of |accuracy - confidence| over bins, weighted by n; None where there are no pairs.
    """
    check_temperature(temperature)
    array = np.asarray(margins, dtype=np.float64)
    if not len(array):
        return {"temperature": temperature, "ece": None, "table": []}
    confidence = np.exp(-bt_loss(np.abs(array), temperature))
    outcome = wins(array)
    edges = np.linspace(0.5, 1.0, BINS + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, BINS - 1)
    table = []
    for place in range(BINS):
        inside = places == place
        if inside.any():
            table.append(
                {
                    "low": float(edges[place]),
                    "high": float(edges[place + 1]),
                    "n": int(inside.sum()),
                    "confidence": float(confidence[inside].mean()),
                    "accuracy": float(outcome[inside].mean()),
                }
            )
    error = sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in table) / len(array)
    return {"temperature": temperature, "ece": error, "table": table}


def fit_temperature(margins: Sequence[float]) -> tuple[float | None, str]:
    """The temperature with the smallest mean Bradley-Terry loss, and a word on it.

    Returns:
        None with the reason where no finite positive temperature is best: there are no decided pairs, none is wrong
        (the best is 0), or the mean margin is not positive (the best is infinite: the scores say nothing).
    """
    array = np.asarray(margins, dtype=np.float64)
    if not (array != 0).any():
        return None, "no decided pairs"
    if array.mean() <= 0:
        return None, "the mean margin is not positive: no temperature beats a coin"
    if (array >= 0).all():
        return None, "no wrong pair: the best temperature is 0"
    # The loss is convex in the inverse temperature, so its slope has one root; doubling brackets it.
    scale = np.abs(array).max()
    unit = array / scale

    def slope(inverse: float) -> float:
        return float(-(unit * np.exp(-np.logaddexp(0.0, unit * inverse))).mean())

    low, high = 0.0, 1.0
    while slope(high) < 0:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(scale / high), "fitted"


def calibrate(margins: Sequence[float], bt_temp: float, seed: int = 0) -> Summary:
    """Reliability at `bt_temp` on all pairs, and on a held-out half at `bt_temp` and at a temperature fitted on the rest.

    Args:
        margins: (n,) one a pair; halves are drawn by pair, from `seed`.
    """
    array = np.asarray(margins, dtype=np.float64)
    order = np.random.default_rng(seed).permutation(len(array))
    fit, held_out = array[order[: len(array) // 2]], array[order[len(array) // 2 :]]
    temperature, note = fit_temperature(fit)
    return {
        "at_bt_temp": reliability(array, bt_temp),
        "fit": {"temperature": temperature, "note": note, "fitted_on": len(fit), "held_out": len(held_out)},
        "held_out_at_bt_temp": _with_loss(held_out, bt_temp),
        "held_out_at_fitted": None if temperature is None else _with_loss(held_out, temperature),
    }


def _with_loss(margins: np.ndarray, temperature: float) -> Summary:
    loss = float(bt_loss(margins, temperature).mean()) if len(margins) else None
    return {"bt_loss": loss, **reliability(margins, temperature)}
