"""A generative Bradley-Terry reward model by GRPO on ms-swift: pairs that stay together, and their rewards."""

import importlib

_HOME = {
    "BTSettings": "settings",
    "PairGRPOConfig": "config",
    "PairGRPOTrainer": "trainer",
    "PairIndex": "pair_index",
    "PairRepeatSampler": "sampler",
}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
