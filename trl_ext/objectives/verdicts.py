"""Verdicts of a pairwise judge: read from an answer, turned around, and compared with the truth. Pure functions.

A verdict is `A`, `B` or `tie`; None where an answer gives none. Signs: higher is better for every function that scores.
"""

import re
from collections import Counter
from collections.abc import Sequence

LABELS = ("A", "B", "tie")
STRONGEST = 3  # HelpSteer2 states a preference in steps from -3 to 3

_TAG = re.compile(r"<preference>([^<>]*)</preference>", re.IGNORECASE)
_END_OF_THINKING = re.compile(r"</think>", re.IGNORECASE)
# The whole content of a tag, in lower case. Nothing is searched inside a longer text: "patient" is no tie.
_MEANINGS = {
    **{f"{word}{letter.lower()}": letter for letter in "AB" for word in ("", "response ", "answer ")},
    **dict.fromkeys(("tie", "equal", "same"), "tie"),
}


def after_thinking(text: str) -> str:
    """What an answer says after its last `</think>`; nothing where a `<think>` is still open behind it.

    A chat template that opens the block itself leaves an answer with the closing tag alone.
    """
    said = _END_OF_THINKING.split(text)[-1]
    return "" if "<think>" in said.lower() else said


def parse_verdict(text: str | None) -> str | None:
    """The verdict in the last complete `<preference>` tag after the thinking, or None.

    The tag must hold one of a closed set of words (any case, spaces around it): A, B, tie, `Response A`, `Answer B`,
    equal, same. An earlier tag does not stand in for a last one that holds something else.
    """
    found = _TAG.findall(after_thinking(text or ""))
    return _MEANINGS.get(" ".join(found[-1].split()).lower()) if found else None


def is_well_formed(text: str) -> bool:
    """Whether an answer holds exactly one `<preference>` tag after the thinking, readable, and ends with it."""
    said = after_thinking(text).strip().lower()
    tags = (said.count("<preference>"), said.count("</preference>"))
    return tags == (1, 1) and said.endswith("</preference>") and parse_verdict(text) is not None


def swap_label(label: str | None) -> str | None:
    """The same judgement when A and B change places; its own inverse."""
    swapped: dict[str | None, str | None] = {"A": "B", "B": "A"}
    return swapped.get(label, label)


def check_label(label: object) -> str:
    """The label itself.

    Raises:
        ValueError: it is none of `LABELS`; a missing truth is never taken for a tie.
    """
    if label not in LABELS:
        raise ValueError(f"the true preference must be one of {', '.join(LABELS)}; found {label!r}")
    return label


def is_correct(verdict: str | None, truth: str) -> float:
    """1.0 for the true label, else 0.0; an answer without a verdict is never right. Raises as `check_label`."""
    return float(verdict == check_label(truth))


def strength_weight(strength: float) -> float:
    """|s| / 3 for a preference of strength s in [-3, 3]; a tie counts like a slight preference, 1/3.

    Raises:
        ValueError: a strength outside.
    """
    if not -STRONGEST <= strength <= STRONGEST:
        raise ValueError(f"preference_strength must be from -{STRONGEST} to {STRONGEST}; found {strength!r}")
    return (abs(strength) or 1) / STRONGEST


def agreement_with_swapped(verdicts: Sequence[str | None], swapped: Sequence[str | None]) -> list[float]:
    """For each verdict on one order of a pair, the share of the verdicts on the other order that say the same thing.

    Args:
        verdicts: of the completions that saw the pair in one order.
        swapped: of those that saw it in the other; A there is B here. None agrees with nothing.

    Raises:
        ValueError: no verdict on the other order.
    """
    if not swapped:
        raise ValueError("a pair without completions for its other order has no consistency")
    said = Counter(swap_label(verdict) for verdict in swapped)
    return [said[verdict] / len(swapped) if verdict is not None else 0.0 for verdict in verdicts]
