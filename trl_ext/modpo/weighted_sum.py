"""A policy that starts where the margins vanish: its LoRA begins as the weighted sum of the margin adapters.

At the reference h = -(1 / w) sum_j w_j m_j. Where the margins of a pair differ by much, its sigmoid is saturated: the pair
is silent, or pushes with full force, whatever its label says. A policy with

    log pi / pi_ref = sum_j (w_j beta_j / beta) log pi_j / pi_ref,    m_j = beta_j log pi_j / pi_ref,

has h = 0 everywhere, and what is left to learn is plain DPO at beta / w. A LoRA that holds the sum of the adapters' updates,
each times w_j beta_j / beta, is that policy: exactly for one adapter with w_j beta_j = beta, to first order otherwise.
"""

from collections.abc import Sequence

import torch
from peft.tuners.lora import LoraLayer

from .adapters import MarginAdapters
from .margins import Margin


def start_at_margins(adapters: MarginAdapters, margins: Sequence[Margin], beta: float) -> int:
    """Sets the policy's LoRA to sum_j (w_j beta_j / beta) times the update of margin j, signed by role.

    The sum stands in the first rows of A and columns of B. The rest stays as it was drawn, with B zero, so that it adds
    nothing and can learn.

    Args:
        adapters: on the policy, whose own adapter is new.
        beta: of the run, before the division by w.

    Returns:
        The number of modules that were set; 0 where no margin has a weight.

    Raises:
        ValueError: the policy's rank has no room for the sum, it has no matrices where a margin adapter has some, or it
            has learnt already.
    """
    policy, number = adapters.policy_adapter, 0
    assert policy is not None, "margin adapters on the reference say nothing about a policy's LoRA"
    pushing = [margin for margin in margins if margin.kind == "adapter" and margin.weight]
    for name, layer in adapters.host.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        own, room = _matrices(layer, policy), 0
        if pushing and policy in layer.lora_variant:
            raise ValueError(
                f"start at the margins: the policy's adapter at {name} is no plain LoRA (DoRA or the like)"
            )
        if pushing and own is not None and own[1].count_nonzero():
            raise ValueError(
                f"start at the margins: the policy's adapter has learnt already ({name} is not zero), it would be lost"
            )
        for margin in pushing:
            part = MarginAdapters.adapter_name(margin)
            matrices = _matrices(layer, part)
            if matrices is None:
                continue
            ranks = [len(m[0]) for one in pushing if (m := _matrices(layer, MarginAdapters.adapter_name(one)))]
            if own is None:
                raise ValueError(
                    f"start at the margins: margin {margin.name!r} changes {name}, where the policy has no LoRA: "
                    "train the same modules as the margin's adapter does"
                )
            if sum(ranks) > len(own[0]):
                raise ValueError(
                    f"start at the margins: the policy's LoRA has rank {len(own[0])} at {name}, the margin adapters together "
                    f"{sum(ranks)}: a rank of {sum(ranks)} or more has room for their sum"
                )
            share = margin.signed_weight * margin.beta / beta * layer.scaling[part] / layer.scaling[policy]
            place = slice(room, room := room + len(matrices[0]))
            with torch.no_grad():
                own[0][place] = matrices[0].to(own[0])
                own[1][:, place] = (share * matrices[1].float()).to(own[1])
        number += room > 0
    return number


def _matrices(layer: LoraLayer, adapter: str) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A (rank, ...) and B (out, rank, ...) of one adapter at a layer, None where it has none there."""
    if adapter in layer.lora_A:
        return layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    if adapter in layer.lora_embedding_A:
        return layer.lora_embedding_A[adapter], layer.lora_embedding_B[adapter]
    return None
