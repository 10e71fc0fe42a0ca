"""The layout's visibility as a model's own attention takes it, and the models for which that is exact."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .layout import SharedLayout

# Model types whose logits were equal to the plain pass (tests/shared_prefix/test_architectures.py). A type that is not
# here may be exact too, but nobody has looked; a layer that carries a state from token to token cannot be.
FULL_ATTENTION = frozenset({
    "cohere", "deepseek_v3", "gemma", "gpt2", "gpt_bigcode", "gpt_neox", "granite", "llama", "olmo", "olmo2", "opt",
    "phi", "stablelm",
})  # fmt: skip
# One mask for all layers, with a window where `sliding_window` is set.
ONE_WINDOW = frozenset({"mistral", "mixtral", "phi3", "qwen3_moe", "starcoder2"})
# A mask for each kind of layer, named by `layer_types`.
WINDOW_BY_LAYER = frozenset({
    "cohere2", "gemma2", "gemma3_text", "olmo3", "qwen2", "qwen2_moe", "qwen3", "smollm3",
})  # fmt: skip
# Positions are looked up in a table, so that a row padded on the left is another row to the plain pass.
ABSOLUTE_POSITIONS = frozenset({"gpt2", "gpt_bigcode"})
MASKED_ATTENTION = ("sdpa", "eager", "flex_attention")


def config_of(model: Any) -> Any:
    """The configuration of a model inside whatever wraps it (DDP, DeepSpeed, FSDP, PEFT)."""
    while not hasattr(model, "config") or not hasattr(model.config, "get_text_config"):
        model = model.module
    return model.config


def why_not(config: Any, left_padded: bool = False) -> str | None:
    """Why the rows of this model cannot share, in words that follow "because"; None where the result is exact.

    Args:
        config: a transformers configuration.
        left_padded: whether the plain pass sees rows padded on the left without position ids.
    """
    kind = config.model_type
    if getattr(config, "vision_config", None) is not None or getattr(config, "audio_config", None) is not None:
        return f"{kind} reads images or sound, and equal placeholder tokens are not equal inputs"
    if getattr(config, "is_encoder_decoder", False):
        return f"{kind} is an encoder-decoder"
    if getattr(config, "auto_map", None):
        return f"{kind} brings modelling code of its own, whose attention nobody has looked at"
    other = sorted(set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"})
    if other:
        return f"{kind} has layers of type {other[0]}, which do not look back by a mask"
    if getattr(config, "alibi", False) or kind in ("bloom", "mpt"):
        return f"{kind} adds ALiBi by place, not by position"
    if getattr(config, "use_bidirectional_attention", False):
        return f"{kind} looks ahead (use_bidirectional_attention)"
    if kind not in FULL_ATTENTION | ONE_WINDOW | WINDOW_BY_LAYER:
        return f"{kind} is not among the model types that were measured ({', '.join(sorted(measured()))})"
    if left_padded and kind in ABSOLUTE_POSITIONS:
        return f"{kind} looks positions up in a table, and the plain pass counts padding on the left as positions"
    if config._attn_implementation not in MASKED_ATTENTION:
        return (
            f"its attention is {config._attn_implementation}, which takes no mask of pairs of tokens: use one of "
            f"{', '.join(MASKED_ATTENTION)}"
        )
    if getattr(config, "output_router_logits", False):
        return "output_router_logits is on, and its loss would count a shared token once"
    if getattr(config, "attention_dropout", None):
        return f"attention_dropout is {config.attention_dropout}, and rows that share a token share its draw"
    return None


def measured() -> frozenset[str]:
    """The model types that may share."""
    return FULL_ATTENTION | ONE_WINDOW | WINDOW_BY_LAYER


def attention_mask(model: Any, layout: SharedLayout) -> Any:
    """The `attention_mask` argument of a model's forward pass: one mask, or one for each kind of layer."""
    config = config_of(model)
    windows = {"full_attention": None}
    window = getattr(config, "sliding_window", None)
    if window is not None and config.model_type in ONE_WINDOW:
        windows = {"full_attention": window}
    elif "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        windows["sliding_attention"] = window
    form: dict[str, Callable[[SharedLayout, int | None], Any]] = {
        "sdpa": SharedLayout.visible,
        "flex_attention": _block_mask,
        "eager": partial(_added, model),
    }
    masks = {kind: form[config._attn_implementation](layout, width) for kind, width in windows.items()}
    return masks if len(masks) > 1 else masks["full_attention"]


def _added(model: Any, layout: SharedLayout, window: int | None) -> torch.Tensor:
    """What eager attention adds to the scores: it takes a bool mask for numbers, and would let every query see all."""
    dtype = next(one.dtype for one in model.parameters() if one.is_floating_point())
    visible = layout.visible(window)
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(~visible, torch.finfo(dtype).min)


def _block_mask(layout: SharedLayout, window: int | None) -> Any:
    """FlexAttention's form of `SharedLayout.visible`, which never holds (N, N) values."""
    from torch.nn.attention.flex_attention import create_block_mask

    number, until, position = layout.number, layout.until, layout.position_ids

    def sees(stream, head, query, key):
        seen = (number[stream, key] <= number[stream, query]) & (number[stream, query] < until[stream, key])
        if window is not None:
            seen = seen & (position[stream, query] - position[stream, key] < window)
        return seen

    streams, width = number.shape
    return create_block_mask(sees, streams, None, width, width, device=number.device)
