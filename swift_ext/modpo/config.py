"""Training arguments that refuse, before a model is loaded, what would leave margins without effect."""

from dataclasses import dataclass

from swift.rlhf_trainers import DPOConfig

from swift_ext.ray_flag import RefusesRay
from swift_ext.settings import read_settings
from trl_ext.modpo.margins import refuse_missing_sources

from .settings import MODPOSettings, refuse_what_cannot_work


@dataclass
class MODPOConfig(RefusesRay, DPOConfig):
    """[`swift.rlhf_trainers.DPOConfig`], with `MODPO_*` read once against the flags of the run.

    Args:
        streaming, packing, padding_free, sequence_parallel_size: ms-swift's data and template flags, which it hands to whoever has such a field.

    Raises:
        ValueError: a bad variable, the folder of a margin that is not there, or a flag that does not go with it (see `refuse_what_cannot_work`
            and `RefusesRay`).
    """

    streaming: bool = False
    packing: bool = False
    padding_free: bool = False
    sequence_parallel_size: int = 1

    def __post_init__(self):
        super().__post_init__()
        settings = read_settings(MODPOSettings)
        margins = settings.resolve(self.beta)
        refuse_missing_sources(margins)
        refuse_what_cannot_work(settings, margins, self, self)
