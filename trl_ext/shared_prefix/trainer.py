"""Shared prefixes in TRL's own trainers (0.29.1 to 1.16.0). Shapes: B pairs or completions, P prompt columns, T columns.

Each class stands before a trainer of TRL, whose code it leaves as it is: `class MyTrainer(SharedPrefixDPO, DPOTrainer)`.
The setting is `args.shared_prefix` where the arguments have such a field, else the class attribute.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from trl import DPOTrainer
from trl.trainer.utils import use_adapter

from .attention import config_of, why_not
from .choice import PAYS_UP_TO, SharedPrefixes, choose
from .model import SharedPrefixModel

# Newer TRL hands the model to compute_ref_log_probs and scores labels without logits (1.9 does, 1.8 does not); 0.29 truncates in
# the step, all later ones in the collator.
TAKES_MODEL = "model" in inspect.signature(DPOTrainer.compute_ref_log_probs).parameters
TRUNCATES = hasattr(DPOTrainer, "_truncate_inputs")
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")


class SharedPrefixTrainer:
    """What the classes below have in common: the choice of a run, made once the parent is built.

    Raises:
        ValueError: from the constructor, where `shared_prefix` is `on` and the result would not be exact.
    """

    shared_prefix = "auto"
    _left_padded = False  # whether the parent's batches are, without position ids

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.prefixes  # noqa: B018 a setting that cannot work is refused here, not in the first step

    @cached_property
    def prefixes(self) -> SharedPrefixes | None:
        """None where the parent's passes stay as they are."""
        setting = getattr(self.args, "shared_prefix", self.shared_prefix)
        precision = PRECISIONS.get(self.accelerator.mixed_precision)
        return choose(setting, self.model, self._hindrances(), self.accelerator.print, precision, self._left_padded)

    def _hindrances(self) -> Iterator[str | None]:
        """Reasons to stay plain, in words that follow "because"."""
        args, reference = self.args, getattr(self, "ref_model", None)
        if getattr(args, "use_liger_kernel", False):
            yield "use_liger_kernel is on, whose passes go round the model's own"
        if noise := getattr(args, "neftune_noise_alpha", None):
            yield f"neftune_noise_alpha is {noise:g}, and rows that share a token share its noise"
        if getattr(self, "aux_loss_enabled", False):
            yield "router_aux_loss_coef is not 0, and that loss would count a shared token once"
        if any(one.is_prompt_learning for one in getattr(self.model, "peft_config", {}).values()):
            yield "the PEFT method learns a prompt, which it puts before the attention mask"
        parallel = getattr(self.accelerator, "parallelism_config", None)
        for name in ("cp_size", "sp_size"):
            if (size := getattr(parallel, name, 1) or 1) > 1:
                yield f"{name} is {size}: a row's tokens lie on several processes"
        if reference is not None and (reason := why_not(config_of(reference), self._left_padded)):
            yield f"of the reference model: {reason}"


class SharedPrefixDPO(SharedPrefixTrainer):
    """`DPOTrainer` whose two rows of a pair compute their prompt once: policy, reference and precomputed reference.

    The parent is given the reference of a step as if it were precomputed, by its own `compute_ref_log_probs`. In TRL 0.29
    it works on the columns from the first answer on; where it has to return logits, on all of them.
    """

    _whole: tuple[torch.Tensor, ...] | None = None  # truncated tokens, mask and answers of the batch at hand
    _kept = 0  # last columns of it that the parent sees

    @cached_property
    def prefixes(self) -> SharedPrefixes | None:
        """As the parent's; with a precomputed reference one decision holds for all batches, because the rows lie in other
        batches when they are trained on."""
        found = super().prefixes
        if found is None or found.always or not self.args.precompute_ref_log_probs:
            return found
        if (share := share_of_rows(self.train_dataset)) > PAYS_UP_TO:
            self.accelerator.print(
                f"shared prefixes are off because the rows would still compute {share:.0%} of their tokens, too many to pay "
                f"(above {PAYS_UP_TO:.0%})"
            )
            return None
        found.always = True
        return found

    def _truncate_inputs(self, input_ids, attention_mask, completion_mask):
        if self._whole is None:
            return super()._truncate_inputs(input_ids, attention_mask, completion_mask)
        return tuple(one[:, -self._kept :] for one in self._whole)

    @contextmanager
    def _sharing(self, inputs: dict, all_columns: bool = False) -> Iterator[Callable[[Any], SharedPrefixModel]]:
        """Inside, the parent may be given what this yields in a model's place.

        Args:
            all_columns: whether the parent's logits are returned to somebody who expects a column for every token.
        """
        ids, mask, answers = (inputs[name] for name in ("input_ids", "attention_mask", "completion_mask"))
        rows = torch.arange(len(ids), device=ids.device)
        stream = rows % (len(ids) // 2)
        if not TRUNCATES:
            yield lambda model: SharedPrefixModel(model, self.prefixes, stream)
            return
        ids, mask, answers = whole = self._truncate_inputs(ids, mask, answers)
        read, kept = None, ids.shape[1]
        if not all_columns:
            read = F.pad(answers[:, 1:], (0, 1)).bool()  # a token is predicted one column before it
            columns = read.any(0).nonzero()
            kept -= int(columns[0]) if len(columns) else max(kept - 2, 0)
        self._whole, self._kept = whole, kept
        try:
            yield lambda model: SharedPrefixModel(model, self.prefixes, stream, read, (ids, mask))
        finally:
            self._whole = None

    def compute_ref_log_probs(self, *arguments):
        if self.prefixes is None:
            return super().compute_ref_log_probs(*arguments)
        *model, inputs = arguments
        with self._sharing(inputs) as shared:
            if TAKES_MODEL:
                return super().compute_ref_log_probs(shared(*model), inputs)
            # Here the parent calls its ref_model, or itself with other adapters.
            with self._active_reference() as reference:
                kept, self.ref_model = self.ref_model, shared(reference)
                try:
                    return super().compute_ref_log_probs(inputs)
                finally:
                    self.ref_model = kept

    @contextmanager
    def _active_reference(self) -> Iterator[Any]:
        if self.ref_model is not None:
            yield self.ref_model
            return
        adapters = self.accelerator.unwrap_model(self.model)
        with use_adapter(adapters, "ref" if "ref" in adapters.peft_config else None):
            yield self.model

    def _compute_loss(self, model, inputs, return_outputs):
        if self.prefixes is None:
            return super()._compute_loss(model, inputs, return_outputs)
        given = self.precompute_ref_logps
        if not given:
            arguments = (self.ref_model or self.model, inputs) if TAKES_MODEL else (inputs,)
            inputs = {**inputs, **dict(zip(REFERENCE, self.compute_ref_log_probs(*arguments), strict=True))}
        self.precompute_ref_logps = True
        try:
            with self._sharing(inputs, all_columns=return_outputs) as shared:
                return super()._compute_loss(shared(model), inputs, return_outputs)
        finally:
            self.precompute_ref_logps = given

    def _precompute_ref_logps(self, dataset, name, batch_size):
        if self.prefixes is not None:
            # The parent keeps its values under a name made of the data set's fingerprint: not under that of a plain pass.
            dataset = dataset.select_columns(dataset.column_names)
        return super()._precompute_ref_logps(dataset, name, batch_size)


class SharedPrefixGRPO(SharedPrefixTrainer):
    """`GRPOTrainer` whose completions of one prompt compute it once: policy, old and reference log-probs.

    The parent shuffles a generation batch before it deals it to steps, so that rows of one prompt are found by their
    tokens. A step shares what it was dealt of a group: fewer `steps_per_generation` share more.
    """

    _left_padded = True

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, *positional, **named
    ):
        if self.prefixes is not None:
            model = _ByPrompt(model, self.prefixes, logits_to_keep)
        return super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *positional, **named
        )


class _ByPrompt:
    """Calls `model` on rows that share where their columns before the last `answer` are equal."""

    def __init__(self, model: Any, prefixes: SharedPrefixes, answer: int):
        self.model, self.prefixes, self.answer = model, prefixes, answer

    def __call__(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **kwargs: Any) -> Any:
        prompts = torch.stack([input_ids, attention_mask], 1)[..., : -self.answer]
        stream = torch.unique(prompts, dim=0, return_inverse=True)[1]
        shared = SharedPrefixModel(self.model, self.prefixes, stream)
        return shared(input_ids=input_ids, attention_mask=attention_mask, **kwargs)


class SharedPrefixOnlineDPO(SharedPrefixTrainer):
    """`OnlineDPOTrainer` whose two answers of a prompt compute it once, for policy and reference.

    Besides, log-probs of padding are 0: the parent leaves them out of the loss, but sums them in `objective/kl` and `entropy`.
    """

    _left_padded = True

    def _forward(self, model, prompt_ids, prompt_mask, completion_ids, completion_mask, vision_inputs=None):
        """(2B, C) log-probs of the completions, first answers first; the parent is given the prompt's last column."""
        if self.prefixes is None:
            return super()._forward(model, prompt_ids, prompt_mask, completion_ids, completion_mask, vision_inputs)
        left_out = max(prompt_ids.shape[1] + completion_ids.shape[1] - self.max_length, 0)  # as the parent does
        if vision_inputs is None and left_out < prompt_ids.shape[1]:
            ids = torch.cat([prompt_ids[:, left_out:], completion_ids], 1)
            mask = torch.cat([prompt_mask[:, left_out:], completion_mask], 1)
            stream = torch.arange(len(ids), device=ids.device) % (len(ids) // 2)
            model = SharedPrefixModel(model, self.prefixes, stream, rows=(ids, mask))
            prompt_ids, prompt_mask = prompt_ids[:, -1:], prompt_mask[:, -1:]
        logps = super()._forward(model, prompt_ids, prompt_mask, completion_ids, completion_mask, vision_inputs)
        return logps.masked_fill(completion_mask == 0, 0.0)


def share_of_rows(dataset: Any) -> float:
    """Tokens that are left to compute over tokens, of all pairs of a tokenised data set whose prompts are shared.

    0 where the columns of TRL's own tokenisation are missing, because a collator of the user's reads others.
    """
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    if not set(names) <= set(dataset.column_names):
        return 0.0
    prompts, *answers = (sum(map(len, dataset[name])) for name in names)
    return (prompts + sum(answers)) / max(2 * prompts + sum(answers), 1)
