"""Whether the rows of a run share their prefixes, and the comparison of its first batch with a plain pass."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from datasets_builders.choices import nearest

from .attention import config_of, why_not
from .setting import SETTINGS

# `auto` leaves a batch plain above this share of places to tokens: docs/performance.md has times over shares.
PAYS_UP_TO = 0.9
# Root mean square, in nats, of the differences between per-token log-probs that two exact passes differ by at most. A
# plain bf16 pass is 0.05 from fp32, a shared one 0.05, and one from the other 0.07; a mask that is wrong gives 1 to 3.
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}  # by accelerate's name
NOISE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.25}


@dataclass
class SharedPrefixes:
    """The choice of one run.

    Args:
        always: share in every batch, also where it does not pay. What was scored by one path must train by it.
        precision: of the run's autocast; None for that of the weights.
        say: told once what the first batch saves.
    """

    always: bool = False
    precision: torch.dtype | None = None
    say: Callable[[str], None] = print
    _compared: bool = field(default=False, init=False)

    def pays(self, share: float) -> bool:
        return self.always or share <= PAYS_UP_TO

    @property
    def to_compare(self) -> bool:
        """Whether this is the run's first batch, which is also computed plainly."""
        return not self._compared

    def compare(self, plain: torch.Tensor, shared: torch.Tensor, model: Any, share: float) -> None:
        """Stops the run where the two passes of the first batch disagree.

        Args:
            plain, shared: (n,) log-probs of the same tokens.

        Raises:
            ValueError: with the difference found and the one allowed.
        """
        self._compared = True
        bound = noise_of(model, self.precision)
        difference = (plain.float() - shared.float()).square().mean().sqrt().item() if len(plain) else 0.0
        kind = config_of(model).model_type
        if not difference <= bound:
            raise ValueError(
                f"shared prefixes are wrong for this model ({kind}): log-probs of the first batch differ from a plain pass by "
                f"{difference:.2g} nats (root mean square over {len(plain)} tokens), at most {bound:g} is rounding; set "
                "shared_prefix to off"
            )
        self.say(
            f"shared prefixes: the first batch computes {share:.0%} of its tokens"
            f"{'' if self.pays(share) else f', too many to pay (above {PAYS_UP_TO:.0%}): such batches stay plain'}; "
            f"log-probs differ from a plain pass by {difference:.1g} nats (allowed: {bound:g})"
        )


def choose(
    setting: str,
    model: Any,
    hindrances: Iterable[str | None],
    say: Callable[[str], None],
    precision: torch.dtype | None = None,
    left_padded: bool = False,
    training: bool = True,
) -> SharedPrefixes | None:
    """What a trainer or a scorer does: None for plain passes.

    Args:
        setting: `auto` shares where it is exact and pays, `on` always, `off` never.
        model: the policy, whose configuration and dropout decide.
        hindrances: further reasons of the trainer, in words that follow "because"; None where there is none.
        say: told why `auto` stays plain.
        training: whether dropout is drawn.

    Raises:
        ValueError: another word, or `on` where the result would not be exact.
    """
    if setting not in SETTINGS:
        raise ValueError(f"shared_prefix is {setting!r}: {nearest(setting, SETTINGS)}")
    if setting == "off":
        return None
    reasons = [why_not(config_of(model), left_padded), dropout_of(model) if training else None, *hindrances]
    if reason := next((one for one in reasons if one), None):
        if setting == "on":
            raise ValueError(f"shared_prefix is on, but rows cannot share because {reason}")
        say(f"shared prefixes are off because {reason}")
        return None
    return SharedPrefixes(setting == "on", precision, say)


def dropout_of(model: torch.nn.Module) -> str | None:
    """Which dropout is on, if any: rows that share a token would share its draw."""
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout) and module.p:
            kind = "lora_dropout" if "lora_dropout" in name else name.rsplit(".", 1)[-1]
            return f"{kind} is {module.p:g}, and rows that share a token share its draw (0 lets them share)"
    return None


def noise_of(model: Any, precision: torch.dtype | None) -> float:
    """Nats by which two exact passes may differ, for the lowest precision of weights, autocast and matrix products."""
    weights = [one for one in model.parameters() if one.is_floating_point()][:1]
    devices = {one.device.type for one in weights}
    if devices == {"cpu"} and precision == torch.float16:
        precision = None  # ms-swift asks for fp16 beside fp32 weights, which a CPU computes in fp32
    found = [NOISE[one] for one in (*(one.dtype for one in weights), precision) if one in NOISE]
    if "cuda" in devices and torch.get_float32_matmul_precision() != "highest":  # TF32 has the mantissa of fp16
        found.append(NOISE[torch.float16])
    return max(found, default=NOISE[torch.float32])
