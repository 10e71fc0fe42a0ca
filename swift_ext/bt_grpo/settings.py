"""Settings of the pair-coupled rewards in ms-swift: `BT_*` in the environment, `ENV:` of a run file, `--model_kwargs`."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from swift_ext.paired_grpo.settings import PairedSettings


class BTSettings(PairedSettings):
    """Numbers are in score points where they are compared with scores, and without unit after the temperature.

    | variable | meaning | used by |
    |---|---|---|
    | `BT_SCORE_PARSER` | how a score is read; default: the rows' `parser_name`, else the reward's own | all |
    | `BT_REWARD_PARSE_FAIL` | reward of an answer without a score; default: no better than the worst wrong one | all |
    | `BT_DELTA_TEMP` | temperature T of the margin, score points | baseline, hardmine, pair_shared |
    | `BT_DELTA_CLIP`, `BT_DELTA_NEG_CLIP` | bounds of margin / T above and below; 0: none | the same |
    | `BT_DELTA_CLIP_KIND` | `hard` (default) or `soft`: x / (1 + abs(x) / bound), under which worse scores still differ | the same |
    | `BT_REWARD_SCALE` | factor of the reward | the same |
    | `BT_REWARD_OFFSET` | added to the reward | baseline |
    | `BT_HARD_THRESHOLD` | pairs right by less than this (margin / T) have weight `BT_HARD_LAMBDA` | hardmine |
    | `BT_HARD_LAMBDA`, `BT_HARD_EPS` | weights of pairs that are barely and clearly right; wrong pairs have 1 | hardmine |
    | `BT_REWARD_POS`, `BT_REWARD_NEG` | rewards of right and wrong | binary |
    | `BT_SCORE_TEMP` | temperature T of the margin, score points | graded, graded_hardpair, hard_margin |
    | `BT_GRADE_THRESH` | margin / T above which right is clearly right | graded, graded_hardpair |
    | `BT_REWARD_HIGH`, `BT_REWARD_LOW`, `BT_REWARD_WRONG` | rewards of clearly right, right, wrong | the same |
    | `BT_REWARD_TIE` | reward of a tie; default: halfway between wrong and right | binary, graded, graded_hardpair |
    | `BT_HARD_TEMP` | temperature of the weight sigma(-margin / (T x this)) | graded_hardpair, hard_margin |
    | `BT_MARGIN_GAMMA`, `BT_MARGIN_TEMP` | wanted margin / T, and temperature of the hinge | hard_margin |
    | `BT_HARD_TAU` | old name of `BT_HARD_THRESHOLD` (hardmine) and of `BT_HARD_TEMP` (the others) | |
    | `BT_PAIR_WEIGHT_ON` | `reward` (default) or `advantage`, where group scaling cannot cancel it | weighted rewards |
    | `BT_MIN_REWARD_STD` | groups whose reward spread is under this are handled by the mode; 0: off | trainer |
    | `BT_MIN_REWARD_STD_MODE` | `floor` the divisor, `zero` the advantages, or `drop`: sample other pairs | trainer |
    | `BT_MAX_BAD_PAIRS` | share of incomplete, duplicated or contradictory pairs that is accepted | trainer |
    | `BT_LOG_PAIRS` | `true`: which pairs each rank generated, in pairs-rank*.jsonl of the run's folder | trainer |
    | `BT_SHARED_PREFIX` | `auto` (default), `on`, `off`: what rows have in common is computed once; docs/performance.md | trainer |
    | `BT_LOG_EVERY` | accepted and ignored: the numbers are in the trainer's log | |
    """

    model_config = SettingsConfigDict(env_prefix="BT_", case_sensitive=False)

    score_parser: str | None = None
    reward_parse_fail: float | None = Field(default=None, allow_inf_nan=False)
    delta_temp: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    delta_clip: float = Field(default=0.0, allow_inf_nan=False)
    delta_neg_clip: float = Field(default=0.0, allow_inf_nan=False)
    delta_clip_kind: Literal["hard", "soft"] = "hard"
    reward_scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    reward_offset: float = Field(default=0.0, allow_inf_nan=False)
    hard_threshold: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    hard_lambda: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    hard_eps: float = Field(default=0.2, ge=0, allow_inf_nan=False)
    reward_pos: float = Field(default=1.0, allow_inf_nan=False)
    reward_neg: float = Field(default=-1.0, allow_inf_nan=False)
    score_temp: float = Field(default=20.0, gt=0, allow_inf_nan=False)
    grade_thresh: float = Field(default=0.1, ge=0, allow_inf_nan=False)
    reward_low: float = Field(default=1.2, allow_inf_nan=False)
    reward_high: float = Field(default=1.4, allow_inf_nan=False)
    reward_wrong: float = Field(default=0.0, allow_inf_nan=False)
    reward_tie: float | None = Field(default=None, allow_inf_nan=False)
    hard_temp: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    margin_gamma: float = Field(default=0.5, allow_inf_nan=False)
    margin_temp: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    hard_tau: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    pair_weight_on: Literal["reward", "advantage"] = "reward"
    min_reward_std: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    min_reward_std_mode: Literal["floor", "zero", "drop"] = "floor"
    log_every: int | None = None

    @model_validator(mode="after")
    def _consistent(self):
        if not self.reward_neg < self.reward_pos:
            raise ValueError(f"BT_REWARD_NEG {self.reward_neg:g} must be under BT_REWARD_POS {self.reward_pos:g}")
        if not self.reward_wrong < self.reward_low <= self.reward_high:
            raise ValueError(
                f"BT_REWARD_WRONG {self.reward_wrong:g} must be under BT_REWARD_LOW {self.reward_low:g}, and that at "
                f"most BT_REWARD_HIGH {self.reward_high:g}"
            )
        if self.hard_tau is not None and (self.hard_threshold is not None or self.hard_temp is not None):
            raise ValueError(
                "BT_HARD_TAU is the old name of BT_HARD_THRESHOLD and of BT_HARD_TEMP: set the new names alone"
            )
        if "min_reward_std_mode" in self.model_fields_set and not self.min_reward_std:
            raise ValueError("BT_MIN_REWARD_STD_MODE is set but BT_MIN_REWARD_STD is not")
        return self
