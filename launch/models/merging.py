"""What every merge shares: the merged model is written, read back, and compared with what it was made of.

Two faults pass every size and name check. Tied embeddings: an update of the output layer alone would also change the
input embeddings, and transformers ties them again when it loads the file. Values that are not finite: they spread to
all answers. So the embeddings are untied where the adapter parts them, and nothing appears under the wanted name unless
the written model computes what the unmerged one did.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets_builders.beside import new_folder
from datasets_builders.io import write_json
from trl_ext.modpo.model_dir import check_finite

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBE_TOKENS = 64
# Largest difference of a probe's logits in fp32. Half types round every merged weight; there it is a share of the
# largest logit, in units of the type's own spacing.
LARGEST_DIFFERENCE = 1e-3
SPACINGS = 16


def write_merged(
    make: Callable[[], "PeftModel"],
    load: Callable[[Path], "PreTrainedModel"],
    tokenizer: "PreTrainedTokenizerBase",
    out: Path,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Merges the active adapter of `make()` and writes the model to `out`, which appears whole and checked or not at all.

    One model is held at a time: the written one is loaded after the merged one is gone.

    Args:
        notes: JSON files by name that stand beside the model.

    Returns:
        `dtype`, `parameters` (their number), `difference` (largest of the probe's logits, written against unmerged).

    Raises:
        ValueError: weights that are not finite, or a written model that computes something else; both with numbers.
    """
    with new_folder(out) as partial:
        expected, before, facts = _merge_and_save(make(), tokenizer, partial)
        written = load(partial)
        after = digests(written, facts["dtype"])
        if strangers := sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
            raise ValueError(f"{out} is not written: read back, {strangers[:4]} are not what was merged")
        facts["difference"] = check_agreement(expected, probe(written), facts["dtype"], str(out))
        for name, content in (notes or {}).items():
            write_json(partial / name, content)
    return {**facts, "dtype": str(facts["dtype"]).removeprefix("torch.")}


def _merge_and_save(wrapped: "PeftModel", tokenizer: "PreTrainedTokenizerBase", folder: Path):
    """Logits of the unmerged model, digests of the merged weights, and facts; no model outlives the call."""
    check_finite(wrapped)
    expected = probe(wrapped)
    untie(wrapped)
    with warnings.catch_warnings():
        # peft warns of tied weights that an adapter parts; they are parted here, and what is written is compared.
        warnings.filterwarnings("ignore", message=".*tie(d|_word_embeddings)")
        merged = wrapped.merge_and_unload(safe_merge=True)
    check_finite(merged)
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    facts = {"dtype": merged.dtype, "parameters": merged.num_parameters()}
    return expected, digests(merged, merged.dtype), facts


def untie(model: "PeftModel") -> None:
    """Gives input and output embeddings weights of their own where an adapter changes one of two that are one.

    The adapter's own copies (`modules_to_save`) are kept as they are.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    base = model.get_base_model()
    ends = [base.get_input_embeddings(), base.get_output_embeddings()]
    if None in ends:  # a classifier has no output embeddings
        return
    weights = [_active(end).weight for end in ends]
    adapted = [isinstance(end, BaseTunerLayer | ModulesToSaveWrapper) for end in ends]
    if not any(adapted) or not base.config.get_text_config().tie_word_embeddings:
        return
    if all(adapted) and weights[0] is weights[1] and not any(isinstance(end, BaseTunerLayer) for end in ends):
        return  # one saved copy that serves both, as peft's ensure_weight_tying makes it
    untie_head(base)


def share_embeddings(model: "PreTrainedModel") -> bool:
    """Whether input and output embeddings are one tensor."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def untie_head(model: "PreTrainedModel") -> None:
    """Gives the output embeddings a copy of their weights, and says so in the configuration."""
    from torch import nn

    head = _active(model.get_output_embeddings())
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)
    model.config.get_text_config().tie_word_embeddings = False
    model.config.tie_word_embeddings = False


def _active(module: Any) -> Any:
    """The module below a wrapper of peft: the adapter's own copy where there is one, otherwise that of the base."""
    with suppress(AttributeError):
        module = module.modules_to_save[module.active_adapters[0]]
    with suppress(AttributeError):
        module = module.get_base_layer()
    return module


def probe(model: Any) -> "torch.Tensor":
    """Logits of one fixed row of up to 64 different tokens, fp32 on the CPU: (tokens, vocabulary), or (1, labels)."""
    import torch

    model.eval()
    vocabulary = model.get_input_embeddings().weight.shape[0]
    tokens = torch.arange(PROBE_TOKENS, device=model.device) * max(1, vocabulary // PROBE_TOKENS) % vocabulary
    with torch.no_grad():
        return model(input_ids=tokens[None], attention_mask=torch.ones_like(tokens)[None]).logits[0].float().cpu()


def check_agreement(expected: "torch.Tensor", found: "torch.Tensor", dtype: "torch.dtype", what: str) -> float:
    """The largest difference of two tensors of logits.

    Raises:
        ValueError: above what rounding explains: 1e-3 in fp32, 16 spacings of a half type at the largest logit.
    """
    import torch

    allowed = LARGEST_DIFFERENCE
    if dtype != torch.float32:
        allowed = max(allowed, SPACINGS * torch.finfo(dtype).eps * float(expected.abs().max()))
    difference = float((expected - found).abs().max()) if expected.shape == found.shape else float("inf")
    if not difference <= allowed:
        raise ValueError(
            f"{what} is not written: its logits would differ from those of the unmerged model by {difference:.3g}, "
            f"{allowed:.3g} is what rounding explains"
        )
    return difference


def digests(model: "PreTrainedModel", dtype: "torch.dtype") -> dict[str, str]:
    """A digest of each tensor as `dtype`, by its name."""
    import torch

    digests = {}
    for name, tensor in model.state_dict().items():
        value = (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous().reshape(-1)
        digests[name] = hashlib.blake2b(value.view(torch.uint8).numpy(), digest_size=8).hexdigest()
    return digests
