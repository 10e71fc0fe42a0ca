"""Messages, as every reader of prompts and pairs takes them. One check for all; whatever it refuses is a ``RowError``.

A message has a ``role``, and a ``content`` that is a text or a list of parts of type ``text``. One that calls tools may
have none. Fields of a message that are null, as tables fill them in, are left out; the others stay.
"""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from datasets_builders.fields import RowError, text_fault
from datasets_builders.files.location import kind_of

Messages = list[dict[str, Any]]
# Roles of what the policy itself writes. ``tool_call`` is ms-swift's.
SAYS = ("assistant", "tool_call")
# Contents of these may be objects, which ms-swift writes as JSON.
OTHER_PART = "other_part"  # why a message with a picture is refused where texts are needed
CALLS = ("tool_call", "tool", "tool_response")


def read_messages(value: Any, name: str) -> Messages:
    """The messages of field ``name``.

    Raises:
        RowError: ``wrong_type`` for what is no list of messages, ``no_content`` for a message without a text,
            ``other_part`` for one with a part that is none,
            ``no_user_message``, ``repeated_speaker`` for two of the assistant in a row, ``invalid_unicode``.
    """
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else f"a {kind_of(value)}: {value!r:.60}"
        raise RowError("wrong_type", f"field {name!r} must be a list of messages, found {found}")
    messages = [_message(one, f"message {number} of {name!r}") for number, one in enumerate(value, start=1)]
    if not any(message["role"] == "user" for message in messages):
        roles = sorted({message["role"] for message in messages})
        raise RowError("no_user_message", f"field {name!r}: no message of the role 'user', only {roles}")
    for number, (one, other) in enumerate(pairwise(messages), start=1):
        if one["role"] == other["role"] == "assistant":
            raise RowError(
                "repeated_speaker", f"field {name!r}: messages {number} and {number + 1} are both of the assistant"
            )
    return messages


def read_reply(value: Any, name: str) -> Messages:
    """The messages of a reply that is a text or a list of messages, none of them the user's. Errors: as `read_messages`."""
    if isinstance(value, str):
        return [_message({"role": "assistant", "content": value}, f"field {name!r}")]
    if not isinstance(value, list) or not value:
        raise RowError(
            "wrong_type",
            f"field {name!r} must be a text or a list of messages, found a {kind_of(value)}: {value!r:.60}",
        )
    messages = [_message(one, f"message {number} of {name!r}") for number, one in enumerate(value, start=1)]
    if any(message["role"] == "user" for message in messages):
        raise RowError("user_in_reply", f"field {name!r}: a reply holds no message of the user")
    return messages


def _message(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise RowError("wrong_type", f"{where} must be an object with role and content, found a {kind_of(value)}")
    message = {key: item for key, item in value.items() if item is not None}
    role = message.get("role")
    if not isinstance(role, str) or not role.strip():
        raise RowError("wrong_type", f"{where} must have a text as 'role', found {role!r:.60}")
    content = message.get("content")
    if role in CALLS and isinstance(content, dict | list):
        message["content"] = json.dumps(content, ensure_ascii=False)
    elif isinstance(content, list):
        for part in content:
            if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                shown = part.get("type") if isinstance(part, Mapping) else part
                raise RowError(
                    OTHER_PART,
                    f"{where} ({role}) has a part {shown!r:.60}: texts and parts of the type 'text' are valid, and "
                    "<image> in a text for a picture of the column images",
                )
    elif content is None and message.get("tool_calls"):
        message["content"] = ""
    elif not isinstance(content, str):
        raise RowError("no_content", f"{where} ({role}) has the content {content!r:.60}: a text is valid")
    if fault := text_fault(text_of(message)):
        raise RowError("invalid_unicode", f"{where} ({role}): {fault}")
    if text_fault(json.dumps(message, ensure_ascii=False, default=str)):  # its role, its calls, and whatever it carries
        raise RowError(
            "invalid_unicode", f"{where} has one half of a surrogate pair outside its content, which is no text"
        )
    return message


def text_of(message: Mapping[str, Any]) -> str:
    """What a message says: its text, or the texts of its parts."""
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def plain(messages: Messages) -> Messages:
    """The messages with ``role`` and ``content`` only, contents as texts; what calls tools keeps ``tool_calls``."""
    return [
        {"role": message["role"], "content": text_of(message)}
        | ({"tool_calls": message["tool_calls"]} if message.get("tool_calls") else {})
        for message in messages
    ]


def says_nothing(messages: Messages) -> bool:
    """Whether no message has a character that is not white space, or calls a tool."""
    return not any(text_of(message).strip() or message.get("tool_calls") for message in messages)


def says(messages: Messages) -> list[Any]:
    """What is said, for a comparison: roles, words and tool calls. White space makes no difference."""
    return [[message["role"], text_of(message).split(), message.get("tool_calls") or []] for message in messages]
