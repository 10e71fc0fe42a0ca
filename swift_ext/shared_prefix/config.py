"""Training arguments that refuse, before a model is loaded, flags under which rows cannot share."""

from dataclasses import dataclass
from typing import Any, ClassVar

from swift.rlhf_trainers import DPOConfig, GRPOConfig

from swift_ext.ray_flag import RefusesRay
from swift_ext.settings import read_settings

from .settings import SharedPrefixSettings, refuse_flags


@dataclass
class RefusesFlags(RefusesRay):
    """A mixin over ms-swift's training arguments that reads the setting once against the flags of the run.

    Args:
        packing, padding_free, sequence_parallel_size: ms-swift's template flags, which it hands to whoever has such a field.

    Raises:
        ValueError: another word, `on` with a flag that keeps rows from sharing, or `--use_ray true`.
    """

    settings_class: ClassVar[type[Any]] = SharedPrefixSettings  # with the field `shared_prefix`
    packing: bool = False
    padding_free: bool = False
    sequence_parallel_size: int = 1

    def __post_init__(self):
        super().__post_init__()
        refuse_flags(read_settings(self.settings_class).shared_prefix, self, self)


@dataclass
class SharedPrefixDPOConfig(RefusesFlags, DPOConfig):
    """[`swift.rlhf_trainers.DPOConfig`], with `SHARED_PREFIX` read."""


@dataclass
class SharedPrefixGRPOConfig(RefusesFlags, GRPOConfig):
    """[`swift.rlhf_trainers.GRPOConfig`], with `SHARED_PREFIX` read."""
