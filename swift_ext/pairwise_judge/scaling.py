"""What `--scale_rewards` takes away from the judge's rewards, with the size of the effect."""

import random
from collections.abc import Sequence
from typing import Any

import torch

from trl_ext.objectives.group_advantages import cancelled_share
from trl_ext.objectives.verdicts import swap_label

from .rewards import REWARDS, JudgeReward

WORTH_SAYING = 0.2  # share of a term that is cancelled, above which a run says so
PAIRS = 64
# Rewards that weigh a right answer, and what their weight is.
WEIGHTS = {
    REWARDS["pairwise_consistency"]: "the bonus for saying the same in both orders",
    REWARDS["pairwise_preference_by_strength"]: "the weight of clear preferences",
}


def typical_answers(group_size: int) -> tuple[list[str], dict[str, list]]:
    """Answers to both orders of pairs by judges between sure and undecided, with the columns of their rows."""
    coin = random.Random(0)
    answers, columns = [], {name: [] for name in ("ground_truth", "pair_id", "side", "preference_strength")}
    for pair in range(PAIRS):
        truth, sure, strength = coin.choice("AB"), coin.random(), coin.choice((1, 2, 3))
        for side, label in enumerate((truth, swap_label(truth))):
            says = [label if coin.random() < sure else swap_label(label) for _ in range(group_size)]
            answers += [f"<preference>{verdict}</preference>" for verdict in says]
            row = {"ground_truth": label, "pair_id": pair, "side": side}
            row["preference_strength"] = strength if label == "B" else -strength
            for name, column in columns.items():
                column += [row[name]] * group_size
    return answers, columns


def reward_columns(classes: Sequence[type[JudgeReward]], answers: Sequence[str], columns: dict) -> torch.Tensor:
    """(N, F) rewards of the answers."""
    return torch.tensor([one.function(answers, **columns) for one in classes], dtype=torch.float64).T.contiguous()


def cancelled_terms(reward_classes: Sequence[type], training_args: Any) -> dict[str, float]:
    """Of each weight that a reward of the run puts on right answers, the share that its scaling undoes.

    Args:
        training_args: `scale_rewards`, `num_generations` and `reward_weights` are read.
    """
    weights = training_args.reward_weights or [1.0] * len(reward_classes)
    if len(weights) != len(
        reward_classes
    ):  # rewards that are not the judge's, by path: their weights cannot be told apart
        weights = [1.0] * len(reward_classes)
    judged = [
        (one, weight) for one, weight in zip(reward_classes, weights, strict=True) if issubclass(one, JudgeReward)
    ]
    size = max(training_args.num_generations or 8, 2)
    answers, columns = typical_answers(size)
    terms = {}
    for weighs, term in WEIGHTS.items():
        if weighs in reward_classes:
            unweighed = [REWARDS["pairwise_preference"] if one is weighs else one for one, _ in judged]
            with_it, without = (
                reward_columns(classes, answers, columns) for classes in ([one for one, _ in judged], unweighed)
            )
            scaling = training_args.scale_rewards or "group"
            terms[term] = cancelled_share(without, with_it, size, scaling, [weight for _, weight in judged])
    return terms


def scaling_warnings(reward_classes: Sequence[type], training_args: Any) -> list[str]:
    """What the scaling undoes, in words with the size; empty when the rewards do what they say."""
    scaling = training_args.scale_rewards or "group"
    return [
        f"--scale_rewards {scaling} undoes {share:.0%} of {term}, which is the same for all right answers to a prompt: "
        "--scale_rewards batch keeps it"
        for term, share in cancelled_terms(reward_classes, training_args).items()
        if share > WORTH_SAYING
    ]
