"""Shared prefixes in ms-swift's own trainers: a prompt is computed once for the rows that begin with it."""

from datasets_builders.python_names import loaded_when_used

_HOME = {
    "SharedPrefixDPOConfig": ".config",
    "SharedPrefixDPOTrainer": ".dpo",
    "SharedPrefixGRPOConfig": ".config",
    "SharedPrefixGRPOTrainer": ".grpo",
}

__all__ = list(_HOME)
__getattr__ = loaded_when_used(__name__, _HOME)
