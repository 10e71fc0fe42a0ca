"""Pairs of which nothing is scored are counted, and too many end the run."""

import pytest

from trl_ext.objectives.unscored import UnscoredPairs


def test_a_single_pair_is_counted_and_a_share_above_the_limit_ends_the_run():
    pairs = UnscoredPairs(most=0.05)
    assert pairs.add([3, 4, 5, 1], "") == 0.0
    assert pairs.add([3, 0, 5, 1], "") == 0.5  # one of four may be an accident
    assert pairs.add([7] * 100, "") == 0.0
    assert pairs.add([0, 7] * 1 + [7, 7], "") == 0.5  # 2 of 56
    with pytest.raises(ValueError, match=r"4 of 58 pairs have a side without a scored token \(more than 5%\).*longer"):
        pairs.add([0, 0, 2, 2], "longer")


@pytest.mark.parametrize("tokens", [[0, 0, 0, 0], [0, 0, 5, 5], [5, 5, 0, 0], [0, 5, 5, 0]])
def test_either_side_counts_and_a_pair_once(tokens):
    with pytest.raises(ValueError, match="2 of 2 pairs"):
        UnscoredPairs().add(tokens, "")


def test_joined_rows_have_no_pairs_to_count():
    pairs = UnscoredPairs()
    assert pairs.add([40], "") == 0.0 and pairs.seen == 0
