"""Shared prefixes in ms-swift's DPOTrainer: both sides of a pair are one stream. Shapes: B pairs, T tokens."""

import torch
from swift.rlhf_trainers import DPOTrainer
from swift.utils import get_logger

from swift_ext.settings import read_settings
from trl_ext.shared_prefix.choice import PRECISIONS, SharedPrefixes, choose
from trl_ext.shared_prefix.model import IGNORED, SharedPrefixModel

from .settings import SharedPrefixSettings, hindrances

logger = get_logger()


class SharesPairs:
    """A mixin over [`swift.rlhf_trainers.DPOTrainer`]: every forward pass of pairs, by whatever model, shares prefixes.

    The parent's method is handed `SharedPrefixModel` in the model's place and sees the logits of its own rows.
    """

    prefixes: SharedPrefixes | None = None

    def choose_prefixes(self, setting: str) -> None:
        """Decides for this run. The parent's constructor must be done: it switches dropout off.

        Raises:
            ValueError: see `trl_ext.shared_prefix.choice.choose`.
        """
        found = [*hindrances(self.args, self.template)]
        if self.aux_loss_enabled:
            found.append(f"the loss of --router_aux_loss_coef {self.aux_loss_coef:g} would count a shared token once")
        precision = PRECISIONS.get(self.accelerator.mixed_precision)
        self.prefixes = choose(setting, self.model, found, logger.info, precision)

    def concatenated_forward(self, model, batch, is_ref_model=False):
        """The parent's, of a batch (2B, T) whose rows i and i + B are a pair."""
        if self.prefixes is not None:
            labels = batch["labels"]
            stream = torch.arange(len(labels), device=labels.device) % (len(labels) // 2)
            predicts = (labels != IGNORED).roll(-1, dims=1)  # as the parent shifts them
            model = SharedPrefixModel(model, self.prefixes, stream, predicts)
        return super().concatenated_forward(model, batch, is_ref_model=is_ref_model)


class SharedPrefixDPOTrainer(SharesPairs, DPOTrainer):
    """[`swift.rlhf_trainers.DPOTrainer`] that computes the prompt of a pair once; nothing else differs.

    Raises:
        ValueError: `SHARED_PREFIX` is on where the result would not be exact, or the first batch's comparison fails.
    """

    def __init__(self, model=None, ref_model=None, *args, **kwargs):
        super().__init__(model, ref_model, *args, **kwargs)
        self.choose_prefixes(read_settings(SharedPrefixSettings).shared_prefix)
