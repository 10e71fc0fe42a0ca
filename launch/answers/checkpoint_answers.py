"""Questions that are asked of checkpoints, and the answers that come back: the files between the tools of D2PO."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.io import read_rows
from datasets_builders.tables import read_table
from launch.answers.prompts import Prompt
from launch.answers.records import check_messages, prompt_id, read_generations

ANSWERS_FILE = "answers.jsonl"
PROMPT_FIELDS = ("question", "prompt", "messages")


class Question(NamedTuple):
    """One prompt and what its row holds beside it, which some gold functions need."""

    prompt: Prompt
    metadata: dict[str, Any]


class Answer(NamedTuple):
    """One answer as a gold function sees it; `prompt_id` tells prompts apart that end with the same question."""

    prompt_id: str
    question: str
    response: str
    checkpoint: str
    sample: int
    metadata: dict[str, Any]


def read_questions(source: str | Path, limit: int | None = None) -> list[Question]:
    """The first `limit` distinct prompts of a file (all, when None), in its order.

    Args:
        source: rows with `question`, `prompt` (text or messages) or `messages` (a trailing answer is left out), as
            JSON lines, Parquet, CSV or a folder written by `datasets.save_to_disk`. Of a prompt that comes again, the
            first row counts.

    Raises:
        ValueError: a row without a prompt, one that does not end with the user, or no rows.
    """
    questions: dict[str, Question] = {}
    for where, row in read_table(source):
        name = next((name for name in PROMPT_FIELDS if row.get(name)), None)
        if name is None:
            raise ValueError(f"{where}: a row needs one of {', '.join(PROMPT_FIELDS)}, found {sorted(row)}")
        value = [{"role": "user", "content": row[name]}] if isinstance(row[name], str) else row[name]
        messages = check_messages(value, str(where))
        if messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages or messages[-1]["role"] != "user":
            raise ValueError(f"{where}: the prompt must end with a user message")
        metadata = {key: value for key, value in row.items() if key not in PROMPT_FIELDS}
        key = prompt_id(messages)
        questions.setdefault(key, Question(Prompt(key, messages), metadata))
        if len(questions) == limit:
            break
    if not questions:
        raise ValueError(f"{source}: no prompts")
    return list(questions.values())


def read_answers(places: Sequence[str | Path]) -> list[Answer]:
    """All answers of files and folders, in the order given.

    Args:
        places: files of rows with `question` and `response` (and, where known, `checkpoint`, `sample`, `metadata`),
            folders with such an `answers.jsonl`, or folders that `python -m launch generate` wrote.

    Raises:
        ValueError: a row without these fields, one answer twice, or no rows.
    """
    answers = [answer for place in places for answer in _read_place(Path(place))]
    if not answers:
        raise ValueError(f"{', '.join(map(str, places))}: no answers")
    seen = set()
    for answer in answers:
        key = answer.prompt_id, answer.checkpoint, answer.sample
        if key in seen:
            raise ValueError(
                f"checkpoint {answer.checkpoint!r}, sample {answer.sample}: two answers to {answer.question[:60]!r}; "
                "rows of several samples need the field 'sample'"
            )
        seen.add(key)
    return answers


def _read_place(place: Path) -> Iterator[Answer]:
    if place.is_dir() and not (place / ANSWERS_FILE).is_file():
        for record in read_generations(place):
            yield Answer(
                record["prompt_id"], record["prompt"], record["response"], record["label"], record["sample"], {}
            )
        return
    file = place / ANSWERS_FILE if place.is_dir() else place
    for line, row in read_rows(file):
        for name in ("question", "response"):
            if not isinstance(row.get(name), str):
                raise ValueError(f"{file}:{line}: field {name!r} must be a text, the row has {sorted(row)}")
        metadata = row.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise ValueError(f"{file}:{line}: 'metadata' must be an object, found a {type(metadata).__name__}")
        checkpoint = row.get("checkpoint")
        checkpoint = file.stem if checkpoint is None else str(checkpoint)
        key = str(row.get("prompt_id", row["question"]))
        yield Answer(key, row["question"], row["response"], checkpoint, int(row.get("sample", 0)), metadata)
