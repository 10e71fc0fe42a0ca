"""Readers of published preference sets: each turns one source row into preference pairs.

Adding a set is one small module with a ``READER`` and one line in ``MODULES``.
"""

from importlib import import_module

from datasets_builders.readers.base import Filtered, Part, Rules, SetReader

MODULES = {
    "anthropic_hh": "datasets_builders.readers.anthropic_hh",
    "ultrafeedback": "datasets_builders.readers.ultrafeedback",
    "beavertails": "datasets_builders.readers.beavertails",
    "summarize_from_feedback": "datasets_builders.readers.summarize_from_feedback",
}

__all__ = ["MODULES", "Filtered", "Part", "Rules", "SetReader", "get_reader"]


def get_reader(name: str) -> SetReader:
    """The reader registered under ``name``.

    Raises:
        ValueError: no such reader; the message offers the nearest name.
    """
    if name not in MODULES:
        from datasets_builders.choices import nearest

        raise ValueError(f"unknown dataset {name!r}; {nearest(name, MODULES)}")
    return import_module(MODULES[name]).READER
