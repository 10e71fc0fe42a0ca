"""Losses of a reward model on pairs against worked numbers, loops and limits."""

import json
import math
from pathlib import Path

import pytest
import torch

from trl_ext.objectives.preference import LOSSES, preference_loss

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "d2po_rm_loss.json").read_text())["rm_loss"]
NAMES = {"normal": "bt", "mag": "margin", "prefoverpref": "margin_order"}


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["losstype"])
def test_worked_numbers(case):
    found = preference_loss(doubles(*case["reward_diff"]), doubles(*case["magnitude"]), NAMES[case["losstype"]])
    assert found.item() == pytest.approx(case["loss"], abs=1e-6)


def test_margin_order_is_a_loop_over_ordered_pairs():
    """Ties of margins order nothing."""
    d, m = [0.3, -1.0, 2.0, 0.5], [1.0, 2.0, 2.0, 0.5]
    expected = sum(math.log1p(math.exp(y - x)) for x, y in zip(d, m, strict=True)) / 4
    for i in range(4):
        for j in range(4):
            if m[i] > m[j]:
                expected += math.log1p(math.exp(-((d[i] - d[j]) - (m[i] - m[j]))))
    assert preference_loss(doubles(*d), doubles(*m), "margin_order").item() == pytest.approx(expected, abs=1e-9)


def test_a_difference_of_zero_costs_log_2_and_the_gradient_pulls_chosen_up():
    d = torch.zeros(3, requires_grad=True)
    loss = preference_loss(d, None, "bt")
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    torch.testing.assert_close(d.grad, torch.full((3,), -0.5 / 3))


@pytest.mark.parametrize("kind", LOSSES)
def test_larger_differences_cost_less(kind):
    losses = [preference_loss(doubles(x, x + 0.5), doubles(1.0, 1.5), kind).item() for x in (-2.0, 0.0, 1.0, 5.0, 50.0)]
    assert losses == sorted(losses, reverse=True) and losses[-1] > 0


def test_limits():
    """Margins of 0 are the loss without margins; equal margins order nothing; a margin is a shift."""
    d, m = doubles(0.2, -0.7), doubles(1.3, 1.3)
    assert preference_loss(d, 0 * m, "margin") == preference_loss(d, None, "bt")
    assert preference_loss(d, m, "margin_order") == preference_loss(d, m, "margin")
    torch.testing.assert_close(preference_loss(d + m, m, "margin"), preference_loss(d, None, "bt"))


def test_a_pair_s_loss_is_a_mean_over_the_batch():
    d = doubles(0.2, -0.7)
    assert preference_loss(d.repeat(5)) == pytest.approx(preference_loss(d).item())


@pytest.mark.parametrize(
    ("difference", "margin", "kind", "words"),
    [
        (doubles(1.0), None, "margn", "valid are .*did you mean 'margin'"),
        (doubles(), None, "bt", "at least one pair"),
        (doubles(1.0)[:, None], None, "bt", "expected \\(B,\\)"),
        (doubles(1.0, 2.0), None, "margin", "no margin"),
        (doubles(1.0, 2.0), doubles(1.0), "margin_order", "one number a pair"),
    ],
)
def test_refusals(difference, margin, kind, words):
    with pytest.raises(ValueError, match=words):
        preference_loss(difference, margin, kind)
