"""Shared prefixes in ms-swift's GRPO. Shapes: B rows of T columns, of which the last C hold completions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from swift.rlhf_trainers import GRPOTrainer
from swift.utils import get_logger

from swift_ext.settings import read_settings
from trl_ext.shared_prefix.attention import config_of, why_not
from trl_ext.shared_prefix.choice import PRECISIONS, SharedPrefixes, choose
from trl_ext.shared_prefix.model import SharedPrefixModel

from .prefill import SharedPrefillEngine, TrainingEngine
from .settings import SharedPrefixSettings, hindrances

logger = get_logger()


class SharesCompletions:
    """A mixin over [`swift.rlhf_trainers.GRPOTrainer`]: what the completions of a prompt have in common is computed once.

    Policy, old policy and reference score a prompt's completions as one stream; where transformers generates, a prompt is
    prefilled once for all of them; and the old log-probs of a step that is on its policy, which are the new ones, are not
    computed. With `off`, and where `auto` finds a hindrance, everything is the parent's.

    Raises:
        ValueError: `on` where rows cannot share, or a first batch that differs from its plain pass.
    """

    settings: Any  # with the field `shared_prefix`, set before this constructor runs
    groups_a_stream: ClassVar[int] = 1  # prompts that begin alike and stand side by side
    _without_old: bool = False  # while the parent prepares a batch whose old log-probs nobody needs

    def __init__(self, model=None, ref_model=None, *args, **kwargs):
        super().__init__(model, ref_model, *args, **kwargs)
        self.prefixes: SharedPrefixes | None = choose(
            self.settings.shared_prefix,
            self.model,
            [*hindrances(self.args, self.template), *self._other_models()],
            logger.info,
            PRECISIONS.get(self.accelerator.mixed_precision),
            left_padded=self.template.padding_side == "left",
        )
        if (self.prefixes is not None or self.is_fsdp_enabled) and not (
            self.use_fast_infer or self.multi_turn_scheduler
        ):
            engine = TrainingEngine if self.prefixes is None else SharedPrefillEngine
            self.engine = engine(self.model, template=self.engine.template, max_batch_size=0)

    def _other_models(self) -> Iterator[str]:
        """Why the models beside the policy keep rows from sharing, in words that follow "because"."""
        if self.ref_model is not None and (reason := why_not(config_of(self.ref_model))):
            yield f"of --ref_model: {reason}"
        if self._has_teacher_explicit():
            yield "the model of --teacher_model or --teacher_model_server was not looked at"

    def _get_per_token_logps_and_entropies_single(self, model, model_inputs, grpo_batch, compute_entropy=False):
        if self.prefixes is not None:
            ids = model_inputs["input_ids"]
            group = self.num_generations if self.model.training else self.num_generations_eval
            stream = torch.arange(len(ids), device=ids.device) // (group * self.groups_a_stream)
            model = SharedPrefixModel(model, self.prefixes, stream, _predicting(ids, grpo_batch))
        return super()._get_per_token_logps_and_entropies_single(model, model_inputs, grpo_batch, compute_entropy)

    def _prepare_batch_inputs(self, samples):
        self._without_old = self.prefixes is not None and not self._needs_old(samples)
        try:
            return super()._prepare_batch_inputs(samples)
        finally:
            self._without_old = False

    def _needs_old(self, samples) -> bool:
        """Whether anything but the loss of an on-policy step reads the old log-probs; that takes None for the new ones."""
        taught = any(one.teacher_prompt or one.teacher_images is not None for one in samples)
        return self.old_policy() or taught or bool(self.kl_in_reward and self.beta)

    @contextmanager
    def null_ref_context(self) -> Iterator[None]:
        outside, self._without_old = self._without_old, False  # the policy without its adapter is the reference
        try:
            with super().null_ref_context():
                yield
        finally:
            self._without_old = outside

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        if self._without_old and model is self.model:
            return None, None
        return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)


class SharedPrefixGRPOTrainer(SharesCompletions, GRPOTrainer):
    """[`swift.rlhf_trainers.GRPOTrainer`] that computes a prompt once for its completions; nothing else differs."""

    def __init__(self, model=None, ref_model=None, *args, **kwargs):
        self.settings = read_settings(SharedPrefixSettings)
        super().__init__(model, ref_model, *args, **kwargs)


def _predicting(input_ids: torch.Tensor, grpo_batch: Any) -> torch.Tensor:
    """(B, T) bool, the columns at which a token of a completion is predicted."""
    read = torch.zeros_like(input_ids, dtype=torch.bool)
    read[:, -grpo_batch.logits_to_keep - 1 : -1] = grpo_batch.completion_mask.bool()
    return read
