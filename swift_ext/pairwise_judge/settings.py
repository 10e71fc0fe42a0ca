"""Settings of the pairwise judge in ms-swift: `JUDGE_*` in the environment, `ENV:` of a run file, `--model_kwargs`."""

from pydantic_settings import SettingsConfigDict

from swift_ext.paired_grpo.settings import PairedSettings


class JudgeSettings(PairedSettings):
    """What upstream's flags cannot say; how rewards are mixed is upstream's `--reward_weights`.

    | variable | meaning |
    |---|---|
    | `JUDGE_MAX_BAD_PAIRS` | share of incomplete, duplicated or contradictory pairs that is accepted |
    | `JUDGE_LOG_PAIRS` | `true`: which pairs each rank generated, in pairs-rank*.jsonl of the run's folder |
    | `JUDGE_SHARED_PREFIX` | `auto` (default), `on`, `off`: what rows have in common is computed once; docs/performance.md |
    """

    model_config = SettingsConfigDict(env_prefix="JUDGE_", case_sensitive=False)
