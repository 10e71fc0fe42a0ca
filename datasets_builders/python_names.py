"""Names of Python: those of a package that are loaded when they are first used, and functions that a user names."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from datasets_builders.choices import did_you_mean


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


def function_at(path: str, what: str, given: Sequence[str], named: Sequence[str] = ()) -> Callable[..., Any]:
    """The function at `package.module:function`, or at `package.module.function`.

    Args:
        what: names it in messages, such as "gold function 'package.module:function'".
        given: the arguments that it will be called with, by their places.
        named: those by their names.

    Raises:
        ValueError: no such path, the module or the name in it is not there (the nearest is offered), or is no function;
            or one that does not take these arguments.
    """
    module, _, name = path.rpartition(":" if ":" in path else ".")
    if not all(part.isidentifier() for part in [*module.split("."), name]):
        raise ValueError(f"{what} cannot be imported: package.module:function is valid")
    try:
        found = import_module(module)
    except ImportError as error:
        raise ValueError(f"{what} cannot be imported: {error}") from error
    except Exception as error:  # whatever the user's module does when it is loaded
        raise ValueError(f"{what} cannot be imported: {module} stops with {type(error).__name__}: {error}") from error
    try:
        function = getattr(found, name)
    except AttributeError as error:
        names = [one for one, value in vars(found).items() if callable(value) and not one.startswith("_")]
        raise ValueError(f"{what} cannot be imported: {error}{did_you_mean(name, names)}") from error
    if not callable(function):
        raise ValueError(f"{what} is a {type(function).__name__}, not a function")
    try:
        taken = signature(function)
    except ValueError:  # some functions of C do not say what they take
        return function
    try:
        taken.bind(*given, **dict.fromkeys(named))
    except TypeError as error:
        asked = ", ".join([*given, *(f"{name}=..." for name in named)])
        raise ValueError(f"{what} takes {taken}, but is called with ({asked}): {error}") from error
    return function
