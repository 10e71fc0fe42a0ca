"""Rows in, rows out: builders of preference and supervised data sets for ms-swift and TRL.

``python -m datasets_builders BUILDER --help`` lists the options of one builder. Importing this package imports neither
torch, pyarrow nor ``datasets``; each public name is loaded when it is first used.
"""

from importlib import import_module
from typing import Any

_HOME_OF = {
    "PreferencePair": "datasets_builders.pairs",
    "SkipCounter": "datasets_builders.io",
    "atomic_writer": "datasets_builders.io",
    "get_parser": "datasets_builders.scoring.parsers",
    "get_prompt": "datasets_builders.scoring.prompts",
    "read_rows": "datasets_builders.io",
    "write_json": "datasets_builders.io",
    "write_jsonl": "datasets_builders.io",
}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
