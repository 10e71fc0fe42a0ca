"""What `--scale_rewards` takes away from what a Bradley-Terry reward says, with the size of the effect."""

from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import torch

from datasets_builders.scoring.parsers import Scale
from trl_ext.objectives.group_advantages import cancelled_share, scaled_advantages

from .rewards import BTBaseline, Pair, PairReward
from .settings import BTSettings

WORTH_SAYING = 0.2  # share of a term that is cancelled, above which a run says so
MARGINS = (-0.6, -0.4, -0.2, -0.1, 0.0, 0.1, 0.2, 0.4, 0.6)  # of pairs, as parts of the scale's width
NOISE = 0.1  # standard deviation of a reply's scores, as a part of the scale's width


def typical_pairs(scale: Scale, group_size: int) -> list[Pair]:
    """Pairs of all margins, wrong to right, each reply scored `group_size` times around its mean."""
    width, middle = scale.high - scale.low, (scale.high + scale.low) / 2
    draws = [NormalDist(0, NOISE * width).inv_cdf((k + 0.5) / group_size) for k in range(group_size)]
    pairs = []
    for margin in MARGINS:
        sides = [[middle + sign * margin * width / 2 + one for one in draws] for sign in (1, -1)]
        rows = list(range(group_size))
        pairs.append(Pair(rows, rows, *([min(max(one, scale.low), scale.high) for one in side] for side in sides)))
    return pairs


def _rewards(reward: PairReward, pairs: Sequence[Pair], value: Callable[[float, Pair], float]) -> torch.Tensor:
    """(N,) of all completions: first the preferred side's group of a pair, then the other's."""
    sides = [(pair, side) for pair in pairs for side in reward.margins(pair)]
    return torch.tensor([value(margin, pair) for pair, side in sides for margin in side], dtype=torch.float64)


def cancelled_terms(settings: BTSettings, reward_class: type[PairReward], training_args: Any) -> dict[str, float]:
    """Of each thing that the reward says about pairs, the share that the run's scaling undoes; see `cancelled_share`.

    Args:
        training_args: `scale_rewards` and `num_generations` are read.
    """
    reward = reward_class(None)
    pairs = typical_pairs(reward.parser().scale, max(training_args.num_generations or 8, 2))
    plain = _rewards(reward, pairs, lambda margin, pair: reward.value(margin))
    floor = settings.min_reward_std if settings.min_reward_std_mode == "floor" else 0.0

    def share(without: torch.Tensor, rewards: torch.Tensor) -> float:
        scaling, size = training_args.scale_rewards or "group", len(pairs[0].preferred)
        return cancelled_share(without, rewards, size, scaling, floor=floor)

    terms = {}
    if reward.slope:  # without it, every pair would count alike
        terms[reward.slope] = share(scaled_advantages(plain, len(pairs[0].preferred), "group"), plain)
    if reward.weighted and settings.pair_weight_on == "reward":
        weighted = _rewards(reward, pairs, lambda margin, pair: reward.value(margin) * reward.weight(pair.margin))
        terms["the weights of pairs"] = share(plain, weighted)
    return terms


def scaling_warnings(settings: BTSettings, reward_classes: Sequence[type[PairReward]], training_args: Any) -> list[str]:
    """What the scaling undoes and which pairs get no push, in words with the size; empty when the rewards do what they say."""
    warnings = []
    for one in reward_classes:
        for term, share in cancelled_terms(settings, one, training_args).items():
            if share > WORTH_SAYING:
                fix = "--scale_rewards batch keeps it"
                if one.weighted and "weights" in term:
                    fix += ", and so does BT_PAIR_WEIGHT_ON=advantage"
                scaling = training_args.scale_rewards or "group"
                warnings.append(f"--scale_rewards {scaling} undoes {share:.0%} of {term} of {one.__name__}: {fix}")
    clip = settings.delta_neg_clip
    if any(issubclass(one, BTBaseline) for one in reward_classes) and clip > 0 and settings.delta_clip_kind == "hard":
        warnings.append(
            f"answers wrong by more than {clip * settings.delta_temp:g} points all have the same reward and get no push "
            f"(BT_DELTA_NEG_CLIP {clip:g} x BT_DELTA_TEMP {settings.delta_temp:g}): BT_DELTA_CLIP_KIND=soft keeps one"
        )
    return warnings
