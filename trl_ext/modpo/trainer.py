"""MODPO on TRL's DPOTrainer (0.29.1 to 1.16.0). Shapes: B pairs, K margins; a (2B,) tensor has the chosen half first."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import ClassVar

import torch
from datasets import Dataset
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch.utils.data import DataLoader
from transformers.trainer_utils import get_last_checkpoint
from trl import DPOTrainer
from trl.models import prepare_deepspeed
from trl.trainer import dpo_trainer
from trl.trainer.utils import create_model_from_path, get_config_model_id, use_adapter

from trl_ext.checkpoints import EndsAtItsLastStep, refuse_occupied
from trl_ext.model_card import DescribesItself
from trl_ext.objectives.modpo import shift_reference
from trl_ext.objectives.unscored import UnscoredPairs
from trl_ext.papers import MODPO
from trl_ext.sharding import (
    SavesWhole,
    loaded_whole,
    refuse_empty_reference,
    refuse_joined_weights,
    refuse_late_adapters,
)
from trl_ext.shared_prefix.trainer import TAKES_MODEL, TRUNCATES, SharedPrefixDPO

from .adapters import MarginAdapters
from .config import MODPOConfig, refuse_what_cannot_work
from .margins import Margin, described
from .precompute import REFERENCE, add_columns, cached, describe_run, rows_digest, score_rows
from .rows import TEXT_COLUMNS, TEXTS, VALUES, MarginCollator, refuse_lost_rows, refuse_stored_columns
from .run_settings import refuse_other_settings, save_settings
from .sources import MarginSources, refuse_non_finite
from .start import MARGINS
from .weighted_sum import start_at_margins

# TRL 1.x computes log-probs from the weight of the output head, and asks the head itself for nothing.
_FUSED_HEAD = hasattr(dpo_trainer, "add_fused_lm_head")
UNSCORED = "Give a larger max_length, or leave long rows out of the data"


class Float32Logits:
    """Calls `model` and raises its logits: TRL 0.29 sums log-probs in the logits' dtype, and bf16 drowns margins."""

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, *args, **kwargs):
        outputs = self.model(*args, **kwargs)
        if getattr(outputs, "logits", None) is not None:
            outputs.logits = outputs.logits.float()
        return outputs


class MODPOTrainer(EndsAtItsLastStep, DescribesItself, SavesWhole, SharedPrefixDPO, DPOTrainer):
    """Multi-objective DPO (arXiv 2310.03708).

    The only change to [`SharedPrefixDPO`], TRL's trainer that computes a prompt once, is the reference term: `compute_loss` hands its parent
    log pi_ref + (1 / beta) sum_j w_j m_j as the precomputed reference, and `self.beta` is beta / w_k. Every loss type,
    metric and engine of the parent stays; `rewards/chosen` is h of the paper.

    Args:
        model: as the parent's.
        ref_model: as the parent's.
        args: a [`MODPOConfig`].
        *positional, **named: the parent's other arguments, in its order or by name.

    Raises:
        ValueError: a margin that does not fit, a setup in which it would have no effect, or, in training, a margin that
            is not finite.
    """

    _tag_names: ClassVar = [*DPOTrainer._tag_names, "modpo"]
    _name = "MODPO"
    _paper: ClassVar = MODPO
    claim: ClassVar = "modpo-front"
    computed_columns: ClassVar = (*REFERENCE, VALUES)

    def __init__(self, model, ref_model=None, args: MODPOConfig | None = None, *positional, **named):
        if not isinstance(args, MODPOConfig):
            raise ValueError(
                f"args must be a MODPOConfig, found {type(args).__name__}: unlike DPOTrainer's, it has no default, because "
                "it holds the weight w; MODPOConfig(output_dir=..., w=1.0) without margins is DPO"
            )
        kwargs = self._by_name(model, ref_model, args, *positional, **named)
        self.margins = args.resolve()
        if args.w == 1 and not self.margins:  # the run is DPO, and its tags and model card say so
            self._name, self._paper, self._tag_names = DPOTrainer._name, DPOTrainer._paper, DPOTrainer._tag_names
        self.sources = self._precompute_engine = None
        adapters = any(margin.kind == "adapter" for margin in self.margins)
        full = not isinstance(model, PeftModel) and kwargs.get("peft_config") is None
        refuse_what_cannot_work(args, self.margins, full, ref_model is not None)
        refuse_empty_reference(args, full or ref_model is not None)
        if self.margins and not args.precompute_ref_log_probs:
            refuse_joined_weights(args)
        if adapters and full:
            refuse_late_adapters(args)
        if self.margins:
            refuse_stored_columns(kwargs)
            refuse_occupied(args.output_dir, map(MarginAdapters.adapter_name, self.margins))
        if adapters and full and ref_model is None and args.precompute_ref_log_probs:
            # TRL 1.x would score with the policy itself, which must not carry the margin adapters.
            path = model if isinstance(model, str) else get_config_model_id(model.config)
            options = dict(args.model_init_kwargs or {}) if isinstance(model, str) else {"dtype": model.dtype}
            ref_model = create_model_from_path(path, **options)
        self._unscored, self._unscored_share = UnscoredPairs(), 0.0
        super().__init__(model, ref_model, args, **kwargs)
        self.beta = self.beta / args.w
        if self.margins:
            self._attach()
            self.data_collator = self._margin_collator()
            self.precompute_ref_logps = True  # the parent's loss then reads the reference that compute_loss puts there
            if args.start == MARGINS and any(margin.weight for margin in self.margins):
                start_at_margins(self.sources.adapters, self.margins, args.beta)
        self.accelerator.print(
            "\n".join(
                [
                    f"MODPO: w = {args.w:g}, beta = {args.beta:g}, beta / w = {self.beta:g}; starts at the {args.start}",
                    *map(Margin.direction, self.margins),
                ]
            )
        )

    def objectives(self):
        return described(self.margins, self.args.w, self.args.beta)

    def _by_name(self, *positional, **named) -> dict:
        """The constructor's arguments behind `args` by name; TypeError as in the parent for what it does not take."""
        given = inspect.signature(DPOTrainer.__init__).bind(self, *positional, **named).arguments
        return {name: value for name, value in given.items() if name not in ("self", "model", "ref_model", "args")}

    def _attach(self) -> None:
        """Loads adapters and classifiers: before any engine wraps the policy, and before the parent precomputes.

        Loading draws random numbers (weights, before those of the file take their place); training's are kept.
        """
        if self.sources is None:
            host = self.model
            if not isinstance(self.model, PeftModel) and any(margin.kind == "adapter" for margin in self.margins):
                host = self.accelerator.unwrap_model(self.ref_model)
            base, device = get_config_model_id(self.model.config), self.accelerator.device
            with torch.random.fork_rng([device] if device.type == "cuda" else []), loaded_whole():
                self.sources = MarginSources(self.margins, host, base, device)
            if self.sources.adapters is not None and _FUSED_HEAD:
                self._refuse_adapted_head(self.sources.adapters.host)

    @staticmethod
    def _refuse_adapted_head(host: PeftModel) -> None:
        """Raises ValueError where an adapter has LoRA on the output head: the loss would be computed without it."""
        head = host.get_base_model().get_output_embeddings()
        if isinstance(head, LoraLayer) and (names := sorted(head.lora_A)):
            raise ValueError(
                f"adapters {names} have LoRA on the output head, whose own weight this TRL's DPO loss reads past any LoRA: "
                "what they learnt there would not count; train them without lm_head in target_modules"
            )

    def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
        prepared = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        if self.margins:
            refuse_lost_rows(dataset, prepared, args.max_length)
        return prepared

    def _margin_collator(self) -> MarginCollator:
        if isinstance(self.data_collator, MarginCollator):
            return self.data_collator
        tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        return MarginCollator(self.data_collator, tokenizer.eos_token, any(m.kind != "adapter" for m in self.margins))

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        if self.margins and VALUES not in self._signature_columns:
            self._signature_columns += [VALUES, *TEXT_COLUMNS]

    def _prepare_inputs(self, inputs):
        """The parent's, but DeepSpeed's cast to the model's dtype does not reach stored log-probs and margins."""
        kept = (*REFERENCE, VALUES) if self.margins else ()
        prepared = super()._prepare_inputs({name: value for name, value in inputs.items() if name not in kept})
        return prepared | {name: inputs[name].to(self.args.device) for name in kept if name in inputs}

    # --- reference and margins ---

    @contextmanager
    def _reference(self) -> Iterator:
        """The model that the parent takes as the reference, in the state it has there, without margin adapters."""
        adapters = self.sources.adapters
        if self.ref_model is None and isinstance(self.model, PeftModel):
            model = self.accelerator.unwrap_model(self.model)
            with use_adapter(model, "ref" if "ref" in model.peft_config else None):
                yield self._precompute_engine or self.model
        elif adapters is not None and adapters.policy_adapter is None:
            with adapters.scoring(None):
                yield self.ref_model
        else:
            yield self.ref_model or self.model

    def _logps(self, model, inputs: dict) -> torch.Tensor:
        """(2B,) fp32 by the parent's reference pass, run by `model` with the adapters that are active."""
        kept, self.ref_model = self.ref_model, Float32Logits(model)
        try:
            arguments = (self.ref_model, inputs) if TAKES_MODEL else (inputs,)
            return torch.cat(super().compute_ref_log_probs(*arguments)).float()
        finally:
            self.ref_model = kept

    def reference_and_margins(self, inputs: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference log-probs (2B,) and raw margin values (2B, K): stored columns, or one pass each."""
        tokens = self._scored_tokens(inputs)
        self._unscored_share = self._unscored.add(tokens, UNSCORED)
        if VALUES in inputs:
            return torch.cat([inputs[name] for name in REFERENCE]), torch.cat(inputs[VALUES].chunk(2, -1))
        tensors = {name: value for name, value in inputs.items() if name != TEXTS}
        with self._reference() as model:
            base = reference = self._logps(model, tensors)
        host, adapters = self.ref_model, self.sources.adapters
        if adapters is not None and adapters.policy_adapter is not None:
            host = self._precompute_engine or self.model
            if self.ref_model is not None or "ref" in adapters.host.peft_config:  # the reference is not the bare base
                with adapters.scoring(None):
                    base = self._logps(host, tensors)
        return reference, self.sources.values(lambda: self._logps(host, tensors), base, inputs.get(TEXTS), tokens)

    def _scored_tokens(self, inputs: dict) -> list[int]:
        """Numbers of tokens of 2B responses that are scored."""
        mask = inputs["completion_mask"]
        if TRUNCATES:  # TRL 0.29 in the step, 1.x in the collator
            _, _, mask = self._truncate_inputs(inputs["input_ids"], inputs["attention_mask"], mask)
        return mask.sum(-1).tolist()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The parent's loss on the shifted reference."""
        if not self.margins:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        reference, values = self.reference_and_margins(inputs)
        rewards = values * torch.tensor([margin.beta for margin in self.margins], device=values.device)
        refuse_non_finite(rewards, self.margins, lambda row: self._row_text(inputs, row))
        self._log_rewards(rewards)
        shifted = shift_reference(reference, rewards, [m.signed_weight for m in self.margins], self.args.beta)
        batch = {name: value for name, value in inputs.items() if name not in (TEXTS, VALUES)}
        batch |= dict(zip(REFERENCE, shifted.chunk(2), strict=True))
        return super().compute_loss(Float32Logits(model), batch, return_outputs, num_items_in_batch)

    def _row_text(self, inputs: dict, row: int) -> str:
        text = self.processing_class.decode(inputs["input_ids"][row], skip_special_tokens=True)
        return f"of step {self.state.global_step}: {text[-200:]!r}"

    def _log_rewards(self, rewards: torch.Tensor) -> None:
        pairs = torch.cat(rewards.chunk(2), -1)  # (B, 2K): one gather for all margins
        chosen, rejected = self.accelerator.gather_for_metrics(pairs).mean(0).view(2, -1).tolist()
        metrics = self._metrics["train" if self.model.training else "eval"]
        share = torch.tensor([self._unscored_share], device=rewards.device)
        metrics["modpo/pairs_without_scored_token"].append(self.accelerator.gather_for_metrics(share).mean().item())
        for k, margin in enumerate(self.margins):
            metrics[f"margin_rewards/{margin.name}/chosen"].append(chosen[k])
            metrics[f"margin_rewards/{margin.name}/rejected"].append(rejected[k])
            metrics[f"margin_rewards/{margin.name}/gap"].append(chosen[k] - rejected[k])

    # --- computed once ---

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        if not self.margins:
            return super()._precompute_ref_logps(dataset, name, batch_size)
        if not self.args.precompute_ref_log_probs:
            return dataset
        if not isinstance(dataset, Dataset):
            raise ValueError(f"precompute_ref_log_probs needs a data set with a length, {name} is a stream")
        self._attach()
        collator = self._margin_collator()
        loader = self.accelerator.prepare(
            DataLoader(dataset, batch_size=batch_size, collate_fn=collator, shuffle=False)
        )
        if self.ref_model is None and self.is_deepspeed_enabled and self._precompute_engine is None:
            self._precompute_engine = prepare_deepspeed(self.model, self.accelerator)
        model, base = (
            self.accelerator.unwrap_model(self.ref_model or self.model),
            get_config_model_id(self.model.config),
        )
        identity = [rows_digest(dataset, collator.needs_text), *describe_run(model, base, self.args, self.margins)]
        identity += [] if self.prefixes is None else ["shared prefixes"]

        def compute():
            array = score_rows(self.accelerator, loader, self.reference_and_margins, name)
            self._unscored.end(UNSCORED)
            return array

        return add_columns(dataset, name, cached(self.accelerator, dataset, identity, compute), self.margins)

    # --- checkpoints ---

    def _described(self) -> dict:
        margins = [asdict(margin) for margin in self.margins]
        return {"w": self.args.w, "beta": self.args.beta, "start": self.args.start, "margins": margins}

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        if resume_from_checkpoint:
            found = (
                get_last_checkpoint(self.args.output_dir) if resume_from_checkpoint is True else resume_from_checkpoint
            )
            refuse_other_settings(Path(found or ""), self._described())
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _load_from_checkpoint(self, *args, **kwargs):
        super()._load_from_checkpoint(*args, **kwargs)
        if self.sources is not None:
            self.sources.restore()  # peft may flip flags when it loads an adapter

    def _save(self, output_dir=None, state_dict=None):
        super()._save(output_dir, state_dict)
        if self.args.should_save:  # peft saves every adapter; the margins' are inputs of the run, not its result
            for margin in self.margins:
                rmtree(
                    Path(output_dir or self.args.output_dir, MarginAdapters.adapter_name(margin)), ignore_errors=True
                )

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
            save_settings(folder, self._described())
