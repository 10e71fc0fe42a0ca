"""The setting of shared prefixes in ms-swift, and the flags of a run under which rows cannot share."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from trl_ext.shared_prefix.setting import Setting, as_written

SharedPrefix = Annotated[Setting, BeforeValidator(as_written)]
# Tuners that do not treat all tokens of a row alike, or bring an attention of their own.
OTHER_TUNERS = ("longlora", "reft")


class SharedPrefixSettings(BaseSettings):
    """| variable | meaning |
    |---|---|
    | `SHARED_PREFIX` | `auto` (default) shares where it is exact and pays, `on` always, `off` never |
    """

    model_config = SettingsConfigDict(env_prefix="SHARED_PREFIX", case_sensitive=False)

    shared_prefix: SharedPrefix = Field(default="auto", validation_alias="SHARED_PREFIX")


def hindrances(training_args: Any, template: Any) -> Iterator[str]:
    """Why the flags of a run keep its rows from sharing, in words that follow "because".

    Args:
        training_args: ms-swift's training arguments.
        template: ms-swift's template, or arguments with the same three fields.
    """
    if template.packing:
        yield "--packing true joins rows"
    if template.padding_free:
        yield "--padding_free true joins rows"
    if template.sequence_parallel_size > 1:
        yield f"--sequence_parallel_size {template.sequence_parallel_size} splits the tokens of a row over ranks"
    if training_args.use_liger_kernel:
        yield "--use_liger_kernel true replaces the model's own layers"
    if training_args.neftune_noise_alpha:
        yield (
            f"--neftune_noise_alpha {training_args.neftune_noise_alpha:g} draws noise for each row, and rows that share a "
            "token share its draw"
        )
    if getattr(training_args, "tuner_type", None) in OTHER_TUNERS:
        yield f"--tuner_type {training_args.tuner_type} looks at the place of a token in its row"
    if getattr(training_args, "tuner_backend", None) == "unsloth":
        yield "--tuner_backend unsloth brings an attention of its own"


def refuse_flags(setting: str, training_args: Any, template: Any) -> None:
    """Refuses `on` under such flags, before a model is loaded.

    Raises:
        ValueError: the flag that stands in the way is named.
    """
    if setting == "on" and (reason := next(hindrances(training_args, template), None)):
        raise ValueError(f"shared_prefix is on, but rows cannot share because {reason}")
