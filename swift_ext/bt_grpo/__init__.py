"""A generative Bradley-Terry reward model by GRPO on ms-swift: pairs that stay together, and their rewards."""

from datasets_builders.python_names import loaded_when_used

_HOME = {
    "BTSettings": ".settings",
    "PairGRPOConfig": ".config",
    "PairGRPOTrainer": ".trainer",
    "PairIndex": "swift_ext.paired_grpo.pair_index",
    "PairRepeatSampler": "swift_ext.paired_grpo.sampler",
}

__all__ = list(_HOME)
__getattr__ = loaded_when_used(__name__, _HOME)
