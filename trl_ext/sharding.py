"""Runs whose weights are sharded by PyTorch's FSDP: what such a run is, and what would go wrong in it without a word.

It imports neither TRL nor ms-swift. Seen with accelerate 1.15, transformers 5.19 and 5.23, PEFT 0.20 and 0.21: docs/scaling.md.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import peft
import torch.nn as nn
from accelerate.utils import DistributedType, str_to_bool
from packaging.version import Version
from torch.distributed.tensor import DTensor
from transformers.utils import logging

logger = logging.get_logger(__name__)

RAM, FULL = "FSDP_CPU_RAM_EFFICIENT_LOADING", "FULL_STATE_DICT"


@dataclass(frozen=True)
class Fsdp:
    """FSDP's settings of a run.

    Args:
        version: 1 or 2.
        first_rank_loads: the other ranks may leave a model that is loaded without weights, and get them from the first.
        saves_shards: a checkpoint holds what each rank has, and no model that anything else could load.
    """

    version: int
    first_rank_loads: bool
    saves_shards: bool


def fsdp_of(args: Any) -> Fsdp | None:
    """FSDP's settings by `--fsdp` of transformers' `args`, or by accelerate's launcher; None without FSDP."""
    if given := getattr(args, "fsdp_plugin_args", None):
        kind = given.get("state_dict_type") or "FULL_STATE_DICT"
        version = int(given.get("fsdp_version", os.environ.get("FSDP_VERSION", 2)))
        return Fsdp(version, _is_on(RAM), not str(kind).startswith(FULL))
    if not _is_on("ACCELERATE_USE_FSDP"):
        return None
    kind = os.environ.get("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT")
    return Fsdp(int(os.environ.get("FSDP_VERSION", "1")), _is_on(RAM), not kind.startswith(FULL))


def _is_on(name: str) -> bool:
    return bool(str_to_bool(os.environ.get(name, "false")))


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP2 has a part of each weight on each rank."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


@contextmanager
def loaded_whole() -> Iterator[None]:
    """Models loaded inside have their weights on every rank: nobody sends a model beside the policy to the others."""
    before = os.environ.get(RAM)
    if before is not None:
        os.environ[RAM] = "false"
    try:
        yield
    finally:
        if before is not None:
            os.environ[RAM] = before


class SavesWhole:
    """Mixin of a trainer: `save_model` writes a whole model under FSDP too, whatever its checkpoints hold.

    That of transformers writes nothing where FSDP's state_dict_type is SHARDED_STATE_DICT, and says nothing.
    """

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        if self.is_fsdp_enabled and not _internal_call:  # an internal call is a checkpoint's
            self.accelerator.state.fsdp_plugin.set_state_dict_type(FULL)
        super().save_model(output_dir, _internal_call)


def unsharded(args: Any, distributed_type: str) -> str | None:
    """What to say of a run that asked for DeepSpeed or FSDP and runs without; None where it runs as asked.

    On ranks of CPUs accelerate leaves either out and says nothing: losses are those of DDP, memory is not that of the run.

    Args:
        args: transformers' arguments of the run.
        distributed_type: what accelerate made of them, `accelerator.distributed_type`.
    """
    asked = []
    if getattr(args, "deepspeed", None) or _is_on("ACCELERATE_USE_DEEPSPEED"):
        asked.append(
            (
                "DeepSpeed",
                "DEEPSPEED",
                "with use_cpu of the run in place of --cpu of accelerate launch it runs on CPUs too",
            )
        )
    if fsdp_of(args) is not None:
        asked.append(("FSDP", "FSDP", "it needs GPUs"))
    kind = DistributedType(distributed_type).value
    left = [(name, way) for name, wanted, way in asked if wanted != kind]
    if not left:
        return None
    (name, way), *_ = left
    return (
        f"{name} was asked for and accelerate runs this without it ({kind}): every rank holds all weights and "
        f"optimiser states, as under DDP; {way}"
    )


def warn_if_unsharded(trainer: Any) -> None:
    """Says it on the first rank, see `unsharded`."""
    problem = unsharded(trainer.args, trainer.accelerator.distributed_type)
    if problem and trainer.is_world_process_zero():
        logger.warning(problem)


def refuse_shards(args: Any) -> None:
    """Refuses a run whose checkpoints are its result and would hold shards alone.

    Raises:
        ValueError: the setting and what is valid.
    """
    fsdp = fsdp_of(args)
    if fsdp is not None and fsdp.saves_shards:
        raise ValueError(
            "FSDP's state_dict_type is SHARDED_STATE_DICT: the checkpoints would hold each rank's shards and no adapter or model "
            "that could be loaded; state_dict_type: FULL_STATE_DICT is valid (`python -m launch runs show accelerate/fsdp2` has it)"
        )


def refuse_empty_reference(args: Any, own_reference: bool) -> None:
    """Refuses a reference of its own where only the first rank loads: TRL shards what each rank has of it.

    Raises:
        ValueError: the setting and what is valid.
    """
    fsdp = fsdp_of(args)
    if fsdp is not None and fsdp.first_rank_loads and own_reference:
        raise ValueError(
            "FSDP's cpu_ram_efficient_loading is true, and all weights are trained, so that the reference is a model of its own: "
            "transformers gives its weights to the first rank alone, and TRL does not send them to the others; set "
            "fsdp_cpu_ram_efficient_loading: false, or train a LoRA"
        )


def refuse_joined_weights(args: Any) -> None:
    """Refuses FSDP1 for margins that are computed in the step: found, a LoRA learnt too little and a margin's adapter moved.

    Raises:
        ValueError: what stands in the way and what is valid.
    """
    fsdp = fsdp_of(args)
    if fsdp is not None and fsdp.version == 1:
        raise ValueError(
            "FSDP is version 1, which joins the weights of a layer into one tensor: switching adapters off and on in a step, as "
            "margins and their reference need it, changes what is trained, and nothing says so; fsdp_version: 2 is valid "
            "(`python -m launch runs show accelerate/fsdp2`), or reference and margins that are computed before (precompute_ref_log_probs)"
        )


def refuse_late_adapters(args: Any) -> None:
    """Refuses margin adapters on a reference that FSDP shards before they are loaded, where PEFT cannot do that.

    Raises:
        ValueError: what stands in the way and what is valid.
    """
    if fsdp_of(args) is not None and Version(peft.__version__) < Version("0.21"):
        raise ValueError(
            "a margin is an adapter, all weights are trained and FSDP has sharded the reference before the adapter is loaded, "
            f"which PEFT {peft.__version__} cannot do (0.21 can); train a LoRA, or take DeepSpeed's ZeRO-3"
        )
