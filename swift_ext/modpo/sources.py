"""Raw margin values of a batch, computed in the step. Shapes: B pairs, K margins; chosen half first."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from peft import PeftModel
from swift.utils import disable_deepspeed_zero3

from trl_ext.modpo.adapters import MarginAdapters
from trl_ext.modpo.classifier import ClassifierReward
from trl_ext.modpo.margins import Margin
from trl_ext.objectives.text import call_text_function
from trl_ext.sharding import loaded_whole

from .texts import TEXTS


class LiveMargins:
    """Scores a batch with every margin of a run.

    Args:
        margins: the margins, in the order of the columns.
        policy: the policy before any engine wraps it.
        reference: the separate reference model or None. Adapters go on the policy when it is a PEFT model (its base
            weights are shared) and on the reference otherwise (full fine-tuning).

    Raises:
        ValueError: no PEFT host can be had, or an adapter does not fit.
    """

    def __init__(self, margins: Sequence[Margin], policy, reference, device):
        self.margins = list(margins)
        self.reference = reference
        self.adapters: MarginAdapters | None = None
        adapter_margins = [margin for margin in margins if margin.kind == "adapter"]
        if adapter_margins:
            host = policy if isinstance(policy, PeftModel) else reference
            if host is None:
                raise ValueError(
                    f"margin {adapter_margins[0].name!r} is an adapter, but the policy is a {type(policy).__name__} "
                    "and there is no reference model to put it on; use --tuner_type lora or full"
                )
            self.adapters = MarginAdapters(host, adapter_margins, host.model_info.model_dir)
            if host is reference:
                self.reference = self.adapters.host
        with disable_deepspeed_zero3(), loaded_whole():
            self.classifiers = {
                m.name: ClassifierReward(m.source, m.head, device, chosen_by=f"margin {m.name!r}")
                for m in margins
                if m.kind == "classifier"
            }

    @property
    def needs_text(self) -> bool:
        return any(margin.kind != "adapter" for margin in self.margins)

    @property
    def hosted_by_policy(self) -> bool:
        return self.adapters is not None and self.adapters.policy_adapter is not None

    @contextmanager
    def reference_pass(self) -> Iterator[None]:
        """Around the parent's reference pass: no margin adapter takes part, and the trainable set is as before."""
        if self.adapters is None:
            yield
        elif self.hosted_by_policy:
            yield  # the parent switches every adapter off, which flips flags on the way back
            self.adapters.restore()
        else:
            with self.adapters.scoring(None):
                yield

    def values(self, trainer, batch: dict, columns: dict, reference: torch.Tensor) -> torch.Tensor:
        """Raw values (2B, K), fp32.

        Args:
            trainer: gives `side_logps(model, batch)`, the (2B,) log-probs with whatever adapter is active.
            batch: the collated batch.
            columns: the texts of the B pairs (see `texts.pair_texts`), when a margin needs text.
            reference: (2B,) reference log-probs. They are the base log-probs too, unless the run's reference is
                another model or adapter than the base of the margin adapters.
        """
        values = []
        if self.adapters is not None:
            model = trainer.model if self.hosted_by_policy else trainer.ref_model
            base = reference
            if self.hosted_by_policy and (trainer.ref_model is not None or trainer.ref_adapter_name):
                with self.adapters.scoring(None):
                    base = trainer.side_logps(model, batch)
        for margin in self.margins:
            if margin.kind == "adapter":
                with self.adapters.scoring(margin):
                    values.append(trainer.side_logps(model, batch) - base)
                continue
            sides = [pair[side] for side in (0, 1) for pair in columns[TEXTS]]
            prompts, responses = [prompt for prompt, _ in sides], [response for _, response in sides]
            if margin.kind == "classifier":
                values.append(self.classifiers[margin.name](prompts, responses))
            else:
                texts = [prompt[-1]["content"] if prompt else "" for prompt in prompts]
                tokens = (batch["labels"] != trainer.label_pad_token_id).sum(-1).tolist()
                values.append(torch.tensor(call_text_function(margin.source, texts, responses, tokens)))
        return torch.stack([value.to(reference.device, torch.float32) for value in values], -1)
