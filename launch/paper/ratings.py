"""Replies with several ratings each, from the rows of a data set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from datasets_builders.choices import nearest
from datasets_builders.fields import RowError, require, require_rating, require_text
from datasets_builders.helpsteer import ATTRIBUTES
from datasets_builders.io import Location, SkipCounter
from datasets_builders.readers.beavertails import LABEL_OF
from datasets_builders.readers.ultrafeedback import DIMENSIONS, parse_rating, rating_of
from datasets_builders.scratch import digest
from datasets_builders.source import parse_rows

Replies = list[tuple[bytes, list[float | None]]]
Reader = Callable[[Mapping[str, Any], Sequence[str]], tuple[str, Iterable[tuple[str, list[float | None]]]]]


class RatedPrompt(NamedTuple):
    """The replies to one prompt.

    Attributes:
        texts: a digest of each reply; equal ones are the same reply.
        ratings: (replies, objectives), NaN where one was not given.
    """

    texts: list[bytes]
    ratings: np.ndarray


def read_columns(row: Mapping[str, Any], objectives: Sequence[str]) -> tuple[str, list[tuple[str, list]]]:
    """A row of HelpSteer's shape: `prompt`, `response` and one column an objective; null or text is no rating.

    Raises:
        RowError: a missing field or an empty text.
    """
    if absent := [name for name in objectives if name not in row]:
        raise RowError("missing_field", f"missing field {absent[0]!r}; {nearest(absent[0], sorted(row))}")
    ratings = [parse_rating(row[name]) for name in objectives]
    return require_text(row, "prompt"), [(require_text(row, "response"), ratings)]


def read_ultrafeedback(row: Mapping[str, Any], objectives: Sequence[str]) -> tuple[str, list[tuple[str, list]]]:
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
        written = isinstance(text, str) and not text.isspace() and text
        replies.append((text or "", [rating_of(one, name) if written else None for name in objectives]))
    return require_text(row, "instruction"), replies


def read_safe_rlhf(row: Mapping[str, Any], objectives: Sequence[str]) -> tuple[str, list[tuple[str, list]]]:
    """A row of PKU-SafeRLHF: two replies and one label an objective, which rates the named reply 1 and the other 0.

    Raises:
        RowError: a missing or empty field, or a label that is neither 0 nor 1.
    """
    better = [require_rating(row, LABEL_OF[name], 0, 1) for name in objectives]
    replies = [require_text(row, f"response_{side}") for side in (0, 1)]
    return require_text(row, "prompt"), [
        (text, [float(label == side) for label in better]) for side, text in enumerate(replies)
    ]


# style -> (reader, default objectives, all objectives or None for any column)
STYLES: dict[str, tuple[Reader, tuple[str, ...], tuple[str, ...] | None]] = {
    "helpsteer": (read_columns, ATTRIBUTES, None),
    "ultrafeedback": (read_ultrafeedback, DIMENSIONS[:-1], DIMENSIONS),
    "safe_rlhf": (read_safe_rlhf, tuple(LABEL_OF), tuple(LABEL_OF)),
}


def objectives_of(style: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """The objectives to compare: `wanted`, or those that the style is known for.

    Raises:
        ValueError: one that the style has not, one twice, or a single one.
    """
    _, default, valid = STYLES[style]
    for place, name in enumerate(wanted):
        if valid is not None and name not in valid:
            raise ValueError(f"--objectives {name}: {nearest(name, valid)}")
        if name in wanted[:place]:
            raise ValueError(f"--objectives names {name!r} twice")
    if len(wanted) == 1:
        raise ValueError("--objectives: a conflict needs two or more of them")
    return tuple(wanted) or default


def group_by_prompt(
    rows: Iterable[tuple[Location, dict[str, Any]]],
    style: str,
    objectives: Sequence[str],
    skips: SkipCounter,
    max_skipped_share: float,
    max_prompts: int | None = None,
) -> list[RatedPrompt]:
    """The rated replies of each prompt, wherever in the file they stand; prompts in the order of appearance.

    Args:
        max_prompts: only so many, the first ones; their later rows are still read.

    Raises:
        ValueError: unusable rows above `max_skipped_share`.
    """
    reader = STYLES[style][0]
    prompts: dict[bytes, Replies] = {}
    for _, (prompt, replies) in parse_rows(rows, lambda row: reader(row, objectives), skips, max_skipped_share):
        key = digest(prompt)
        if key in prompts or max_prompts is None or len(prompts) < max_prompts:
            prompts.setdefault(key, []).extend((digest(text), ratings) for text, ratings in replies)
    skips.check(max_skipped_share)
    return [
        RatedPrompt([text for text, _ in replies], np.array([ratings for _, ratings in replies], dtype=float))
        for replies in prompts.values()
    ]


def differences(prompts: Sequence[RatedPrompt]) -> tuple[np.ndarray, np.ndarray, int]:
    """All pairs of different replies: (N, K) ratings of the earlier one minus the later one's, (N,) number of the
    prompt; and how many pairs were left out because both replies are the same text."""
    rows, numbers, identical = [], [], 0
    for number, prompt in enumerate(prompts):
        for j, k in combinations(range(len(prompt.texts)), 2):
            if prompt.texts[j] == prompt.texts[k]:
                identical += 1
            else:
                rows.append(prompt.ratings[j] - prompt.ratings[k])
                numbers.append(number)
    width = prompts[0].ratings.shape[1] if prompts else 0
    return np.array(rows, dtype=float).reshape(-1, width), np.array(numbers, dtype=int), identical


def best_differs(prompts: Iterable[RatedPrompt], first: int, second: int) -> tuple[int, int, int]:
    """(prompts without a reply that is best in both objectives, prompts that can tell, prompts that cannot).

    A prompt can tell when its replies rated in both objectives are not all equal in one of them. Of several best
    replies any may be the one.
    """
    differ = tell = mute = 0
    for prompt in prompts:
        both = prompt.ratings[:, [first, second]]
        both = both[np.isfinite(both).all(axis=1)]
        if len(both) < 2 or (both.max(axis=0) == both.min(axis=0)).any():
            mute += 1
            continue
        tell += 1
        differ += not (both == both.max(axis=0)).all(axis=1).any()
    return differ, tell, mute
