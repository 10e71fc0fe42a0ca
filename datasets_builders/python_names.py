"""Names of Python: those of a package that are loaded when they are first used, and functions that a user names."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def loaded_when_used(package: str, home_of: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a package whose names cost nothing until they are used.

    Args:
        home_of: public name -> module that defines it, below `package` where it begins with a dot.
    """

    def load(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(home_of[name], package), name)

    return load


def function_at(path: str, what: str) -> Callable[..., Any]:
    """The function at `package.module:function`, or at `package.module.function`.

    Args:
        what: names it in messages, such as "gold function 'package.module:function'".

    Raises:
        ValueError: the module or the name in it is not there, or is no function.
    """
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{what} cannot be imported: {error}") from error
    if not callable(function):
        raise ValueError(f"{what} is a {type(function).__name__}, not a function")
    return function
