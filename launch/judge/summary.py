"""What a judge said, pair by pair and in a few numbers that need no truth."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from launch.judge.verdicts import JudgedRow, combine_orders, group_orders, votes_of
from trl_ext.objectives.verdicts import swap_label


def pair_records(rows: Sequence[JudgedRow]) -> list[dict[str, Any]]:
    """One record a pair, labels and strength in the frame of its original order.

    | key | meaning |
    |---|---|
    | `verdict` | of both orders together, see `combine_orders` |
    | `agree` | whether both orders say the same; null where one of them has no vote |
    | `votes` | [of the original order, of the swapped order turned back] |
    | `pair_id`, `ground_truth`, `preference_strength`, `subset` | as in the rows |
    """
    return [_pair_record(*orders) for orders in group_orders(rows).values()]


def _pair_record(original: JudgedRow | None, swapped: JudgedRow | None) -> dict[str, Any]:
    votes = list(votes_of(original, swapped))
    if original is not None:
        known, truth, strength = original, original.ground_truth, original.preference_strength
    else:
        known, truth, strength = swapped, swap_label(swapped.ground_truth), swapped.preference_strength
        strength = None if strength is None else 0 - strength  # the minus sign makes -0.0 of a tie
    return {
        "pair_id": known.pair_id,
        "verdict": combine_orders(original, swapped),
        "agree": None if None in votes else votes[0] == votes[1],
        "votes": votes,
        "ground_truth": truth,
        "preference_strength": strength,
        "subset": known.subset,
    }


def summarise(rows: Sequence[JudgedRow]) -> dict[str, Any]:
    """Counts and shares; a share of nothing is None.

    | key | meaning |
    |---|---|
    | `pairs`, `rows`, `answers` | how many |
    | `parse_rate` | share of the answers that hold a verdict |
    | `first_preferred` | share of A among the answers that say A or B; 0.5 without a liking for a place, in both orders |
    | `ties` | share of the verdicts that are `tie` |
    | `swap_agreement` | share of pairs whose votes in both orders agree, of those that have both |
    | `capped` | answers that were cut off at the token limit |
    """
    said = Counter(verdict for row in rows for verdict in row.verdicts)
    pairs = pair_records(rows)
    answers, read = said.total(), said.total() - said[None]
    compared = [pair["agree"] for pair in pairs if pair["agree"] is not None]
    return {
        "pairs": len(pairs),
        "rows": len(rows),
        "answers": answers,
        "parse_rate": _share(read, answers),
        "first_preferred": _share(said["A"], said["A"] + said["B"]),
        "ties": _share(said["tie"], read),
        "swap_agreement": _share(sum(compared), len(compared)),
        "capped": sum(row.capped for row in rows),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
