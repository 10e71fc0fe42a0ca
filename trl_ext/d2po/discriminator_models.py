"""The two kinds of discriminator: a classifier, and a language model that is its own reward (DPO, arXiv 2305.18290)."""

import json
import logging
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from trl_ext.modpo.model_dir import check_finite, check_finite_weights, resolve_model
from trl_ext.objectives.logps import completion_logps
from trl_ext.shared_prefix.choice import SharedPrefixes, choose
from trl_ext.shared_prefix.model import IGNORED, SharedPrefixModel

from .discriminator_interface import DiscriminatorSettings
from .discriminator_text import Row, by_prompt
from .discriminator_training import TrainedDiscriminator


def with_adapter(model: nn.Module, settings: DiscriminatorSettings, task: str) -> nn.Module:
    """`model` under a fresh LoRA adapter, which leaves its scores as they are; `model` itself for rank 0."""
    if not settings.lora_rank:
        return model.requires_grad_(True)
    from peft import LoraConfig, get_peft_model

    rank = settings.lora_rank
    config = LoraConfig(
        task_type=task, r=rank, lora_alpha=4 * rank, lora_dropout=0.1, target_modules="all-linear", bias="none"
    )
    return get_peft_model(model, config)


def refuse_missing(path: str, what: str, missing: Collection[str]) -> None:
    """Refuses a folder without all weights: transformers makes up what it does not find, scores of that are noise.

    Raises:
        ValueError: something is missing.
    """
    if missing:
        raise ValueError(f"{path}: not a trained {what}, its weights lack {', '.join(sorted(missing)[:5])}")


class ClassifierDiscriminator(TrainedDiscriminator):
    """The score is the one logit of a sequence classifier.

    Raises:
        ValueError: the folder holds no trained classifier with one logit.
    """

    def _build(self) -> tuple[Any, nn.Module]:
        from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

        labels = AutoConfig.from_pretrained(self.directory).num_labels
        if labels != 1:
            raise ValueError(
                f"{self.path}: {labels} labels, a discriminator has 1; train one with TRL's RewardTrainer or "
                "`swift rlhf --rlhf_type rm`, or use kind 'dpo' with a language model"
            )
        model, loading = AutoModelForSequenceClassification.from_pretrained(
            self.directory, dtype=getattr(torch, self.settings.dtype), output_loading_info=True
        )
        refuse_missing(self.path, "classifier", loading["missing_keys"])
        check_finite(model, self.path)
        return AutoTokenizer.from_pretrained(self.directory), with_adapter(model, self.settings, "SEQ_CLS")

    def _scores(self, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=ids, attention_mask=mask).logits[:, 0]


class PolicyDiscriminator(TrainedDiscriminator):
    """The score is sum log p(response | prompt) with the adapter minus the same without it, in nats.

    The tokens of the response count, what ends it (an end token, the rest of a chat template) does not. The loss is on
    `settings.beta` times the difference of the scores. `path` is a language model, whose fresh adapter scores every
    response 0 before the first update, or the LoRA adapter of a DPO run, which goes on from what it has learnt.

    Raises:
        ValueError: the folder holds no language model, or an adapter of another rank or another base.
    """

    batches = staticmethod(by_prompt)
    shared_prefix = "auto"  # whether answers to one prompt that are scored together compute it once: auto, on or off

    def _find(self) -> str:
        self.adapter = self.path if Path(self.path, "adapter_config.json").is_file() else None
        if self.adapter is None:
            return super()._find()
        config = json.loads(Path(self.path, "adapter_config.json").read_text(encoding="utf-8"))
        if config.get("r") != self.settings.lora_rank:
            raise ValueError(
                f"{self.path}: an adapter of rank {config.get('r')}, the settings have {self.settings.lora_rank}: "
                "set lora_rank to the former"
            )
        return resolve_model(config["base_model_name_or_path"])

    def _build(self) -> tuple[Any, nn.Module]:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.difference_scale = self.settings.beta
        model, loading = AutoModelForCausalLM.from_pretrained(
            self.directory, dtype=getattr(torch, self.settings.dtype), output_loading_info=True
        )
        refuse_missing(self.path, "language model", loading["missing_keys"])
        check_finite(model, self.directory)
        tokenizer = AutoTokenizer.from_pretrained(self.directory)
        if self.adapter is None:
            return tokenizer, with_adapter(model, self.settings, "CAUSAL_LM")
        from peft import PeftModel

        check_finite_weights(self.adapter)
        model = PeftModel.from_pretrained(model, self.adapter, is_trainable=True)
        # The first load keeps quiet about names that do not fit and leaves fresh weights; this one tells.
        result = model.load_adapter(self.adapter, adapter_name=model.active_adapter, is_trainable=True)
        if strangers := [*result.missing_keys, *result.unexpected_keys]:
            raise ValueError(f"{self.path}: the adapter does not fit {self.directory}: {strangers[:4]}")
        return tokenizer, model

    @cached_property
    def _prefixes(self) -> SharedPrefixes | None:
        """None where rows that are scored do not share their prompts."""
        say, precision = logging.getLogger(__name__).info, getattr(torch, self.settings.dtype)
        return choose(self.shared_prefix, self.model, [], say, precision, training=False)

    def _scores(self, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        begins = (labels != IGNORED).int().argmax(1)  # 0 where nothing of the response is left
        # In training rows draw dropout of their own.
        if self._prefixes is None or self.model.training or not int(begins.min()):
            return completion_logps(self.model(input_ids=ids, attention_mask=mask).logits, labels)
        prompts = [tuple(row[:begin]) for row, begin in zip(ids.tolist(), begins.tolist(), strict=True)]
        number = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
        stream = torch.tensor([number[prompt] for prompt in prompts], device=ids.device)
        kept = ids.shape[1] - int(begins.min()) + 1  # the first token is predicted one column before it
        read = F.pad(labels[:, 1:] != IGNORED, (0, 1))
        shared = SharedPrefixModel(self.model, self._prefixes, stream, read)
        logits = shared(input_ids=ids, attention_mask=mask, logits_to_keep=kept).logits
        return completion_logps(logits, labels[:, -kept:])

    def _baseline(self, rows: Sequence[Row]) -> torch.Tensor:
        with self.model.disable_adapter():
            return self._forward(rows)
