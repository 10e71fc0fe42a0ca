"""A pairwise judge by GRPO on ms-swift: both orders of a pair together, and rewards that read its verdict."""

from datasets_builders.python_names import loaded_when_used

_HOME = {"JudgeGRPOConfig": ".config", "JudgeGRPOTrainer": ".trainer", "JudgeSettings": ".settings"}

__all__ = list(_HOME)
__getattr__ = loaded_when_used(__name__, _HOME)
