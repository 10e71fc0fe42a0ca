"""Decisions over a window: worked numbers, bounds, and what must never happen (a tied group that trains, a lost label)."""

import json
from pathlib import Path

import numpy as np
import pytest

from trl_ext.objectives.d2po import agreement, best_and_worst, correct_scores, select_pairs

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "d2po.json").read_text())


@pytest.mark.parametrize("case", VECTORS["opo_pair_selection"]["cases"])
def test_best_and_worst_of_the_reference(case):
    """The reference lists a mini-batch's best answers, then its worst; for a tied group it pairs one with itself."""
    size, group = case["mini_batch_size"], case["oversample"]
    scores = np.array(case["rewards"]).reshape(-1, group)
    keep = np.array(case["keep_inds"]).reshape(-1, 2, size // 2)
    places, tied = best_and_worst(scores)
    expected = [(int(best), int(worst)) for best, worst in zip(keep[:, 0].ravel(), keep[:, 1].ravel(), strict=True)]
    for row, (best, worst) in enumerate(expected):
        if best == worst:
            assert tied[row] and places[row, 0] != places[row, 1]
        else:
            assert not tied[row] and set(places[row] + row * group) == {best, worst}
            high, low = scores[row].max(), scores[row].min()
            assert set(scores[row, places[row]]) == {high, low}
    assert (places[:, 0] < places[:, 1]).all()


def test_selection_and_flip_of_the_reference():
    (case,) = VECTORS["d2po_select_and_flip"]
    scores, gold = np.array(case["rm_scores"]).reshape(-1, 2), np.array(case["gold"]).reshape(-1, 2)
    chosen = select_pairs(np.abs(scores[:, 0] - scores[:, 1]), case["relabels"], "confidence", np.random.default_rng(0))
    assert (2 * chosen).tolist() == case["selected_pair_starts"]
    corrected = scores.copy()
    corrected[chosen] = correct_scores(scores[chosen], gold[chosen])
    assert corrected.ravel().tolist() == case["returned_scores"]


def generator():
    return np.random.default_rng(3)


def test_confidence_takes_the_smallest_gaps_of_the_whole_window_earlier_ones_first():
    gaps = np.array([0.5, 0.1, 0.3, 0.1, 0.0, 9.0])
    assert select_pairs(gaps, 3, "confidence", generator()).tolist() == [4, 1, 3]
    eligible = np.array([True, True, True, True, False, True])
    assert select_pairs(gaps, 3, "confidence", generator(), eligible).tolist() == [1, 3, 2]


def test_clear_takes_the_largest_gaps():
    gaps = np.array([0.5, 0.1, 0.9, 0.2, 0.7])
    assert select_pairs(gaps, 2, "clear", generator()).tolist() == [2, 4]
    assert select_pairs(gaps, 9, "clear", generator(), np.array([True, True, False, True, True])).tolist() == [
        4,
        0,
        3,
        1,
    ]


@pytest.mark.parametrize("selection", ["confidence", "random", "stratified"])
@pytest.mark.parametrize(("budget", "expected"), [(0, 0), (1, 1), (7, 7), (20, 20), (50, 20)])
def test_a_budget_is_never_exceeded_and_no_pair_taken_twice(selection, budget, expected):
    gaps = np.random.default_rng(1).random(40)
    eligible = np.arange(40) % 2 == 1
    chosen = select_pairs(gaps, budget, selection, generator(), eligible)
    assert len(chosen) == len(set(chosen.tolist())) == expected and eligible[chosen].all()


def test_random_depends_on_the_generator_and_not_on_the_gaps():
    gaps = np.linspace(0, 1, 100)
    one = select_pairs(gaps, 30, "random", generator())
    assert one.tolist() == select_pairs(gaps[::-1], 30, "random", generator()).tolist()
    assert one.tolist() != select_pairs(gaps, 30, "random", np.random.default_rng(4)).tolist()
    counts = np.zeros(100)
    for seed in range(2000):
        counts[select_pairs(gaps, 30, "random", np.random.default_rng(seed))] += 1
    assert abs(counts / 2000 - 0.3).max() < 0.05  # 5 standard errors of a share of 0.3


def test_stratified_takes_one_of_each_quarter():
    gaps = np.random.default_rng(1).permutation(40) / 40
    for seed in range(20):
        chosen = select_pairs(gaps, 4, "stratified", np.random.default_rng(seed))
        assert sorted((gaps[chosen] * 4).astype(int)) == [0, 1, 2, 3]


def test_an_unknown_selection_is_refused():
    with pytest.raises(
        ValueError, match=r"selection is 'confident': valid are \['confidence', 'random', 'stratified', 'clear'\]"
    ):
        select_pairs(np.zeros(3), 1, "confident", generator())


def test_corrected_scores_follow_gold_and_keep_their_values():
    scores = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [3.0, 3.0], [-8.0, -8.0], [3.0, 3.0]])
    gold = np.array([[5.0, 4.0], [4.0, 5.0], [4.0, 4.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    corrected = correct_scores(scores, gold)
    assert corrected[:3].tolist() == [[2.0, 1.0], [1.0, 2.0], [1.0, 2.0]]
    assert corrected[3, 1] > corrected[3, 0] == 3.0  # a tie that gold decides is not lost
    assert corrected[4, 0] > corrected[4, 1] == -8.0 and corrected[4, 0] < -7.9
    assert corrected[5].tolist() == [3.0, 3.0]
    narrow = corrected.astype(np.float32)
    assert narrow[3, 1] > narrow[3, 0]


def test_agreement():
    gold = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [1.0, 0.0]])
    assert agreement(gold, gold) == 1.0 and agreement(-gold, gold) == 0.0
    assert agreement(np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [4.0, 4.0]]), gold) == 0.5
    assert np.isnan(agreement(gold[2:3], gold[2:3]))
