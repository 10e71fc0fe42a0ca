"""Gold function `eurusrm`: a published reward model."""

from collections.abc import Sequence
from typing import Any

from trl_ext.modpo.model_dir import check_finite, check_whole

from .base import BatchScore, Metadata

EURUS = "openbmb/Eurus-RM-7b"
# The closing mark is spelt with a backslash on the model's card, so this is what it was trained on.
FORM = "[INST] {prompt} [\\INST] {response}"


def eurus(
    model: str = EURUS, trust_remote_code: bool = False, device: str = "cpu", max_length: int = 2048
) -> BatchScore:
    """The scalar that a reward model gives to `[INST] prompt [\\INST] response`. One row at a time, without padding.

    Args:
        model: folder or hub name of a sequence classifier with one label, or of a model whose own code returns one
            number a row, as the default does.
        trust_remote_code: whether Python code that comes with the model may run. The default model needs it.
        max_length: tokens; what is longer loses its beginning.

    Raises:
        ValueError: the model needs its own code, which was not allowed, it was not trained to score, or it gives more than
            one number.
    """
    if model == EURUS and not trust_remote_code:
        raise ValueError(
            f"{EURUS} comes with Python code that would run here: read it, then give trust_remote_code=True"
        )
    tokenizer, network = _load(model, trust_remote_code, device)

    def scores(prompts: Sequence[str], responses: Sequence[str], metadata: Sequence[Metadata]) -> list[float]:
        import torch

        values = []
        for prompt, response in zip(prompts, responses, strict=True):
            text = FORM.format(prompt=prompt, response=response)
            inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_length).to(device)
            with torch.no_grad():
                values.append(_scalar(network(input_ids=inputs["input_ids"]), model))
        return values

    return scores


def _load(model: str, trust_remote_code: bool, device: str) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    check_whole(model)
    config = AutoConfig.from_pretrained(model, trust_remote_code=trust_remote_code)
    own_code = getattr(config, "auto_map", None) or {}
    if own_code and not trust_remote_code:
        raise ValueError(
            f"{model} comes with Python code that would run here: read it, then give trust_remote_code=True"
        )
    bare = "AutoModel" in own_code and "AutoModelForSequenceClassification" not in own_code
    loader = AutoModel if bare else AutoModelForSequenceClassification
    network, loading = loader.from_pretrained(
        model, trust_remote_code=trust_remote_code, dtype="auto", output_loading_info=True
    )
    if missing := sorted(loading["missing_keys"]):
        # transformers makes up what it does not find; scores of such a head are noise.
        raise ValueError(f"{model}: not a trained reward model, its weights lack {', '.join(missing[:5])}")
    check_finite(network, model)
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code, truncation_side="left")
    return tokenizer, network.to(device).eval().requires_grad_(False)


def _scalar(output: Any, model: str) -> float:
    """The one number of a model's output for one row: its logits, or the output itself."""
    numbers = getattr(output, "logits", output)
    if numbers.numel() != 1:
        raise ValueError(f"{model} gives {numbers.numel()} numbers for a text: a reward model gives 1")
    return numbers.float().item()
