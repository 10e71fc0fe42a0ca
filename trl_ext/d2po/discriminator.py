"""The discriminator of D2PO (arXiv 2405.01511, section 4): scores responses, learns from pairs with gold labels.

Higher is better for every score. What it is stands in `discriminator_interface`, what scores and learns in
`discriminator_models`, the loop that trains it in `discriminator_training`, and a discriminator in another process in
`remote`. Importing this module costs no torch.
"""

from typing import Any

from datasets_builders.python_names import loaded_when_used

from .discriminator_interface import CHOICES, Discriminator, DiscriminatorSettings, LabelledPair, check_pairs

_HOME = {
    "ClassifierDiscriminator": ".discriminator_models",
    "PolicyDiscriminator": ".discriminator_models",
    "RemoteDiscriminator": ".remote",
}
__all__ = [
    "CHOICES",
    "Discriminator",
    "DiscriminatorSettings",
    "LabelledPair",
    "check_pairs",
    "load_discriminator",
    *_HOME,
]
__getattr__ = loaded_when_used("trl_ext.d2po", _HOME)


def load_discriminator(path: str, settings: DiscriminatorSettings, device: Any = "cpu") -> Discriminator:
    """The discriminator of `settings.kind` from a model folder, before any update.

    Raises:
        ValueError: no such folder, or a model that does not fit the kind.
    """
    from . import discriminator_models as models

    kinds = {"classifier": models.ClassifierDiscriminator, "dpo": models.PolicyDiscriminator}
    return kinds[settings.kind](path, settings, device)
