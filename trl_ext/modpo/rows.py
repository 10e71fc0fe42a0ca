"""The columns that MODPO adds to TRL's preference batches. B pairs, K margins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

VALUES = "margin_values"  # of a row: 2K raw values, those of the chosen side first; of a batch: (B, 2K)
TEXTS = "margin_texts"  # of a batch: 2B pairs (prompt messages, response), chosen half first
TEXT_COLUMNS = ("prompt", "chosen", "rejected")


def row_texts(row: dict, end_token: str) -> list[tuple[list[dict], str]]:
    """(prompt messages, response) of both sides of one row, chosen first.

    A conversation's last message is the response; one that only calls a tool says nothing, and is an empty text. A plain
    prompt becomes one user message, and the end token that TRL puts behind a plain response is taken off again.
    """
    texts = []
    for side in ("chosen", "rejected"):
        prompt, answer = row["prompt"], row[side]
        if isinstance(answer, str):
            texts.append(([{"role": "user", "content": prompt}], answer.removesuffix(end_token)))
        else:
            texts.append(([*prompt, *answer[:-1]], _text(answer[-1].get("content"))))
    return texts


def _text(content: Any) -> str:
    """The text of a message's content: itself, or the text parts of a list."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or [] if isinstance(part, dict))


def refuse_stored_columns(named: Mapping[str, Any]) -> None:
    """Refuses data sets that bring a column of stored margins: what made it cannot be known.

    Args:
        named: the trainer's arguments by name.

    Raises:
        ValueError: the data set and the column are named.
    """
    for split in ("train_dataset", "eval_dataset"):
        given = named.get(split)
        for name, dataset in given.items() if isinstance(given, dict) else [(split, given)]:
            if VALUES in (getattr(dataset, "column_names", None) or []):
                raise ValueError(
                    f"{name} has a column {VALUES!r}, and nothing says which margins, model and texts it was computed with: "
                    "leave it out; precompute_ref_log_probs computes and keeps it"
                )


def refuse_lost_rows(before: Any, after: Any, max_length: int | None, most: float = 0.05) -> None:
    """Refuses a data set of which the tokenisation dropped more than `most`; streams have no count.

    Raises:
        ValueError: how many rows of how many are left.
    """
    if not (hasattr(before, "__len__") and hasattr(after, "__len__")):
        return
    lost = len(before) - len(after)
    if lost > most * len(before):
        raise ValueError(
            f"{lost} of {len(before)} rows are dropped (more than {most:.0%}): with max_length {max_length} nothing of their "
            "responses is left. Give a larger max_length, or leave long rows out of the data"
        )


@dataclass
class MarginCollator:
    """`inner`, and beside it what the margins need of the same rows.

    Args:
        inner: the trainer's collator.
        end_token: the tokenizer's.
        needs_text: whether a margin reads prompt and response.
    """

    inner: Callable
    end_token: str
    needs_text: bool

    def __call__(self, rows: list[dict]) -> dict:
        texts = [row_texts(row, self.end_token) for row in rows] if self.needs_text else None
        batch = self.inner(rows)
        if VALUES in rows[0]:
            batch[VALUES] = torch.tensor([row[VALUES] for row in rows], dtype=torch.float32)
        elif texts is not None:
            batch[TEXTS] = [chosen for chosen, _ in texts] + [rejected for _, rejected in texts]
        return batch
