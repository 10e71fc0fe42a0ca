"""The MODPO loss: worked numbers, gradients, bounds, directions. All in fp32 unless said."""

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trl_ext.objectives import modpo_loss, modpo_rewards, shift_reference

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "modpo.json").read_text())["modpo_loss"]
SIDES = ("chosen", "rejected")


def close(found, expected, scale: float, tolerance: float = 1e-5) -> None:
    """Within `tolerance` relative to the terms that are summed: fp32 cannot do better where a difference cancels."""
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found.detach().double(), expected, rtol=0, atol=tolerance * max(1.0, scale))


def reward_of_side(case: dict, side: str, dtype: torch.dtype):
    logps = torch.tensor(case[f"policy_{side}_logps"], dtype=dtype, requires_grad=True)
    reference = torch.tensor(case[f"ref_{side}_logps"], dtype=dtype)
    margins = torch.tensor(case[f"margin_{side}"], dtype=dtype)
    return logps, modpo_rewards(logps, reference, margins, case["w"][1:], case["beta"], case["w"][0])


def test_the_worked_cases_cover_what_they_should():
    assert len(CASES) == 19
    assert {(case["loss_type"], case["n_margins"]) for case in CASES} >= {
        (loss, count) for loss in ("sigmoid", "hinge") for count in (1, 2, 3)
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_loss_reward_and_gradient_match_the_worked_numbers(case, dtype):
    """h = (beta (log pi - log ref) - sum_j w_j m_j) / w_k, with the values of the authors' implementation."""
    (chosen_logps, chosen), (rejected_logps, rejected) = (reward_of_side(case, side, dtype) for side in SIDES)
    losses = modpo_loss(chosen, rejected, case["loss_type"])
    losses.sum().backward()
    terms = [case[f"policy_{s}_logps"] + case[f"ref_{s}_logps"] for s in SIDES]
    shifts = [
        sum(w * abs(m) for w, m in zip(case["w"][1:], row, strict=True)) for s in SIDES for row in case[f"margin_{s}"]
    ]
    scale = (case["beta"] * max(abs(v) for side in terms for v in side) + max(shifts)) / case["w"][0]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    close(losses, case["losses"], scale, tolerance)
    close(losses.mean(), case["loss_mean"], scale, tolerance)
    close(chosen, case["chosen_rewards"], scale, tolerance)
    close(rejected, case["rejected_rewards"], scale, tolerance)
    close(chosen - rejected, case["reward_margins"], scale, tolerance)
    assert (chosen > rejected).double().tolist() == case["accuracy"]
    close(chosen_logps.grad, case["d_sumloss_d_policy_chosen"], 1.0, tolerance)
    close(rejected_logps.grad, case["d_sumloss_d_policy_rejected"], 1.0, tolerance)


def test_one_pair_by_hand():
    """beta 0.1, w 0.5, one reward margin of weight 0.5, log pi - log ref = 2 and 1, margins 0.4 and 0.1.

    h(chosen) = (0.1 * 2 - 0.5 * 0.4) / 0.5 = 0,  h(rejected) = (0.1 * 1 - 0.5 * 0.1) / 0.5 = 0.1
    z = -0.1: sigmoid log(1 + e^0.1) = 0.7443967, hinge 1.1.
    Shifted reference of the chosen side: ref + 0.5 * 0.4 / 0.1 = ref + 2.
    """
    reference = torch.tensor([-30.0, -20.0])
    margins = torch.tensor([[0.4], [0.1]])
    torch.testing.assert_close(shift_reference(reference, margins, [0.5], 0.1), torch.tensor([-28.0, -19.5]))
    rewards = modpo_rewards(torch.tensor([-28.0, -19.0]), reference, margins, [0.5], 0.1, 0.5)
    torch.testing.assert_close(rewards, torch.tensor([0.0, 0.1]), rtol=0, atol=1e-6)
    assert modpo_loss(rewards[:1], rewards[1:]).item() == pytest.approx(math.log1p(math.exp(0.1)), abs=1e-6)
    assert modpo_loss(rewards[:1], rewards[1:], "hinge").item() == pytest.approx(1.1, abs=1e-6)


def test_without_margins_and_w_one_it_is_dpo():
    """w_k = 1 and K = 0: h = beta (log pi - log ref), the reference is not touched, not even in the last bit."""
    logps, reference = torch.randn(5), torch.randn(5)
    none = torch.zeros(5, 0)
    assert torch.equal(shift_reference(reference, none, [], 0.1), reference)
    assert torch.equal(modpo_rewards(logps, reference, none, [], 0.1, 1.0), 0.1 * (logps - reference))


def test_margins_and_reference_get_no_gradient_and_the_policy_gets_the_documented_one():
    """d loss / d log pi(chosen) = -(beta / w) sigma(-z), the negative of it for the rejected side."""
    chosen, rejected = (torch.tensor(v, requires_grad=True) for v in ([-3.0, -8.0], [-5.0, -2.0]))
    reference, margins = torch.tensor([-4.0, -4.0]), torch.tensor([[0.3, 2.0], [-1.0, 0.5]])
    h = [
        modpo_rewards(logps, reference, margins + i, [0.3, -0.2], 0.5, 0.5)
        for i, logps in enumerate((chosen, rejected))
    ]
    modpo_loss(*h).sum().backward()
    expected = -(0.5 / 0.5) * torch.sigmoid(h[1] - h[0]).detach()
    torch.testing.assert_close(chosen.grad, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(rejected.grad, -expected, rtol=0, atol=1e-6)
    assert not reference.requires_grad and not margins.requires_grad


def test_bf16_reference_is_widened_before_the_shift():
    """-301 tokens times a small weight must not be added in bf16, whose spacing at 300 is 2."""
    reference = torch.tensor([-300.0], dtype=torch.bfloat16)
    shifted = shift_reference(reference, torch.tensor([[-301.0]]), [0.001], 0.1)
    assert shifted.dtype == torch.float32
    assert shifted.item() == pytest.approx(reference.float().item() - 3.01, abs=1e-4)


@pytest.mark.parametrize("beta", [0, -0.1, math.nan])
def test_beta_must_be_positive(beta):
    with pytest.raises(ValueError, match="beta must be positive"):
        shift_reference(torch.zeros(2), torch.zeros(2, 1), [1.0], beta)


@pytest.mark.parametrize("shape", [(2, 2), (1, 1), (2,), (2, 1, 1)])
def test_margins_of_another_shape_are_refused(shape):
    """(2,) or (1, 1) against (2, 1) would broadcast silently."""
    with pytest.raises(ValueError, match="margins have shape"):
        shift_reference(torch.zeros(2), torch.zeros(shape), [1.0], 0.1)


@pytest.mark.parametrize("w", [0.0, -1.0, math.nan])
def test_w_must_be_positive(w):
    with pytest.raises(ValueError, match="w = "):
        modpo_rewards(torch.zeros(1), torch.zeros(1), torch.zeros(1, 0), [], 0.1, w)


def test_unknown_loss_type_names_itself():
    with pytest.raises(ValueError, match="'ipo'"):
        modpo_loss(torch.zeros(1), torch.zeros(1), "ipo")


def test_equal_rewards_give_log_two():
    assert modpo_loss(torch.ones(1), torch.ones(1)).item() == pytest.approx(math.log(2), abs=1e-7)


numbers = st.floats(-50, 50, allow_nan=False)
weights = st.floats(0.01, 2.0)


def _z(logps, references, margins, weight, beta, w):
    logps, references, margins = (torch.tensor(v, dtype=torch.float64) for v in (logps, references, margins))
    return modpo_rewards(logps, references, margins[:, None], [weight], beta, w).split(1)


@settings(deadline=None, max_examples=60)
@given(
    logps=st.tuples(numbers, numbers),
    refs=st.tuples(numbers, numbers),
    margins=st.tuples(numbers, numbers),
    more=st.floats(0, 20),
    weight=weights,
    beta=weights,
    w=st.floats(0.05, 1.0),
    loss=st.sampled_from(["sigmoid", "hinge"]),
)
def test_a_reward_margin_on_the_chosen_side_never_lowers_the_loss_of_a_fixed_policy(
    logps, refs, margins, more, weight, beta, w, loss
):
    """h(chosen) falls by (w_j / w_k) dm, so z falls and the loss rises: the policy owes the chosen side more.

    That the loss asks for more log-probability where the margin is higher is why the margin acts as a reward. A cost
    (negative weight) never raises it.
    """
    before = modpo_loss(*_z(logps, refs, margins, weight, beta, w), loss)
    raised = (margins[0] + more, margins[1])
    assert modpo_loss(*_z(logps, refs, raised, weight, beta, w), loss) >= before - 1e-12
    cost_before = modpo_loss(*_z(logps, refs, margins, -weight, beta, w), loss)
    assert modpo_loss(*_z(logps, refs, raised, -weight, beta, w), loss) <= cost_before + 1e-12
    assert before >= 0


@settings(deadline=None, max_examples=60)
@given(
    logps=st.tuples(numbers, numbers),
    refs=st.tuples(numbers, numbers),
    margins=st.tuples(numbers, numbers),
    weight=st.floats(-2, 2),
    beta=weights,
    w=st.floats(0.05, 1.0),
)
def test_swapping_the_pair_negates_z(logps, refs, margins, weight, beta, w):
    chosen, rejected = _z(logps, refs, margins, weight, beta, w)
    swapped_chosen, swapped_rejected = _z(logps[::-1], refs[::-1], margins[::-1], weight, beta, w)
    z, swapped = chosen - rejected, swapped_chosen - swapped_rejected
    assert torch.equal(z, -swapped)
    # softplus(z) - softplus(-z) = z: the two losses of a pair and its mirror image differ by z.
    torch.testing.assert_close(modpo_loss(swapped_chosen, swapped_rejected) - modpo_loss(chosen, rejected), z)


@settings(deadline=None, max_examples=30)
@given(
    logps=st.tuples(numbers, numbers),
    refs=st.tuples(numbers, numbers),
    margins=st.tuples(numbers, numbers),
    constant=numbers,
    weight=st.floats(-2, 2),
    beta=weights,
    w=st.floats(0.05, 1.0),
)
def test_a_margin_that_both_sides_share_changes_nothing(logps, refs, margins, constant, weight, beta, w):
    one = modpo_loss(*_z(logps, refs, margins, weight, beta, w))
    other = modpo_loss(*_z(logps, refs, tuple(m + constant for m in margins), weight, beta, w))
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(z=st.floats(-1e4, 1e4))
def test_the_sigmoid_loss_stays_finite_at_large_margins(z):
    loss = modpo_loss(torch.tensor([z]), torch.zeros(1))
    assert torch.isfinite(loss) and loss >= 0 and (z > 0 or loss >= -z * (1 - 1e-6))
