"""Rows against `max_length`: ms-swift leaves out what is longer, TRL cuts it, GRPO cuts the beginning of the prompt."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from jinja2 import TemplateError

from datasets_builders.fields import RowError
from datasets_builders.io import read_rows
from launch.doctor.arguments import is_here
from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.rows import FAULTS, Row, readable, sources
from launch.doctor.setup import Setup, here
from trl_ext.objectives.unscored import UnscoredPairs

NAME = "lengths"
Conversation = str | list[dict[str, Any]]
MOST_ROWS = 256  # tokenised; a share of a few per cent is seen in as many
LITTLE, NEARLY_ALL = 0.1, 0.9  # shares of rows that are too long: a warning, an error


def sides_of(row: Row, rows: str) -> Iterator[tuple[Conversation, Conversation]]:
    """(prompt, prompt and answer) of what has to fit: both sides of a pair, or the prompt alone, twice."""
    if rows in ("scored pairs", "judged pairs"):
        from launch.doctor.swift_rows import read_prompt

        yield (read_prompt(row),) * 2
    elif rows == "pairs":
        from launch.doctor.swift_rows import read_pair

        for prompt, response in read_pair(row):
            yield prompt, prompt + response
    else:
        for side in ("chosen", "rejected"):
            yield _trl_side(row.get("prompt") or [], row[side])


def _trl_side(prompt: Conversation, answer: Conversation) -> tuple[Conversation, Conversation]:
    if isinstance(prompt, str) and isinstance(answer, str):
        return prompt, prompt + answer  # TRL puts texts into no template
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    said = [{"role": "assistant", "content": answer}] if isinstance(answer, str) else answer
    return messages or said[:-1], messages + said


def count_tokens(conversation: Conversation, tokenizer: Any, answer_follows: bool = False) -> int:
    """Tokens of a text, or of messages through the tokenizer's chat template, or of their texts alone without one."""
    if isinstance(conversation, str):
        return len(tokenizer(conversation)["input_ids"])
    if tokenizer.chat_template is not None:
        with suppress(
            TemplateError
        ):  # a role that it does not know, such as a tool's, which ms-swift's own template does
            text = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=answer_follows)
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])
    return len(tokenizer("\n".join(str(message["content"]) for message in conversation))["input_ids"])


def usable_rows(path: str, rows: str) -> Iterator[Row]:
    """The usable ones of the first rows."""
    for line, row in islice(read_rows(path), MOST_ROWS):
        with suppress(ValueError, RowError):
            if FAULTS[rows](row, f"{path}:{line}") is None:
                yield row


def longest_sides(path: str, rows: str, tokenizer: Any) -> list[int]:
    """Tokens of the longer side of each of the first usable rows."""
    return [max(count_tokens(whole, tokenizer) for _, whole in sides_of(row, rows)) for row in usable_rows(path, rows)]


def unscored_pairs(path: str, rows: str, tokenizer: Any, limit: int) -> UnscoredPairs:
    """Pairs with a side whose prompt fills `limit`, so that a cut on the right leaves no token to score."""
    pairs = UnscoredPairs()
    for row in usable_rows(path, rows):
        prompts = (count_tokens(prompt, tokenizer, answer_follows=True) for prompt, _ in sides_of(row, rows))
        pairs.count([max(0, limit - tokens) for tokens in prompts])
    return pairs


def _scored(setup: Setup, source: str, tokenizer: Any, limit: int) -> list[Finding]:
    """Pairs that are trained on without a scored token: loss and margins look alive, nothing of the answer is learnt."""
    strategy = setup.value("truncation_strategy") or setup.value("truncation_mode")
    of_swift = setup.run.method.upstream == "ms-swift"
    if setup.run.method.rows not in ("pairs", "trl pairs") or (strategy or "keep_start") not in ("right", "keep_start"):
        return []
    if of_swift and strategy != "right":
        return []  # ms-swift leaves a row out that is too long, unless told to cut it
    pairs = unscored_pairs(str(here(source)), setup.run.method.rows, tokenizer, limit)
    if not pairs.unscored:
        return []
    found = (
        f"{source}: {pairs.unscored} of {pairs.seen} pairs have a side without a scored token: its prompt alone fills "
    )
    say = error if pairs.too_many_of_all else warning  # in these numbers MODPO's own refusal, of a run long enough
    return say(NAME, f"{found}max_length {limit}", "a larger max_length, or shorter prompts")


def check_lengths(setup: Setup) -> list[Finding]:
    """The share of rows above `max_length`, for each local file, with the policy's tokenizer."""
    rows, limit = setup.run.method.rows, setup.value("max_length")
    if rows not in FAULTS or not limit:
        return []
    if not is_here(setup.run.method):
        return skipped(NAME, "ms-swift, which reads the rows, is not installed here")
    base = here(setup.base)
    local = [source for source in sources(setup) if readable(source)]
    if base is None or not local:
        return skipped(NAME, f"{setup.named if base is None else 'the data'} is not here: tokens are not counted")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    findings: list[Finding] = []
    for source in local:
        counted = longest_sides(str(here(source)), rows, tokenizer)
        setup.longest = max([setup.longest or 0, *counted]) or None
        findings += _judge(setup, source, counted, limit)
        findings += _scored(setup, source, tokenizer, limit)
    return findings


def _judge(setup: Setup, source: str, lengths: list[int], limit: int) -> list[Finding]:
    if not lengths:
        return []  # no usable row, which is the finding of the check of rows
    over = sum(length > limit for length in lengths)
    cut = setup.run.method.upstream != "ms-swift" or setup.value("truncation_strategy") in ("left", "right")
    fate = "cut" if cut else "left out"
    median = sorted(lengths)[len(lengths) // 2]
    found = f"{source}: {over} of {len(lengths)} rows are longer than max_length {limit} (median {median}, longest {max(lengths)})"
    if over <= LITTLE * len(lengths):
        return ok(NAME, found)
    say = error if over >= NEARLY_ALL * len(lengths) else warning
    return say(NAME, f"{found} and would be {fate}", f"max_length: {max(lengths)}, or shorter rows")
