"""Anthropic HH-RLHF (https://huggingface.co/datasets/Anthropic/hh-rlhf, arXiv 2204.05862).

A row holds two whole conversations, ``chosen`` and ``rejected``, as texts with "Human:" and "Assistant:" markers. The
prompt is everything before the last assistant turn, found by its position: an earlier turn may well have the same text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from datasets_builders.fields import RowError, require_text
from datasets_builders.pairs import Message, PreferencePair
from datasets_builders.readers.base import Filtered, Part, Rules, SetReader

# A marker follows an empty line; elsewhere the same word is part of what somebody wrote. The pattern starts with a plain
# character, which the search can leap to: three times the speed of one that starts with a choice.
MARKER = re.compile(r"\n[ \t]*\r?\n[ \t]*(Human|Assistant)[ \t]*:")
OPENING = "\n\n"
ROLES = {"Human": "user", "Assistant": "assistant"}
FOLDERS = ("harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled")


def _parts(text: str) -> list[str]:
    """What was said before the first turn, then speaker, text, speaker, text, ... as written."""
    parts = MARKER.split(OPENING + text.lstrip())  # a marker may also open the text
    if len(parts) == 1:
        raise RowError("no_turns", "no 'Human:' or 'Assistant:' turn in the text")
    if preamble := parts[0].strip():
        raise RowError("text_before_first_turn", f"text before the first turn: {preamble[:60]!r}")
    return parts


def parse_turns(text: str) -> list[Message]:
    """All turns of a conversation as messages, stripped, empty and repeated ones included.

    Raises:
        RowError: ``no_turns`` without any marker, ``text_before_first_turn`` with text that belongs to nobody.
    """
    parts = _parts(text)
    return [
        {"role": ROLES[speaker], "content": content.strip()}
        for speaker, content in zip(parts[1::2], parts[2::2], strict=True)
    ]


def transcript_pair(chosen: str, rejected: str) -> tuple[str, str, str]:
    """Both conversations as (text of the turns that they share, last reply of the first, last reply of the second).

    The shared turns are written ``Speaker: text`` with an empty line between them; empty turns are left out, and turns
    of one speaker that follow each other stay apart.

    Raises:
        RowError: those of ``split_last_reply``, ``mismatched_prefix``, ``bad_prompt`` where a person does not speak
            first and last before the reply.
    """
    parts = _parts(chosen)
    turns, reply = _written_turns(parts)
    # Most rows repeat the whole beginning letter by letter, so the second conversation is seldom taken apart.
    beginning = chosen[: len(chosen) - len(parts[-1])]
    end = rejected[len(beginning) :]
    if rejected.startswith(beginning) and not MARKER.search(end):
        other = _not_empty(end)
    else:
        other_turns, other = _written_turns(_parts(rejected))
        if turns != other_turns:
            raise RowError("mismatched_prefix", "chosen and rejected differ before their last assistant turn")
    if not turns or not (turns[0].startswith("Human") and turns[-1].startswith("Human")):
        raise RowError("bad_prompt", "the turns before the reply must start and end with a human turn")
    return "\n\n".join(turns), reply, other


def _written_turns(parts: list[str]) -> tuple[list[str], str]:
    if parts[-2] != "Assistant":
        raise RowError("ends_with_human_turn", "the conversation ends with a human turn")
    turns = []
    for place in range(1, len(parts) - 2, 2):
        if text := parts[place + 1].strip():
            turns.append(f"{parts[place]}: {text}")
    return turns, _not_empty(parts[-1])


def _not_empty(reply: str) -> str:
    if not (stripped := reply.strip()):
        raise RowError("empty_reply", "the last assistant turn is empty")
    return stripped


def split_last_reply(text: str) -> tuple[list[Message], str]:
    """The prompt as alternating messages, and the reply of the last assistant turn.

    In the prompt, empty turns are left out and neighbouring turns of one speaker are joined with an empty line, because
    chat templates require user and assistant to alternate.

    Raises:
        RowError: those of ``parse_turns``; ``ends_with_human_turn``; ``empty_reply``.
    """
    *before, reply = parse_turns(text)
    if reply["role"] != "assistant":
        # The people who judged the text also judged that turn, so the reply before it cannot inherit their label.
        raise RowError("ends_with_human_turn", "the conversation ends with a human turn")
    if not reply["content"]:
        raise RowError("empty_reply", "the last assistant turn is empty")
    return _alternating(before), reply["content"]


def _alternating(turns: list[Message]) -> list[Message]:
    messages: list[Message] = []
    for turn in turns:
        if not turn["content"]:
            continue
        if messages and messages[-1]["role"] == turn["role"]:
            joined = f"{messages[-1]['content']}\n\n{turn['content']}"
            messages[-1] = {"role": turn["role"], "content": joined}
        else:
            messages.append(turn)
    return messages


def read(row: Mapping[str, Any], rules: Rules) -> Iterator[PreferencePair | Filtered]:
    """One pair of a row; both conversations must share the identical prompt.

    Raises:
        RowError: those of ``split_last_reply``, ``mismatched_prefix``, ``bad_prompt``.
    """
    prompt, chosen = split_last_reply(require_text(row, "chosen"))
    other_prompt, rejected = split_last_reply(require_text(row, "rejected"))
    if prompt != other_prompt:
        raise RowError("mismatched_prefix", "chosen and rejected differ before their last assistant turn")
    if not prompt or prompt[0]["role"] != "user" or prompt[-1]["role"] != "user":
        raise RowError("bad_prompt", "the turns before the reply must start and end with a human turn")
    if chosen == rejected:
        yield Filtered("identical_responses")
    else:
        yield PreferencePair(prompt, chosen, rejected)


READER = SetReader(
    hub_name="Anthropic/hh-rlhf",
    read=read,
    splits={"train": Part("train", 0, 90), "validation": Part("train", 90, 100), "test": Part("test")},
    dimensions=FOLDERS,
    dimension_is_folder=True,
)
