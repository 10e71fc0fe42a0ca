"""Log-probabilities of completions. Shapes: B sequences, T tokens, V vocabulary."""

import torch
from torch.utils.checkpoint import checkpoint


def _row_logps(row_logits: torch.Tensor, row_labels: torch.Tensor) -> torch.Tensor:
    """(T, V), (T,) -> (T,), in fp32 whatever the dtype of the logits."""
    logits = row_logits.float()
    return logits.gather(-1, row_labels[:, None])[:, 0] - logits.logsumexp(-1)


def selective_logps(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log softmax(logits)[labels] in fp32, (B, T, V), (B, T) -> (B, T).

    bf16 logits are raised to fp32 one sequence at a time and, where a gradient is needed, again in the backward pass:
    a margin of a few tenths drowns in a bf16 sum over a completion, and a whole fp32 copy of the logits would double
    the largest tensor of the step.
    """
    rows = []
    for row_logits, row_labels in zip(logits, labels, strict=True):
        if row_logits.requires_grad and row_logits.dtype != torch.float32:
            rows.append(checkpoint(_row_logps, row_logits, row_labels, use_reentrant=False))
        else:
            rows.append(_row_logps(row_logits, row_labels))
    return torch.stack(rows)


def completion_logps(logits: torch.Tensor, labels: torch.Tensor, ignore_index: int = -100) -> torch.Tensor:
    """Summed log-probs of the labelled tokens, (B, T, V), (B, T) -> (B,) fp32.

    `labels` are aligned with the input ids (position t is predicted from position t - 1) and hold `ignore_index` on the
    prompt and the padding. The end token counts where it is labelled.
    """
    shifted = labels[:, 1:]
    mask = shifted != ignore_index
    logps = selective_logps(logits[:, :-1], shifted.masked_fill(~mask, 0))
    return (logps * mask).sum(-1)
