"""Scores of a sequence-classification reward model."""

from collections.abc import Sequence
from typing import Any

from launch.evaluate.policy import DTYPES, resolve_model


class Classifier:
    """A callable: generation records (B) -> one output of the model each.

    A tokenizer with a chat template gets the conversation through it; one without gets the pair (prompt, response),
    of which only the prompt is cut when both are too long.

    Args:
        path: model directory or hub name.
        head: which of the model's outputs is the score.
        max_length: tokens; None takes the limit of the tokenizer or the model, the smaller one.

    Raises:
        ValueError: not a model, no such head, or a chat that is longer than `max_length` (its row is named).
    """

    def __init__(
        self,
        path: str,
        *,
        head: int = 0,
        batch_size: int = 8,
        max_length: int | None = None,
        torch_dtype: str | None = None,
        trust_remote_code: bool = False,
    ):
        directory = resolve_model(path, trust_remote_code)
        if torch_dtype is not None and torch_dtype not in DTYPES:
            raise ValueError(f"torch_dtype {torch_dtype!r}: use one of {', '.join(DTYPES)}")
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=trust_remote_code)
        model = AutoModelForSequenceClassification.from_pretrained(
            directory, dtype=getattr(torch, torch_dtype) if torch_dtype else "auto", trust_remote_code=trust_remote_code
        )
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        if not 0 <= head < model.config.num_labels:
            raise ValueError(f"{path}: no head {head}, the model has {model.config.num_labels}")
        self.head = head
        # The model looks for its last token by its own pad id. A tokenizer's stand-in pad (often the end token) would
        # make the score depend on the padding, so without an own pad id every row goes alone.
        self.pad_id = model.config.pad_token_id
        self.batch_size = batch_size if self.pad_id is not None else 1
        # A tokenizer without a limit of its own reports an astronomical one.
        positions = model.config.to_dict().get("max_position_embeddings", 2**31 - 1)
        self.max_length = max_length or min(self.tokenizer.model_max_length, positions)

    def __call__(self, records: Sequence[dict[str, Any]]) -> list[float]:
        """One float a record, in order."""
        import torch

        encoded = [self._encode(record) for record in records]
        order = sorted(range(len(encoded)), key=lambda index: (len(encoded[index]["input_ids"]), index))
        scores = [0.0] * len(encoded)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            inputs = self._pad([encoded[index] for index in batch])
            with torch.no_grad():
                logits = self.model(**inputs).logits.float()
            for index, value in zip(batch, logits[:, self.head].tolist(), strict=True):
                scores[index] = value
        return scores

    def _encode(self, record: dict[str, Any]) -> dict[str, list[int]]:
        if self.tokenizer.chat_template is None:
            return dict(
                self.tokenizer(
                    record["prompt"], record["response"], truncation="only_first", max_length=self.max_length
                )
            )
        messages = [*record["messages"], {"role": "assistant", "content": record["response"]}]
        # Tokenised by the template itself: a second tokenisation of its text would add the special tokens twice.
        encoded = self.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
        if len(encoded["input_ids"]) > self.max_length:
            raise ValueError(
                f"label {record['label']}, prompt {record['prompt_id']}: {len(encoded['input_ids'])} tokens, "
                f"the classifier takes {self.max_length} (--classifier_max_length)"
            )
        return dict(encoded)

    def _pad(self, rows: Sequence[dict[str, list[int]]]):
        import torch

        width = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": self.pad_id or 0}
        return {
            key: torch.tensor([row[key] + [fill.get(key, 0)] * (width - len(row[key])) for row in rows]).to(
                self.model.device
            )
            for key in rows[0]
        }
