"""The prompt of a row: one reader for every tool that asks a policy something.

| the row has | the prompt is |
|---|---|
| ``messages`` | these, without the answer that they may end with |
| ``prompt``, a text or a list of messages | this text or these, without an answer |
| ``question`` | this text |
| ``chosen`` alone, a conversation | what it has before its answer |

A field that is null or empty counts as absent. Of several, the first in this order is read.
"""

from collections.abc import Mapping
from typing import Any

from datasets_builders.fields import RowError, text_fault
from datasets_builders.files.location import kind_of
from datasets_builders.judging.turns import SIGN, parse_turns
from datasets_builders.messages import SAYS, Messages, plain, read_messages, text_of
from datasets_builders.pairs import user
from datasets_builders.readers.anthropic_hh import MARKER, OPENING, split_last_reply

Prompt = str | Messages
PROMPT_FIELDS = ("messages", "prompt", "question")


def read_prompt(row: Mapping[str, Any], column: str | None = None) -> Prompt:
    """The prompt of a row: a text as it stands, or plain messages that end with the user's.

    Args:
        column: read this field and no other.

    Raises:
        RowError: ``missing_field``, ``empty_prompt``, those of ``messages.read_messages``, ``no_user_at_end``.
    """
    names = PROMPT_FIELDS if column is None else (column,)
    for name in names:
        if not _is_absent(row.get(name)):
            return prompt_of(row[name], name)
    if column is None and not _is_absent(row.get("chosen")):
        return _before_the_answer(whole_conversation(row["chosen"], "chosen"), "chosen")
    if empty := [name for name in names if row.get(name) is not None]:
        raise RowError("empty_prompt", f"field {empty[0]!r} is empty")
    shown = ", ".join(sorted(map(str, row))[:20]) or "no field"
    raise RowError("missing_field", f"no field {' or '.join(map(repr, names))} with a value; the row has: {shown}")


def prompt_of(value: Any, name: str) -> Prompt:
    """The prompt that field ``name`` holds; a text with the markers of HelpSteer2 is a conversation.

    Raises:
        RowError: as ``read_prompt``, and those of ``judging.turns.parse_turns``.
    """
    if isinstance(value, str) and name != "messages":
        if not value.strip():
            raise RowError("empty_prompt", f"field {name!r} is empty")
        if fault := text_fault(value):
            raise RowError("invalid_unicode", f"field {name!r}: {fault}")
        return list(parse_turns(value)) if SIGN in value else value
    if isinstance(value, list):
        return _before_the_answer(read_messages(value, name), name)
    valid = "a list of messages" if name == "messages" else "a text or a list of messages"
    raise RowError("wrong_type", f"field {name!r} must be {valid}, found a {kind_of(value)}: {value!r:.60}")


def as_messages(prompt: Prompt) -> Messages:
    """The prompt as messages: a text is what the user says."""
    return [user(prompt)] if isinstance(prompt, str) else prompt


def whole_conversation(value: Any, name: str) -> Messages:
    """A conversation with its answer: a list of messages, or a text with the turns of HH-RLHF in it.

    Raises:
        RowError: those of ``messages.read_messages`` and ``anthropic_hh.split_last_reply``; ``missing_prompt`` for a text
            without turns.
    """
    if not isinstance(value, str):
        return read_messages(value, name)
    if not MARKER.search(OPENING + value.lstrip()):
        raise RowError(
            "missing_prompt", f"field {name!r} is a text without turns of 'Human:', and the row has no field 'prompt'"
        )
    before, reply = split_last_reply(value)
    return read_messages([*before, {"role": "assistant", "content": reply}], name)


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or value == []


def _before_the_answer(messages: Messages, name: str) -> Messages:
    prompt = messages[:-1] if messages[-1]["role"] in SAYS else messages
    if not prompt or prompt[-1]["role"] != "user":
        role = prompt[-1]["role"] if prompt else messages[-1]["role"]
        raise RowError(
            "no_user_at_end", f"field {name!r}: the prompt must end with a user message, found one of {role!r} there"
        )
    if not text_of(prompt[-1]).strip():
        raise RowError("empty_prompt", f"field {name!r}: the last message of the user is empty")
    return plain(prompt)
