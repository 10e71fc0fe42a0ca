"""Text of a prompt and a response as a discriminator reads it, its tokens, and batches of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from datasets_builders.text_forms import BEFORE_ANSWER


class Row(NamedTuple):
    """One encoded response.

    Attributes:
        ids: tokens, at most the maximum.
        in_response: for each of them, whether it holds any character of the response.
        truncated: whether the beginning was cut off.
    """

    ids: list[int]
    in_response: list[bool]
    truncated: bool


class TextEncoder:
    """Turns (prompt, response) into tokens.

    Args:
        tokenizer: a fast one, because the place of the response is found by characters.
        text_format: `question_answer`, `chat` or `plain`; the first and the last end with the end token.
        max_length: tokens; what is longer is cut on the left, special tokens at the beginning stay.

    Raises:
        ValueError: a tokenizer without offsets, or without a chat template where the format needs it.
    """

    def __init__(self, tokenizer: Any, text_format: str, max_length: int):
        if not tokenizer.is_fast:
            raise ValueError(f"{type(tokenizer).__name__} gives no character offsets: a fast tokenizer is needed")
        if text_format == "chat" and tokenizer.chat_template is None:
            raise ValueError("text_format 'chat': the tokenizer has no chat template; use 'question_answer' or 'plain'")
        tokenizer.truncation_side = "left"
        self.tokenizer, self.text_format, self.max_length = tokenizer, text_format, max_length
        self.eos = tokenizer.eos_token or ""

    def text(self, prompt: str, response: str) -> tuple[str, int, int]:
        """The whole text, and where in it the response begins and ends."""
        if self.text_format == "chat":
            return self._chat(prompt, response)
        before = BEFORE_ANSWER[self.text_format](prompt)
        text = before + response
        # As TRL's RewardTrainer (`add_eos`) trains on texts; a chat template ends its own. No part of the response.
        end = "" if text.endswith(self.eos) else self.eos
        return text + end, len(before), len(text)

    def _chat(self, prompt: str, response: str) -> tuple[str, int, int]:
        asked = [{"role": "user", "content": prompt}]
        render = self.tokenizer.apply_chat_template
        text = render([*asked, {"role": "assistant", "content": response}], tokenize=False)
        before = render(asked, tokenize=False, add_generation_prompt=True)
        kept = response.strip()  # some templates strip
        # Some templates write more before a response that is asked for than before one that is given.
        start = text.find(kept, len(before)) if text.startswith(before) else text.rfind(kept)
        if start < 0:
            raise ValueError(f"the chat template does not hold the response as it is: {response[:80]!r}")
        return text, start, start + len(kept)

    def encode(self, prompt: str, response: str) -> Row:
        """Tokens of one row; never refuses a long one, but says that it was cut."""
        text, start, end = self.text(prompt, response)
        special = self.text_format != "chat"  # a template writes them itself
        encoded = self.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        if truncated := len(encoded["input_ids"]) > self.max_length:
            encoded = self.tokenizer(
                text,
                add_special_tokens=special,
                return_offsets_mapping=True,
                truncation=True,
                max_length=self.max_length,
            )
        offsets = encoded["offset_mapping"]
        in_response = [right > max(left, start) and left < end for left, right in offsets]  # special tokens are empty
        return Row(encoded["input_ids"], in_response, truncated)


def by_length(rows: Sequence[Row], batch_size: int) -> Iterator[list[int]]:
    """Batches of indices whose rows are about equally long."""
    order = sorted(range(len(rows)), key=lambda index: (len(rows[index].ids), index))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def by_prompt(rows: Sequence[Row], batch_size: int) -> Iterator[list[int]]:
    """As `by_length`, with rows that answer one prompt side by side."""
    same: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        same[tuple(row.ids[: row.in_response.index(True)] if any(row.in_response) else row.ids)].append(index)
    groups = sorted(same.values(), key=lambda group: (max(len(rows[index].ids) for index in group), group))
    order = [index for group in groups for index in group]
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def pad(rows: Sequence[Row], pad_id: int, device: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """ids, attention mask and labels, (B, T) each, padded on the right; labels are -100 outside the response."""
    width = max(len(row.ids) for row in rows)
    ids, mask, labels = (torch.full((len(rows), width), fill) for fill in (pad_id, 0, -100))
    for place, row in enumerate(rows):
        here = torch.tensor(row.ids)
        ids[place, : len(here)], mask[place, : len(here)] = here, 1
        labels[place, : len(here)] = here.masked_fill(~torch.tensor(row.in_response), -100)
    return ids.to(device), mask.to(device), labels.to(device)
