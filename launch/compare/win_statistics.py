"""Who wins: outcomes of pairs that a judge saw in both orders, with every tie and every lost pair by its reason.

`A` is the first model, the one that the original order (side 0) shows first; `B` is the second. Pure functions.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from launch.common.statistics import share
from launch.judge.metrics import evaluate_rows
from launch.judge.verdicts import JudgedRow, combine_orders, group_orders, votes_of

POINTS = {"A": 1.0, "tie": 0.5, "B": 0.0}
SAID, DISAGREE, IDENTICAL = "judge says tie", "orders disagree", "identical answers"
# Those of `win_statistics` that a reader is shown, in words.
SHARES = {
    "win_rate": "{a} wins, a tie is half", "wins_a": "{a} wins", "wins_b": "{b} wins", "ties": "ties",
    "decided": "{a} wins, of the pairs that are no tie", "orders_agree": "both orders agree",
    "position_bias": "first minus second answer", "parse_rate": "answers with a verdict",
    "longer_wins": "the longer answer wins",
}  # fmt: skip


class Outcome(NamedTuple):
    """What became of one pair: A, B, tie, or None where it has no verdict in one of the orders; and why."""

    pair_id: str
    outcome: str | None
    reason: str
    votes: tuple[str | None, str | None] = (None, None)


def outcome_of(pair_id: str, original: JudgedRow | None, swapped: JudgedRow | None) -> Outcome:
    """The outcome of a pair, see `combine_orders`; one that was asked about in one order only has none."""
    votes = votes_of(original, swapped)
    verdict = None if original is None or swapped is None else combine_orders(original, swapped)
    if verdict is None:
        return Outcome(pair_id, None, "no verdict" if votes == (None, None) else "verdict in one order only", votes)
    if votes[0] != votes[1]:
        return Outcome(pair_id, verdict, DISAGREE, votes)
    return Outcome(pair_id, verdict, SAID if verdict == "tie" else "both orders agree", votes)


def outcomes(rows: Iterable[JudgedRow]) -> list[Outcome]:
    """One outcome a pair, in the order of the rows."""
    return [outcome_of(pair_id, *orders) for pair_id, orders in group_orders(rows).items()]


def win_statistics(
    found: Sequence[Outcome], rows: Sequence[JudgedRow], prompt_of: Mapping[str, str], words: Mapping[str, tuple]
) -> dict[str, Any]:
    """Counts, shares and the judge's habits.

    - `win_rate`: of A, a tie as one half; the pairs of a prompt are averaged first, n counts prompts.
    - `wins_a`, `wins_b`, `ties`: shares of the judged pairs. `decided`: share of A among the pairs that are no tie.
    - `position_bias`, `orders_agree`, `parse_rate`: see `launch.judge.metrics.evaluate_rows`.
    - `longer_wins`: share of the decided pairs of unequal length that the answer with more words won.

    Args:
        found: all outcomes, those of pairs that were not asked about included.
        rows: what the judge said; may be empty.
        prompt_of: pair -> prompt, where pairs share one; a pair that is not in it is a prompt of its own.
        words: pair -> words of A's and of B's answer, where known.
    """
    judged = [one for one in found if one.outcome is not None]
    counts = Counter(one.outcome for one in judged)
    prompts: dict[str, list[float]] = {}
    for one in judged:
        prompts.setdefault(prompt_of.get(one.pair_id, one.pair_id), []).append(POINTS[one.outcome])
    points = sum(sum(values) / len(values) for values in prompts.values())
    habits = evaluate_rows(rows) if rows else {}
    return {
        "pairs": len(found),
        "judged": len(judged),
        "counts": {name: counts[name] for name in POINTS},
        "ties_by_reason": dict(Counter(one.reason for one in judged if one.outcome == "tie")),
        "not_judged": dict(Counter(one.reason for one in found if one.outcome is None)),
        "win_rate": share(points, len(prompts)).as_json(),
        "wins_a": share(counts["A"], len(judged)).as_json(),
        "wins_b": share(counts["B"], len(judged)).as_json(),
        "ties": share(counts["tie"], len(judged)).as_json(),
        "decided": share(counts["A"], counts["A"] + counts["B"]).as_json(),
        "position_bias": habits.get("position_bias"),
        "orders_agree": habits.get("swap_consistency"),
        "parse_rate": habits.get("parse_rate"),
        "longer_wins": _longer_wins(judged, words),
    }


def _longer_wins(judged: Iterable[Outcome], words: Mapping[str, tuple]) -> dict[str, Any]:
    won = [
        (words[one.pair_id][0] > words[one.pair_id][1]) == (one.outcome == "A")
        for one in judged
        if one.outcome != "tie" and one.pair_id in words and words[one.pair_id][0] != words[one.pair_id][1]
    ]
    return share(sum(won), len(won)).as_json()
