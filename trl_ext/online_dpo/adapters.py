"""The policy of an earlier iteration as the start and, if asked for, as the reference, on one copy of the base."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import load_peft_weights

from trl_ext.modpo.model_dir import check_finite_weights

POLICY, REFERENCE = "default", "reference"


def read_previous_config(folder: str) -> PeftConfig:
    """The LoRA settings of an adapter folder, made trainable again (they are saved as frozen).

    Raises:
        ValueError: no adapter there, or not a LoRA.
    """
    path = Path(folder, "adapter_config.json")
    if not path.is_file():
        raise ValueError(f"--model_path {folder} holds no LoRA adapter: {path.name} is missing")
    kind = json.loads(path.read_text(encoding="utf-8")).get("peft_type")
    if kind != "LORA":
        raise ValueError(f"--model_path {folder} holds an adapter of type {kind!r}: LORA is valid")
    config = LoraConfig.from_pretrained(folder)
    config.inference_mode = False
    return config


def adapter_weights(model: PeftModel) -> dict[str, torch.Tensor]:
    """The weights of the policy's adapter by name; embeddings are left alone, a check of theirs asks the model hub."""
    return get_peft_model_state_dict(model, adapter_name=POLICY, save_embedding_layers=False)


def load_policy(model: PeftModel, folder: str) -> None:
    """Puts the weights of an adapter folder into the policy's adapter.

    Raises:
        ValueError: the weights do not fit the adapter, or a part of it would keep fresh weights.
    """
    check_finite_weights(folder)
    weights = load_peft_weights(folder, device="cpu")
    wanted = adapter_weights(model)
    if odd := sorted(set(weights) ^ set(wanted)):
        raise ValueError(f"--model_path {folder} does not fit the model: weights without a counterpart {odd[:4]}")
    for name, value in weights.items():
        if value.shape != wanted[name].shape:
            found, asked = tuple(value.shape), tuple(wanted[name].shape)
            raise ValueError(f"--model_path {folder}: {name} has shape {found}, the model asks for {asked}")
    set_peft_model_state_dict(model, weights, adapter_name=POLICY)


class ReferenceAdapter:
    """The reference of `--ref previous`: called like a model, it computes with a frozen copy of the policy's adapter.

    PEFT before 0.21 flips `requires_grad` when adapters are added or switched, so the flags are put back and checked
    after every switch.
    """

    def __init__(self, model: PeftModel):
        self.model = model
        self._flags = {id(p): p.requires_grad for p in model.parameters()}
        model.add_adapter(REFERENCE, model.peft_config[POLICY])
        set_peft_model_state_dict(model, adapter_weights(model), adapter_name=REFERENCE)
        for name, module in model.named_modules():
            if name.endswith(f".{REFERENCE}") and isinstance(module, nn.Dropout):
                module.p = 0.0
        self.restore()

    def restore(self) -> None:
        """The policy's adapter active, and exactly the parameters trainable that were so before the copy was made."""
        self.model.set_adapter(POLICY)
        for parameter in self.model.parameters():
            parameter.requires_grad_(self._flags.get(id(parameter), False))
        assert self.model.active_adapter == POLICY

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            self.model.set_adapter(REFERENCE, inference_mode=True)
            return self.model(*args, **kwargs)
        finally:
            self.restore()
