"""Margin adapters on a PEFT model that also carries the policy: load, score, and leave no trace.

PEFT 0.19 and 0.20 flip `requires_grad` when adapters are loaded or switched (loading a frozen adapter freezes the
policy's, `set_adapter` and leaving `disable_adapter` unfreeze the active one; fixed in 0.21). This class records which
parameters were trainable before it touched the model and restores exactly that after every switch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch.nn as nn
from peft import PeftModel

from .digest import weights_digest
from .margins import Margin, read_adapter_config
from .model_dir import check_finite_weights

PREFIX = "margin_"  # of the adapters' names on a model


def check_same_base(margin: Margin, model_dir: str) -> None:
    """Refuses an adapter that was trained on another base model than `model_dir`.

    Raises:
        ValueError: the adapter names another base and the weights differ or cannot be compared.
    """
    base = read_adapter_config(margin.source).get("base_model_name_or_path")
    if margin.allow_other_base or not base or base == model_dir:
        return
    if Path(base).is_dir() and Path(model_dir).is_dir():
        if Path(base).resolve() == Path(model_dir).resolve() or weights_digest(base) == weights_digest(model_dir):
            return
        found = "its weights differ"
    else:
        found = "the two cannot be compared here"
    raise ValueError(
        f"margin {margin.name!r}: adapter {margin.source} was trained on base model {base!r}, this run's is "
        f"{model_dir!r} and {found}; if they are the same model, set allow_other_base: true for this margin"
    )


class MarginAdapters:
    """Frozen margin adapters on a model.

    Args:
        model: the policy when it is a PEFT model, so that the base weights are shared; otherwise the frozen reference
            model, which becomes a PEFT model here (`host`).
        margins: the margins of kind `adapter`, at least one.
        model_dir: folder or name of the base model.

    Raises:
        ValueError: an adapter is missing, has another base, or does not fit the model's shapes.
    """

    def __init__(self, model: nn.Module, margins: Sequence[Margin], model_dir: str):
        trainable = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
        self.policy_adapter = model.active_adapter if isinstance(model, PeftModel) else None
        self.host = model
        for margin in margins:
            check_same_base(margin, model_dir)
            name = self.adapter_name(margin)
            check_finite_weights(margin.source)
            try:
                if not isinstance(self.host, PeftModel):
                    self.host = PeftModel.from_pretrained(self.host, margin.source, adapter_name=name)
                result = self.host.load_adapter(margin.source, adapter_name=name, is_trainable=False)
                # peft keeps quiet about these and leaves fresh weights, whose margin is zero everywhere.
                if strangers := [*result.missing_keys, *result.unexpected_keys]:
                    raise ValueError(f"its weights and the model's modules differ: {strangers[:4]}")
            except (RuntimeError, KeyError, ValueError) as error:  # how peft reports shapes and targets that do not fit
                raise ValueError(f"margin {margin.name!r}: adapter {margin.source} does not fit: {error}") from error
            self._silence_dropout(name)
        self._flags = [(parameter, id(parameter) in trainable) for parameter in self.host.parameters()]
        self.restore()
        found = sum(parameter.requires_grad for parameter in self.host.parameters())
        assert found == len(trainable), f"{len(trainable)} parameters were trainable, {found} are"

    @staticmethod
    def adapter_name(margin: Margin) -> str:
        return f"{PREFIX}{margin.name}"

    def _silence_dropout(self, adapter: str) -> None:
        """Dropout of a margin adapter stays off although the policy is in training mode."""
        for name, module in self.host.named_modules():
            if name.endswith(f".{adapter}") and isinstance(module, nn.Dropout):
                module.p = 0.0

    def restore(self) -> None:
        """The policy adapter active, and exactly the parameters trainable that were so before."""
        if self.policy_adapter is not None and self.host.active_adapter != self.policy_adapter:
            self.host.set_adapter(self.policy_adapter)
        for parameter, flag in self._flags:
            if parameter.requires_grad != flag:
                parameter.requires_grad_(flag)

    def remove(self) -> None:
        """Takes the margin adapters off a policy again; this object is of no use afterwards."""
        assert self.policy_adapter is not None, "a reference that was wrapped for its adapters stays wrapped"
        for name in [name for name in self.host.peft_config if name.startswith(PREFIX)]:
            self.host.delete_adapter(name)
        self.restore()

    @contextmanager
    def scoring(self, margin: Margin | None) -> Iterator[None]:
        """Inside, the host computes with this margin's adapter alone, or with every adapter off for `None`."""
        try:
            if margin is None:
                with self.host.disable_adapter():
                    yield
            else:
                self.host.set_adapter(self.adapter_name(margin), inference_mode=True)
                yield
        finally:
            self.restore()
