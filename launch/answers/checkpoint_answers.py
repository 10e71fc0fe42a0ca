"""Questions that are asked of checkpoints, and the answers that come back: the files between the tools of D2PO."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets_builders.io import read_rows
from datasets_builders.prompt_rows import PROMPT_FIELDS, as_messages, read_prompt
from datasets_builders.source import each_row
from launch.answers.prompts import Prompt, keyed
from launch.answers.records import read_generations

ANSWERS_FILE = "answers.jsonl"


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
        source: a file, folder or glob; which rows hold a prompt, see `datasets_builders.prompt_rows`. Of a prompt that
            comes again, the first row counts.

    Raises:
        ValueError: `FILE:LINE: ...` for a row without a prompt, or no rows.
    """
    questions: dict[str, Question] = {}
    for _, (asked, row) in each_row(source, lambda row: (read_prompt(row), row)):
        prompt = keyed(as_messages(asked))
        metadata = {key: value for key, value in row.items() if key not in PROMPT_FIELDS}
        questions.setdefault(prompt.prompt_id, Question(prompt, metadata))
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
    if os.path.isdir(place) and not (place / ANSWERS_FILE).is_file():
        for record in read_generations(place):
            yield Answer(
                record["prompt_id"], record["prompt"], record["response"], record["label"], record["sample"], {}
            )
        return
    file = place / ANSWERS_FILE if os.path.isdir(place) else place
    for line, row in read_rows(file):
        for name in ("question", "response"):
            if not isinstance(row.get(name), str):
                raise ValueError(f"{file}:{line}: field {name!r} must be a text, the row has {sorted(row)}")
        metadata = row.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise ValueError(f"{file}:{line}: 'metadata' must be an object, found a {type(metadata).__name__}")
        checkpoint = row.get("checkpoint")
        checkpoint = file.stem if checkpoint is None else str(checkpoint)
        sample = 0 if row.get("sample") is None else row["sample"]
        if type(sample) is not int:
            raise ValueError(f"{file}:{line}: 'sample' must be a whole number, found {sample!r:.60}")
        key = str(row.get("prompt_id", row["question"]))
        yield Answer(key, row["question"], row["response"], checkpoint, sample, metadata)
