"""Rows in, rows out: builders of preference and supervised data sets for ms-swift and TRL.

``python -m datasets_builders BUILDER --help`` lists the options of one builder. Importing this package imports neither
torch, pyarrow nor ``datasets``; each public name is loaded when it is first used.
"""

from datasets_builders.python_names import loaded_when_used

_HOME_OF = {
    "PreferencePair": ".pairs",
    "SkipCounter": ".io",
    "atomic_writer": ".io",
    "get_parser": ".scoring.parsers",
    "get_prompt": ".scoring.prompts",
    "read_rows": ".io",
    "write_json": ".io",
    "write_jsonl": ".io",
}

__all__ = sorted(_HOME_OF)
__getattr__ = loaded_when_used(__name__, _HOME_OF)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
