"""Floors on a group's spread, against the formula from the rewards and the recorded numbers."""

import json
from pathlib import Path

import pytest
import torch

from trl_ext.objectives.group_advantages import (
    STD_GUARD,
    cancelled_share,
    floor_spread,
    group_spread,
    scaled_advantages,
    zero_low_spread,
)

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "bt_rewards.json").read_text())["min_reward_std_advantages"]


def grpo(rewards: torch.Tensor, group_size: int) -> torch.Tensor:
    groups = rewards.view(-1, group_size)
    centred = groups - groups.mean(1, keepdim=True)
    return (centred / (groups.std(1, keepdim=True) + STD_GUARD)).flatten()


@pytest.mark.parametrize("case", CASES)
def test_recorded_numbers(case):
    rewards = torch.tensor(case["rewards"], dtype=torch.float64)
    spread = group_spread(rewards, case["K"])
    floored = floor_spread(grpo(rewards, case["K"]), spread, case["min_reward_std"])
    assert floored.tolist() == pytest.approx(case["advantages"], abs=1e-6)
    if case["frac_low"] is not None:
        assert (spread < case["min_reward_std"]).double().mean().item() == case["frac_low"]


def test_floor_is_a_bound_per_group_and_leaves_wide_groups_alone():
    rewards = torch.tensor([0.0, 1e-5, 0.0, 0.0, 0.0, 1.0, 0.0, 2.0], dtype=torch.float64)
    plain, spread = grpo(rewards, 4), group_spread(rewards, 4)
    floored = floor_spread(plain, spread, 0.05)
    assert torch.equal(floored[4:], plain[4:])
    centred = rewards[:4] - rewards[:4].mean()
    assert torch.allclose(floored[:4], centred / (0.05 + STD_GUARD))
    assert floored.abs()[:4].max() < plain.abs()[:4].max() / 100


def test_zero_takes_out_narrow_groups_only():
    rewards = torch.tensor([0.0, 1e-5, 0.0, 0.0, 0.0, 1.0, 0.0, 2.0], dtype=torch.float64)
    plain, spread = grpo(rewards, 4), group_spread(rewards, 4)
    zeroed = zero_low_spread(plain, spread, 0.05)
    assert not zeroed[:4].any() and torch.equal(zeroed[4:], plain[4:])


def test_a_group_of_one_has_no_spread():
    assert group_spread(torch.tensor([1.0, 5.0]), 1).tolist() == [0.0, 0.0]


# --- what a scaling takes away --------------------------------------------------------------------------------------


def random_groups(seed: int, groups: int = 6, size: int = 4, functions: int = 2) -> torch.Tensor:
    return torch.randn(groups * size, functions, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scaling", ["group", "batch", "none", "gdpo"])
@pytest.mark.parametrize("seed", range(3))
def test_scaled_advantages_are_ms_swifts(scaling, seed):
    """Up to gdpo's division of the whole batch, which is a factor and a shift common to all."""
    upstream = pytest.importorskip("swift.rl_core.advantage")
    rewards, weights = random_groups(seed), [1.0, 0.3]
    expected, _ = upstream.compute_advantages(
        rewards, torch.tensor(weights, dtype=torch.float64), 4, scale_rewards=scaling
    )
    found = scaled_advantages(rewards, 4, scaling, weights)
    if scaling == "gdpo":
        found = (found - found.mean()) / found.std()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("scaling", "share"), [("group", 1.0), ("batch", 0.0), ("none", 0.0)])
def test_a_weight_of_the_whole_group_is_divided_out_by_its_spread(scaling, share):
    rewards = random_groups(0, functions=1)[:, 0]
    weights = torch.linspace(0.1, 1, 6, dtype=torch.float64).repeat_interleave(4)
    assert cancelled_share(rewards, rewards * weights, 4, scaling) == pytest.approx(share, abs=1e-2)


@pytest.mark.parametrize("scaling", ["group", "batch", "none", "gdpo"])
def test_a_term_that_differs_within_a_group_is_kept(scaling):
    rewards = random_groups(1, groups=200)
    without = torch.stack([rewards[:, 0], torch.zeros(800, dtype=torch.float64)], dim=1)
    assert cancelled_share(without, rewards, 4, scaling, [1.0, 1.0]) < 0.15


def test_what_a_scaling_puts_in_the_place_of_a_term_is_not_the_term():
    """A bonus of 0, 0.2, 0.2 or 1 a group: gdpo makes it all or nothing. Its size alone would call 14% of it undone."""
    rewards = random_groups(4, groups=200, functions=1)
    bonus = torch.tensor([0, 0.2, 0.2, 1] * 50, dtype=torch.float64).repeat_interleave(4)[:, None] * rewards
    without, full = torch.cat([rewards, 0 * rewards], 1), torch.cat([rewards, bonus], 1)
    assert cancelled_share(without, full, 4, "gdpo", [1.0, 1.0]) == pytest.approx(0.59, abs=1e-2)
    assert cancelled_share(without, full, 4, "batch", [1.0, 1.0]) == pytest.approx(0, abs=1e-9)


def test_a_high_floor_under_the_groups_spread_keeps_their_weights():
    rewards = random_groups(2, functions=1)[:, 0]
    weights = torch.linspace(0.1, 1, 6, dtype=torch.float64).repeat_interleave(4)
    shares = [cancelled_share(rewards, rewards * weights, 4, "group", floor=floor) for floor in (0, 0.3, 0.6, 10)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.99 and shares[-1] < 1e-6


def test_a_term_without_effect_is_not_cancelled_and_a_wrong_scaling_is_named():
    rewards = random_groups(3, functions=1)[:, 0]
    assert cancelled_share(rewards, rewards, 4, "group") == cancelled_share(rewards, rewards + 5, 4, "group") == 0
    assert cancelled_share(torch.zeros(8), torch.zeros(8), 4, "group") == 0
    with pytest.raises(ValueError, match="'goup': valid are group, batch, none, gdpo"):
        cancelled_share(rewards, rewards, 4, "goup")
