"""A discriminator's state on disk: a folder that appears whole or not at all."""

import json
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from datasets_builders.beside import replaced_folder
from datasets_builders.io import write_json
from trl_ext.modpo.digest import model_digest

from .discriminator_interface import DiscriminatorSettings, LabelledPair

STATE, WEIGHTS, OPTIMISER = "discriminator.json", "weights.safetensors", "optimiser.pt"


class Trained(Protocol):
    """What of a discriminator on this machine is kept; see `TrainedDiscriminator`."""

    path: str
    directory: str
    settings: DiscriminatorSettings
    device: torch.device
    optimiser: torch.optim.Optimizer
    updates: int
    learnt: list[LabelledPair]

    @property
    def trained(self) -> dict[str, nn.Parameter]: ...

    def digest(self) -> str: ...


def write_state(folder: Path, discriminator: Trained) -> None:
    """Writes weights, optimiser, learnt pairs, number of updates and settings."""
    weights = {name: parameter.detach().cpu().contiguous() for name, parameter in discriminator.trained.items()}
    state = {
        "updates": discriminator.updates,
        "digest": discriminator.digest(),
        "model": model_digest(discriminator.directory),
        "settings": discriminator.settings.model_dump(),
        "learnt": [pair._asdict() for pair in discriminator.learnt],
    }
    with replaced_folder(folder) as beside:
        save_file(weights, beside / WEIGHTS)
        torch.save(discriminator.optimiser.state_dict(), beside / OPTIMISER)
        write_json(beside / STATE, state)


def read_state(folder: Path, discriminator: Trained) -> None:
    """Brings a discriminator of the same model and settings to the state in `folder`.

    Raises:
        ValueError: no state there, or one of another model, of other settings or with other weights than it says.
    """
    if not (folder / STATE).is_file():
        raise ValueError(f"{folder}: no {STATE}, this is not the saved state of a discriminator")
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    now = discriminator.settings.model_dump()
    for name, value in now.items():
        if state["settings"].get(name) != value:
            found = state["settings"].get(name)
            raise ValueError(f"{folder} was written with {name} {found!r}, this run has {value!r}: it must be the same")
    if state["model"] != model_digest(discriminator.directory):
        raise ValueError(f"{folder} was written for another model than {discriminator.path}")
    weights, trained = load_file(folder / WEIGHTS), discriminator.trained
    if weights.keys() != trained.keys():
        strangers = sorted(weights.keys() ^ trained.keys())
        raise ValueError(f"{folder}: its weights are not those of this discriminator: {strangers[:4]}")
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(weights[name])
    optimiser = torch.load(folder / OPTIMISER, map_location=discriminator.device, weights_only=True)
    discriminator.optimiser.load_state_dict(optimiser)
    discriminator.updates = state["updates"]
    discriminator.learnt = [LabelledPair(**pair) for pair in state["learnt"]]
    if discriminator.digest() != state["digest"]:
        raise ValueError(f"{folder}: {WEIGHTS} is damaged, its digest is not the one that was written")
