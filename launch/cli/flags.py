"""The vocabulary of the verbs: one name, one type and one unit for what several of them ask for.

Old names are in `datasets_builders.command_line.OLD_NAMES`. Where the value lies in the parsed options under another name
(`dest`), files that a verb wrote earlier know it by that.
"""

import argparse
import math
import sys
from collections.abc import Sequence

from datasets_builders.choices import one_of, positive_integer
from trl_ext.modpo.model_dir import DTYPES

Group = argparse._ActionsContainer  # a parser, or a group of one
_OLD_DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


def long_dtype(text: str) -> str:
    """The dtype as upstream writes it; a short form says the long one, for one release."""
    if text not in _OLD_DTYPES:
        return text
    new = _OLD_DTYPES[text]
    print(f"--torch_dtype {text} is now {new}; the old value ends with the next release", file=sys.stderr)
    return new


def torch_dtype(text: str) -> str:
    """An argparse type: a dtype as upstream writes it, or for one release its short form."""
    return one_of(DTYPES)(long_dtype(text))


def add_torch_dtype(group: Group, default: str = "the model's own") -> None:
    """`--torch_dtype`: in which numbers weights are held."""
    text = f"numbers of the weights, one of {', '.join(DTYPES)} (default: {default})"
    group.add_argument("--torch_dtype", type=torch_dtype, metavar="DTYPE", help=text)


def add_limit(group: Group, what: str, *, dest: str = "limit", default: int | None = None) -> None:
    """`--limit`: how many rows are taken; `what` says of what, and which ones."""
    text = what if default else f"{what} (default: all)"
    group.add_argument("--limit", dest=dest, type=positive_integer, default=default, metavar="N", help=text)


def add_num_samples(group: Group, default: int, what: str, *, dest: str = "num_samples") -> None:
    """`--num_samples`: how many answers are drawn to the same question; `what` says to which."""
    group.add_argument("--num_samples", dest=dest, type=positive_integer, default=default, metavar="K", help=what)


def add_batch_size(group: Group, default: int, what: str, *, dest: str = "batch_size") -> None:
    """`--batch_size`: how many of `what` a model is given at a time."""
    group.add_argument("--batch_size", dest=dest, type=positive_integer, default=default, metavar="N", help=what)


def add_max_new_tokens(
    group: Group, default: int | None, unless: str | None = None, *, dest: str = "max_new_tokens"
) -> None:
    """`--max_new_tokens`: where an answer ends at the latest; `unless` says where without a default."""
    text = "longest answer in tokens" + (f" (default: {unless})" if unless else "")
    group.add_argument(
        "--max_new_tokens", dest=dest, type=positive_integer, default=default, metavar="TOKENS", help=text
    )


def add_shard(group: Group, what: str, *, dest: tuple[str, str] = ("shard_id", "num_shards")) -> None:
    """`--shard_id` and `--num_shards`: which of several parts of the work this call does."""
    group.add_argument(
        "--shard_id", dest=dest[0], type=int, default=0, metavar="I", help=f"which of the {what}, from 0"
    )
    group.add_argument(
        "--num_shards", dest=dest[1], type=positive_integer, default=1, metavar="N", help=f"how many {what} there are"
    )


def parse_pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """`["a=1", "b=2"]` as a dictionary.

    Raises:
        ValueError: an entry without `=`, or one name twice.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        name, found, value = text.rpartition("=")
        if not name or not found or not value or name in pairs:
            raise ValueError(f"{flag} {text!r}: write NAME=VALUE, each name once")
        pairs[name] = value
    return pairs


def parse_number(text: str, flag: str) -> float:
    """A finite number.

    Raises:
        ValueError: anything else, naming the flag.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{flag}: {text!r} is not a finite number")
    return value
