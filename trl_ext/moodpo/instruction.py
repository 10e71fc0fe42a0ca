"""The sentence that tells a policy its weights: one renderer and its inverse for training, evaluation and serving."""

from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]


def render(names: Sequence[str], weights: Sequence[float]) -> str:
    """One sentence with integer percentages that sum to 100, in the order of `names`."""
    raise NotImplementedError


def parse(text: str) -> dict[str, float]:
    """The inverse of `render`: {name: weight}, also from inside a longer text. ValueError when there is none."""
    raise NotImplementedError


def has_system_role(tokenizer: Any) -> bool:
    """Whether the chat template of `tokenizer` takes a system message and keeps its text."""
    raise NotImplementedError


def annotate(
    prompt: str | list[Message], names: Sequence[str], weights: Sequence[float], *, system_role: bool
) -> str | list[Message]:
    """A copy of the prompt that carries the instruction: a system message, or a bracketed block before the text."""
    raise NotImplementedError


def strip(prompt: str | list[Message]) -> str | list[Message]:
    """The prompt as it was before `annotate`; a prompt without an instruction comes back as it is."""
    raise NotImplementedError
