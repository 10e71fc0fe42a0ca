"""Terms added to scores: worked numbers of the reference, and that they act before pairs are chosen."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from trl_ext.d2po.shaping import Shaping, ShapingSettings, length_bonus, rare_word_bonus, scale

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "d2po.json").read_text())


def test_length_bonus_of_the_reference():
    case = VECTORS["len_penalty"]
    assert length_bonus(np.array(case["lengths"]), case["sigma"]).tolist() == pytest.approx(case["bonus"], abs=1e-12)


def test_scaled_scores_of_the_reference():
    case = VECTORS["scale_reward"]
    assert scale(np.array(case["rewards"]), case["mean"], case["sigma"]).tolist() == pytest.approx(
        case["out"], abs=1e-12
    )


def test_rare_word_bonus_of_the_reference():
    case, counts = VECTORS["tok_bonus"], Counter()
    assert rare_word_bonus(case["responses"], counts) == pytest.approx(case["bonuses"], abs=1e-12)
    assert counts == case["counts_after"]
    assert rare_word_bonus(case["second_responses"], counts) == pytest.approx(case["second_call"], abs=1e-12)


TEXTS = [["a b c d", "a"], ["e f g h", "i j k l"]]
SCORES = np.array([[0.0, 4.0], [1.0, 3.0]])  # mean 2, sigma sqrt(2.5)
LENGTHS = np.array([[40, 10], [100, 150]])


def shaped(**settings) -> np.ndarray:
    shaping = Shaping(ShapingSettings(**settings))
    words = shaping.observe(SCORES, TEXTS)
    return shaping.apply(SCORES, TEXTS, LENGTHS, words)


def test_nothing_set_changes_nothing():
    assert shaped().tolist() == SCORES.tolist()


def test_each_term():
    sigma = 2.5**0.5
    assert shaped(keep_long=4).tolist() == [[0.0, -16.0], [1.0, 3.0]]
    assert shaped(length_penalty=True)[1].tolist() == pytest.approx([1.0, 3.0 - sigma])
    assert shaped(scale_reward=True).tolist() == [[-0.3, 0.3], [-0.3, 0.3]]  # all beyond 0.3 sigma
    # four answers, nothing seen before: a new word among four answers is worth 1 - sqrt(1/4), a second "a" 1 - sqrt(2/4)
    bonus = 0.5 * sigma * np.array([[4 * 0.5, 1 - 0.5**0.5], [4 * 0.5, 4 * 0.5]])
    assert (shaped(token_bonus=0.5) - SCORES).ravel().tolist() == pytest.approx(bonus.ravel().tolist())


def test_mean_and_sigma_are_of_the_last_ten_windows():
    shaping = Shaping(ShapingSettings(scale_reward=True))
    for level in range(12):
        shaping.observe(np.full((1, 2), float(level)), [["a", "b"]])
    middle = np.array([[6.5, 6.5]])  # mean of 2 ... 11
    assert shaping.apply(middle, [["a", "b"]], np.zeros((1, 2)), np.zeros((1, 2))).tolist() == [[0.0, 0.0]]


def test_its_state_continues():
    one = Shaping(ShapingSettings(token_bonus=1.0, scale_reward=True))
    one.observe(SCORES, TEXTS)
    two = Shaping(one.settings)
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    more, texts = SCORES[::-1] * 2, [["a e", "z"], ["y", "x"]]
    assert one.observe(more, texts).tolist() == two.observe(more, texts).tolist()
    args = (more, texts, LENGTHS, np.ones((2, 2)))
    assert one.apply(*args).tolist() == two.apply(*args).tolist()
