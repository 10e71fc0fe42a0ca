"""What was imported is no garbage: the garbage collector is spared looking at it again and again.

Every `Trainer.train` collects all garbage (accelerate's `free_memory`): 0.4 seconds over the objects of torch, transformers
and TRL, as much as the three steps of a tiny model take.
"""

import gc
import sys

NEW_MODULES = 100
_seen = 0


def freeze_imports() -> None:
    """Keeps all objects that live now out of later collections, if a library was imported since the last call."""
    global _seen
    if len(sys.modules) >= _seen + NEW_MODULES:
        gc.collect()
        gc.freeze()
        _seen = len(sys.modules)


def pytest_runtest_setup() -> None:
    freeze_imports()
