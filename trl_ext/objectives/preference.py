"""Losses of a scalar reward model on preference pairs. Shapes: B pairs.

With d = score(chosen) - score(rejected) and m = gold(chosen) - gold(rejected) > 0, all as means over the batch:

    bt            -log sigma(d)                               (Bradley and Terry 1952; InstructGPT, arXiv 2203.02155, eq. 1)
    margin        -log sigma(d - m)                           (Llama 2, arXiv 2307.09288, eq. 2)
    margin_order  the latter, plus the sum over all pairs of pairs with m_i > m_j of
                  -log sigma((d_i - d_j) - (m_i - m_j))       (the reward model of D2PO's code, there `prefoverpref`)
"""

import torch
import torch.nn.functional as F

from datasets_builders.choices import check_choice

LOSSES = ("bt", "margin", "margin_order")


def preference_loss(difference: torch.Tensor, margin: torch.Tensor | None = None, kind: str = "bt") -> torch.Tensor:
    """Loss of a batch of pairs.

    Args:
        difference: (B,) score of the chosen minus score of the rejected response.
        margin: (B,) by how much the gold score of the chosen one is higher; not read by `bt`.
        kind: one of LOSSES.

    Returns:
        A scalar in the dtype of `difference`.

    Raises:
        ValueError: no such kind, no pair, a missing margin, or shapes that do not fit.
    """
    check_choice("preference loss", kind, LOSSES)
    if difference.ndim != 1 or not len(difference):
        raise ValueError(f"difference has shape {tuple(difference.shape)}, expected (B,) with at least one pair")
    if kind == "bt":
        return -F.logsigmoid(difference).mean()
    if margin is None or margin.shape != difference.shape:
        found = "no margin" if margin is None else f"margins of shape {tuple(margin.shape)}"
        raise ValueError(f"loss {kind!r} has {found}, expected {tuple(difference.shape)}: one number a pair")
    beyond = difference - margin.to(difference)
    loss = -F.logsigmoid(beyond).mean()
    if kind == "margin":
        return loss
    # (d_i - d_j) - (m_i - m_j) is the difference of what lies beyond the margins.
    larger = margin[:, None] > margin[None, :]
    return loss - F.logsigmoid((beyond[:, None] - beyond[None, :])[larger]).sum()
