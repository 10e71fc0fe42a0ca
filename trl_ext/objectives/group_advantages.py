"""What dividing by a spread does to GRPO rewards (arXiv 2402.03300, eq. 3): which term of a reward it undoes, and floors.

GRPO takes (r - mean) of a group of K completions of one prompt, and divides it by a standard deviation: of the group, of
the whole batch, or not at all. A factor that is the same for a whole group, and a bonus that is the same for all right
answers of a group, are divided out again by the group's own spread. Where all rewards of a group are nearly equal, that
division turns noise into advantages of full size; the floors take advantages that were scaled so and bound them.

Shapes: N rewards in groups of K neighbours, F reward functions.
"""

from collections.abc import Sequence

import torch

STD_GUARD = 1e-4  # what GRPO adds to the spread before it divides
GDPO_GUARD = 1e-8  # what ms-swift's gdpo adds
SCALINGS = ("group", "batch", "none", "gdpo")


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


def centred(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    """(N,) rewards minus the mean of their group."""
    groups = rewards.view(-1, group_size)
    return (groups - groups.mean(dim=1, keepdim=True)).flatten()


def scaled_advantages(
    rewards: torch.Tensor, group_size: int, scaling: str, weights: Sequence[float] = (1.0,), floor: float = 0.0
) -> torch.Tensor:
    """(N,) advantages of rewards (N, F), or (N,) of one function, under a value of `--scale_rewards`.

    Args:
        weights: F, of the reward functions. `gdpo` divides each function by its own group's spread before it weighs them.
        floor: least spread of a group (`group` alone).

    Raises:
        ValueError: an unknown scaling.
    """
    if scaling not in SCALINGS:
        raise ValueError(f"--scale_rewards {scaling!r}: valid are {', '.join(SCALINGS)}")
    columns = rewards.view(len(rewards), -1)
    weighed = columns.new_tensor(weights)
    if scaling == "gdpo":
        parts = [centred(one, group_size) / (group_spread(one, group_size) + GDPO_GUARD) for one in columns.T]
        return torch.stack(parts, dim=1) @ weighed
    total = columns @ weighed
    advantages = centred(total, group_size)
    if scaling == "group":
        return advantages / (group_spread(total, group_size).clamp(min=floor) + STD_GUARD)
    return advantages / (total.std() + STD_GUARD) if scaling == "batch" else advantages


def cancelled_share(
    without: torch.Tensor,
    rewards: torch.Tensor,
    group_size: int,
    scaling: str,
    weights: Sequence[float] = (1.0,),
    floor: float = 0.0,
) -> float:
    """How much of what a term does to the advantages a scaling takes away again: 0 keeps it, 1 undoes it.

    What the term does is the part of the advantages that no factor common to all of the batch explains (such a factor is
    a learning rate): E = (A - c A') / |A| at the best c, A with and A' without the term. The share is 1 minus the part of
    E along what the term does to advantages that are not scaled: a scaling may also put something else in its place.

    Args:
        without, rewards: (N, F) or (N,) rewards without and with the term, of several groups.
        weights, floor: see `scaled_advantages`.
    """

    def effect(scaling: str) -> torch.Tensor:
        plain, full = (
            scaled_advantages(one.double(), group_size, scaling, weights, floor) for one in (without, rewards)
        )
        common = (plain @ full) / (plain @ plain).clamp(min=torch.finfo(plain.dtype).tiny)
        return (full - common * plain) / full.norm().clamp(min=torch.finfo(plain.dtype).tiny)

    meant, left = effect("none"), effect(scaling)
    return min(max(1 - ((left @ meant) / (meant @ meant)).item(), 0.0), 1.0) if meant.norm() > 1e-9 else 0.0
