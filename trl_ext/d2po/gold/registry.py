"""Gold functions by their exact names."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

from datasets_builders.choices import nearest
from datasets_builders.python_names import function_at

from .base import BatchScore, GoldFunction, with_noise

# Name -> the module and factory that make it; a module is imported when its function is asked for.
_FACTORIES = {
    "bagofwords": ("words", "bag_of_words"),
    "reversebow": ("words", "reverse_bag_of_words"),
    "nouns": ("parts", "nouns"),
    "unique_nns": ("parts", "unique_nouns"),
    "treedep": ("trees", "tree_depth"),
    "contpos": ("parts", "asked_part_of_speech"),
    "nounvstoks": ("parts", "nouns_against_tokens"),
    "tokdense": ("words", "token_density"),
    "readinggrade": ("reading", "reading_grade"),
    "allobjs": ("trees", "all_objectives"),
    "omission": ("answers", "omission"),
    "einstein": ("answers", "grid"),
    "paraphrase": ("paraphrase", "paraphrase"),
    "math": ("steps", "math_steps"),
    "contrastivedistill": ("distill", "contrastive_distill"),
    "eurusrm": ("reward_model", "eurus"),
    "ultrafeedbackgold": ("annotation", "annotator"),
}
GOLD_NAMES: tuple[str, ...] = tuple(_FACTORIES)
PAID = "ultrafeedbackgold"

_FUNCTION = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def get_gold(name: str, **arguments: Any) -> GoldFunction:
    """The gold function `name`, or the Python function at `package.module:function`.

    Args:
        name: one of GOLD_NAMES, spelt exactly; or a path, whose function takes (prompts, responses, metadata) and
            returns one number per response.
        arguments: those of the function, see its factory; and, but for the paid one, `noise` (adds a number from
            -noise to noise that is fixed for a prompt and response) and `noise_seed`.

    Raises:
        ValueError: an unknown name or argument (the nearest is offered), a missing package, or a wrong value.
    """
    factory = _factory(name)
    _check_arguments(name, arguments, _valid_arguments(name, factory))
    if name == PAID:
        return factory(**arguments)
    noise, seed = arguments.pop("noise", 0.0), arguments.pop("noise_seed", 0)
    return GoldFunction(name, with_noise(factory(**arguments), noise, seed))


def takes_arguments(name: str, arguments: Iterable[str]) -> bool:
    """Whether the gold function `name` has all these arguments; nothing is made of them.

    Raises:
        ValueError: an unknown name, or a missing package.
    """
    return set(arguments) <= set(_valid_arguments(name, _factory(name)))


def _factory(name: str) -> Callable[..., Any]:
    if name in _FACTORIES:
        module, factory_name = _FACTORIES[name]
        return getattr(importlib.import_module(f".{module}", __package__), factory_name)
    if _FUNCTION.fullmatch(name):
        return _python_function(name)
    raise ValueError(f"unknown gold function {name!r}; {nearest(name, GOLD_NAMES)}, or package.module:function")


def _valid_arguments(name: str, factory: Callable[..., Any]) -> list[str]:
    own = list(inspect.signature(factory).parameters)
    return own if name == PAID else [*own, "noise", "noise_seed"]


def _check_arguments(name: str, arguments: Iterable[str], valid: list[str]) -> None:
    for argument in arguments:
        if argument not in valid:
            raise ValueError(f"gold function {name!r} takes no argument {argument!r}; {nearest(argument, valid)}")


def _python_function(path: str) -> Callable[[], BatchScore]:
    scores = function_at(path, f"gold function {path!r}", ("prompts", "responses", "metadata"))
    return lambda: scores
