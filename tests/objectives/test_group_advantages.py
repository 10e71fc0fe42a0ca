"""Floors on a group's spread, against the formula from the rewards and the recorded numbers."""

import json
from pathlib import Path

import pytest
import torch

from trl_ext.objectives.group_advantages import STD_GUARD, floor_spread, group_spread, zero_low_spread

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
