"""Command-line values that name the nearest valid one when they are misspelt."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence for an error message: the nearest of ``valid`` to ``name``, where one is near, and the whole list."""
    names = list(valid)
    hint = did_you_mean(name, names).removeprefix("; ")
    return f"{hint} Valid: {', '.join(names)}".lstrip()


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """The end of an error message: ``; did you mean 'x'?`` with the nearest of ``valid``, or nothing where none is near."""
    names = list(valid)
    begun = [one for one in names if one.startswith(name) and name.strip("-")]
    close = begun if len(begun) == 1 else get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def check_choice(what: str, value: object, valid: Sequence[str]) -> None:
    """Refuses any value but those in ``valid``.

    Args:
        what: names the setting in the message, such as ``--ties``.

    Raises:
        ValueError: what was found, what is valid, and the nearest name.
    """
    if value not in valid:
        raise ValueError(f"{what} is {value!r}: valid are {list(valid)}{did_you_mean(str(value), valid)}")


def one_of(valid: Iterable[str]) -> Callable[[str], str]:
    """An argparse type that accepts the names in ``valid`` and no others."""
    names = list(valid)

    def convert(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"unknown value {text!r}; {nearest(text, names)}")
        return text

    return convert


def share(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def whole_number(text: str) -> int:
    """An argparse type: a whole number of at least 0, in plain digits."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def positive_integer(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    return _number(text, int, lambda value: value >= 1, "a whole number of at least 1")


def gap(text: str) -> float:
    """An argparse type: a finite number of at least 0, in rating points."""
    return _number(text, float, lambda value: 0 <= value < float("inf"), "a finite number of at least 0")


def _number(text: str, convert: Callable, valid: Callable, wanted: str):
    try:
        value = convert(text)
    except ValueError:
        value = None
    if value is None or not valid(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value
