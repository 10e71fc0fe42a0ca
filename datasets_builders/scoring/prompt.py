"""One pointwise prompt: how it is written, how its answer is written, and which scores the answer holds."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from datasets_builders.scoring.parsers import Scale, ScoreParser, get_parser

# A tag that a parser could take for a score, however it is spaced.
_SCORE_TAG = re.compile(r"<\s*(/?)\s*s\s*>", re.IGNORECASE)


def without_score_tags(text: str) -> str:
    """The text with every score tag shown in angle quotes, so that a judged reply cannot hand in its own score."""
    return _SCORE_TAG.sub(r"‹\1s›", text) if "<" in text else text


def shown(text: str) -> str:
    """A context or a reply as a prompt shows it: stripped, and without score tags."""
    return without_score_tags(text.strip())


@dataclass(frozen=True)
class PointwisePrompt:
    """Asks for a score of one reply in its context. Call it with (context, response) -> the text of the prompt.

    Attributes:
        headings: the titles over the context and over the reply.
        score: where the answer has the score: before the reason, after it, or alone.
    """

    name: str
    parser: ScoreParser
    score: Literal["first", "last", "only"]
    headings: tuple[str, str]
    instructions: str
    description: str

    @property
    def scale(self) -> Scale:
        """The scale of the scores that it asks for."""
        return self.parser.scale

    @cached_property
    def frame(self) -> tuple[str, str]:
        """The text before the context, and the text between the context and the reply, which ends the prompt."""
        over_context, over_response = self.headings
        return f"{self.instructions}\n\n{over_context}:\n", f"\n\n{over_response}:\n"

    def __call__(self, context: str, response: str) -> str:
        """The text of the prompt; score tags inside context and response are shown in angle quotes."""
        before, between = self.frame
        return f"{before}{shown(context)}{between}{shown(response)}"

    def parser_named(self, name: str) -> ScoreParser:
        """The parser of that name, which must read this prompt's scale.

        Raises:
            UnknownNameError: there is no such parser.
            ValueError: it reads another scale.
        """
        parser = get_parser(name)
        if parser.scale != self.scale:
            raise ValueError(
                f"parser {name} reads {parser.scale.low:g} to {parser.scale.high:g}, but prompt {self.name} asks for "
                f"{self.scale.low:g} to {self.scale.high:g}; use {self.parser.name}"
            )
        return parser

    def compose(self, score: float, reason: str) -> str:
        """An answer in the style that the prompt asks for, with exactly one score tag.

        Raises:
            ValueError: the score is off the scale.
        """
        tag, reason = f"<s>{self.scale.write(score)}</s>", without_score_tags(reason).strip()
        if self.score == "only" or not reason:
            return tag
        return f"{tag}\n{reason}" if self.score == "first" else f"{reason}\n{tag}"
