"""Multi-objective DPO (MODPO, arXiv 2310.03708) written as DPO with a shifted reference.

The paper's loss for the preference k that is trained, with weight w_k, and margins m_j with weights w_j, is

    h(x, y) = (1 / w_k) [ beta (log pi - log pi_ref) - sum_j w_j m_j ],    loss = -log sigma(h(chosen) - h(rejected)).

Moving the margins into the reference gives plain DPO with beta' = beta / w_k and

    log pi_ref'  =  log pi_ref + (1 / beta) sum_j w_j m_j,

so a trainer needs to change its reference term and its beta, and nothing else.

Direction: at the optimum beta log(pi / pi_ref) = w_k r_k + sum_j w_j m_j. A positively weighted margin is a REWARD,
although the loss subtracts it. Costs carry a negative weight, which `role: cost` sets.

Shapes: B pairs, K margins.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F


def shift_reference(
    ref_logps: torch.Tensor, margins: torch.Tensor, weights: torch.Tensor | Sequence[float], beta: float
) -> torch.Tensor:
    """Reference log-probs moved by the margins, `ref + margins @ weights / beta` (arXiv 2310.03708, eq. 10 rearranged).

    Args:
        ref_logps: (B,) summed log-probs under the reference.
        margins: (B, K) margin rewards of the same responses.
        weights: (K,) weights signed by role: positive for a reward, negative for a cost.
        beta: strength of the KL term, before the division by w_k. Positive.

    Returns:
        (B,) in fp32 or wider.

    Raises:
        ValueError: beta is not positive or the shapes do not fit.
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    dtype = torch.promote_types(ref_logps.dtype, torch.float32)
    weights = torch.as_tensor(weights, dtype=dtype, device=ref_logps.device)
    if margins.shape != (*ref_logps.shape, *weights.shape):
        raise ValueError(
            f"margins have shape {tuple(margins.shape)}, expected {(*ref_logps.shape, *weights.shape)}: "
            "one row a response and one column a margin"
        )
    return ref_logps.to(dtype) + margins.to(ref_logps.device, dtype) @ weights / beta


def implicit_reward(adapter_logps: torch.Tensor, base_logps: torch.Tensor, beta: float) -> torch.Tensor:
    """Implicit reward of a DPO-trained adapter, `beta (log pi_adapter - log pi_base)` (arXiv 2305.18290, eq. 5).

    Args:
        adapter_logps: (B,) summed log-probs with the adapter on.
        base_logps: (B,) the same with every adapter off.
        beta: the beta that the adapter was trained with.
    """
    return beta * (adapter_logps - base_logps)


def modpo_rewards(
    logps: torch.Tensor, ref_logps: torch.Tensor, margins: torch.Tensor, weights: Sequence[float], beta: float, w: float
) -> torch.Tensor:
    """h(x, y) of the paper, (B,), computed as beta / w times the distance to the shifted reference.

    Raises:
        ValueError: w is not positive.
    """
    if not w > 0:
        raise ValueError(f"the weight of the trained preference must be positive, got w = {w}")
    return (beta / w) * (logps - shift_reference(ref_logps, margins, weights, beta))


def modpo_loss(
    chosen_rewards: torch.Tensor, rejected_rewards: torch.Tensor, loss_type: str = "sigmoid"
) -> torch.Tensor:
    """Per-pair loss (B,) of h(chosen) - h(rejected): `sigmoid` -log sigma(z), `hinge` max(0, 1 - z).

    Upstream's trainers offer many more loss types; this function states the paper's two for tests and for readers.

    Raises:
        ValueError: another loss type.
    """
    z = chosen_rewards - rejected_rewards
    if loss_type == "sigmoid":
        return -F.logsigmoid(z)
    if loss_type == "hinge":
        return torch.relu(1 - z)
    raise ValueError(f"loss_type must be 'sigmoid' or 'hinge', got {loss_type!r}")
