"""Prompts of a file: read, put into the policy's form, filtered by tokens with counts, and split without overlap."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from datasets_builders.fields import RowError
from datasets_builders.io import read_located_rows
from datasets_builders.prompt_rows import PROMPT_FIELDS, Prompt, read_prompt

from .prompt_check import is_empty, kind_of, prompt_fault

DEFAULT_COLUMN = "prompt"
_TURN = re.compile(r"\n\n(?:Human|Assistant):")
_SUMMARY = "### Instruction: Write a one-sentence summary of this post. ### Input: {post} ### Response: "


def read_prompts(path: str, column: str) -> list[Prompt]:
    """The prompts of a file, folder or glob in order, an empty one as an empty text.

    Args:
        column: read this one; rows without the default, `prompt`, may have `messages` or `question` instead.

    Raises:
        ValueError: no such file, no such column, or a line that holds no prompt; the place is named.
    """
    prompts, _ = prompts_and_columns(read_located_rows(path), column)
    return prompts


def prompts_and_columns(
    rows: Iterable[tuple[Any, dict[str, Any]]], column: str = DEFAULT_COLUMN
) -> tuple[list[Prompt], dict[str, list[Any]]]:
    """The prompts of (place, row), see `read_prompts`, and the other columns of the rows; null where a row has none.

    Raises:
        ValueError: `PLACE: ...` for a row that holds no prompt.
    """
    prompts: list[Prompt] = []
    columns: dict[str, list[Any]] = {}
    for where, row in rows:
        try:
            prompts.append(read_prompt(row, None if column == DEFAULT_COLUMN and row.get(column) is None else column))
        except RowError as error:
            if error.reason != "empty_prompt":
                flag = f"--prompt_column {column!r}: " if column not in row else ""
                raise ValueError(f"{where}: {flag}{error}") from error
            prompts.append("")
        for name, value in row.items():
            if name not in (*PROMPT_FIELDS, column):
                before = columns.setdefault(name, [])
                before += [None] * (len(prompts) - 1 - len(before)) + [value]
    return prompts, {name: values + [None] * (len(prompts) - len(values)) for name, values in columns.items()}


def policy_prompt(prompt: Prompt, kind: str, has_template: bool) -> Prompt:
    """The prompt as the policy is asked.

    A transcript with turn markers stays text (with the line breaks of its first marker, which a file may have lost);
    for `summary` a post is put into the one-line form with its markers; any other text becomes a user message where
    the tokenizer has a chat template.
    """
    if not isinstance(prompt, str):
        return prompt
    text = prompt.strip()
    if kind == "summary" and "### Input:" not in text:
        text = _SUMMARY.format(post=" ".join(text.split("\n")))
    if text.startswith(("Human:", "Assistant:")) or _TURN.search(text):
        return f"\n\n{text}"
    return [{"role": "user", "content": text}] if has_template else text


def prepare_prompts(
    prompts: list[Prompt], tokenizer: Any, kind: str, shortest: int, longest: int
) -> tuple[list[Prompt], Counter]:
    """Prompts in the policy's form that are new and of `shortest` to `longest` tokens; counts of the others by reason.

    See `sift_prompts`.
    """
    kept, dropped = sift_prompts(prompts, tokenizer, kind, shortest, longest)
    return [prompt for _, prompt in kept], dropped


def sift_prompts(
    prompts: Iterable[Prompt], tokenizer: Any, kind: str, shortest: int, longest: int
) -> tuple[list[tuple[int, Prompt]], Counter]:
    """(place, prompt in the policy's form) of what is kept, and counts of the others by reason.

    Tokens are those of the prompt as the policy reads it, chat template included, without the weights. The reasons are
    `empty`, `repeated`, `too_short` and `too_long`.

    Raises:
        ValueError: a row that holds no prompt, or prompts of which some are asked as text and some as messages.
    """
    has_template, seen, kept, dropped = tokenizer.chat_template is not None, set(), [], Counter()
    for place, prompt in enumerate(prompts):
        if fault := prompt_fault(prompt):
            raise ValueError(f"prompts, row {place + 1}: {fault}")
        if is_empty(prompt):
            dropped["empty"] += 1
            continue
        asked = policy_prompt(prompt, kind, has_template)
        key = json.dumps(asked, sort_keys=True)
        length = count_tokens(asked, tokenizer)
        if key in seen:
            dropped["repeated"] += 1
        elif length < shortest:
            dropped["too_short"] += 1
        elif length > longest:
            dropped["too_long"] += 1
        else:
            kept.append((place, asked))
        seen.add(key)
    if other := next((place for place, asked in kept if kind_of(asked) != kind_of(kept[0][1])), None):
        raise ValueError(
            f"prompts, row {kept[0][0] + 1} is asked as {kind_of(kept[0][1])}, row {other + 1} is not: prompts of one kind "
            "are valid (texts with 'Human:' and 'Assistant:' turns stay texts, others become messages where the tokenizer "
            "has a chat template)"
        )
    return kept, dropped


def say_left_out(dropped: Mapping[str, int], longest: int, shortest: int = 1) -> str:
    """The counts of `sift_prompts` for a message, with the flags that decide them; `none` where nothing is left out.

    Args:
        shortest: 1 where there is no such flag.
    """
    flags = {"too_long": f" (--max_prompt_tokens is {longest})"}
    if shortest > 1:
        flags["too_short"] = f" (--min_prompt_tokens is {shortest})"
    return ", ".join(f"{count} {reason}{flags.get(reason, '')}" for reason, count in dropped.items()) or "none"


def count_tokens(prompt: Prompt, tokenizer: Any) -> int:
    if not isinstance(prompt, str):
        prompt = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    return len(tokenizer(prompt, add_special_tokens=False)["input_ids"])


def split_prompts(prompts: list[Prompt], held_out: int, seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """(training, evaluation) prompts in their order; which ones are held out depends on the seed alone.

    Raises:
        ValueError: nothing would be left to train on.
    """
    if held_out >= len(prompts):
        raise ValueError(
            f"--eval_prompts is {held_out}: of {len(prompts)} prompts at most {len(prompts) - 1} are valid"
        )
    chosen = set(random.Random(seed).sample(range(len(prompts)), held_out))
    training = [prompt for place, prompt in enumerate(prompts) if place not in chosen]
    return training, [prompt for place, prompt in enumerate(prompts) if place in chosen]


def last_user_text(prompt: Prompt) -> str:
    """The text of a plain prompt, or of the last user message.

    Raises:
        ValueError: a conversation without a user message.
    """
    if isinstance(prompt, str):
        return prompt
    for message in reversed(prompt):
        if message["role"] == "user":
            return message["content"]
    raise ValueError(f"no user message in the prompt {str(prompt)[:200]!r}")


def completion_text(completion: Prompt) -> str:
    """The text of a completion that is a text or a list of assistant messages."""
    return completion if isinstance(completion, str) else "".join(message["content"] for message in completion)
