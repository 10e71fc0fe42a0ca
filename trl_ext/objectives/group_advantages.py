"""What a floor on a group's reward spread does to GRPO advantages (arXiv 2402.03300, eq. 3), after the fact.

GRPO divides (r - mean) by (std + 1e-4) of its group of K completions. Where all rewards are nearly equal, that division
turns noise into advantages of full size. These functions take advantages that were scaled so and bound them.

Shapes: N rewards in groups of K neighbours.
"""

import torch

STD_GUARD = 1e-4  # what GRPO adds to the spread before it divides


def group_spread(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    """(N,) sample standard deviation of each reward's group; zeros for groups of one."""
    if group_size == 1:
        return torch.zeros_like(rewards)
    return rewards.view(-1, group_size).std(dim=1).repeat_interleave(group_size)


def floor_spread(advantages: torch.Tensor, spread: torch.Tensor, least: float) -> torch.Tensor:
    """(N,) advantages as if the spread had been at least `least`: (r - mean) / (max(std, least) + 1e-4)."""
    return advantages * (spread + STD_GUARD) / (spread.clamp(min=least) + STD_GUARD)


def zero_low_spread(advantages: torch.Tensor, spread: torch.Tensor, least: float) -> torch.Tensor:
    """(N,) advantages, zero in groups whose spread is under `least`."""
    return torch.where(spread < least, torch.zeros_like(advantages), advantages)
