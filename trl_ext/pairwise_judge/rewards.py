"""Rewards of a pairwise judge, as TRL's `--reward_funcs` takes them by dotted path; ms-swift has them by name.

They are apart, so that upstream's `--reward_weights` mixes them and upstream's log shows each. Higher is better:
malformed <= wrong < right under any weights that are not negative. Rows are those of
`python -m datasets_builders helpsteer2-pairwise`: N completions, and a value of each column for each of them.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from trl_ext.objectives.verdicts import (
    agreement_with_swapped,
    is_correct,
    is_well_formed,
    parse_verdict,
    strength_weight,
)


def text_of(completion: str | Sequence[dict[str, str]]) -> str:
    """The text of a completion, which TRL hands over as messages where the prompt is one."""
    return completion if isinstance(completion, str) else completion[-1]["content"]


def verdicts_of(completions: Sequence[Any]) -> list[str | None]:
    return [parse_verdict(text_of(completion)) for completion in completions]


def _column(name: str, values: Sequence[Any] | None, count: int) -> Sequence[Any]:
    if values is None or len(values) != count:
        found = "none" if values is None else len(values)
        raise ValueError(
            f"{count} completions need as many values of the column {name!r}, found {found}: "
            "python -m datasets_builders helpsteer2-pairwise writes it"
        )
    return values


def pairwise_preference(
    completions: Sequence[Any], ground_truth: Sequence[str] | None = None, **columns
) -> list[float]:
    """1 for the true label, 0 for another one or none.

    Raises:
        ValueError: a row without a true label; it is never taken for a tie.
    """
    truths = _column("ground_truth", ground_truth, len(completions))
    return [is_correct(verdict, truth) for verdict, truth in zip(verdicts_of(completions), truths, strict=True)]


def pairwise_preference_by_strength(
    completions: Sequence[Any],
    ground_truth: Sequence[str] | None = None,
    preference_strength: Sequence[float] | None = None,
    **columns,
) -> list[float]:
    """`pairwise_preference` times |strength| / 3 (a tie: 1/3), so that clear preferences weigh more.

    A weight is the same for all completions of a prompt: scaling rewards by a group's spread divides it out.

    Raises:
        ValueError: a row without label or strength, or a strength outside of [-3, 3].
    """
    strengths = _column("preference_strength", preference_strength, len(completions))
    if None in strengths:
        raise ValueError(f"row {list(strengths).index(None)} of this batch has no preference_strength")
    right = pairwise_preference(completions, ground_truth)
    return [one * strength_weight(strength) for one, strength in zip(right, strengths, strict=True)]


def pairwise_format(completions: Sequence[Any], **columns) -> list[float]:
    """1 for an answer that ends with its only, readable `<preference>` tag, else 0."""
    return [float(is_well_formed(text_of(completion))) for completion in completions]


def pairwise_consistency(
    completions: Sequence[Any],
    ground_truth: Sequence[str] | None = None,
    pair_id: Sequence[Any] | None = None,
    side: Sequence[int] | None = None,
    **columns,
) -> list[float]:
    """For a right answer, the share of the answers to the other order of its pair that say the same; else 0.

    Only right answers earn it, because a judge that always says `tie` agrees with itself too. It is the same for all right
    answers to a prompt: scaling rewards by a group's spread divides it out.

    Raises:
        ValueError: rows that do not hold both orders of every pair, or a row without a true label.
    """
    count = len(completions)
    sides, right = _column("side", side, count), pairwise_preference(completions, ground_truth)
    verdicts = verdicts_of(completions)
    pairs: dict[Any, dict[int, list[int]]] = defaultdict(lambda: {0: [], 1: []})
    for row, (identity, where) in enumerate(zip(_column("pair_id", pair_id, count), sides, strict=True)):
        if where not in (0, 1):
            raise ValueError(f"pair {identity}: side {where!r} must be 0 or 1")
        pairs[identity][where].append(row)
    rewards = [0.0] * count
    for identity, orders in pairs.items():
        first, second = orders[0], orders[1]
        if not first or not second:
            raise ValueError(
                f"pair {identity} is here in the {'swapped' if second else 'original'} order alone: this reward compares "
                "the orders, which must be generated together (ms-swift's plugin does it: python -m swift_ext pairwise_judge)"
            )
        for own, other in ((first, second), (second, first)):
            shares = agreement_with_swapped([verdicts[row] for row in own], [verdicts[row] for row in other])
            for row, share in zip(own, shares, strict=True):
                rewards[row] = right[row] * share
    return rewards


REWARDS = {
    function.__name__: function
    for function in (pairwise_preference, pairwise_preference_by_strength, pairwise_format, pairwise_consistency)
}
