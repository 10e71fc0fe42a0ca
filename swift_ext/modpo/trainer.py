"""MODPO on ms-swift's DPOTrainer. Shapes: B pairs, K margins; a (2B,) tensor holds the chosen half first."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import torch
from swift.rlhf_trainers import DPOTrainer
from swift.utils import get_logger

from swift_ext.settings import read_settings
from swift_ext.shared_prefix.dpo import SharesPairs
from trl_ext.checkpoints import EndsAtItsLastStep
from trl_ext.model_card import DescribesItself
from trl_ext.modpo.adapters import MarginAdapters
from trl_ext.modpo.margins import described
from trl_ext.modpo.run_settings import refuse_other_settings, save_settings
from trl_ext.modpo.start import MARGINS
from trl_ext.modpo.weighted_sum import start_at_margins
from trl_ext.objectives.logps import selective_logps
from trl_ext.objectives.modpo import shift_reference
from trl_ext.objectives.unscored import UnscoredPairs
from trl_ext.papers import MODPO
from trl_ext.sharding import refuse_joined_weights, refuse_shards

from .settings import MODPOSettings, refuse_what_cannot_work
from .sources import LiveMargins
from .store import MarginStore
from .texts import with_texts

logger = get_logger()
UNSCORED = "Give a larger --max_length, or drop long rows with --truncation_strategy delete"


def _is_column(name: str, value) -> bool:
    """Whether a batch entry is a column of the data set (a plain list, or the `margin` of reward modelling)."""
    return name == "margin" or (isinstance(value, list) and not (value and isinstance(value[0], torch.Tensor)))


class MODPOTrainer(EndsAtItsLastStep, DescribesItself, SharesPairs, DPOTrainer):
    """Multi-objective DPO (arXiv 2310.03708).

    The only change to [`swift.rlhf_trainers.DPOTrainer`] is the reference term: `compute_ref_log_probs` returns
    log pi_ref + (1 / beta) sum_j w_j m_j, and `self.beta` is beta / w_k. Every loss type, metric and engine of the
    parent stays; `rewards/chosen` is h of the paper. Settings: [`MODPOSettings`].

    Raises:
        ValueError: settings that do not fit (see `MODPOSettings`, `LiveMargins`, `MarginStore`), a setup in which the
            margins would have no effect, or, in training, a margin that is not finite.
    """

    _tag_names: ClassVar = [*DPOTrainer._tag_names, "ms-swift", "modpo"]
    _name = "MODPO"
    _paper: ClassVar = MODPO
    claim = "modpo-front"

    def __init__(self, model=None, ref_model=None, *args, **kwargs):
        training_args, template = kwargs["args"], kwargs["template"]
        self.modpo = read_settings(MODPOSettings)
        self.margins = self.modpo.resolve(training_args.beta)
        refuse_what_cannot_work(self.modpo, self.margins, training_args, template)
        if self.modpo.w == 1 and not self.margins:  # the run is DPO, and its tags and model card say so
            self._name, self._paper, self._tag_names = DPOTrainer._name, DPOTrainer._paper, DPOTrainer._tag_names
        refuse_shards(training_args)
        if self.margins and self.modpo.store is None:
            refuse_joined_weights(training_args)
        self.store = self.live = None
        if self.modpo.store is not None:
            self.store = MarginStore(self.modpo.store, (ref_model or model).model_info.model_dir, self.margins)
        elif self.margins:
            # Before super().__init__, because no engine may be built around a model that still changes.
            self.live = LiveMargins(self.margins, model, ref_model, training_args.device)
            ref_model = self.live.reference
            if self.live.needs_text:
                template.remove_unused_columns = False  # lets the collator carry the texts
                for split in ("train_dataset", "eval_dataset"):
                    if kwargs.get(split) is not None:
                        kwargs[split] = with_texts(kwargs[split], split.removesuffix("_dataset"))
        if self.modpo.start == MARGINS and not training_args.resume_from_checkpoint:  # a checkpoint has its own weights
            self._start_at_margins(model, training_args)
        super().__init__(model, ref_model, *args, **kwargs)
        self.beta = self.beta / self.modpo.w
        word = self.modpo.shared_prefix
        self.choose_prefixes(word if self.store is None else self.store.shared_prefix(word))
        self._unscored = UnscoredPairs()
        self._report()

    def _start_at_margins(self, model, training_args) -> None:
        """The policy's LoRA becomes the weighted sum of the margin adapters, which a run with a store loads for that alone."""
        pushing = [margin for margin in self.margins if margin.weight]
        if not pushing:
            return
        live = self.live is not None
        adapters = self.live.adapters if live else MarginAdapters(model, pushing, model.model_info.model_dir)
        count = start_at_margins(adapters, pushing, training_args.beta)
        if not live:
            adapters.remove()
        logger.info(f"MODPO: the policy starts where the margins vanish, {count} modules were set")

    def objectives(self):
        return described(self.margins, self.modpo.w, self.args.beta)

    def _report(self) -> None:
        reference = "a separate reference model" if self.ref_model is not None else "the base with all adapters off"
        if self.ref_adapter_name:
            reference = f"the base with adapter {self.ref_adapter_name!r}"
        lines = [
            f"MODPO: w = {self.modpo.w:g} for the trained preference, beta = {self.args.beta:g}, "
            f"beta / w = {self.beta:g}; reference: {reference}",
            *(margin.direction() for margin in self.margins),
        ]
        if self.store is not None:
            lines.append(f"reference and margins are read from {self.store.folder}: no reference forward in a step")
        for line in lines:
            logger.info(line)

    def _described(self) -> dict:
        margins = [asdict(margin) for margin in self.margins]
        return {"w": self.modpo.w, "beta": self.args.beta, "start": self.modpo.start, "margins": margins}

    def concatenated_forward(self, model, batch, is_ref_model=False):
        inputs = {name: value for name, value in batch.items() if not _is_column(name, value)}
        return super().concatenated_forward(model, inputs, is_ref_model=is_ref_model)

    def get_per_token_logps(self, logits, labels, label_pad_token_id=-100, reduction="mean"):
        """The parent's, but log-probs of low-precision logits are taken in fp32 when margins are at stake."""
        low = logits.dtype in (torch.bfloat16, torch.float16)
        if not (low and self.margins and reduction == "mean" and self.template.sequence_parallel_size == 1):
            return super().get_per_token_logps(logits, labels, label_pad_token_id, reduction)
        mask = labels != label_pad_token_id
        logps = selective_logps(logits, labels.masked_fill(~mask, 0))
        return logps.masked_fill(~mask, 0), logits.mean(-1).masked_fill(~mask, 0), mask

    def side_logps(self, model, batch) -> torch.Tensor:
        """(2B,) log-probs without gradient, with whatever adapter is active."""
        with torch.no_grad():
            output = self.concatenated_forward(model, batch, is_ref_model=True)
        return torch.cat([output["chosen_logps"], output["rejected_logps"]])

    def reference_and_margins(self, batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference log-probs (2B,) and raw margin values (2B, K) of a batch, from the store or computed now."""
        columns = {name: value for name, value in batch.items() if _is_column(name, value)}
        if self.store is not None:
            reference, values = self.store.lookup(batch, columns)
            return reference.to(self.accelerator.device), values.to(self.accelerator.device)
        if self.live is None:
            reference = torch.cat(super().compute_ref_log_probs(batch))
            return reference, reference.new_zeros(len(reference), 0)
        with self.live.reference_pass():
            reference = torch.cat(super().compute_ref_log_probs(batch))
        return reference, self.live.values(self, batch, columns, reference)

    def compute_ref_log_probs(self, batch):
        """The one changed term of the loss: the reference, shifted by the margins."""
        if self.store is None and self.live is None:
            return super().compute_ref_log_probs(batch)
        self._unscored_share = None  # where the tokens of a rank are a part of a row, or rows joined to one
        if self.template.sequence_parallel_size == 1 and not self.template.padding_free:
            tokens = (batch["labels"] != self.label_pad_token_id).sum(-1).tolist()
            self._unscored_share = self._unscored.add(tokens, UNSCORED)
        reference, values = self.reference_and_margins(batch)
        self._margin_rewards = values * torch.tensor([m.beta for m in self.margins], device=values.device)
        self._check_finite(batch)
        weights = [margin.signed_weight for margin in self.margins]
        return shift_reference(reference, self._margin_rewards, weights, self.args.beta).chunk(2)

    def _check_finite(self, batch) -> None:
        bad = (~torch.isfinite(self._margin_rewards)).nonzero()
        if len(bad):
            row, k = bad[0].tolist()
            side = "chosen" if row < len(self._margin_rewards) // 2 else "rejected"
            text = self.tokenizer.decode(batch["input_ids"][row % len(batch["input_ids"])], skip_special_tokens=True)
            raise ValueError(
                f"margin {self.margins[k].name!r} is {self._margin_rewards[row, k].item()} for the {side} side of pair "
                f"{row % (len(self._margin_rewards) // 2)} of step {self.state.global_step}: {text[-200:]!r}"
            )

    def get_batch_loss_metrics(self, model, batch, train_eval="train", **kwargs):
        loss, metrics = super().get_batch_loss_metrics(model, batch, train_eval, **kwargs)
        if self.margins:
            prefix = "eval_" if train_eval == "eval" else ""
            pairs = torch.cat(self._margin_rewards.chunk(2), -1)  # (B, 2K): one gather for all margins
            means = self.accelerator.gather_for_metrics(pairs).mean(0).tolist()
            if self._unscored_share is not None:
                share = self.accelerator.gather_for_metrics(torch.tensor([self._unscored_share], device=pairs.device))
                metrics[f"{prefix}modpo/pairs_without_scored_token"] = share.mean().item()
            for k, margin in enumerate(self.margins):
                chosen, rejected = means[k], means[k + len(self.margins)]
                metrics[f"{prefix}margin_rewards/{margin.name}/chosen"] = chosen
                metrics[f"{prefix}margin_rewards/{margin.name}/rejected"] = rejected
                metrics[f"{prefix}margin_rewards/{margin.name}/gap"] = chosen - rejected
        return loss, metrics

    def train(self, resume_from_checkpoint=None, *args, **kwargs):
        if resume_from_checkpoint:
            refuse_other_settings(Path(resume_from_checkpoint), self._described())
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _load_from_checkpoint(self, *args, **kwargs):
        super()._load_from_checkpoint(*args, **kwargs)
        if self.live is not None and self.live.adapters is not None:
            self.live.adapters.restore()  # loading the policy adapter flips flags too

    def _save_checkpoint(self, *args, **kwargs):
        result = super()._save_checkpoint(*args, **kwargs)
        if self.args.should_save:
            save_settings(Path(self.args.output_dir, f"checkpoint-{self.state.global_step}"), self._described())
        return result
