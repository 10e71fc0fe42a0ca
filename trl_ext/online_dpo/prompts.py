"""Prompts of a file: read, put into the policy's form, filtered by tokens with counts, and split without overlap."""

import csv
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

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
        value = row.get(column)
        if not isinstance(value, str) and not _is_conversation(value):
            raise ValueError(
                f"{path} line {number}, {column!r}: {value!r:.80} is neither a text nor a list of messages"
            )
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


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "role" in m for m in value)


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

    Tokens are those of the prompt as the policy reads it, chat template included, without the weights. The reasons are
    `empty`, `repeated`, `too_short` and `too_long`.
    """
    has_template, seen, kept, dropped = tokenizer.chat_template is not None, set(), [], Counter()
    for prompt in prompts:
        if isinstance(prompt, str) and not prompt.strip():
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
            kept.append(asked)
        seen.add(key)
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
