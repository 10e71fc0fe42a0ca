"""MODPO for ms-swift."""

from datasets_builders.python_names import loaded_when_used

_HOME = {"MODPOConfig": ".config", "MODPOSettings": ".settings", "MODPOTrainer": ".trainer"}

__all__ = list(_HOME)
__getattr__ = loaded_when_used(__name__, _HOME)
