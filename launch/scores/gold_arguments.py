"""`--gold`, `--gold_arguments` and `--pay`: a gold function of D2PO, named on the command line."""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.command_line import Parser

if TYPE_CHECKING:
    from trl_ext.d2po.gold import GoldFunction

# Records with `prompt`, `response`, `response_tokens` and where there are any `metadata` -> one number each.
Scorer = Callable[[list[dict[str, Any]]], list[float]]


def add_gold_arguments(parser: Parser, choice: argparse._ActionsContainer | None = None) -> None:
    """Declares the three flags; `--gold` is required, unless it is one of a `choice`."""
    text = "gold function, or package.module:function"
    (choice or parser).add_argument("--gold", required=choice is None, metavar="NAME", help=text)
    parser.add_argument("--gold_arguments", default="{}", metavar="JSON", help="arguments of the gold function")
    parser.add_argument("--pay", action="store_true", help="allow a gold function whose calls cost money")


def gold_of(args: argparse.Namespace, answers: Path) -> "GoldFunction":
    """The gold function that the flags name; what is paid for is kept in the folder `answers`.

    Raises:
        ValueError: an unknown function or argument, arguments that are no JSON object, or a paid one without --pay.
    """
    from trl_ext.d2po.gold import get_gold

    gold = get_gold(args.gold, **read_arguments(args.gold_arguments))
    if gold.costs_money:
        if not args.pay:
            raise ValueError(f"--gold {args.gold} costs money: add --pay")
        gold.keep_answers(answers)
    return gold


def read_arguments(text: str) -> dict[str, Any]:
    """The value of `--gold_arguments`.

    Raises:
        ValueError: no JSON object.
    """
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"--gold_arguments {text!r} is not JSON: {error}") from error
    if not isinstance(arguments, dict):
        raise ValueError(f"--gold_arguments {text!r}: a JSON object is valid")
    return arguments


def gold_scorer(gold: "GoldFunction") -> Scorer:
    """Scores of `gold`; NaN is what a function that costs money could not rate.

    Raises:
        ValueError: by the scorer: a score of another function that is not finite (the response is shown), or a file of
            its own that it cannot read.
    """

    def score(records: list[dict[str, Any]]) -> list[float]:
        prompts, responses = ([record[name] for record in records] for name in ("prompt", "response"))
        try:
            values = gold(prompts, responses, [record.get("metadata") or {} for record in records])
        except OSError as problem:
            if gold.costs_money:  # the server gave up
                raise
            raise ValueError(f"--gold {gold.name}: {type(problem).__name__}: {problem}") from problem
        for value, response in zip(values, responses, strict=True):
            if not math.isfinite(value) and not (gold.costs_money and math.isnan(value)):
                raise ValueError(f"--gold {gold.name}: the score of {response[:80]!r} is {value}")
        return values

    return score
