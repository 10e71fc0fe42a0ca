"""The evaluation set: distinct prompts, in the order of the file."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from datasets_builders.messages import Messages
from datasets_builders.prompt_rows import as_messages, read_prompt
from datasets_builders.source import each_row
from launch.answers.records import prompt_id


class Prompt(NamedTuple):
    """One prompt: its key and its messages, the last one from the user."""

    prompt_id: str
    messages: Messages


def keyed(messages: Messages) -> Prompt:
    """The prompt of these messages."""
    return Prompt(prompt_id(messages), messages)


def asked(text: str) -> Prompt:
    """A single text as a prompt."""
    return keyed([{"role": "user", "content": text}])


def read_prompts(path: str | Path, eval_size: int | None = None) -> list[Prompt]:
    """The first `eval_size` distinct prompts of `path` (all, when None).

    Distinct, because a data set of responses repeats each prompt: greedy answers would repeat with it and every
    interval would come out too narrow.

    Args:
        path: a file, folder or glob; which rows hold a prompt, see `datasets_builders.prompt_rows`.

    Raises:
        ValueError: `FILE:LINE: ...` for a row without a prompt, or no rows.
    """
    if eval_size is not None and eval_size < 1:
        raise ValueError(f"--limit must be at least 1, got {eval_size}")
    prompts = list(islice(_distinct(keyed(as_messages(one)) for _, one in each_row(path, read_prompt)), eval_size))
    if not prompts:
        raise ValueError(f"{path}: no prompts")
    return prompts


def _distinct(prompts: Iterable[Prompt]) -> Iterator[Prompt]:
    seen = set()
    for prompt in prompts:
        if prompt.prompt_id not in seen:
            seen.add(prompt.prompt_id)
            yield prompt


def shard(prompts: list[Prompt], rank: int, world_size: int) -> list[Prompt]:
    """The contiguous part of `prompts` that belongs to `rank`: joined in rank order, the parts give the whole.

    Raises:
        ValueError: `rank` is not in 0..world_size-1.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"--shard_id must be in 0..{world_size - 1} for --num_shards {world_size}, got {rank}")
    size = -(-len(prompts) // world_size)
    return prompts[rank * size : (rank + 1) * size]
