"""Rows against `max_length`: ms-swift leaves out what is longer, TRL cuts it, GRPO cuts the beginning of the prompt."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from datasets_builders.io import read_rows
from launch.doctor.findings import Finding, error, ok, skipped, warning
from launch.doctor.rows import FAULTS, readable, sources
from launch.doctor.setup import Setup, here

NAME = "lengths"
MOST_ROWS = 256  # tokenised; a share of a few per cent is seen in as many
LITTLE, NEARLY_ALL = 0.1, 0.9  # shares of rows that are too long: a warning, an error


def texts_of(row: dict[str, Any], rows: str) -> Iterator[list[dict[str, str]]]:
    """The conversations of a row that have to fit: both sides of a pair, or the prompt."""
    if rows in ("scored pairs", "judged pairs"):
        yield row["messages"]
    elif rows == "pairs":
        yield row["messages"]
        rejected = row.get("rejected_messages") or [
            *row["messages"][:-1], {"role": "assistant", "content": row["rejected_response"]},
        ]  # fmt: skip
        yield rejected
    else:
        for side in ("chosen", "rejected"):
            answer, prompt = row[side], row.get("prompt") or []
            if isinstance(answer, str):
                yield [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            else:
                yield [*(prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]), *answer]


def count_tokens(messages: list[dict[str, str]], tokenizer: Any) -> int:
    """Tokens of a conversation through the tokenizer's chat template, or of its texts alone without one."""
    if tokenizer.chat_template is None:
        return len(tokenizer("\n".join(message["content"] for message in messages))["input_ids"])
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def longest_sides(path: str, rows: str, tokenizer: Any) -> list[int]:
    """Tokens of the longer side of each of the first usable rows."""
    fault = FAULTS[rows]
    found = []
    for line, row in islice(read_rows(path), MOST_ROWS):
        try:
            usable = fault(row, f"{path}:{line}") is None
        except ValueError:
            usable = False
        if usable:
            found.append(max(count_tokens(messages, tokenizer) for messages in texts_of(row, rows)))
    return found


def unscored_sides(path: str, rows: str, tokenizer: Any, limit: int) -> tuple[int, int]:
    """(sides of pairs whose prompt fills `limit`, so that a cut on the right leaves no token to score; all sides)."""
    fault, lost, total = FAULTS[rows], 0, 0
    for line, row in islice(read_rows(path), MOST_ROWS):
        try:
            usable = fault(row, f"{path}:{line}") is None
        except ValueError:
            usable = False
        if usable:
            for messages in texts_of(row, rows):
                total += 1
                lost += count_tokens(messages[:-1], tokenizer) >= limit
    return lost, total


def _scored(setup: Setup, source: str, tokenizer: Any, limit: int) -> list[Finding]:
    """Pairs that are trained on without a scored token: loss and margins look alive, nothing of the answer is learnt."""
    strategy = setup.value("truncation_strategy") or setup.value("truncation_mode")
    of_swift = setup.run.method.upstream == "ms-swift"
    if setup.run.method.rows not in ("pairs", "trl pairs") or (strategy or "keep_start") not in ("right", "keep_start"):
        return []
    if of_swift and strategy != "right":
        return []  # ms-swift leaves a row out that is too long, unless told to cut it
    lost, total = unscored_sides(str(here(source)), setup.run.method.rows, tokenizer, limit)
    if not lost:
        return []
    found = f"{source}: {lost} of {total} answers have no scored token, their prompts alone fill max_length {limit}"
    return (error if lost > LITTLE * total else warning)(NAME, found, "a larger max_length, or shorter prompts")


def check_lengths(setup: Setup) -> list[Finding]:
    """The share of rows above `max_length`, for each local file, with the policy's tokenizer."""
    rows, limit = setup.run.method.rows, setup.value("max_length")
    if rows not in FAULTS or not limit:
        return []
    base = here(setup.base)
    local = [source for source in sources(setup) if readable(source)]
    if base is None or not local:
        return skipped(NAME, f"{setup.base if base is None else 'the data'} is not here: tokens are not counted")
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
