"""The pairs that a discriminator was first trained on, for replay."""

import json
from pathlib import Path
from typing import Any

from trl_ext.online_dpo.prompt_check import prompt_fault
from trl_ext.online_dpo.prompts import completion_text, last_user_text

from .discriminator_interface import LabelledPair, check_pairs


def read_first_pairs(path: str, loss: str) -> list[LabelledPair]:
    """The rows of a .jsonl file as TRL's RewardTrainer takes them: prompt, chosen, rejected (texts or message lists).

    Args:
        loss: of the discriminator; all but `bt` need a column `margin`.

    Raises:
        ValueError: no such file, no rows, or a line that is no such pair.
    """
    if not Path(path).is_file():
        raise ValueError(f"--discriminator_first_pairs {path}: no such file; a .jsonl file is valid")
    pairs = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            pairs.append(_pair(json.loads(line)))
            check_pairs(pairs[-1:], loss)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} line {number}: {type(error).__name__} {error}; prompt, chosen and rejected are valid, texts or lists "
                "of messages, and margin, a number above 0"
            ) from error
    if not pairs:
        raise ValueError(f"{path}: no pairs")
    return pairs


def _pair(row: dict[str, Any]) -> LabelledPair:
    if fault := prompt_fault(row["prompt"]):
        raise ValueError(f"prompt: {fault}")
    sides = [completion_text(row[side]) for side in ("chosen", "rejected")]
    if not all(text.strip() for text in sides) or sides[0] == sides[1]:
        raise ValueError("an answer is empty, or both are equal")
    margin = row.get("margin")
    return LabelledPair(last_user_text(row["prompt"]), *sides, None if margin is None else float(margin))
