"""Training arguments that refuse, before a model is loaded, flags under which rows cannot share."""

from dataclasses import dataclass

from swift.rlhf_trainers import DPOConfig

from swift_ext.settings import read_settings

from .settings import SharedPrefixSettings, refuse_flags


@dataclass
class SharedPrefixDPOConfig(DPOConfig):
    """[`swift.rlhf_trainers.DPOConfig`], with `SHARED_PREFIX` read once against the flags of the run.

    Args:
        packing, padding_free, sequence_parallel_size: ms-swift's template flags, which it hands to whoever has such a field.

    Raises:
        ValueError: another word, or `on` with a flag that keeps rows from sharing.
    """

    packing: bool = False
    padding_free: bool = False
    sequence_parallel_size: int = 1

    def __post_init__(self):
        super().__post_init__()
        refuse_flags(read_settings(SharedPrefixSettings).shared_prefix, self, self)
