"""The objective: worked numbers, bounds, and what beta and margin scale do to it and to the reference tuner's metric."""

import math
import random

import pytest

from launch.common.statistics import hypervolume
from launch.tune.objective import INFLATABLE, Objective, make_objective
from launch.tune.ranking import picked_share, picked_shares


def test_worked_numbers():
    assert picked_share([2.0, -1.0, 0.5], [1, 1, 1]) == pytest.approx(2 / 3)
    assert picked_share([2.0, -1.0, 0.0], [1, 1, 1]) == pytest.approx((1 + 0 + 0.5) / 3)  # a tie is half
    assert picked_share([0.1, -9.0], [3.0, 1.0]) == pytest.approx(3 / 4)  # it picks up 3 of 4, loses 1
    assert picked_share([0.1, 9.0], [-3.0, 1.0]) == pytest.approx(1 / 4)
    assert picked_shares([1.0, -1.0], {"m": [2.0, -6.0]}) == {"preference": 0.5, "m": 1.0}


def test_bounds_and_limits():
    draw = random.Random(0)
    for _ in range(200):
        d, g = ([draw.gauss(0, 1) for _ in range(draw.randint(1, 9))] for _ in range(2))
        g = (g * 9)[: len(d)]
        assert 0 <= picked_share(d, g) <= 1
        assert picked_share(g, g) == 1 and picked_share([-x for x in g], g) == pytest.approx(0)
        assert picked_share([0.0] * len(g), g) == 0.5  # the untouched policy
        assert picked_share([-x for x in d], g) == pytest.approx(1 - picked_share(d, g))
    assert math.isnan(picked_share([1.0, math.nan], [1, 1]))


def test_refusals():
    with pytest.raises(ValueError, match="one gap of the policy and one of the reward"):
        picked_share([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="margin 'brevity': the reward does not differ"):
        picked_shares([1.0], {"brevity": [0.0]})


def test_beta_and_margin_scale_inflate_the_reference_objective_and_not_ours():
    """Equation by equation: z = (beta d - w_m beta mult g) / w, for one policy d and every beta and mult of the space."""
    draw, w = random.Random(1), 0.7
    d = [draw.gauss(0.4, 2) for _ in range(300)]
    g = [draw.gauss(-1.0, 2) for _ in range(300)]  # the margin disagrees with the preference: a conflict
    ours, theirs = {}, {}
    for beta in (0.1, 0.2, 0.5):
        for mult in (0.5, 1.0, 2.0):
            z = [(beta * x - (1 - w) * beta * mult * y) / w for x, y in zip(d, g, strict=True)]
            theirs[beta, mult] = sum(z) / len(z)
            shares = picked_shares([beta * x for x in d], {"m": [beta * mult * y for y in g]})
            ours[beta, mult] = w * shares["preference"] + (1 - w) * shares["m"]
    assert len(set(ours.values())) == 1
    assert theirs[0.5, 2.0] / theirs[0.1, 2.0] == pytest.approx(5)  # beta alone multiplies it
    assert max(theirs, key=theirs.get) == (0.5, 2.0)  # the corner of the space wins whatever was learned
    untouched = {mult: -(1 - w) / w * 0.1 * mult * sum(g) / len(g) for mult in (0.5, 2.0)}
    assert untouched[2.0] == pytest.approx(4 * untouched[0.5]) and untouched[0.5] > 0  # before the first step


METRICS = {
    "eval_ranking/preference": 0.8, "eval_ranking/short": 0.6, INFLATABLE: 3.0, "eval_loss": 0.5,
}  # fmt: skip


def test_objectives():
    margins = {"short": 0.3}
    ranking = make_objective("ranking", {}, 0.7, margins)
    assert ranking.values(METRICS) == [pytest.approx(0.7 * 0.8 + 0.3 * 0.6)]
    assert ranking.label == "0.7 eval_ranking/preference + 0.3 eval_ranking/short"
    assert make_objective("ranking", {}, 1.0, {"short": 0.25}).values(METRICS) == [pytest.approx(0.8 * 0.8 + 0.2 * 0.6)]
    assert make_objective("rewards_margins", {}, 0.7, margins).values(METRICS) == [3.0]
    assert make_objective("weighted_sum", {"eval_loss": -1}, 0.7, margins).values(METRICS) == [-0.5]
    volume = make_objective("hypervolume", {}, 0.7, margins)
    assert volume.values(METRICS) == [pytest.approx(hypervolume([[0.8, 0.6]], [0.5, 0.5]))] == [pytest.approx(0.03)]
    assert volume.values(METRICS | {"eval_ranking/short": 0.4}) == [0.0]  # not two losses that make a gain
    assert volume.values({"eval_ranking/preference": 0.4, "eval_ranking/short": 0.4}) == [0.0]
    front = make_objective("front", {"eval_ranking/preference": 1, "eval_loss": -1}, 0.7, margins)
    assert front.values(METRICS) == [0.8, 0.5] and front.directions == ["maximize", "minimize"]
    assert make_objective("front", {}, 0.7, margins).values(METRICS) == [0.8, 0.6]


@pytest.mark.parametrize(
    ("kind", "numbers", "message"),
    [
        ("ranking", {"eval_loss": 1}, "--metrics is of no use with --objective ranking"),
        ("weighted_sum", {}, "needs --metrics NAME=WEIGHT"),
        ("front", {"eval_loss": -1}, "needs two metrics or more"),
        ("front", {"eval_loss": -1, "eval_ranking/short": 0}, "needs two metrics or more"),
    ],
)
def test_objectives_that_cannot_be(kind, numbers, message):
    with pytest.raises(ValueError, match=message):
        make_objective(kind, numbers, 0.7, {"short": 0.3})


def test_a_metric_that_is_not_there_or_not_finite():
    with pytest.raises(ValueError, match=r"no metric 'eval_los'; did you mean 'eval_loss'\?"):
        Objective("weighted_sum", {"eval_los": 1.0}).values(METRICS)
    with pytest.raises(ValueError, match="eval_loss is nan"):
        Objective("weighted_sum", {"eval_loss": 1.0}).values({"eval_loss": math.nan})
