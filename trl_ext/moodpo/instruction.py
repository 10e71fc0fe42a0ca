"""The sentence that tells a policy its weights: one renderer and its inverse, for training, evaluation and serving.

    Balance your answer as follows: 70% helpful, 30% harmless.

It stands in the system message where the chat template has that role, and in a bracketed block before the prompt where
it has none.
"""

import re
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

_NAME = r"[^\W_](?:[\w -]*\w)?"
_SHARE = rf"(?:0|[1-9][0-9]{{0,2}})% {_NAME}"
_SENTENCE = re.compile(rf"Balance your answer as follows: ({_SHARE}(?:, {_SHARE})*)\.")
_SEPARATOR = "\n\n"  # between a system message that was there before and the sentence
_OPEN, _CLOSE = "[Begin System Instruction]\n", "\n[End System Instruction]\n"
_BLOCK = re.compile(re.escape(_OPEN) + _SENTENCE.pattern + re.escape(_CLOSE))
_AT_END = re.compile(rf"(\A|{_SEPARATOR}){_SENTENCE.pattern}\Z")


def check_names(names: Sequence[str]) -> None:
    """Refuses names that the sentence could not be read back with.

    Raises:
        ValueError: no name, one twice, or one that holds more than letters, digits, '_', '-' and spaces inside.
    """
    if not names:
        raise ValueError("an instruction needs at least one objective")
    for name in names:
        if not re.fullmatch(_NAME, name):
            raise ValueError(
                f"objective name {name!r}: use letters, digits, '_', '-' and inner spaces, a letter or digit first"
            )
        if list(names).count(name) > 1:
            raise ValueError(f"objective {name!r} is named twice")


def render(names: Sequence[str], weights: Sequence[float]) -> str:
    """One sentence with whole percentages that sum to 100, in the order of `names`.

    Args:
        names: K objectives, in the order that the whole project keeps.
        weights: (K,) on the simplex. What is no whole percentage is rounded by largest remainder.

    Raises:
        ValueError: a name that cannot be read back, another number of weights, or weights off the simplex.
    """
    from trl_ext.objectives.weights import grid_units

    check_names(names)
    if len(names) != len(weights):
        raise ValueError(f"{len(weights)} weights for the {len(names)} objectives {list(names)}")
    shares = zip(grid_units(weights, 100), names, strict=True)
    return f"Balance your answer as follows: {', '.join(f'{percent}% {name}' for percent, name in shares)}."


def parse(text: str) -> dict[str, float]:
    """{name: weight} of the one instruction in `text`, wherever it stands in there; the inverse of `render`.

    Raises:
        ValueError: no instruction or more than one, an objective twice, or percentages that do not sum to 100.
    """
    found = _SENTENCE.findall(text)
    if len(found) != 1:
        raise ValueError(f"{len(found)} weight instructions, expected one, in {text[:200]!r}")
    shares = [share.split("% ", 1) for share in found[0].split(", ")]
    percents = {name: int(percent) for percent, name in shares}
    if len(percents) < len(shares):
        raise ValueError(f"an objective is named twice in {found[0]!r}")
    if sum(percents.values()) != 100:
        raise ValueError(f"the percentages sum to {sum(percents.values())}, expected 100, in {found[0]!r}")
    return {name: percent / 100 for name, percent in percents.items()}


def has_system_role(tokenizer: Any) -> bool:
    """Whether the chat template takes a system message and keeps its text. Tried with a probe.

    Templates without that role either raise or leave the text out; without a template there is no role at all.
    """
    if getattr(tokenizer, "chat_template", None) is None:
        return False
    from jinja2 import TemplateError

    probe = render(["probe"], [1.0])
    messages = [{"role": "system", "content": probe}, {"role": "user", "content": "Hello."}]
    try:
        return probe in tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (TemplateError, TypeError):  # raise_exception(...) of a template, and text that it cannot join
        return False


def annotate(
    prompt: str | list[Message], names: Sequence[str], weights: Sequence[float], *, system_role: bool
) -> str | list[Message]:
    """A copy of the prompt that carries the instruction.

    | prompt | system_role | where the sentence goes |
    |---|---|---|
    | messages, the first one a system message | yes | behind its text, after an empty line |
    | messages without one | yes | a system message of its own, in front |
    | messages | no | a bracketed block before the text of the first user message |
    | text | either | a bracketed block before the text |

    Raises:
        ValueError: the prompt carries an instruction already, no message can take one, or see `render`.
    """
    sentence = render(names, weights)
    if strip(prompt) != prompt:
        raise ValueError(f"the prompt carries a weight instruction already: {str(prompt)[:200]!r}")
    block = f"{_OPEN}{sentence}{_CLOSE}"
    if isinstance(prompt, str):
        return block + prompt
    if system_role and prompt and prompt[0]["role"] == "system":
        return _with_text(prompt, 0, f"{_text(prompt, 0)}{_SEPARATOR}{sentence}")
    if system_role:
        return [{"role": "system", "content": sentence}, *prompt]
    place = _first_user(prompt)
    if place is None:
        raise ValueError(f"no user message to put the weight instruction in: {str(prompt)[:200]!r}")
    return _with_text(prompt, place, block + _text(prompt, place))


def strip(prompt: str | list[Message]) -> str | list[Message]:
    """The prompt as it was before `annotate`; a prompt without an instruction comes back as it is."""
    if isinstance(prompt, str):
        return prompt[block.end() :] if (block := _BLOCK.match(prompt)) else prompt
    if prompt and prompt[0]["role"] == "system" and (tail := _AT_END.search(_text(prompt, 0))):
        # Without a separator before it the sentence is the whole of a message that annotate put there.
        return _with_text(prompt, 0, _text(prompt, 0)[: tail.start()]) if tail[1] else list(prompt[1:])
    place = _first_user(prompt)
    if place is not None and (block := _BLOCK.match(_text(prompt, place))):
        return _with_text(prompt, place, _text(prompt, place)[block.end() :])
    return prompt


def _first_user(prompt: list[Message]) -> int | None:
    return next((place for place, message in enumerate(prompt) if message["role"] == "user"), None)


def _text(prompt: list[Message], place: int) -> str:
    content = prompt[place]["content"]
    if not isinstance(content, str):
        raise ValueError(f"message {place} ({prompt[place]['role']}): content must be a text, got {content!r:.100}")
    return content


def _with_text(prompt: list[Message], place: int, text: str) -> list[Message]:
    return [*prompt[:place], {**prompt[place], "content": text}, *prompt[place + 1 :]]
