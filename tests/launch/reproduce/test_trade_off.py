"""What a policy between two objectives is worth, the best there is, and pairs whose labels are drawn."""

import math
import random

import numpy as np
import pytest

from launch.reproduce.drawn_pairs import labelled, mixture
from launch.reproduce.trade_off import best, worth


def test_the_best_by_hand():
    """One prompt, two equally likely answers with scores (1, 0) and (0, 3), w = 0.75, scale 2, beta 0.5.

    Exponents 2 * 0.75 / 0.5 = 3 and 2 * 0.25 * 3 / 0.5 = 3: the best policy stays at one half each and gains beta * 3.
    """
    found = best(np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]]), 0.75, 2.0, 0.5)
    assert found == pytest.approx({"a": 0.5, "b": 1.5, "kl": 0.0, "j": 1.5, "draws": 2.0})


@pytest.mark.parametrize("w", [0.0, 0.2, 0.5, 1.0])
def test_the_best_is_worth_what_its_means_say_and_more_than_any_other_tilt(w):
    generator = np.random.default_rng(0)
    a, b = generator.poisson(1.0, (3, 50)).astype(float), generator.poisson(1.0, (3, 50)).astype(float)
    found = best(a, b, w, 1.0, 0.5)
    assert worth(found, w, 1.0, 0.5) == pytest.approx(found["j"])
    for other in (w - 0.1, w + 0.1):
        tilted = best(a, b, other, 1.0, 0.5)
        assert worth(tilted, w, 1.0, 0.5) < found["j"]
    plain = {"a": a.mean(), "b": b.mean(), "kl": 0.0}
    assert worth(plain, w, 1.0, 0.5) < found["j"]


def test_labels_come_as_often_as_bradley_and_terry_say():
    """Scores that differ by 2 at scale 0.7: sigma(1.4) = 0.802; equal ones: a coin."""
    sides, count = ("one", "two"), 20_000
    for first, second in ((2.0, 0.0), (0.0, 2.0), (1.0, 1.0)):
        rows = labelled(["p"] * count, [sides] * count, [(first, second)] * count, 0.7, random.Random(0))
        share = sum(row["chosen"][0]["content"] == "one" for row in rows) / count
        assert share == pytest.approx(1 / (1 + math.exp(-0.7 * (first - second))), abs=1e-2)
    assert rows[0]["prompt"] == [{"role": "user", "content": "p"}]
    assert {row["rejected"][0]["content"] for row in rows} == set(sides)


@pytest.mark.parametrize("w", [0.0, 0.2, 1.0])
def test_a_mixture_has_the_share_w_of_the_first_and_as_many_rows_as_one(w):
    one, two = [{"of": "one", "row": i} for i in range(50)], [{"of": "two", "row": i} for i in range(50)]
    rows = mixture(one, two, w, random.Random(0))
    assert len(rows) == 50 and sum(row["of"] == "one" for row in rows) == round(50 * w)
    assert sorted(row["row"] for row in rows) == list(range(50))
