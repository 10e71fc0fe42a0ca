"""Where a policy of MODPO begins: at the reference, or where the margins vanish (`trl_ext.modpo.weighted_sum`)."""

from collections.abc import Sequence

from .margins import Margin, read_adapter_config

REFERENCE, MARGINS = "reference", "margins"
STARTS = (REFERENCE, MARGINS)
# Settings of an adapter -> what they are where its update of the weights is scaling x B A and nothing else.
_PLAIN = {"use_dora": (False, None), "bias": ("none", None), "modules_to_save": (None, []), "lora_bias": (False, None)}


def beyond_update(settings: dict) -> str | None:
    """What of an `adapter_config.json` makes the adapter more than scaling x B A, as `use_dora is True`; None if nothing."""
    for name, plain in _PLAIN.items():
        if settings.get(name) not in plain:
            return f"{name} is {settings[name]!r}"
    return None


def refuse_start(start: str, margins: Sequence[Margin], named: str, lora: bool, own_reference: str | None) -> None:
    """Refuses a start at the margins where there is none.

    Args:
        named: what the user calls the setting.
        lora: the policy is a LoRA adapter on the base.
        own_reference: the flag that names a reference other than the base, or None.

    Raises:
        ValueError: the setting, and the margin or the flag that stands in its way.
    """
    pushing = [margin for margin in margins if margin.weight]
    if start == REFERENCE or not pushing:
        return
    for margin in pushing:
        if margin.kind != "adapter":
            raise ValueError(
                f"{named} margins: margin {margin.name!r} is a {margin.kind}, and no policy is known whose log-ratio it is; "
                "adapters can be started at: train one on pairs labelled by it, or start at the reference"
            )
        if why := beyond_update(read_adapter_config(margin.source)):
            raise ValueError(
                f"{named} margins: {margin.source}/adapter_config.json: {why}: such an adapter has no weighted sum; "
                "start at the reference, or train plain LoRA"
            )
    if not lora:
        raise ValueError(
            f"{named} margins: the policy's LoRA starts as the sum of the margin adapters, and this run trains no LoRA; "
            "train LoRA, or start at the reference"
        )
    if own_reference:
        raise ValueError(
            f"{named} margins: the margins vanish where the reference is the base of their adapters, and {own_reference} "
            "names another; leave it out, or start at the reference"
        )
