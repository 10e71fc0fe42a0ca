"""At the known optimum MODPO's expected gradient vanishes, for every pair by itself; a sign or a weight that is off shows.

With labels drawn by Bradley and Terry from r_A, margins r_B and log pi / pi_ref = (w r_A + (1 - w) r_B) / beta, the difference of h
is that of r_A, so that p d(-log sigma(z)) + (1 - p) d(-log sigma(-z)) = sigma(z) - p = 0. Whatever keeps a run from its front
is then optimisation, not the loss.
"""

import pytest
import torch

from trl_ext.modpo.margins import MarginSpec, resolve_margins
from trl_ext.objectives import implicit_reward, modpo_loss, modpo_rewards


def expected_gradient(w: float, beta: float, scale: float, w_of_policy: float | None = None, role: str = "reward"):
    """d E[loss] / d log pi of 40 random pairs, (40, 2) in fp64; the rewards differ by `scale` on average."""
    generator = torch.Generator().manual_seed(0)
    r_a, r_b, reference, constant = (torch.randn(40, 2, generator=generator, dtype=torch.float64) for _ in range(4))
    r_a, r_b, at = scale * r_a, scale * r_b, w if w_of_policy is None else w_of_policy
    (margin,) = resolve_margins([MarginSpec(name="b", function="brevity", role=role)], w, beta, normalized_weights=True)
    logps = reference + (at * r_a + (1 - at) * r_b) / beta + constant[:, :1]  # up to a constant of the prompt
    logps.requires_grad_()
    h = modpo_rewards(logps.flatten(), reference.flatten(), r_b.flatten()[:, None], [margin.signed_weight], beta, w)
    first, second = h.view(40, 2).unbind(1)
    p = torch.sigmoid(r_a[:, 0] - r_a[:, 1])
    (p * modpo_loss(first, second) + (1 - p) * modpo_loss(second, first)).sum().backward()
    return logps.grad


@pytest.mark.parametrize("w", [0.05, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize(("beta", "scale"), [(0.1, 0.3), (1.0, 2.0), (0.5, 8.0)])
def test_the_expected_gradient_vanishes_at_the_known_optimum(w, beta, scale):
    assert expected_gradient(w, beta, scale).abs().max() < 1e-12 * (1 + beta / w)


@pytest.mark.parametrize("fault", [{"w_of_policy": 0.45}, {"role": "cost"}], ids=["weight", "sign"])
def test_a_weight_or_a_sign_that_is_off_leaves_a_gradient(fault):
    assert expected_gradient(0.4, 0.5, 1.0, **fault).abs().max() > 5e-3


def trained(features, beta: float, w: float, margin_of, start, learning_rate: float) -> torch.Tensor:
    """Parameters (V,) of a log-linear policy, log pi / pi_ref = features @ parameters, after 40 steps of Adam on all pairs.

    Args:
        features: (B, 2, V), chosen first; the labels are in their order.
        margin_of: parameters of the margin's policy, weight 1 - w.
    """
    parameters = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([parameters], learning_rate, eps=1e-30)
    margins = implicit_reward(features @ margin_of, torch.zeros(features.shape[:2], dtype=torch.float64), beta)
    for _ in range(40):
        logps = features @ parameters
        h = modpo_rewards(logps.flatten(), torch.zeros(logps.numel()), margins.flatten()[:, None], [1 - w], beta, w)
        chosen, rejected = h.view(-1, 2).unbind(1)
        optimiser.zero_grad()
        modpo_loss(chosen, rejected).mean().backward()
        optimiser.step()
    return parameters.detach()


@pytest.mark.parametrize("w", [0.1, 0.5, 0.8])
def test_from_the_margins_with_the_learning_rate_times_w_a_log_linear_policy_becomes_the_soup(w):
    """There z = beta x (theta - (1 - w) theta_b) / w is DPO's of phi = (theta - (1 - w) theta_b) / w, and Adam does not see scale.

    So MODPO can beat the soup of the DPO ends only by what is not linear, and at DPO's learning rate it takes steps 1 / w as large.
    """
    generator = torch.Generator().manual_seed(1)
    features_a, features_b = (torch.randn(30, 2, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    zero = torch.zeros(12, dtype=torch.float64)
    end_a, end_b = (trained(features, 0.5, 1.0, zero, zero, 0.02) for features in (features_a, features_b))
    soup = w * end_a + (1 - w) * end_b
    found = trained(features_a, 0.5, w, end_b, (1 - w) * end_b, 0.02 * w)
    torch.testing.assert_close(found, soup, rtol=0, atol=1e-6)
    assert (trained(features_a, 0.5, w, end_b, (1 - w) * end_b, 0.02) - soup).abs().max() > 1e-3
