"""Prompts that several rows of a batch have are read once before their answers are drawn. Shapes: B rows of T tokens."""

from typing import Any

import torch

from .attention import config_of, measured


def prefilled(model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, Any]:
    """What to give `model.generate` beside these rows: the cache of all tokens but the last, which `generate` reads itself.

    Empty where there is nothing to gain (no row comes twice, or rows of one token), and for models that were not measured:
    a recurrent state cannot be repeated like keys and values.

    Args:
        model: a causal language model in whatever wraps it, in eval mode, outside of any gradient.
        input_ids, attention_mask: (B, T), padded on the left.
    """
    rows, row = torch.unique(torch.stack([input_ids, attention_mask], 1), dim=0, return_inverse=True)
    if len(rows) == len(input_ids) or input_ids.shape[1] < 2 or config_of(model).model_type not in measured():
        return {}
    ids, mask = rows[:, 0, :-1], rows[:, 1, :-1]
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
    ).past_key_values
    cache.batch_select_indices(row)
    return {"past_key_values": cache}
