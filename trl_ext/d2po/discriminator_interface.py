"""What a discriminator of D2PO is: the pairs it learns from, what is asked of it, and its settings. No torch."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from datasets_builders.choices import check_choice

CHOICES = {
    "kind": ("classifier", "dpo"),
    "loss": ("bt", "margin", "margin_order"),
    "text_format": ("question_answer", "chat", "plain"),
    "dtype": ("float32", "bfloat16"),
}


class LabelledPair(NamedTuple):
    """Two responses to one prompt with a gold label.

    Attributes:
        prompt: what both answer.
        chosen: the response that gold prefers.
        rejected: the other one.
        margin: gold(chosen) - gold(rejected), above 0, in gold's unit; None where gold gives no number.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float | None


class Discriminator(Protocol):
    """What the trainer asks of a discriminator, here or in another process."""

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        """One finite score a response, without dropout."""
        ...

    def update(self, pairs: Sequence[LabelledPair], number: int) -> dict[str, float]:
        """Trains on `pairs`; `number` updates came before. Returns metrics."""
        ...

    def save(self, folder: Path) -> None:
        """Writes all that `load` needs to continue exactly; the folder appears whole or not at all."""
        ...

    def load(self, folder: Path) -> None:
        """Continues from what `save` wrote."""
        ...

    def digest(self) -> str:
        """SHA-256 of the trained weights, equal exactly where the weights are."""
        ...


class DiscriminatorSettings(BaseModel):
    """How a discriminator reads text and learns.

    Attributes:
        kind: `classifier`, a sequence classifier with one logit; `dpo`, a language model whose score is the log-prob of
            the response minus that under the same model without its adapter.
        loss: the loss on the pairs, see `trl_ext.objectives.preference`; all but `bt` need margins.
        learning_rate: learning rate of AdamW, constant.
        epochs: passes over the pairs of one update.
        batch_size: pairs a training step, and responses a scoring batch.
        max_length: tokens of prompt and response; what is longer loses its beginning.
        lora_rank: rank of the LoRA adapter on all linear layers; 0 trains all weights. alpha is 4 times the rank and
            dropout 0.1, as in D2PO's runs.
        replay: old pairs, drawn from all earlier updates and the first pairs, that each update also trains on.
        weight_decay: weight decay of AdamW.
        max_grad_norm: longer gradients are scaled down to this length.
        beta: for the `dpo` kind, whose loss is on beta times the difference of the scores.
        text_format: `question_answer` is "Question: {prompt}\\n\\nAnswer: {response}", `chat` the tokenizer's chat
            template, `plain` prompt and response joined. Both texts end with the end token, as TRL's RewardTrainer has it.
        seed: seed of the adapter's first weights, the order of rows, dropout and replay.
        dtype: type of the frozen weights and of the arithmetic; trained weights are always float32. With bfloat16 a score has
            two or three correct digits.

    Raises:
        ValueError: a value that cannot work, with what would.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = "classifier"
    loss: str = "bt"
    learning_rate: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    epochs: int = Field(default=1, ge=1)
    batch_size: int = Field(default=8, ge=1)
    max_length: int = Field(default=512, ge=8)
    lora_rank: int = Field(default=8, ge=0)
    replay: int = Field(default=0, ge=0)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    beta: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    text_format: str = "question_answer"
    seed: int = Field(default=0, ge=0)
    dtype: str = "float32"

    @field_validator(*CHOICES)
    @classmethod
    def _one_of(cls, value: str, info: ValidationInfo) -> str:
        check_choice(info.field_name, value, CHOICES[info.field_name])
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "DiscriminatorSettings":
        if not self.lora_rank and self.kind == "dpo":
            raise ValueError("kind 'dpo' with lora_rank 0: its reference is the model without adapter, use 1 or more")
        if not self.lora_rank and self.dtype != "float32":
            raise ValueError(f"dtype {self.dtype!r} with lora_rank 0: all weights are trained, which needs 'float32'")
        return self


def check_pairs(pairs: Sequence[LabelledPair], loss: str) -> None:
    """Refuses pairs that `loss` cannot train on.

    Raises:
        ValueError: a margin is missing where the loss reads it, or is not a number above 0.
    """
    for index, pair in enumerate(pairs):
        if pair.margin is None and loss == "bt":
            continue
        if pair.margin is None or not (math.isfinite(pair.margin) and pair.margin > 0):
            raise ValueError(
                f"pair {index} has margin {pair.margin}: loss {loss!r} needs gold(chosen) - gold(rejected), above 0"
            )
