"""What a pair-coupled run is refused for, before its first step; `scaling.py` has what it is warned of."""

from collections.abc import Sequence

from swift.rewards import ORM
from swift.utils import get_logger

from datasets_builders.choices import nearest
from datasets_builders.scoring.parsers import get_parser
from datasets_builders.scoring.tags import EXAMPLES, refuse_swallowed_tags
from swift_ext.paired_grpo.checks import refuse_what_cuts_pairs

from .rewards import REWARDS, PairReward
from .settings import BTSettings

logger = get_logger()
SHARED_SETTINGS = {
    "score_parser", "reward_parse_fail", "pair_weight_on", "min_reward_std", "min_reward_std_mode", "max_bad_pairs",
    "log_pairs", "log_every", "shared_prefix",
}  # fmt: skip


def refuse_what_cannot_work(
    settings: BTSettings, reward_classes: Sequence[type[ORM]], training_args, template, train_dataset
) -> None:
    """Refuses setups in which pairs would be cut, or a setting would silently have no effect.

    Args:
        reward_classes: of the run's reward functions.
        training_args: ms-swift's GRPOConfig.
        template: ms-swift's template; its tokenizer must leave the score tag as it is.

    Raises:
        ValueError: the flag or variable that stands in the way is named.
    """
    pair_rewards = [one for one in reward_classes if issubclass(one, PairReward)]
    if not pair_rewards:
        names = [name for name, one in REWARDS.items() if issubclass(one, PairReward)]
        raise ValueError(f"no reward function of this run compares pairs; {nearest('bt_pointwise_baseline', names)}")
    refuse_what_cuts_pairs(training_args, template, train_dataset)
    if settings.min_reward_std_mode == "drop" and not training_args.dynamic_sample:
        raise ValueError("BT_MIN_REWARD_STD_MODE=drop samples other pairs instead: it needs --dynamic_sample true")
    scales_groups = training_args.scale_rewards == "group" and training_args.advantage_estimator != "rloo"
    if settings.min_reward_std and settings.min_reward_std_mode == "floor" and not scales_groups:
        raise ValueError(
            f"BT_MIN_REWARD_STD floors the divisor of --scale_rewards group, but the run has "
            f"{training_args.scale_rewards} with {training_args.advantage_estimator}; BT_MIN_REWARD_STD_MODE=zero works"
        )
    _check_settings_have_effect(settings, pair_rewards)
    weighted = [one for one in pair_rewards if one.weighted]
    if settings.pair_weight_on == "advantage" and not (weighted and len(pair_rewards) == 1):
        raise ValueError("BT_PAIR_WEIGHT_ON=advantage needs exactly one pair reward, and one with weights")
    _check_parsers(pair_rewards, settings, train_dataset)
    if (tokenizer := getattr(template, "tokenizer", None)) is not None:
        refuse_swallowed_tags(tokenizer, EXAMPLES["score100"])


def _check_settings_have_effect(settings: BTSettings, pair_rewards: list[type[PairReward]]) -> None:
    used = SHARED_SETTINGS.union(*(one.uses for one in pair_rewards))
    idle = sorted(f"BT_{name.upper()}" for name in settings.model_fields_set - used)
    if idle:
        known = sorted(f"BT_{name.upper()}" for name in used)
        raise ValueError(
            f"{', '.join(idle)} has no effect on {', '.join(one.__name__ for one in pair_rewards)}, which reads {known}"
        )


def _check_parsers(pair_rewards: list[type[PairReward]], settings: BTSettings, train_dataset) -> None:
    """One parser for all rewards, of the scale that the rows were made for."""
    of_rows = None
    if train_dataset is not None and "parser_name" in getattr(train_dataset, "column_names", ()):
        of_rows = [train_dataset[0]["parser_name"]]
    parsers = {one(None).parser(of_rows).name for one in pair_rewards}
    if len(parsers) > 1:
        raise ValueError(f"the rewards read scores with {sorted(parsers)}: set BT_SCORE_PARSER")
    (name,) = parsers
    scale = get_parser(name).scale
    where = "BT_SCORE_PARSER" if settings.score_parser else "the rows" if of_rows else "the reward's default"
    logger.info(f"scores are read by {name} (from {where}): {scale.low:g} to {scale.high:g}")
    if not settings.score_parser and not of_rows:
        logger.warning(f"neither BT_SCORE_PARSER nor a parser_name column says how scores are read: {name} it is")
