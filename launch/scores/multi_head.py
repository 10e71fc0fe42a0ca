"""A reward model with several heads: every output of one conversation at once."""

from collections.abc import Sequence
from typing import Any

import torch

from launch.answers.records import describe
from launch.scores.heads import HeadTable, head_table
from trl_ext.modpo.classifier import ClassifierReward, Encoded

PROBE = ([{"role": "user", "content": "Hello."}], "Hello.")


class MultiHeadReward(ClassifierReward):
    """ClassifierReward that keeps all of its K outputs, under the names that the model itself gives them.

    ArmoRM answers with an output `rewards` beside the gated `logits`; where there is one, it is taken.

    Attributes:
        table: names of the K heads and where they were found.

    Args:
        path, settings: see ClassifierReward.

    Raises:
        ValueError: see ClassifierReward and `head_table`.
    """

    def __init__(self, path: str, **settings: Any):
        super().__init__(path, **settings)
        width = self.rewards([self.encode(*PROBE)]).shape[1]
        self.table: HeadTable = head_table(
            {
                "model.score.attributes": getattr(getattr(self.model, "score", None), "attributes", None),
                "config.attributes": getattr(self.model.config, "attributes", None),
                "config.id2label": self.model.config.id2label,
            },
            width,
        )

    def encode_record(self, record: dict[str, Any]) -> tuple[Encoded, bool]:
        """The tokens of a generation record, and whether something was cut from it to fit (its beginning, first).

        Raises:
            ValueError: a conversation that the chat template refuses; the record is named.
        """
        from jinja2 import TemplateError

        self._cut = False
        try:
            encoded = self.encode(record["messages"], record["response"])
        except TemplateError as error:
            raise ValueError(f"{describe(record)}: the chat template refuses it: {error}") from error
        return encoded, self._cut

    def _excess(self, encoded: Encoded) -> int:
        excess = super()._excess(encoded)
        self._cut = excess > 0
        return excess

    def rewards(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """(B, K) fp32 on the CPU, of B rows padded on the right; one by one where the model has no pad token."""
        batches = [rows] if self.pad_id is not None else [[row] for row in rows]
        outputs = []
        for batch in batches:
            with torch.no_grad():
                output = self.model(**self._pad(batch))
            found = getattr(output, "rewards", None)
            outputs.append((output.logits if found is None else found).float().cpu())
        return torch.cat(outputs)
