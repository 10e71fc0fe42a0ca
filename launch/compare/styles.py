"""The shapes of rows that hold rated replies. Each reader gives a row's prompt and its replies with their ratings."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from datasets_builders.choices import nearest
from datasets_builders.fields import RowError, require, require_rating, require_text
from datasets_builders.helpsteer import ATTRIBUTES
from datasets_builders.pair_rows import read_pair
from datasets_builders.readers.beavertails import LABEL_OF
from datasets_builders.readers.ultrafeedback import DIMENSIONS, parse_rating, rating_of
from trl_ext.objectives.text import FUNCTIONS, call_text_function

PREFERRED = "preferred"
# A count of tokens needs a tokenizer, which a data set has not.
TEXT_FUNCTIONS = tuple(name for name in FUNCTIONS if name != "negative_response_tokens")
Rated = tuple[str, list[tuple[str, list[float | None]]]]


def read_columns(row: Mapping[str, Any], objectives: Sequence[str]) -> Rated:
    """A row of HelpSteer's shape: `prompt`, `response` and one column per objective; null or text is no rating.

    Raises:
        RowError: a missing field or an empty text.
    """
    if absent := [name for name in objectives if name not in row]:
        raise RowError("missing_field", f"missing field {absent[0]!r}; {nearest(absent[0], sorted(row))}")
    ratings = [parse_rating(row[name]) for name in objectives]
    return require_text(row, "prompt"), [(require_text(row, "response"), ratings)]


def read_ultrafeedback(row: Mapping[str, Any], objectives: Sequence[str]) -> Rated:
    """A row of UltraFeedback: `instruction` and `completions` with annotations; an empty reply has no rating.

    Raises:
        RowError: a missing field, an empty instruction, or completions of another form.
    """
    completions = require(row, "completions")
    if not isinstance(completions, list) or not all(isinstance(one, Mapping) for one in completions):
        raise RowError("wrong_type", "field 'completions' must be a list of objects")
    replies = []
    for one in completions:
        text = one.get("response")
        written = isinstance(text, str) and text and not text.isspace()
        replies.append((text if written else "", [rating_of(one, name) if written else None for name in objectives]))
    return require_text(row, "instruction"), replies


def read_safe_rlhf(row: Mapping[str, Any], objectives: Sequence[str]) -> Rated:
    """A row of PKU-SafeRLHF: two replies and one label per objective, which rates the named reply 1 and the other 0.

    Raises:
        RowError: a missing or empty field, or a label that is neither 0 nor 1.
    """
    better = [require_rating(row, LABEL_OF[name], 0, 1) for name in objectives]
    replies = [require_text(row, f"response_{side}") for side in (0, 1)]
    return require_text(row, "prompt"), [
        (text, [float(label == side) for label in better]) for side, text in enumerate(replies)
    ]


def read_pairs(row: Mapping[str, Any], objectives: Sequence[str]) -> Rated:
    """A preference pair in any format of `datasets_builders.pair_rows` with one prompt.

    `preferred` rates the chosen reply 1 and the other 0; every other objective is a function of the text.

    Raises:
        RowError: a row of another form.
    """
    pair = read_pair(row, must_teach=False)  # equal replies are counted where replies are compared
    replies, prompts = [pair.chosen, pair.rejected], [pair.prompt[-1]["content"]] * 2
    columns = [[1.0, 0.0] if name == PREFERRED else call_text_function(name, prompts, replies, [0, 0])
               for name in objectives]  # fmt: skip
    return json.dumps(pair.prompt), [(text, [column[side] for column in columns]) for side, text in enumerate(replies)]


class Style(NamedTuple):
    """A shape of rows.

    Attributes:
        default: the objectives that are compared when none are named.
        valid: all that it has; None where any column may be one.
        pairwise: ratings compare the two replies of a row and say nothing about those of another.
    """

    read: Callable[[Mapping[str, Any], Sequence[str]], Rated]
    default: tuple[str, ...]
    valid: tuple[str, ...] | None
    pairwise: bool


STYLES = {
    "helpsteer": Style(read_columns, ATTRIBUTES, None, False),
    "ultrafeedback": Style(read_ultrafeedback, DIMENSIONS[:-1], DIMENSIONS, False),
    "safe_rlhf": Style(read_safe_rlhf, tuple(LABEL_OF), tuple(LABEL_OF), True),
    "pairs": Style(read_pairs, (PREFERRED, *TEXT_FUNCTIONS), (PREFERRED, *TEXT_FUNCTIONS), True),
}


def objectives_of(style: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """The objectives to compare: `wanted`, or those that the style is known for.

    Raises:
        ValueError: one that the style has not, one twice, or a single one.
    """
    valid = STYLES[style].valid
    for place, name in enumerate(wanted):
        if valid is not None and name not in valid:
            raise ValueError(f"--objectives {name}: {nearest(name, valid)}")
        if name in wanted[:place]:
            raise ValueError(f"--objectives names {name!r} twice")
    if len(wanted) == 1:
        raise ValueError("--objectives: a conflict needs two or more of them")
    return tuple(wanted) or STYLES[style].default
