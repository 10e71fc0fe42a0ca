"""Texts for margins that read them, taken from the very row that is encoded."""

import copy
from collections.abc import Callable
from typing import Any

from swift.dataset import LazyLLMDataset
from swift.template import StdTemplateInputs, TemplateInputs

Messages = list[dict[str, Any]]
Side = tuple[Messages, str]
TEXTS = "margin_texts"


def side_messages(side: StdTemplateInputs) -> tuple[Messages, Messages]:
    """(prompt, response) of what ms-swift has read: the system's message and all to the user's last, and those behind it."""
    messages = [{"role": "system", "content": side.system}] if side.system else []
    messages += side.messages
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return messages[: last + 1], messages[last + 1 :]


def pair_texts(row: dict[str, Any]) -> list[Side]:
    """(prompt messages, response) of the chosen and of the rejected side, as ms-swift's own reader of rows has them.

    The response is what the assistant says behind the last message of the user: several turns, as with tools between
    them, are joined by a line end. One who only calls a tool says nothing, and is an empty text, as in
    `trl_ext.modpo.rows`: an error here would make ms-swift's data set train another row. The sides may part at any turn:
    each has its own prompt.
    """
    inputs = TemplateInputs.from_dict(row)
    sides = []
    for side in (inputs.chosen, inputs.rejected):
        prompt, response = side_messages(side)
        said = [_text(message["content"]) for message in response if message["role"] == "assistant"]
        sides.append((prompt, "\n".join(said)))
    return sides


def _text(content: Any) -> str:
    """The text of a message's content: itself, or the text parts of a list."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or [] if isinstance(part, dict))


class EncodeWithTexts:
    """`encode`, and the texts of the same row beside its tokens; ms-swift's collator hands `_extra_kwargs` on."""

    def __init__(self, encode: Callable[..., dict[str, Any]]):
        self.encode = encode

    def __call__(self, row: dict[str, Any], **options: Any) -> dict[str, Any]:
        texts = pair_texts(row)
        encoded = self.encode(row, **options)
        return {**encoded, "_extra_kwargs": {**(encoded.get("_extra_kwargs") or {}), TEXTS: texts}}


def with_texts(dataset: LazyLLMDataset, split: str) -> LazyLLMDataset:
    """The same rows in the same order, each encoded with its texts: a row that takes another's place brings its own.

    Raises:
        ValueError: a data set that does not encode row by row, such as a stream.
    """
    if not isinstance(dataset, LazyLLMDataset):
        raise ValueError(
            f"the {split} rows come from a {type(dataset).__name__}: function and classifier margins read the text of the row "
            "that is encoded and need --streaming false --packing false (precompute-margins needs both too)"
        )
    rows = copy.copy(dataset)
    rows.encode_func = EncodeWithTexts(dataset.encode_func)
    return rows
