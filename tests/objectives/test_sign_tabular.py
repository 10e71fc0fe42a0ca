"""Which way a margin pushes, settled by training a policy over four responses to its optimum.

At the optimum beta log(pi / pi_ref) = w r_k + (1 - w) m + const, m = margin_beta log(pi_adapter / pi_ref) = (margin_beta / beta) r_m
for the adapter that is the exact DPO optimum of r_m. So the regression on (r_k, r_m, 1) must return (w, +-(1 - w)).
"""

import json
from itertools import combinations
from pathlib import Path

import pytest
import torch

from trl_ext.modpo.margins import MarginSpec, resolve_margins
from trl_ext.objectives import implicit_reward, modpo_loss, modpo_rewards

TABLE = json.loads((Path(__file__).parents[1] / "vectors" / "modpo.json").read_text())["modpo_sign_tabular"]
REFERENCE = torch.tensor(TABLE["pi_ref"], dtype=torch.float64)
R_K = torch.tensor(TABLE["r_k"], dtype=torch.float64)
R_M = torch.tensor(TABLE["r_margin"], dtype=torch.float64)


def optimum(beta: float, w: float, role: str, margin_beta: float) -> torch.Tensor:
    """The policy (4,) that minimises the exact expected loss over all six pairs with Bradley-Terry labels from r_k."""
    spec = MarginSpec(name="m", adapter="folder", role=role, beta=margin_beta)
    (margin,) = resolve_margins([spec], w, beta, normalized_weights=True)
    log_reference = REFERENCE.log()
    log_adapter = torch.log_softmax(log_reference + R_M / beta, 0)
    margins = implicit_reward(log_adapter, log_reference, margin.beta)[:, None]
    first, second = (torch.tensor(side) for side in zip(*combinations(range(4), 2), strict=True))
    probability_first = torch.sigmoid(R_K[first] - R_K[second])
    logits = log_reference.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [logits], lr=1, max_iter=2000, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        h = modpo_rewards(torch.log_softmax(logits, 0), log_reference, margins, [margin.signed_weight], beta, w)
        expected = probability_first * modpo_loss(h[first], h[second])
        expected = expected + (1 - probability_first) * modpo_loss(h[second], h[first])
        loss = expected.sum()
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    return torch.softmax(logits.detach(), 0)


def coefficients(policy: torch.Tensor, beta: float) -> tuple[torch.Tensor, float]:
    target = beta * (policy.log() - REFERENCE.log())
    design = torch.stack([R_K, R_M, torch.ones(4, dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(design, target[:, None]).solution[:, 0]
    return solution, (design @ solution - target).abs().max().item()


@pytest.mark.parametrize("row", TABLE["rows"], ids=lambda r: f"beta{r['beta']}-w{r['w']}-mb{r['margin_beta']}")
@pytest.mark.parametrize("by", ["margin_beta", "role"])
def test_the_trained_policy_follows_the_table(row, by):
    """A reward with positive beta, and a negative `margin_beta` or `role: cost` with positive beta, are the same row."""
    if by == "role":
        role, margin_beta = ("reward", row["margin_beta"]) if row["margin_beta"] > 0 else ("cost", -row["margin_beta"])
    else:
        role, margin_beta = "reward", row["margin_beta"]
    policy = optimum(row["beta"], row["w"], role, margin_beta)
    (coefficient_k, coefficient_m, _), residual = coefficients(policy, row["beta"])
    assert residual < 1e-5
    assert coefficient_k.item() == pytest.approx(row["coef_rk"], abs=1e-4)
    assert coefficient_m.item() == pytest.approx(row["coef_rm"], abs=1e-4)
    assert (policy @ R_M).item() == pytest.approx(row["E_rm"], abs=1e-3)
    assert (policy @ R_K).item() == pytest.approx(row["E_rk"], abs=1e-3)


def test_a_reward_raises_and_a_cost_lowers_the_expected_margin():
    """Against the reference's E[r_m] = 0.4 * -1 + 0.3 * 1.5 + 0.2 * 0.5 + 0.1 * -0.4 = 0.11."""
    assert (REFERENCE @ R_M).item() == pytest.approx(0.11)
    assert (optimum(0.5, 0.5, "reward", 0.5) @ R_M).item() > 0.11
    assert (optimum(0.5, 0.5, "cost", 0.5) @ R_M).item() < 0.11
    torch.testing.assert_close(optimum(0.5, 0.5, "cost", -0.5), optimum(0.5, 0.5, "reward", 0.5), rtol=0, atol=1e-8)
