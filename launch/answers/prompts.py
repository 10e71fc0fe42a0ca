"""The evaluation set: distinct prompts, in the order of the file."""

from pathlib import Path
from typing import NamedTuple

from datasets_builders.io import read_rows
from launch.answers.records import Messages, check_messages, prompt_id


class Prompt(NamedTuple):
    """One prompt: its key and its messages, the last one from the user."""

    prompt_id: str
    messages: Messages


def read_prompts(path: str | Path, eval_size: int | None = None) -> list[Prompt]:
    """The first `eval_size` distinct prompts of `path` (all, when None).

    Distinct, because a data set of responses repeats each prompt: greedy answers would repeat with it and every
    interval would come out too narrow.

    Args:
        path: rows with `messages` (a trailing assistant message is left out) or `prompt` (text or messages).

    Raises:
        ValueError: a row with neither, a prompt that does not end with the user, or no rows.
    """
    if eval_size is not None and eval_size < 1:
        raise ValueError(f"--limit must be at least 1, got {eval_size}")
    prompts: dict[str, Prompt] = {}
    for line, row in read_rows(path):
        where = f"{path}:{line}"
        value = row.get("messages", row.get("prompt"))
        if value is None:
            raise ValueError(f"{where}: a prompt row needs 'messages' or 'prompt', found {sorted(row)}")
        if isinstance(value, str):
            value = [{"role": "user", "content": value}]
        messages = check_messages(value, where)
        if messages[-1]["role"] == "assistant":
            messages.pop()
        if not messages or messages[-1]["role"] != "user":
            raise ValueError(f"{where}: the prompt must end with a user message")
        key = prompt_id(messages)
        prompts.setdefault(key, Prompt(key, messages))
        if len(prompts) == eval_size:
            break
    if not prompts:
        raise ValueError(f"{path}: no prompts")
    return list(prompts.values())


def shard(prompts: list[Prompt], rank: int, world_size: int) -> list[Prompt]:
    """The contiguous part of `prompts` that belongs to `rank`: joined in rank order, the parts give the whole.

    Raises:
        ValueError: `rank` is not in 0..world_size-1.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"--shard_id must be in 0..{world_size - 1} for --num_shards {world_size}, got {rank}")
    size = -(-len(prompts) // world_size)
    return prompts[rank * size : (rank + 1) * size]
