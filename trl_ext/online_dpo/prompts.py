"""Prompts of a file: read, put into the policy's form, filtered by tokens with counts, and split without overlap."""

import csv
import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .prompt_check import is_empty, kind_of, prompt_fault

Prompt = str | list[dict[str, Any]]

_TURN = re.compile(r"\n\n(?:Human|Assistant):")
_SUMMARY = "### Instruction: Write a one-sentence summary of this post. ### Input: {post} ### Response: "


def read_prompts(path: str, column: str) -> list[Prompt]:
    """The column of a .csv, .jsonl or .parquet file, in order: texts, or message lists where the format has lists.

    Raises:
        ValueError: no such file, another kind of file, no such column, or a line that holds no prompt.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"--csv_path {path}: no such file")
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            rows = [(reader.line_num, row) for row in reader]
            columns = list(reader.fieldnames or [])
    elif file.suffix == ".jsonl":
        rows = [(number, _json_row(path, number, line)) for number, line in _lines(file) if line.strip()]
        columns = list(rows[0][1]) if rows else []
    elif file.suffix == ".parquet":
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(file)
        columns = table.column_names
        rows = list(enumerate(table.to_pylist(), start=1))
    else:
        raise ValueError(f"--csv_path {path}: a .csv, .jsonl or .parquet file is valid")
    if column not in columns:
        raise ValueError(f"--prompt_column {column!r} is not in {path}: its columns are {columns}")
    for number, row in rows:
        if fault := prompt_fault(row.get(column)):
            raise ValueError(f"{path} line {number}, {column!r}: {fault}")
    return [row[column] for _, row in rows]


def _lines(file: Path):
    with file.open(encoding="utf-8") as lines:
        yield from enumerate(lines, start=1)


def _json_row(path: str, number: int, line: str) -> dict:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} line {number} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{path} line {number}: {line.strip()[:80]!r} is not a JSON object")
    return row


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
