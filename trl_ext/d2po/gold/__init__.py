"""Gold functions: the scores that D2PO buys a budget of, by name."""

from .base import GoldFunction
from .registry import GOLD_NAMES, get_gold

__all__ = ["GOLD_NAMES", "GoldFunction", "get_gold"]
