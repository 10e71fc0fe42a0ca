"""The two sides of a row of preferences: one reader for every tool that takes pairs.

| the row has | format of |
|---|---|
| ``messages`` that end with the chosen answer, and ``rejected_response`` or ``rejected_messages`` | ms-swift |
| ``prompt`` (text or messages), ``chosen`` and ``rejected`` (texts, messages, or whole conversations) | TRL |
| ``chosen`` and ``rejected``: whole conversations, as messages or as texts with the turns of HH-RLHF | TRL |
| ``question``, ``response_j`` (preferred), ``response_k`` | reward models |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets_builders.fields import RowError, require_text
from datasets_builders.files.location import kind_of
from datasets_builders.messages import SAYS, Messages, plain, read_messages, read_reply, says, says_nothing, text_of
from datasets_builders.pairs import PreferencePair, assistant, user
from datasets_builders.prompt_rows import PROMPT_FIELDS, as_messages, prompt_of, whole_conversation

QUESTION = ("question", "response_j", "response_k")
SIDES = ("messages", "rejected_response", "rejected_messages", "chosen", "rejected", *PROMPT_FIELDS, *QUESTION)
SHAPES = (
    "messages with rejected_response or rejected_messages; prompt, chosen, rejected; "
    "chosen, rejected (whole conversations); question, response_j, response_k"
)


@dataclass(frozen=True)
class TwoSides:
    """Two conversations, each with its answer; the first is preferred.

    Attributes:
        chosen, rejected: messages as ``messages.read_messages`` has them; each ends with what the assistant says.
        beside: the other columns of the row, such as ``tools`` and ``images``; null ones are left out.
    """

    chosen: Messages
    rejected: Messages
    beside: Mapping[str, Any]

    def swap(self) -> "TwoSides":
        """The opposite preference. A column ``rejected_NAME`` changes place with ``NAME``, ``margin`` its sign."""
        beside = dict(self.beside)
        for other in [name for name in self.beside if name.startswith("rejected_")]:
            name = other.removeprefix("rejected_")
            exchanged = {name: self.beside[other]} | ({other: self.beside[name]} if name in self.beside else {})
            beside = {key: value for key, value in beside.items() if key not in (name, other)} | exchanged
        margin = beside.get("margin")
        if isinstance(margin, int | float) and not isinstance(margin, bool):
            beside["margin"] = -margin
        return TwoSides(self.rejected, self.chosen, beside)

    def pair(self) -> PreferencePair:
        """Prompt and both answers as texts.

        Raises:
            RowError: ``different_prompts``, the sides part before their last message; ``no_text``, an answer calls a
                tool instead of saying something.
        """
        prompt = plain(self.chosen[:-1])
        if prompt != plain(self.rejected[:-1]):
            raise RowError("different_prompts", "the two sides differ before their last message; one prompt is needed")
        if prompt[-1]["role"] != "user":
            raise RowError(
                "no_user_at_end", f"the answer must follow a message of the user, not of {prompt[-1]['role']}"
            )
        texts = text_of(self.chosen[-1]), text_of(self.rejected[-1])
        if not all(text.strip() for text in texts):
            raise RowError("no_text", "an answer calls a tool and has no text")
        return PreferencePair(prompt, *texts)

    def swift_row(self) -> dict[str, Any]:
        """The row of ``swift rlhf --rlhf_type dpo``, with the other columns."""
        row = {"messages": self.chosen}
        last = self.rejected[-1]
        if self.chosen[:-1] == self.rejected[:-1] and last["role"] == "assistant" and set(last) == {"role", "content"}:
            return {**row, "rejected_response": text_of(last), **self.beside}
        return {**row, "rejected_messages": self.rejected, **self.beside}


def read_sides(row: Mapping[str, Any], must_teach: bool = True) -> TwoSides:
    """The two sides of a row in any of the formats above.

    Args:
        must_teach: refuse a blank answer and two equal ones, from which nothing is learnt; what measures takes them.

    Raises:
        RowError: ``no_pair`` for a row of another shape; ``prompt_differs``; ``empty_reply``; ``no_reply`` for a side that
            does not end with the assistant; ``identical_replies`` for sides that differ in white space at most; those of
            ``messages`` and ``prompt_rows``.
    """
    there = {name for name, value in row.items() if value is not None}
    if "messages" in there and there & {"rejected_response", "rejected_messages"}:
        names, sides = ("messages", "rejected_response"), _swift(row, there)
    elif {"chosen", "rejected"} <= there:
        names, sides = ("chosen", "rejected"), _trl(row, there)
    elif there & set(QUESTION[1:]):
        names, sides = QUESTION[1:], _question(row)
    else:
        shown = ", ".join(sorted(map(str, there))[:20]) or "no field with a value"
        raise RowError("no_pair", f"not a pair, found {shown}; valid: {SHAPES}")
    for name, messages in zip(names, sides, strict=True):
        if messages[-1]["role"] not in SAYS:
            found = messages[-1]["role"]
            raise RowError("no_reply", f"{name!r} must end with what the assistant says, found a message of {found!r}")
        if must_teach and says_nothing(_answer(messages)):
            raise RowError("empty_reply", f"the answer in {name!r} is empty")
    if must_teach and says(sides[0]) == says(sides[1]):
        raise RowError(
            "identical_replies", f"the answers in {names[0]!r} and {names[1]!r} are equal (but for white space)"
        )
    return TwoSides(*sides, {name: row[name] for name in row if name in there and name not in SIDES})


def read_pair(row: Mapping[str, Any], must_teach: bool = True) -> PreferencePair:
    """As ``read_sides``, for tools that need one prompt and two texts. Errors: those of ``TwoSides.pair`` too."""
    return read_sides(row, must_teach).pair()


def _answer(messages: Messages) -> Messages:
    """What follows the last message of the user."""
    last = max(place for place, message in enumerate(messages) if message["role"] == "user")
    return [message for message in messages[last + 1 :] if message["role"] in SAYS]


def _swift(row: Mapping[str, Any], there: set[str]) -> tuple[Messages, Messages]:
    chosen = read_messages(row["messages"], "messages")
    if "rejected_messages" in there:
        return chosen, read_messages(row["rejected_messages"], "rejected_messages")
    last = max(place for place, message in enumerate(chosen) if message["role"] == "user")
    return chosen, [*chosen[: last + 1], *read_reply(row["rejected_response"], "rejected_response")]


def _question(row: Mapping[str, Any]) -> tuple[Messages, Messages]:
    question, chosen, rejected = (require_text(row, name) for name in QUESTION)
    return [user(question), assistant(chosen)], [user(question), assistant(rejected)]


def _trl(row: Mapping[str, Any], there: set[str]) -> tuple[Messages, Messages]:
    kinds = [kind_of(row[name]) for name in ("chosen", "rejected")]
    if kinds[0] != kinds[1]:
        raise RowError(
            "wrong_type", f"'chosen' is a {kinds[0]} and 'rejected' a {kinds[1]}; both of one kind are valid"
        )
    name = next(
        (name for name in ("prompt", "question", "messages") if name in there and row[name] not in ("", [])), None
    )
    # UltraFeedback's ``messages`` are those of ``chosen``.
    if name is None or name == "messages":
        return whole_conversation(row["chosen"], "chosen"), whole_conversation(row["rejected"], "rejected")
    prompt = prompt_of(row[name], name)
    if isinstance(prompt, list) and len(prompt) < len(row[name]):
        raise RowError(
            "no_user_at_end", f"field {name!r}: the prompt must end with a user message, found an answer there"
        )
    return _side(prompt, row["chosen"], "chosen"), _side(prompt, row["rejected"], "rejected")


def _side(prompt: str | Messages, value: Any, name: str) -> Messages:
    """A whole conversation from a prompt and a side, which may hold the prompt already."""
    roles = (
        [message.get("role") for message in value if isinstance(message, Mapping)] if isinstance(value, list) else []
    )
    if "user" not in roles:
        return [*as_messages(prompt), *read_reply(value, name)]
    messages = read_messages(value, name)
    before = plain(messages[:-1])
    if isinstance(prompt, str):
        # UltraFeedback: the text of the prompt beside the conversations that begin with it.
        holds = any(message["role"] == "user" and message["content"].split() == prompt.split() for message in before)
    else:
        holds = before[-len(prompt) :] == prompt or before[: len(prompt)] == prompt
    if not holds:
        raise RowError("prompt_differs", f"the conversation in {name!r} does not hold the prompt of the row")
    return messages
