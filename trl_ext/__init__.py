"""Preference-optimisation methods for stock TRL, and the mathematics that the ms-swift side shares.

Importing this package imports nothing heavy; submodules load when they are used.
"""

import importlib

_HOME = {
    "D2POConfig": "d2po.config",
    "D2POTrainer": "d2po.trainer",
    "MODPOConfig": "modpo.config",
    "MODPOTrainer": "modpo.trainer",
    "MOODPOConfig": "moodpo.config",
    "MOODPOOnlineDPOTrainer": "moodpo.trainer",
}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
