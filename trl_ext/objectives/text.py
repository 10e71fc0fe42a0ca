"""Functions of a prompt and a response that can serve as a margin, a label or a score.

Every function takes `(prompts, responses, *, response_tokens)`, three equally long lists, and returns one float per
response. Higher is better: a cost is used with `role: cost`, never by writing a minus sign into a private copy.
"""

import math
import re
from collections.abc import Callable, Sequence

from datasets_builders.choices import did_you_mean
from datasets_builders.python_names import function_at

TextFunction = Callable[..., list[float]]

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def negative_response_tokens(
    prompts: Sequence[str], responses: Sequence[str], *, response_tokens: Sequence[int]
) -> list[float]:
    """Minus the number of response tokens, the end token included. Unit: tokens. (MODPO, length-penalty recipe.)

    The count stays an exact float: 301 tokens are -301.0, not the nearest bfloat16.
    """
    return [-float(count) for count in response_tokens]


def brevity(prompts: Sequence[str], responses: Sequence[str], *, response_tokens: Sequence[int]) -> list[float]:
    """Minus the number of words. Unit: words."""
    return [-float(len(_WORD.findall(response))) for response in responses]


def rich_vocabulary(prompts: Sequence[str], responses: Sequence[str], *, response_tokens: Sequence[int]) -> list[float]:
    """Number of distinct words of at least seven letters. Unit: words."""
    return [float(len({word.lower() for word in _WORD.findall(text) if len(word) >= 7})) for text in responses]


def plain_words(prompts: Sequence[str], responses: Sequence[str], *, response_tokens: Sequence[int]) -> list[float]:
    """Minus the mean word length; 0 for a response without words. Unit: letters."""
    lengths = [[len(word) for word in _WORD.findall(response)] for response in responses]
    return [-sum(words) / len(words) if words else 0.0 for words in lengths]


def short_words(prompts: Sequence[str], responses: Sequence[str], *, response_tokens: Sequence[int]) -> list[float]:
    """Share of words of at most four letters, in [0, 1]; 0 for a response without words. Unit: none."""
    words = [_WORD.findall(response) for response in responses]
    return [sum(len(word) <= 4 for word in found) / len(found) if found else 0.0 for found in words]


def long_words(prompts: Sequence[str], responses: Sequence[str], *, response_tokens: Sequence[int]) -> list[float]:
    """Share of words of at least seven letters, in [0, 1]; 0 for a response without words. Unit: none."""
    words = [_WORD.findall(response) for response in responses]
    return [sum(len(word) >= 7 for word in found) / len(found) if found else 0.0 for found in words]


FUNCTIONS: dict[str, TextFunction] = {
    "negative_response_tokens": negative_response_tokens,
    "brevity": brevity,
    "long_words": long_words,
    "plain_words": plain_words,
    "rich_vocabulary": rich_vocabulary,
    "short_words": short_words,
}


def get_text_function(name: str) -> TextFunction:
    """The registered function `name`, or the one at a dotted path `package.module.function`.

    Raises:
        ValueError: no such name (the nearest registered one is offered) or the path does not lead to a callable.
    """
    if name in FUNCTIONS:
        return FUNCTIONS[name]
    if "." not in name:
        raise ValueError(
            f"unknown function {name!r}: registered are {sorted(FUNCTIONS)}{did_you_mean(name, FUNCTIONS)}"
        )
    return function_at(name, f"function {name!r}", ("prompts", "responses"), ("response_tokens",))


def call_text_function(
    name: str, prompts: Sequence[str], responses: Sequence[str], response_tokens: Sequence[int]
) -> list[float]:
    """Calls `name` and checks what it returns: one finite number a response.

    Raises:
        ValueError: a wrong number of values, or a value that is not finite (its index and the response are shown).
    """
    values = [float(v) for v in get_text_function(name)(prompts, responses, response_tokens=response_tokens)]
    if len(values) != len(responses):
        raise ValueError(f"function {name!r} returned {len(values)} values for {len(responses)} responses")
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"function {name!r} returned {value} for response {index}: {responses[index][:80]!r}")
    return values
