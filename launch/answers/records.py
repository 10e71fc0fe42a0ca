"""The records that generation writes and everything else reads: their key, and the reading of a whole directory."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets_builders.fields import RowError
from datasets_builders.io import read_rows
from datasets_builders.messages import read_messages

GENERATION_KEYS = (
    "prompt_id", "sample", "messages", "prompt", "response", "response_tokens",
    "prompt_tokens", "prompt_truncated", "capped", "label",
)  # fmt: skip

RECORD_TYPES = {
    "prompt_id": str, "sample": int, "prompt": str, "response": str, "prompt_truncated": bool, "capped": bool, "label": str,
}  # fmt: skip

COUNTS_TOKENS = "negative_response_tokens"
NO_COUNTS = "no_token_counts"
MAX_FAILED_SHARE = 0.05  # of the answers of a server

_SHARD = re.compile(r"(\d{5})-of-(\d{5})\.jsonl")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")


def prompt_id(messages: Sequence[dict[str, str]]) -> str:
    """16 hexadecimal digits: sha256 of the canonical JSON (sorted keys, no spaces, UTF-8) of the prompt's messages."""
    text = json.dumps(list(messages), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def check_label(label: str) -> str:
    """`label` itself, when it can name a file.

    Raises:
        ValueError: it holds other characters than letters, digits and `._+=-`.
    """
    if not _LABEL.fullmatch(label):
        raise ValueError(f"label {label!r}: use letters, digits and ._+=- only, it names files")
    return label


def shard_name(rank: int, world_size: int) -> str:
    """`00001-of-00004.jsonl` for rank 0 of 4."""
    return f"{rank + 1:05d}-of-{world_size:05d}.jsonl"


def read_generations(directory: str | Path) -> list[dict[str, Any]]:
    """All records of one generation directory, shards in order.

    Raises:
        ValueError: no shard, a missing shard, shards of different runs, a record without a field, or one key twice.
    """
    directory = Path(directory)
    shards = {}
    for file in sorted(directory.iterdir()) if directory.is_dir() else []:
        if match := _SHARD.fullmatch(file.name):
            shards[int(match[1])] = (int(match[2]), file)
    if not shards:
        raise ValueError(f"{directory}: no generations found (files named like 00001-of-00001.jsonl)")
    worlds = sorted({world for world, _ in shards.values()})
    if len(worlds) > 1:
        raise ValueError(f"{directory}: shards of different runs lie together (of {worlds})")
    missing = [shard_name(rank, worlds[0]) for rank in range(worlds[0]) if rank + 1 not in shards]
    if missing:
        raise ValueError(f"{directory}: missing {', '.join(missing[:5])}: generation has not finished")
    records = []
    seen = set()
    for _, (_, file) in sorted(shards.items()):
        for line, record in read_rows(file):
            check_record(record, f"{file}:{line}", GENERATION_KEYS)
            key = record["prompt_id"], record["sample"]
            if key in seen:
                raise ValueError(f"{file}:{line}: prompt {key[0]} sample {key[1]} appears twice")
            seen.add(key)
            records.append(record)
    if not records:
        raise ValueError(f"{directory}: the generation files are empty")
    return records


def read_labels(directories: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Label -> its generation records, of one directory a label.

    Raises:
        ValueError: one that cannot be read, or a label twice.
    """
    gens: dict[str, list[dict[str, Any]]] = {}
    for directory in directories:
        records = read_generations(directory)
        label = label_of(records, directory)
        if label in gens:
            raise ValueError(f"{directory}: the label {label!r} was given twice")
        gens[label] = records
    return gens


def read_answers(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """(prompt_id, sample) -> the record of the answer, see `launch.answers.draw.make_record`.

    Raises:
        ValueError: `FILE:LINE: ...` for a line that is no such record.
    """
    answers = {}
    for line, record in read_rows(path):
        kinds = [type(record.get(name)) for name in ("prompt_id", "sample", "response", "capped", "prompt_truncated")]
        if kinds != [str, int, str, bool, bool]:
            raise ValueError(f"{path}:{line}: not the record of an answer; delete the folder to start over")
        answers[record["prompt_id"], record["sample"]] = record
    return answers


def check_record(record: dict[str, Any], where: str, keys: Sequence[str]) -> None:
    """Refuses a row that is no record of an answer.

    Raises:
        ValueError: `where: ...`, a field of `keys` is absent or of another type than generation writes.
    """
    if absent := [key for key in keys if key not in record]:
        raise ValueError(f"{where}: no field {', '.join(absent)}")
    for name, kind in RECORD_TYPES.items():
        if name in record and type(record[name]) is not kind:
            raise ValueError(f"{where}: field {name!r} must be of type {kind.__name__}, found {record[name]!r:.60}")
    try:
        read_messages(record["messages"], "messages")
    except RowError as error:
        raise ValueError(f"{where}: {error}") from error


def token_counts(records: Sequence[dict[str, Any]], function: str) -> list[int]:
    """The tokens of each response, for a text function.

    Raises:
        ValueError: the function counts tokens, and the server of an answer did not say how many there are.
    """
    for record in records:
        if function == COUNTS_TOKENS and str(record.get("problem")) == NO_COUNTS:
            raise ValueError(f"{function}: {describe(record)}: the server sent no token counts; brevity counts words")
    return [record["response_tokens"] for record in records]


def describe(record: dict[str, Any]) -> str:
    """Names a record in a message."""
    return f"label {record['label']}, prompt {record['prompt_id']}, sample {record['sample']}"


def label_of(records: Sequence[dict[str, Any]], directory: str | Path) -> str:
    """The one label of all `records`.

    Raises:
        ValueError: several labels.
    """
    labels = sorted({record["label"] for record in records})
    if len(labels) != 1:
        raise ValueError(f"{directory}: records of several labels: {labels}")
    return check_label(labels[0])
