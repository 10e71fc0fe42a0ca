"""Gold functions that compare a response with something in its metadata: `omission` and `einstein`."""

from collections.abc import Sequence
from typing import Any

from .base import BatchScore, Metadata, by_row, field
from .distance import levenshtein
from .words import word_tokens

COMPARED_TOKENS = 9


def omission(tokenizer: str | None = None) -> BatchScore:
    """Edit distance between the last nine tokens of the response and of `metadata["disallowed"]`. From 0 to 9 tokens.

    Args:
        tokenizer: folder or hub name of a tokenizer; None compares words. Its special tokens do not count.
    """
    tokens = word_tokens if tokenizer is None else _token_ids(tokenizer)

    def score(prompt: str, response: str, row: Metadata) -> float:
        disallowed = field(row, "disallowed", "omission")
        last, last_disallowed = (tokens(text)[-COMPARED_TOKENS:] for text in (response, disallowed))
        return float(levenshtein(last, last_disallowed))

    return by_row(score)


def _token_ids(path: str) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def grid_share(solution: Sequence[Sequence[str]], response: str) -> float:
    """Share of the solution's cells, the first of each row left out, that stand in the response's cell. From 0 to 1.

    A row of the response is a line, a cell what stands between commas. A cell is right when it contains the solution's.

    Raises:
        ValueError: a solution without cells, or with rows of different length.
    """
    widths = {len(row) for row in solution}
    if len(widths) != 1 or max(widths) < 2:
        raise ValueError(f"sol_rows has rows of {sorted(widths)} cells: rows of one length, at least 2, are valid")
    given = [line.split(",") for line in response.strip().splitlines()]
    right = 0
    for row, cells in zip(solution, given, strict=False):  # a line that is missing has no right cell
        right += sum(wanted in cell for wanted, cell in zip(row[1:], cells[1:], strict=False))
    return right / (len(solution) * (max(widths) - 1))


def grid() -> BatchScore:
    """See `grid_share`; the solution is `metadata["sol_rows"]`, a list of rows."""
    return by_row(lambda prompt, response, row: grid_share(field(row, "sol_rows", "einstein"), response))
