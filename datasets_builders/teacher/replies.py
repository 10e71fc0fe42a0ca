"""How a teacher's answer is read: cut at its headers, matched by number or letter, scored by the prompt's own parser."""

import re
from collections import Counter
from dataclasses import dataclass

from datasets_builders.scoring.parsers import ScoreParser

# Teachers put bold type around headers. Every spelling that is read here is one that `without_headers` takes out of
# the judged texts.
_EVAL_HEADER = re.compile(r"={3,}[ \t*_#]*EVAL[ \t]+([0-9]{1,4})[ \t*_#]*={3,}[ \t]*\**", re.IGNORECASE)
_SIDE_HEADER = re.compile(r"={3,}[ \t*_#]*RESPONSE[ \t]+([A-Z])[ \t*_#]*={3,}[ \t]*\**", re.IGNORECASE)
_ANY_TAG = re.compile(r"<\s*s\s*>", re.IGNORECASE)
LETTERS = ("A", "B")


@dataclass(frozen=True)
class Verdict:
    """What one item was given: a score and a reason for each reply that it holds (one, or A and B).

    Attributes:
        reasons: the whole sections, score tags included.
    """

    scores: tuple[float, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Malformed:
    """An item without a verdict.

    Attributes:
        reason: ``empty``, ``cut_off``, ``no_score``, ``unreadable_score`` (off the scale, or not written as the scale
            writes it), ``missing_section``, ``duplicate_section`` or ``wrong_header``.
    """

    reason: str


def read_reply(parser: ScoreParser, text: str, cut_off: bool = False) -> Verdict | Malformed:
    """The verdict of an answer, or a section of one, about one reply.

    Args:
        cut_off: the text ends at the limit of tokens. Its score may stand, but its reason is half a reason.
    """
    text = text.strip()
    if cut_off:
        return Malformed("cut_off")
    if not text:
        return Malformed("empty")
    score = parser(text)
    if score is None:
        return Malformed("unreadable_score" if _ANY_TAG.search(text) else "no_score")
    return Verdict((score,), (text,))


def read_batch(parser: ScoreParser, text: str, count: int, cut_off: bool = False) -> list[Verdict | Malformed]:
    """The verdicts of items 1 to ``count``, matched by the number in the header, in whatever order they stand.

    Text before the first header belongs to no item. With a number that was not asked for, nobody knows whether the
    teacher counts in another way, so no item of that answer has a verdict. An answer about a single item needs no
    header.
    """
    if not text.strip() or (count == 1 and not _EVAL_HEADER.search(text)):
        return [read_reply(parser, text, cut_off)] * count
    sections = _sections(_EVAL_HEADER, text)
    return _matched(parser, [(int(label), body) for label, body in sections], list(range(1, count + 1)), cut_off)


def read_pair(parser: ScoreParser, text: str, cut_off: bool = False) -> Verdict | Malformed:
    """The verdict about replies A and B, in this order, matched by the letter in the header.

    A pair was judged as one, so it has a verdict only when both sections have.
    """
    if not text.strip():
        return Malformed("cut_off" if cut_off else "empty")
    sections = [(label.upper(), body) for label, body in _sections(_SIDE_HEADER, text)]
    first, second = _matched(parser, sections, list(LETTERS), cut_off)
    if isinstance(first, Malformed):
        return first
    if isinstance(second, Malformed):
        return second
    return Verdict(first.scores + second.scores, first.reasons + second.reasons)


def _sections(header: re.Pattern, text: str) -> list[tuple[str, str]]:
    _, *parts = header.split(text)
    return list(zip(parts[::2], parts[1::2], strict=True))


def _matched(parser: ScoreParser, sections: list[tuple], wanted: list, cut_off: bool) -> list[Verdict | Malformed]:
    times = Counter(label for label, _ in sections)
    if times.keys() - set(wanted):
        return [Malformed("wrong_header")] * len(wanted)
    found = {}
    for place, (label, body) in enumerate(sections, start=1):
        found[label] = read_reply(parser, body, cut_off and place == len(sections))
    return [
        Malformed("duplicate_section")
        if times[label] > 1
        # What is missing from an answer that was cut off would have come later.
        else found.get(label, Malformed("cut_off" if cut_off else "missing_section"))
        for label in wanted
    ]
