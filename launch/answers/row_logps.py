"""Log-probabilities of encoded rows under a model; a prompt that several rows have is computed once. B rows, T tokens."""

from collections.abc import Sequence
from typing import Any

import torch

from launch.answers.forms import IGNORED, EncodedRow
from trl_ext.objectives.logps import completion_logps
from trl_ext.shared_prefix.choice import SharedPrefixes
from trl_ext.shared_prefix.model import SharedPrefixModel


def prompt_of(row: EncodedRow) -> tuple[int, ...]:
    """The tokens before the first scored one."""
    ids, labels = row
    return tuple(ids[: next((place for place, label in enumerate(labels) if label != IGNORED), len(ids))])


def batches_by_prompt(rows: Sequence[EncodedRow], batch_size: int) -> list[list[int]]:
    """Row numbers in batches: rows of one prompt side by side, prompts in the order of their longest row."""
    of_prompt: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        of_prompt.setdefault(prompt_of(row), []).append(number)
    groups = sorted(of_prompt.values(), key=lambda group: max(len(rows[number][0]) for number in group))
    order = [number for group in groups for number in group]
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def sums(model: Any, rows: Sequence[EncodedRow], pad_id: int, prefixes: SharedPrefixes | None) -> torch.Tensor:
    """(B,) fp32 sums over the scored tokens of each row.

    Args:
        model: in eval mode, with the adapter that is meant.
        pad_id: a token for masked places.
        prefixes: whether prompts are shared; None computes every row on its own.
    """
    longest = max(len(ids) for ids, _ in rows)

    def padded(values: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
        return torch.tensor([[*one, *[fill] * (longest - len(one))] for one in values], device=model.device)

    ids, labels = padded([ids for ids, _ in rows], pad_id), padded([labels for _, labels in rows], IGNORED)
    mask = padded([[1] * len(ids) for ids, _ in rows], 0)
    scored = torch.nn.functional.pad(labels[:, 1:] != IGNORED, (0, 1))  # a column predicts the token after it
    kept = longest - int(scored.any(0).int().argmax())
    call, given = model, {}  # a model with code of its own may know no logits_to_keep
    if prefixes is not None:
        number: dict[tuple[int, ...], int] = {}
        stream = [number.setdefault(prompt_of(row), len(number)) for row in rows]
        call = SharedPrefixModel(model, prefixes, torch.tensor(stream, device=model.device), scored)
        given = {"logits_to_keep": kept}
    logits = call(input_ids=ids, attention_mask=mask, use_cache=False, **given).logits
    return completion_logps(logits[:, -kept:], labels[:, -kept:])
