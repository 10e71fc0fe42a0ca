"""The rated replies of a data set: grouped by prompt, and compared with each other."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from datasets_builders.io import Location, SkipCounter
from datasets_builders.scratch import digest
from datasets_builders.source import parse_rows
from launch.compare.styles import STYLES


class RatedPrompt(NamedTuple):
    """The replies to one prompt.

    Attributes:
        texts: a digest of each reply; equal ones are the same reply.
        ratings: (replies, objectives), NaN where one was not given.
        groups: a number for each reply; only those of the same group can be compared.
    """

    texts: list[bytes]
    ratings: np.ndarray
    groups: list[int]


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
    read, pairwise = STYLES[style].read, STYLES[style].pairwise
    prompts: dict[bytes, list[tuple[bytes, list[float | None], int]]] = {}
    parsed = parse_rows(rows, lambda row: read(row, objectives), skips, max_skipped_share)
    for number, (_, (prompt, replies)) in enumerate(parsed):
        key = digest(prompt)
        if key in prompts or max_prompts is None or len(prompts) < max_prompts:
            group = number if pairwise else 0
            prompts.setdefault(key, []).extend((digest(text), ratings, group) for text, ratings in replies)
    skips.check(max_skipped_share)
    return [
        RatedPrompt(list(texts), np.array(ratings, dtype=float), list(groups))
        for texts, ratings, groups in (zip(*replies, strict=True) for replies in prompts.values())
    ]


def differences(prompts: Sequence[RatedPrompt]) -> tuple[np.ndarray, np.ndarray, int]:
    """All pairs of different replies of a group: (N, K) ratings of the earlier one minus the later one's, (N,) number
    of the prompt; and how many pairs were left out because both replies are the same text."""
    rows, numbers, identical = [], [], 0
    for number, (texts, ratings, groups) in enumerate(prompts):
        for j, k in combinations(range(len(texts)), 2):
            if groups[j] != groups[k]:
                continue
            if texts[j] == texts[k]:
                identical += 1
            else:
                rows.append(ratings[j] - ratings[k])
                numbers.append(number)
    width = prompts[0].ratings.shape[1] if prompts else 0
    return np.array(rows, dtype=float).reshape(-1, width), np.array(numbers, dtype=int), identical


def best_differs(prompts: Iterable[RatedPrompt], first: int, second: int) -> tuple[int, int, int]:
    """(groups without a reply that is best in both objectives, groups that can tell, groups that cannot).

    A group can tell when its replies rated in both objectives are not all equal in one of them. Of several best
    replies any may be the one.
    """
    differ = tell = mute = 0
    for _, ratings, groups in prompts:
        for group in dict.fromkeys(groups):
            both = ratings[np.array(groups) == group][:, [first, second]]
            both = both[np.isfinite(both).all(axis=1)]
            if len(both) < 2 or (both.max(axis=0) == both.min(axis=0)).any():
                mute += 1
                continue
            tell += 1
            differ += not (both == both.max(axis=0)).all(axis=1).any()
    return differ, tell, mute
