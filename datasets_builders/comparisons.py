"""Pairs of replies to one context, as a judge reads them: texts in, texts out, with the published label.

The preference builder writes conversations for training a policy; here the context is one text, because it is shown to
a judge inside a prompt. Splits are those of the hub, whole.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from datasets_builders.choices import nearest
from datasets_builders.fields import RowError, require, require_rating, require_text
from datasets_builders.io import Location, SkipCounter
from datasets_builders.readers import anthropic_hh, summarize_from_feedback
from datasets_builders.scratch import digest
from datasets_builders.source import parse_rows, rows_from

KEY_BYTES = 8


@dataclass(frozen=True)
class Comparison:
    """Two replies to one context, one of them preferred by a person.

    Attributes:
        context: what the replies answer, as one text.
        responses: the replies of side 0 and side 1.
        preferred: 0 or 1, the preferred side.
        index: position of the row in its published split, from 0; rows that cannot be used are counted too.
    """

    context: str
    responses: tuple[str, str]
    preferred: int
    index: int

    def swap(self) -> "Comparison":
        """The same judgement with the sides exchanged."""
        return replace(self, responses=self.responses[::-1], preferred=1 - self.preferred)


@dataclass(frozen=True)
class ComparisonSet:
    """A published set of comparisons.

    Attributes:
        hub_name: its name on the hub.
        stored_name: the name that rows made from it carry.
        splits: the published splits; the last is the one to evaluate on.
        read: (row, index) -> comparison; raises ``RowError`` for a row that cannot be used.
        always_first: side 0 is the preferred one in every published row.
        hub_options: further arguments of ``datasets.load_dataset``.
    """

    hub_name: str
    stored_name: str
    splits: tuple[str, ...]
    read: Callable[[Mapping[str, Any], int], Comparison]
    always_first: bool
    hub_options: Mapping[str, str]


def read_anthropic_hh(row: Mapping[str, Any], index: int) -> Comparison:
    """One row of HH-RLHF: the turns before the last reply, and the last reply of either conversation.

    Turns of the same speaker that follow each other stay apart, and empty ones are left out: a judge reads a text,
    where no chat template asks for speakers that alternate.

    Raises:
        RowError: a field that cannot be used, those of ``transcript_pair``, ``identical_replies``.
    """
    context, *replies = anthropic_hh.transcript_pair(require_text(row, "chosen"), require_text(row, "rejected"))
    return Comparison(context, _different(*replies), 0, index)


def read_summarize_from_feedback(row: Mapping[str, Any], index: int) -> Comparison:
    """One row of TL;DR comparisons: the post, or the news article where the row has no post, and both summaries.

    Raises:
        RowError: a missing or empty field, not exactly two summaries, a choice that is neither 0 nor 1,
            ``identical_replies``.
    """
    info, summaries = require(row, "info"), require(row, "summaries")
    if not isinstance(info, Mapping):
        raise RowError("wrong_type", f"field 'info' must be an object, found a {type(info).__name__}")
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(one, Mapping) for one in summaries):
        raise RowError("wrong_type", "field 'summaries' must be a list of two objects")
    article = info.get("post") is None and info.get("article") is not None
    context = require_text(info, "article" if article else "post").strip()
    texts = [require_text(summary, "text").strip() for summary in summaries]
    return Comparison(context, _different(*texts), require_rating(row, "choice", 0, 1), index)


def _different(first: str, second: str) -> tuple[str, str]:
    if first == second:
        raise RowError("identical_replies", "both replies have the same text, so neither can be preferred")
    return first, second


SETS = {
    "anthropic_hh": ComparisonSet(
        hub_name=anthropic_hh.READER.hub_name,
        stored_name="Anthropic/hh-rlhf",
        splits=("train", "test"),
        read=read_anthropic_hh,
        always_first=True,
        hub_options=anthropic_hh.READER.hub_options,
    ),
    "summarize_from_feedback": ComparisonSet(
        hub_name=summarize_from_feedback.READER.hub_name,
        stored_name="openai/summarize_from_feedback:comparisons",
        splits=("train", "validation"),
        read=read_summarize_from_feedback,
        always_first=False,
        hub_options=summarize_from_feedback.READER.hub_options,
    ),
}


def get_set(dataset: str, split: str) -> ComparisonSet:
    """The set of that name, which must have that split.

    Raises:
        ValueError: there is no such set, or it has no such split; the nearest name is offered.
    """
    if dataset not in SETS:
        raise ValueError(f"unknown dataset {dataset!r}; {nearest(dataset, SETS)}")
    if split not in SETS[dataset].splits:
        raise ValueError(f"unknown split {split!r} of {dataset}; {nearest(split, SETS[dataset].splits)}")
    return SETS[dataset]


def read_comparisons(
    dataset: str,
    split: str,
    *,
    source: str | None = None,
    skips: SkipCounter,
    max_skipped_share: float,
    shuffle_sides: int | None = None,
) -> Iterator[Comparison]:
    """Stream the comparisons of one published split, in its order.

    Args:
        source: a file, folder or glob with rows of the same fields, read whole instead of the hub's split.
        skips: counts the rows kept and, by reason, the rows left out.
        max_skipped_share: 0 to 1; judged when the rows have ended. Who stops earlier calls ``skips.check``.
        shuffle_sides: a seed; the sides of a row are exchanged or not as a function of (seed, index) alone. HH-RLHF
            has the preferred reply always on side 0, so without it the side alone gives the label away.

    Raises:
        ValueError: an unknown set or split, a malformed file, or too many unusable rows (at ``max_skipped_share`` 0
            the first one).
        OSError: the hub cannot be reached.
    """
    chosen_set = get_set(dataset, split)
    rows = rows_from(source, chosen_set.hub_name, split, **chosen_set.hub_options)
    # A generator of its own, so that a wrong name is an error here and not at the first row.
    return _stream(rows, chosen_set.read, skips, max_skipped_share, shuffle_sides)


def _stream(
    rows: Iterable[tuple[Location, dict[str, Any]]],
    read: Callable[[Mapping[str, Any], int], Comparison],
    skips: SkipCounter,
    max_skipped_share: float,
    shuffle_sides: int | None,
) -> Iterator[Comparison]:
    numbered = ((where, (row, index)) for index, (where, row) in enumerate(rows))
    for _, comparison in parse_rows(numbered, lambda item: read(*item), skips, max_skipped_share):
        swapped = shuffle_sides is not None and _key("sides", shuffle_sides, comparison.index)[0] & 1
        yield comparison.swap() if swapped else comparison
    skips.check(max_skipped_share)


def digest_of(comparison: Comparison) -> str:
    """A key of 64 hexadecimal digits of the texts: the same for both orders of the sides, whatever the label."""
    return digest(comparison.context, *sorted(comparison.responses)).hex()


def sample_comparisons(comparisons: Iterable[Comparison], *, seed: int, n: int, skip: int = 0) -> list[Comparison]:
    """Comparisons number ``skip`` to ``skip + n`` of a random order; fewer where there are not so many.

    The place of a row in the order depends on (seed, index) alone, so draws that differ in ``skip`` share no row. One
    pass; ``skip + n`` comparisons are held at a time.
    """
    if n < 1 or skip < 0:
        raise ValueError(f"n must be at least 1 and skip at least 0, found n {n} and skip {skip}")
    return heapq.nsmallest(skip + n, comparisons, key=lambda one: (_key("order", seed, one.index), one.index))[skip:]


def _key(purpose: str, seed: int, index: int) -> bytes:
    # A keyed hash instead of a random generator: no state, so neither order nor number of the rows matters.
    return blake2b(f"{purpose} {seed} {index}".encode(), digest_size=KEY_BYTES).digest()
