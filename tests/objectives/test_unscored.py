"""Pairs of which nothing is scored are counted, and too many end the run."""

import random

import pytest

from trl_ext.objectives.unscored import UnscoredPairs


def test_shares_are_those_of_a_batch_and_a_share_above_the_limit_ends_the_run():
    pairs = UnscoredPairs(most=0.05)
    assert pairs.add([3, 4, 5, 1], "") == 0.0
    assert pairs.add([3, 0, 5, 1], "") == 0.5
    assert pairs.add([7] * 392, "") == 0.0
    assert pairs.add([0, 7] * 9, "") == 1.0  # 10 of 209
    with pytest.raises(
        ValueError, match=r"11 of 210 pairs have a side without a scored token \(more than 5%\).*longer"
    ):
        pairs.add([0, 2], "longer")


@pytest.mark.parametrize("tokens", [[0, 0, 0, 0], [0, 0, 5, 5], [5, 5, 0, 0], [0, 5, 5, 0]])
def test_either_side_counts_and_a_pair_once(tokens):
    pairs = UnscoredPairs()
    pairs.add(tokens, "")
    with pytest.raises(ValueError, match="4 of 4 pairs"):
        pairs.add(tokens, "")


def test_a_small_share_ends_no_run_by_the_order_of_its_rows():
    """2% of 1000 pairs, in 300 orders; a running share without a least number of pairs ended 21% of such runs."""
    chance, rows = random.Random(0), [0] * 20 + [1] * 980
    for _ in range(300):
        chance.shuffle(rows)
        pairs = UnscoredPairs()
        for tokens in rows:
            pairs.add([tokens, 1], "")
        pairs.end("")


@pytest.mark.parametrize(("bad", "good"), [(2, 20), (3, 50), (1, 0)])
def test_after_all_rows_their_number_no_longer_excuses(bad, good):
    pairs = UnscoredPairs()
    pairs.add([1] * (2 * good), "")
    pairs.add([0] * (2 * bad), "")
    if bad == 1:
        pairs.end("")
        return
    with pytest.raises(ValueError, match=f"{bad} of {bad + good} pairs"):
        pairs.end("")


def test_joined_rows_have_no_pairs_to_count():
    pairs = UnscoredPairs()
    assert pairs.add([40], "") == 0.0 and pairs.seen == 0
