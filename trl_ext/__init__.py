"""Preference-optimisation methods for stock TRL, and the mathematics that the ms-swift side shares.

Importing this package imports nothing heavy; submodules load when they are used.
"""

from datasets_builders.python_names import loaded_when_used

_HOME = {
    "D2POConfig": ".d2po.config",
    "D2POTrainer": ".d2po.trainer",
    "MODPOConfig": ".modpo.config",
    "MODPOTrainer": ".modpo.trainer",
    "MOODPOConfig": ".moodpo.config",
    "MOODPOOnlineDPOTrainer": ".moodpo.trainer",
    "SharedPrefixDPO": ".shared_prefix.trainer",
    "SharedPrefixGRPO": ".shared_prefix.trainer",
    "SharedPrefixOnlineDPO": ".shared_prefix.trainer",
}

__all__ = list(_HOME)
__getattr__ = loaded_when_used(__name__, _HOME)
