"""Score parsers: the text of a judgement -> the score in its `<s>` tag, or None.

A parser belongs to a scale. `<s>3</s>` is a good score out of 5 and a very bad one out of 100, so a parser never meets
a prompt of the other scale: see `PointwisePrompt.parser_named`.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from datasets_builders.choices import nearest


class UnknownNameError(ValueError, KeyError):
    """A name that a registry does not have; the message offers the nearest one."""

    def __str__(self) -> str:
        return self.args[0]  # KeyError would show the repr


@dataclass(frozen=True)
class Scale:
    """A scale of scores, both ends included.

    Attributes:
        decimals: digits after the point that a written score may have.
        uncertain: (low, high): a reply whose sampled scores reach both is judged both ways.
        bin_width: of a histogram of the scores.
    """

    name: str
    low: float
    high: float
    decimals: int
    uncertain: tuple[float, float]
    bin_width: float

    def write(self, score: float) -> str:
        """The score as the tag holds it: `75` on a scale without decimals, `3.5` on one with.

        Raises:
            ValueError: the score is off the scale.
        """
        if not self.low <= score <= self.high:
            raise ValueError(f"score {score} is off the scale {self.name} ({self.low:g} to {self.high:g})")
        return f"{score:.{self.decimals}f}"


SCORE100 = Scale("score100", 0, 100, 0, (20, 80), 2.0)
SCORE5 = Scale("score5", 1, 5, 1, (2, 4), 0.1)
SCALES = {scale.name: scale for scale in (SCORE100, SCORE5)}

# Digits of other scripts count as digits, in the class \d and in float() alike.
_TAGS = {
    "score100": re.compile(r"<s>\s*(\d{1,3})\s*</s>", re.IGNORECASE),
    "score5": re.compile(r"<s>\s*([1-5](?:\.\d)?)\s*</s>", re.IGNORECASE),
}


@dataclass(frozen=True)
class ScoreParser:
    """Takes the first or the last well-formed score tag of a text.

    The tag is chosen before its value is checked: `<s>40</s> then <s>150</s>` has no last score out of 100. What is no
    tag of the scale (`75/100`, a missing end, decimals out of 100, two decimals out of 5) is passed over. Tags inside
    thinking text count.
    """

    name: str
    scale: Scale
    take: Literal["first", "last"]
    _tag: re.Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tag", _TAGS[self.scale.name])

    def __call__(self, text: str | None) -> float | None:
        """The score, or None where there is none or it is off the scale."""
        found = self._tag.findall(text or "")
        if not found:
            return None
        score = float(found[0] if self.take == "first" else found[-1])
        return score if self.scale.low <= score <= self.scale.high else None


PARSERS = {
    f"{scale.name}_{take}": ScoreParser(f"{scale.name}_{take}", scale, take)
    for scale in (SCORE100, SCORE5)
    for take in ("first", "last")
}


def get_parser(name: str) -> ScoreParser:
    """The parser of that name: score100_first, score100_last, score5_first or score5_last.

    Raises:
        UnknownNameError: there is none; the nearest is offered.
    """
    if name not in PARSERS:
        raise UnknownNameError(f"unknown score parser {name!r}; {nearest(name, PARSERS)}")
    return PARSERS[name]
