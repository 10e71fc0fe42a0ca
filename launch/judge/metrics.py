"""What the verdicts of a pairwise judge say about it: accuracy, agreement between both orders, leaning to one place.

Every share is a dictionary {value, low, high, n} with a 95% interval; n counts pairs. The two orders of a pair and the
samples of a row are correlated, so a pair is the unit: its rows are averaged first, and the interval is a bootstrap
over pairs (Wilson's where all pairs are wrong, or all right). `swap_consistency` and `consistent_and_right` are plain shares of independent pairs: Wilson intervals.
Pairs that share a conversation count as independent; what `benchmarks` scores resamples conversations.
What is undefined (a share of nothing) is None, never NaN.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from launch.common.statistics import Summary, mean, mean_of_means, mean_share, share
from launch.judge.orders import Pair, checked_pairs, grouped, in_both_orders, in_one_order, pair_means, present
from launch.judge.verdicts import JudgedRow, combine_orders
from trl_ext.objectives.verdicts import LABELS, is_correct, swap_label

TIE_CREDIT = 0.5
NONE = "none"
ORDERS = ("original", "swapped")


def credit(verdict: str | None, truth: str) -> float:
    """1 for the true label, 0.5 where either of the two alone is `tie`, 0 for the other reply and for no verdict."""
    if verdict == truth:
        return 1.0
    return TIE_CREDIT if verdict is not None and "tie" in (verdict, truth) else 0.0


def evaluate_rows(rows: Sequence[JudgedRow], seed: int = 0) -> Summary:
    """Every number of a judge; the order of `rows` plays no part.

    The verdict of a row is its vote. Accuracies are over pairs with a known truth; a pair judged in one order alone
    counts with that one. What compares the orders is over pairs judged in both.

    - `accuracy`: `credit` of the vote. `single_sample_accuracy`: of one answer, the mean over the samples of a row.
    - `three_class_accuracy`: the vote is the true label, tie being a class like the others.
    - `accuracy_without_true_ties`: `accuracy` where the truth is A or B.
    - `combined_accuracy`: `credit` of the verdict of both orders together, see `verdicts.combine_orders`.
    - `macro_accuracy`: mean of the accuracies of the subsets; pairs are resampled within their subset.
    - `by_order`, `by_strength` (the size of the published preference), `by_subset`: `accuracy` of a part.
    - `swap_consistency`: both orders have a verdict, and it names the same reply or is tie in both.
    - `consistent_and_right`: both votes are the true label.
    - `position_bias`: share of the verdicts that name the first reply minus that of the second, from -1 to 1; over
      pairs with a verdict in both orders, in which the better reply is as often first as second.
    - `tie_rate`: the vote is tie. `parse_rate`: answers with a verdict.
    - `confusion`: truth -> vote -> rows, see `confusion`.

    Args:
        seed: of the bootstrap intervals.

    Raises:
        ValueError: see `orders.checked_pairs`.
    """
    pairs = checked_pairs(rows)
    known = [pair for pair in pairs if _truth(pair) is not None]
    both, known_both = in_both_orders(pairs), in_both_orders(known)
    with_strength = [pair for pair in known if present(pair)[0].preference_strength is not None]
    subsets = grouped(known, lambda row: row.subset)

    def over(these: Sequence[Pair], reading) -> Summary:
        return mean_share(pair_means(these, reading), seed).as_json()

    return {
        "pairs": len(pairs),
        "pairs_with_truth": len(known),
        "pairs_in_both_orders": len(both),
        "rows": len(rows),
        "answers": sum(len(row.verdicts) for row in rows),
        "cut_off": sum(row.capped for row in rows),
        "accuracy": over(known, _vote_credit),
        "single_sample_accuracy": over(known, _sample_credit),
        "three_class_accuracy": over(known, _vote_correct),
        "accuracy_without_true_ties": over([pair for pair in known if _truth(pair) != "tie"], _vote_credit),
        "combined_accuracy": mean_share(list(map(_combined_credit, known_both)), seed).as_json(),
        "macro_accuracy": mean_of_means([pair_means(part, _vote_credit) for part in subsets.values()], seed).as_json(),
        "by_order": {name: over(in_one_order(known, side), _vote_credit) for side, name in enumerate(ORDERS)},
        "by_strength": {
            f"{size:g}": over(part, _vote_credit)
            for size, part in grouped(with_strength, lambda row: abs(row.preference_strength)).items()
        },
        "by_subset": {name: over(part, _vote_credit) for name, part in subsets.items()},
        "swap_consistency": share(sum(map(_consistent, both)), len(both)).as_json(),
        "consistent_and_right": share(sum(map(_both_right, known_both)), len(known_both)).as_json(),
        "position_bias": mean(pair_means([pair for pair in both if all(map(_parsed, pair))], _leaning), seed).as_json(),
        "tie_rate": over(pairs, lambda row: float(row.vote == "tie")),
        "parse_rate": over(pairs, _parsed),
        "confusion": confusion(rows),
    }


def confusion(rows: Iterable[JudgedRow]) -> dict[str, dict[str, int]]:
    """Rows by truth (A, B, tie) and vote (A, B, tie, none), in each row's own order; rows of unknown truth are left out."""
    counts = Counter((row.ground_truth, row.vote or NONE) for row in rows)
    return {truth: {vote: counts[truth, vote] for vote in (*LABELS, NONE)} for truth in LABELS}


def _truth(pair: Pair) -> str | None:
    return present(pair)[0].ground_truth


def _vote_credit(row: JudgedRow) -> float:
    return credit(row.vote, row.ground_truth)


def _vote_correct(row: JudgedRow) -> float:
    return is_correct(row.vote, row.ground_truth)


def _sample_credit(row: JudgedRow) -> float:
    return sum(credit(verdict, row.ground_truth) for verdict in row.verdicts) / len(row.verdicts)


def _combined_credit(pair: Pair) -> float:
    return credit(combine_orders(*pair), pair[0].ground_truth)


def _consistent(pair: Pair) -> bool:
    return pair[0].vote is not None and pair[0].vote == swap_label(pair[1].vote)


def _both_right(pair: Pair) -> bool:
    return all(map(_vote_correct, pair))


def _parsed(row: JudgedRow) -> float:
    return sum(verdict is not None for verdict in row.verdicts) / len(row.verdicts)


def _leaning(row: JudgedRow) -> float:
    said = Counter(verdict for verdict in row.verdicts if verdict is not None)
    return (said["A"] - said["B"]) / said.total()
