"""Bradley-Terry pieces: worked numbers, torch as an independent reference, limits, monotonicity, swapped sides."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trl_ext.objectives.bradley_terry import (
    bt_log_loss,
    directional_margins,
    log_sigmoid,
    scaled_margin,
    score_spread,
    sigmoid,
    softplus,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "bt_rewards.json").read_text())
numbers = st.floats(-1e4, 1e4, allow_nan=False)
scores = st.lists(st.one_of(st.none(), st.integers(0, 100).map(float)), min_size=1, max_size=6)


@pytest.mark.parametrize("case", VECTORS["scaled_delta"])
def test_scaled_margin_vectors(case):
    scaled = scaled_margin(case["delta"], case["temp"], case["clip"], case["neg_clip"])
    assert scaled == pytest.approx(case["scaled"], abs=1e-12)
    assert log_sigmoid(scaled) == pytest.approx(case["log_sigmoid"], rel=1e-12)


@pytest.mark.parametrize("case", VECTORS["bt_logloss"])
def test_log_loss_vectors(case):
    assert bt_log_loss(case["d"], case["temp"]) == pytest.approx(case["loss"], rel=1e-12)


@given(numbers)
def test_equal_to_torch_in_float64(x):
    tensor = torch.tensor(x, dtype=torch.float64)
    assert softplus(x) == pytest.approx(torch.logaddexp(tensor, torch.zeros_like(tensor)).item(), rel=1e-12, abs=1e-300)
    assert log_sigmoid(x) == pytest.approx(torch.nn.functional.logsigmoid(tensor).item(), rel=1e-12, abs=1e-300)
    assert sigmoid(x) == pytest.approx(torch.sigmoid(tensor).item(), rel=1e-12, abs=1e-300)


@given(numbers, numbers)
def test_soft_clip_orders_what_the_hard_one_makes_equal(first, second):
    low, high = sorted((first / 100, second / 100))
    bounds = {"temperature": 50.0, "clip": 2.0, "negative_clip": 1.1}
    hard, soft = ([scaled_margin(x, **bounds, soft=kind) for x in (low, high)] for kind in (False, True))
    assert hard[0] <= hard[1] and soft[0] <= soft[1]
    assert all(-1.1 <= x <= 2.0 for x in hard + soft)
    if high - low > 1e-3:
        assert soft[0] < soft[1]


def test_soft_clip_is_the_identity_near_zero():
    assert scaled_margin(1e-4, 1.0, 2.0, 2.0, soft=True) == pytest.approx(1e-4, rel=1e-4)


@pytest.mark.parametrize(("points", "least"), [(-10, 0.1), (-30, 0.02), (-100, 0.002)])
def test_soft_clip_keeps_a_push_on_very_wrong_scores(points, least):
    """At T 5 and 1.1: the slope at a tie is 1; tanh leaves 7e-5 of it 30 points below and nothing at 100."""
    step = 1e-3
    values = [scaled_margin(points + one, 5.0, 0.0, 1.1, soft=True) for one in (step, -step)]
    assert least < (values[0] - values[1]) / (2 * step / 5.0) < 0.2


def test_score_spread_sees_a_scorer_collapse():
    told_apart = score_spread([20, 30, 80, 90, None, 50], 2)
    assert told_apart == pytest.approx(
        {"mean": 54, "distinct": 5, "std_between": 30.138569, "std_within": 50**0.5}, abs=1e-5
    )
    collapsed = score_spread([7, 7, 7, 7, float("nan"), 7], 2)
    assert collapsed == {"mean": 7, "distinct": 1, "std_between": 0, "std_within": 0}
    assert score_spread([None, float("nan")], 2) == {} and score_spread([4.1, 4.2], 1).keys() == {
        "mean", "distinct", "std_between"
    }  # fmt: skip


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        scaled_margin(1.0, temperature)


@given(scores, scores)
def test_margins_against_a_plain_loop_and_swapped(preferred, other):
    ours, theirs = directional_margins(preferred, other)
    there = [z for z in other if z is not None]
    for z, margin in zip(preferred, ours, strict=True):
        if z is None or not there:
            assert margin is None
        else:
            assert margin == pytest.approx(z - sum(there) / len(there), abs=1e-9)
    swapped_theirs, swapped_ours = directional_margins(other, preferred)
    negated = [[None if m is None else pytest.approx(-m, abs=1e-9) for m in side] for side in (ours, theirs)]
    assert swapped_ours == negated[0] and swapped_theirs == negated[1]


def test_a_tie_is_exactly_zero_whatever_the_rounding_of_means():
    ours, theirs = directional_margins([3.3, 3.3, 3.3], [3.3] * 7)
    assert ours == [0.0] * 3 and theirs == [0.0] * 7
