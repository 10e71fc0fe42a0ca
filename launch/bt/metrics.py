"""What a list of scored pairs says about a reward model: accuracy, Bradley-Terry loss, margins and their tails.

Numpy only. What is undefined (a rate of nothing) is None, never NaN, so that every result is plain JSON.
"""

from collections.abc import Sequence

import numpy as np

from launch.bt.scored import ScoredPair, Summary, parsed
from launch.common.statistics import mean, share

PERCENTILES = (5, 25, 50, 75, 95)


def bt_loss(margins: Sequence[float], temperature: float = 1.0) -> np.ndarray:
    """Negative log-likelihood -log sigma(margin / temperature) of each preference (n,), in nats.

    Args:
        margins: (n,) in points of the scale; 0 for a tie, which costs log 2.
        temperature: points of the scale for one unit of log-odds.

    Raises:
        ValueError: the temperature is not a positive finite number.
    """
    check_temperature(temperature)
    return np.logaddexp(0.0, -np.asarray(margins, dtype=np.float64) / temperature)


def check_temperature(temperature: float) -> None:
    """Refuses a temperature that no margin can be divided by.

    Raises:
        ValueError: it is not a positive finite number.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"the Bradley-Terry temperature (--bt_temp) must be positive, found {temperature:g}")


def describe(values: Sequence[float]) -> Summary | None:
    """n, mean, population std, min, percentiles (linear between ranks) and max of `values`; None where there are none."""
    if not len(values):
        return None
    array = np.asarray(values, dtype=np.float64)
    return {
        "n": len(array),
        "mean": float(array.mean()),
        "std": float(array.std()),
        "min": float(array.min()),
        **{f"p{rank}": float(np.percentile(array, rank)) for rank in PERCENTILES},
        "max": float(array.max()),
    }


def wins(margins: Sequence[float]) -> np.ndarray:
    """(n,): 1 where the preferred reply scored higher, 0.5 for a tie, 0 otherwise."""
    return (np.sign(np.asarray(margins, dtype=np.float64)) + 1) / 2


def evaluate_pairs(
    pairs: Sequence[ScoredPair], *, bt_temp: float = 1.0, require_all_samples: bool = False, seed: int = 0
) -> Summary:
    """Accuracy, loss and margins of `pairs`.

    A pair is evaluated when both replies have a score. `accuracy` and `strict_accuracy` are over evaluated pairs;
    their `_of_all` twins count a pair without scores as wrong, so that a model cannot gain by staying silent.

    Args:
        bt_temp: temperature of the Bradley-Terry loss, in points of the scale.
        require_all_samples: see `ScoredPair.margin`.
        seed: of the bootstrap intervals.

    Raises:
        ValueError: no pairs, or a temperature that is not positive.
    """
    if not pairs:
        raise ValueError("there are no pairs to evaluate")
    check_temperature(bt_temp)
    margins = margins_of(pairs, require_all_samples)
    correct, wrong = margins[margins > 0], margins[margins < 0]
    decided, ties = margins[margins != 0], int((margins == 0).sum())
    penalised = [*wins(margins), *[0.0] * (len(pairs) - len(margins))]
    samples_parsed = [len(parsed(both)) / len(both) for both in map(_both_sides, pairs)]
    return {
        "pairs": len(pairs),
        "evaluated": len(margins),
        "unparsable": len(pairs) - len(margins),
        "correct": len(correct),
        "wrong": len(wrong),
        "ties": ties,
        "accuracy": mean(wins(margins), seed).as_json(),
        "strict_accuracy": share(len(correct), len(margins)).as_json(),
        "non_tie_accuracy": share(len(correct), len(decided)).as_json(),
        "accuracy_of_all": mean(penalised, seed).as_json(),
        "strict_accuracy_of_all": share(len(correct), len(pairs)).as_json(),
        "tie_rate": share(ties, len(margins)).as_json(),
        "pair_parse_rate": share(len(margins), len(pairs)).as_json(),
        "sample_parse_rate": mean(samples_parsed, seed).as_json(),
        "first_preferred": share(sum(pair.preferred == 0 for pair in pairs), len(pairs)).as_json(),
        "bt_temp": bt_temp,
        "bt_loss": mean(bt_loss(margins, bt_temp), seed).as_json(),
        "bt_loss_non_ties": mean(bt_loss(decided, bt_temp), seed).as_json(),
        "margins": {
            "all": describe(margins),
            **{name: describe(part) for name, part in _parts(decided, correct, wrong)},
        },
        "losses": {
            "all": describe(bt_loss(margins, bt_temp)),
            **{name: describe(bt_loss(part, bt_temp)) for name, part in _parts(decided, correct, wrong)},
        },
    }


def margins_of(pairs: Sequence[ScoredPair], require_all_samples: bool = False) -> np.ndarray:
    """Margins of the pairs whose replies both have a score, in the order of `pairs`."""
    margins = (pair.margin(require_all_samples) for pair in pairs)
    return np.array([margin for margin in margins if margin is not None], dtype=np.float64)


def swap_probe(pairs: Sequence[ScoredPair], require_all_samples: bool = False) -> Summary:
    """The accuracy of `pairs`, once more with sides and labels swapped, and once with the labels alone flipped.

    The first two are equal and the third is their complement, or an arithmetic here takes sides: that is asserted.
    """

    def accuracy(these: Sequence[ScoredPair]) -> float | None:
        margins = margins_of(these, require_all_samples)
        return float(wins(margins).mean()) if len(margins) else None

    plain = accuracy(pairs)
    swapped = accuracy([pair.swap() for pair in pairs])
    flipped = accuracy([pair.flip() for pair in pairs])
    if plain is not None:
        assert abs(swapped - plain) < 1e-12, f"accuracy {plain} became {swapped} with sides and labels swapped"
        assert abs(flipped - (1 - plain)) < 1e-12, f"accuracy {plain} became {flipped} with labels flipped"
    return {"accuracy": plain, "sides_and_labels_swapped": swapped, "labels_flipped": flipped}


def _parts(decided: np.ndarray, correct: np.ndarray, wrong: np.ndarray):
    return (("non_ties", decided), ("correct", correct), ("wrong", wrong))


def _both_sides(pair: ScoredPair) -> tuple[float | None, ...]:
    return (*pair.scores[0], *pair.scores[1])
