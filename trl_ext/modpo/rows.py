"""The columns that MODPO adds to TRL's preference batches. B pairs, K margins."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

VALUES = "margin_values"  # of a row: 2K raw values, those of the chosen side first; of a batch: (B, 2K)
TEXTS = "margin_texts"  # of a batch: 2B pairs (prompt messages, response), chosen half first
TEXT_COLUMNS = ("prompt", "chosen", "rejected")


def row_texts(row: dict, end_token: str) -> list[tuple[list[dict], str]]:
    """(prompt messages, response) of both sides of one row, chosen first.

    A conversation's last message is the response. A plain prompt becomes one user message, and the end token that TRL
    puts behind a plain response is taken off again.
    """
    texts = []
    for side in ("chosen", "rejected"):
        prompt, answer = row["prompt"], row[side]
        if isinstance(answer, str):
            texts.append(([{"role": "user", "content": prompt}], answer.removesuffix(end_token)))
        else:
            texts.append(([*prompt, *answer[:-1]], answer[-1]["content"]))
    return texts


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
