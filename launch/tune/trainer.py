"""MODPO whose evaluations also say what the policy itself picks. Shapes: B pairs, K margins, T tokens, V vocabulary."""

import torch
from trl.trainer.utils import selective_log_softmax

from launch.tune.ranking import picked_shares
from trl_ext.modpo.precompute import REFERENCE
from trl_ext.modpo.rows import VALUES
from trl_ext.modpo.trainer import MODPOTrainer


class RankingMODPOTrainer(MODPOTrainer):
    """[`trl_ext.MODPOTrainer`] with `eval_ranking/preference` and `eval_ranking/<margin>`.

    The only change is that `prediction_step` keeps the policy's gap of each pair: no further forward pass. See
    `launch.tune.ranking` for what the metrics are. They need `precompute_ref_log_probs`, whose columns hold the
    reference without the margins' shift.

    Raises:
        ValueError: a setting under which the policy's own gap is not in reach.
    """

    def __init__(self, model, ref_model=None, args=None, **kwargs):
        if args is not None and not args.precompute_ref_log_probs:
            raise ValueError("precompute_ref_log_probs must be true: the ranking is read from the stored reference")
        if args is not None and args.ld_alpha is not None:
            raise ValueError("ld_alpha: a desensitised log-probability does not rank, leave it out")
        self._gaps = []
        super().__init__(model, ref_model, args, **kwargs)

    def _policy_logps(self, logits: torch.Tensor, inputs: dict) -> torch.Tensor:
        """(2B,) fp32 summed log-probs of the responses from logits (2B, T, V)."""
        ids, mask, completion = (inputs[name] for name in ("input_ids", "attention_mask", "completion_mask"))
        if hasattr(self, "_truncate_inputs"):  # TRL 0.29 truncates in the step, 1.x in the collator
            ids, mask, completion = self._truncate_inputs(ids, mask, completion)
        logps = selective_log_softmax(logits[:, :-1].float(), ids[:, 1:])
        return (logps * completion[:, 1:]).sum(-1)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        moved = self._policy_logps(outputs.logits, inputs) - torch.cat([inputs[name] for name in REFERENCE])
        columns = [moved.chunk(2)[0] - moved.chunk(2)[1]]
        if self.margins:
            chosen, rejected = inputs[VALUES].chunk(2, -1)
            columns += (chosen - rejected).unbind(-1)
        self._gaps.append(self.accelerator.gather_for_metrics(torch.stack(columns, -1)).double().cpu())
        return loss.detach(), None, None

    def evaluation_loop(self, *args, **kwargs):
        self._gaps = []
        output = super().evaluation_loop(*args, **kwargs)
        policy, *margins = torch.cat(self._gaps).T.tolist()
        directions = [1 if margin.signed_weight * margin.beta >= 0 else -1 for margin in self.margins]
        directed = {
            margin.name: [direction * gap for gap in gaps]
            for margin, direction, gaps in zip(self.margins, directions, margins, strict=True)
        }
        # Beside the parent's metrics, so that the evaluation is logged in one row.
        for name, share in picked_shares(policy, directed).items():
            self._metrics["eval"][f"ranking/{name}"].append(share)
        return output
