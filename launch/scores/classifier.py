"""Scores of a sequence-classification reward model."""

from collections.abc import Sequence
from typing import Any

from launch.answers.records import describe


class Classifier:
    """A callable: generation records (B) -> one output of the model each.

    Args:
        path, head, max_length, torch_dtype, trust_remote_code: see `trl_ext.modpo.classifier.ClassifierReward`.

    Raises:
        ValueError: not a model, no such head, or a row that is longer than `max_length` (it is named).
    """

    def __init__(self, path: str, *, batch_size: int = 8, **settings: Any):
        import torch

        from trl_ext.modpo.classifier import ClassifierReward

        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.reward = ClassifierReward(path, device=device, cut_overlong=False, **settings)
        self.batch_size = batch_size

    def __call__(self, records: Sequence[dict[str, Any]]) -> list[float]:
        """One float a record, in order."""
        return self.reward.score([self._encode(record) for record in records], self.batch_size).tolist()

    def _encode(self, record: dict[str, Any]) -> dict[str, list[int]]:
        try:
            return self.reward.encode(record["messages"], record["response"])
        except ValueError as error:
            raise ValueError(f"{describe(record)}: {error} (--classifier_max_length)") from error
